"""Imagenette (fast.ai): ten easily told classes of ImageNet, at full size, 320 or 160 pixels.

Address, checksum and class names are torchvision's; the archive is read in place. Pictures are
stored as they are; a few are greyscale.

    python -m data_prep.imagenette data/imagenette downloads --size 160px --download
"""

from pathlib import Path, PurePosixPath
from typing import Annotated

import typer
from tqdm import tqdm

from data_prep.archives import require_room, tar_members
from data_prep.command import run
from data_prep.download import archive_in
from data_prep.errors import PreparationError
from data_prep.layout import SPLITS, already_prepared
from data_prep.staging import new_set

NAME = "imagenette"
SIZES = ("full", "320px", "160px")


def published(size: str) -> tuple[str, str, dict[str, str]]:
    """What torchvision knows of one size: the archive's address, its md5, and wnid to title.

    Raises:
        PreparationError: There is no such size, or torchvision keeps its table elsewhere.
    """
    if size not in SIZES:
        raise PreparationError(f"Imagenette's sizes are {', '.join(SIZES)}; got {size!r}")
    from torchvision.datasets import Imagenette  # costs seconds: only where it is needed

    try:
        url, md5 = Imagenette._ARCHIVES[size]
        titles = {wnid: names[0] for wnid, names in Imagenette._WNID_TO_CLASS.items()}
    except (AttributeError, KeyError, ValueError):
        raise PreparationError(
            "this torchvision keeps Imagenette's checksums elsewhere than 0.26 to 0.29; install "
            "one of those"
        ) from None
    return url, md5, titles


def prepare(out: Path, source: Path, *, size: str = "160px", download: bool = False) -> Path:
    """Prepare Imagenette in `out`.

    Args:
        out: An absent or empty folder, or one that holds this very set already.
        source: The folder where the archive lies, or where a download is kept.
        size: "full", "320px" or "160px": the shorter side.
        download: Fetch the archive if `source` lacks it.

    Returns:
        `out`.

    Raises:
        PreparationError: The archive is absent, damaged or cannot be downloaded, `out` holds
            something else, or there is no space.
    """
    out = Path(out)
    url, md5, titles = published(size)
    settings = {"size": size}
    if already_prepared(out, NAME, settings):
        return out
    file_name = PurePosixPath(url).name
    archive, sha256 = archive_in(Path(source), url, file_name, md5, download)
    records = [{"file": archive.name, "sha256": sha256}]
    with new_set(out, NAME, url, settings, records) as writer:
        require_room(writer.folder, archive.stat().st_size, NAME)
        for wnid, title in titles.items():
            writer.add_class(wnid, title)
        images = tar_members(archive, require_end=False)
        for image in tqdm(images, desc="storing", unit="image", disable=None):
            inner = image.path.parts[1:]  # split, wnid, file
            if len(inner) == 3 and inner[0] in SPLITS and image.path.suffix == ".JPEG":
                writer.add_image(*inner, image.read())
    return out


def main(
    out: Annotated[Path, typer.Argument(help="Folder to write; absent or empty.")],
    source: Annotated[Path, typer.Argument(help="Folder of the archive, or for the download.")],
    size: Annotated[str, typer.Option(help="full, 320px or 160px.")] = "160px",
    download: Annotated[bool, typer.Option(help="Fetch the archive if it is absent.")] = False,
) -> None:
    """Prepare Imagenette.

    Example: python -m data_prep.imagenette data/imagenette downloads --size 160px --download
    """
    prepare(out, source, size=size, download=download)
    print(f"prepared: {out}")


if __name__ == "__main__":
    run(main)
