"""Tiny-ImageNet: 200 classes of ImageNet at 64 pixels (Stanford, course CS231n).

The set can be had at http://cs231n.stanford.edu/tiny-imagenet-200.zip; its pictures come from
ImageNet, whose terms allow research and education. Packs of parts of it and a 32-pixel array are
read too (`data_prep.tiny_imagenet_forms`). Files are stored as they are; about 2 % are greyscale.

    python -m data_prep.tiny_imagenet data/tiny-imagenet tiny-imagenet-200.zip --classes 100
"""

import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
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
from data_prep.tiny_imagenet_forms import BASE, Collection, Photo, open_collection

NAME = "tiny-imagenet"
ARRAY_NAME = "tiny-imagenet-32px"
HOME = f"http://cs231n.stanford.edu/{BASE}.zip"
OFFICIAL_MD5 = "90528d7ca1a48142e341f4ef8d21d0de"
_WNID = re.compile(r"n\d{8}")


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


def _chosen(collection: Collection, classes: int | None, wnids: Sequence[str] | None) -> list[str]:
    """The named wnids, or the first `classes` in sorted order, or all."""
    known = sorted(collection.titles)
    if wnids is not None:
        absent = sorted(set(wnids) - set(known))
        if absent:
            raise PreparationError(
                f"the archives hold no class {', '.join(absent)}; give other wnids or more archives"
            )
        return sorted(set(wnids))
    if classes is not None and not 2 <= classes <= len(known):
        raise PreparationError(
            f"classes must lie between 2 and {len(known)}, the number in the archives; got "
            f"{classes}; choose another number or give more archives"
        )
    return known[:classes]


def read_wnids(path: Path) -> list[str]:
    """The wnids that a text file names, one a line; what follows a `#` is left out.

    Raises:
        PreparationError: It cannot be read, names fewer than two, or something that is no wnid.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise PreparationError(f"cannot read the wnids in '{path}' ({error}); mend it") from None
    wnids = [wnid for line in lines if (wnid := line.partition("#")[0].strip())]
    odd = [wnid for wnid in wnids if not _WNID.fullmatch(wnid)]
    if odd or len(set(wnids)) < 2:
        raise PreparationError(
            f"'{path}' must name two wnids or more, such as n01443537, one a line; got "
            f"{repr(odd[0]) if odd else len(set(wnids))}"
        )
    return wnids


def hold_out(photos: Iterable[Photo], train: int, judged: int) -> list[Photo]:
    """Some training images of each class to train on and others to judge by.

    The set has 50 images a class to judge by, too few for differences of a point. A class's
    training images are put in the order of the SHA-256 of their file names, which is the same for
    each form of the set and knows nothing of what they show; the first `train` of them are trained
    on, the next `judged` are judged. Duplicates have been left out before.

    Args:
        photos: Of both splits; those to judge are left out.
        train, judged: Images of each class.

    Raises:
        PreparationError: A number below 1, or a class with fewer images.
    """
    if min(train, judged) < 1:
        raise PreparationError(
            f"held-out images must be at least 1 to train and 1 to judge; got {train} and {judged}"
        )
    by_class: dict[str, list[Photo]] = {}
    for photo in photos:
        if photo.split == "train":
            by_class.setdefault(photo.wnid, []).append(photo)
    found = []
    for wnid, members in by_class.items():
        if len(members) < train + judged:
            raise PreparationError(
                f"class {wnid} has {len(members)} training images, and {train} + {judged} were "
                f"asked for; ask for fewer"
            )
        members.sort(key=lambda photo: hashlib.sha256(photo.file_name.encode()).digest())
        found += members[:train]
        found += [replace(photo, split="val") for photo in members[train : train + judged]]
    return found


def prepare(
    out: Path,
    source: Path | Sequence[Path],
    *,
    classes: int | None = None,
    wnids: Sequence[str] | None = None,
    held_out: tuple[int, int] | None = None,
) -> Path:
    """Prepare Tiny-ImageNet, or some of its classes, in `out`.

    Args:
        out: An absent or empty folder, or one that holds this very set already.
        source: The official zip, one or several packs, one array file, or a folder with one of
            these.
        classes: Keep this many classes, the first in sorted wnid order; all when None.
        wnids: Keep these classes.
        held_out: So many images of each class to train, and so many to judge, both of the official
            training images (see `hold_out`); the official ones to judge are left out. None: the
            official splits.

    Returns:
        `out`.

    Raises:
        PreparationError: No archive, a damaged or unsafe one, `classes` out of range, a class that
            is not there, both `classes` and `wnids`, a class with too few images to hold some
            out, something else in `out`, or no space.
    """
    out = Path(out)
    if classes is not None and wnids is not None:
        raise PreparationError("classes and wnids both choose classes; give one of them")
    archives = find_archives(source)
    records = _archive_records(archives)
    settings = {"classes": classes} if wnids is None else {"wnids": sorted(set(wnids))}
    if held_out is not None:
        settings |= {"held_out": list(held_out)}
    name = ARRAY_NAME if archives[0].suffix == ".npz" else NAME
    if already_prepared(out, name, settings, records):
        return out
    with open_collection(archives) as (form, collection):
        chosen = set(_chosen(collection, classes, wnids))
        photos = [photo for photo in collection.photos if photo.wnid in chosen]
        if held_out is not None:
            photos = hold_out(photos, *held_out)
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
    wnids: Annotated[
        Path | None, typer.Option(help="Keep the classes that this file names, a wnid a line.")
    ] = None,
    held_out: Annotated[
        tuple[int, int] | None,
        typer.Option(help="Images a class to train and to judge, both of the training images."),
    ] = None,
) -> None:
    """Prepare Tiny-ImageNet from its official zip, from packs of parts, or from an array.

    Example: python -m data_prep.tiny_imagenet data/tiny tiny-imagenet-200.zip --classes 100
    """
    prepare(
        out, source, classes=classes, wnids=read_wnids(wnids) if wnids else None, held_out=held_out
    )
    print(f"prepared: {out}")


if __name__ == "__main__":
    run(main)
