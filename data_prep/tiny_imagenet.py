"""Tiny-ImageNet: 200 classes of ImageNet at 64 pixels (Stanford, course CS231n).

The set can be had at http://cs231n.stanford.edu/tiny-imagenet-200.zip; its pictures come from
ImageNet, whose terms allow research and education. Packs of parts of it and a 32-pixel array are
read too (`data_prep.tiny_imagenet_forms`). Files are stored as they are; about 2 % are greyscale.

    python -m data_prep.tiny_imagenet data/tiny-imagenet tiny-imagenet-200.zip --classes 100
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated

import typer
from tqdm import tqdm

from data_prep.archives import require_room
from data_prep.command import run
from data_prep.errors import PreparationError
from data_prep.layout import already_prepared
from data_prep.packs import archive_record
from data_prep.staging import new_set
from data_prep.tiny_imagenet_forms import BASE, Collection, open_collection

NAME = "tiny-imagenet"
ARRAY_NAME = "tiny-imagenet-32px"
HOME = f"http://cs231n.stanford.edu/{BASE}.zip"
OFFICIAL_MD5 = "90528d7ca1a48142e341f4ef8d21d0de"


def find_archives(source: Path | Sequence[Path]) -> list[Path]:
    """The archives that `source` means: files as given, or those that lie in a given folder.

    In a folder the official zip is preferred, then the packs, then the array.

    Raises:
        PreparationError: There is none.
    """
    given = [source] if isinstance(source, str | Path) else list(source)
    given = [Path(path) for path in given]
    if len(given) == 1 and given[0].is_dir():
        folder = given[0]
        for pattern in (f"{BASE}.zip", "tinyimagenet*part*.zip", "tinyimagenet*.npz"):
            if matches := sorted(folder.glob(pattern)):
                return matches
        raise PreparationError(
            f"no archive of Tiny-ImageNet in '{folder}'; download {HOME} and place it there"
        )
    for path in given:
        if not path.is_file():
            raise PreparationError(
                f"no file '{path}'; download {HOME} and give the path of {BASE}.zip or its folder"
            )
    if not given:
        raise PreparationError(f"no archive was given; download {HOME} and give its path")
    return sorted(set(given), key=lambda path: path.name)


def _archive_records(archives: Iterable[Path]) -> list[dict]:
    """Checksums of the archives, compared with the known one or a list that lies beside them."""
    return [
        archive_record(archive, HOME, OFFICIAL_MD5 if archive.name == f"{BASE}.zip" else None)
        for archive in archives
    ]


def _chosen(collection: Collection, classes: int | None) -> list[str]:
    """The first `classes` wnids in sorted order, all when None."""
    wnids = sorted(collection.titles)
    if classes is not None and not 2 <= classes <= len(wnids):
        raise PreparationError(
            f"classes must lie between 2 and {len(wnids)}, the number in the archives; got "
            f"{classes}; choose another number or give more archives"
        )
    return wnids[:classes]


def prepare(out: Path, source: Path | Sequence[Path], *, classes: int | None = None) -> Path:
    """Prepare Tiny-ImageNet, or its first classes, in `out`.

    Args:
        out: An absent or empty folder, or one that holds this very set already.
        source: The official zip, one or several packs, one array file, or a folder with one of
            these.
        classes: Keep this many classes, the first in sorted wnid order; all when None.

    Returns:
        `out`.

    Raises:
        PreparationError: No archive, a damaged or unsafe one, `classes` out of range, something
            else in `out`, or no space.
    """
    out = Path(out)
    archives = find_archives(source)
    records = _archive_records(archives)
    settings = {"classes": classes}
    name = ARRAY_NAME if archives[0].suffix == ".npz" else NAME
    if already_prepared(out, name, settings, records):
        return out
    with open_collection(archives) as (form, collection):
        chosen = set(_chosen(collection, classes))
        photos = [photo for photo in collection.photos if photo.wnid in chosen]
        source_text = f"Tiny-ImageNet-200, {HOME} ({form} form)"
        with new_set(out, name, source_text, settings, records) as writer:
            require_room(writer.folder, sum(photo.size for photo in photos), name)
            for wnid in chosen:
                writer.add_class(wnid, collection.titles[wnid])
            writer.notes["excluded_duplicates"] = sum(d in chosen for d in collection.duplicates)
            for photo in tqdm(photos, desc="storing", unit="image", disable=None):
                path = writer.add_image(photo.split, photo.wnid, photo.file_name, photo.read())
                if photo.box is not None:
                    writer.add_box(path, photo.box)
    return out


def main(
    out: Annotated[Path, typer.Argument(help="Folder to write; absent or empty.")],
    source: Annotated[list[Path], typer.Argument(help="The zip(s), the .npz, or their folder.")],
    classes: Annotated[
        int | None, typer.Option(help="Keep the first N classes in sorted wnid order.")
    ] = None,
) -> None:
    """Prepare Tiny-ImageNet from its official zip, from packs of parts, or from an array.

    Example: python -m data_prep.tiny_imagenet data/tiny tiny-imagenet-200.zip --classes 100
    """
    prepare(out, source, classes=classes)
    print(f"prepared: {out}")


if __name__ == "__main__":
    run(main)
