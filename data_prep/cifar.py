"""CIFAR-10 and CIFAR-100 (Krizhevsky, 2009), through torchvision, as PNG files.

The archive holds pickles. They are loaded by torchvision, which does so only where each file has
its known checksum. CIFAR's test images become the split "val".

    python -m data_prep.cifar data/cifar10 downloads --classes 10 --download
"""

import io
import tempfile
from pathlib import Path
from typing import Annotated

import typer
from PIL import Image
from tqdm import tqdm

from data_prep.archives import extract
from data_prep.command import run
from data_prep.download import archive_in
from data_prep.errors import PreparationError
from data_prep.layout import SPLITS, SetWriter, already_prepared
from data_prep.staging import new_set


def dataset_class(classes: int) -> type:
    """torchvision's reader for CIFAR-10 or CIFAR-100.

    Raises:
        PreparationError: `classes` is neither.
    """
    if classes not in (10, 100):
        raise PreparationError(f"CIFAR has 10 or 100 classes; got {classes}; choose one of them")
    from torchvision import datasets  # costs seconds: only where it is needed

    return datasets.CIFAR10 if classes == 10 else datasets.CIFAR100


def _store(writer: SetWriter, split: str, dataset: object) -> None:
    """Write one split of a torchvision dataset: `data` is (N, 32, 32, 3) uint8."""
    rows = zip(dataset.data, dataset.targets, strict=True)
    for i, (pixels, target) in enumerate(
        tqdm(rows, total=len(dataset.targets), desc=split, unit="image", disable=None)
    ):
        stream = io.BytesIO()
        Image.fromarray(pixels).save(stream, format="PNG")
        writer.add_image(split, dataset.classes[target], f"{i:05d}.png", stream.getvalue())


def prepare(out: Path, source: Path, *, classes: int = 10, download: bool = False) -> Path:
    """Prepare CIFAR-10 or CIFAR-100 in `out`.

    Args:
        out: An absent or empty folder, or one that holds this very set already.
        source: The folder where the archive lies, or where a download is kept.
        classes: 10 or 100.
        download: Fetch the archive if `source` lacks it.

    Returns:
        `out`.

    Raises:
        PreparationError: The archive is absent, damaged or cannot be downloaded, `out` holds
            something else, or there is no space.
    """
    out, source = Path(out), Path(source)
    reader = dataset_class(classes)
    name = f"cifar{classes}"
    settings = {"classes": classes}
    if already_prepared(out, name, settings):
        return out
    archive, sha256 = archive_in(source, reader.url, reader.filename, reader.tgz_md5, download)
    records = [{"file": archive.name, "sha256": sha256}]
    with (
        new_set(out, name, reader.url, settings, records) as writer,
        tempfile.TemporaryDirectory(dir=writer.folder) as scratch,
    ):
        extract(archive, Path(scratch), prefix=reader.base_folder)
        try:
            splits = [reader(scratch, train=split == "train") for split in SPLITS]
        except RuntimeError as error:
            raise PreparationError(
                f"torchvision refuses the content of '{archive}' ({error}); delete it and get it "
                f"again from {reader.url}"
            ) from None
        for class_name in splits[0].classes:
            writer.add_class(class_name, class_name.replace("_", " "))
        for split, dataset in zip(SPLITS, splits, strict=True):
            _store(writer, split, dataset)
    return out


def main(
    out: Annotated[Path, typer.Argument(help="Folder to write; absent or empty.")],
    source: Annotated[Path, typer.Argument(help="Folder of the archive, or for the download.")],
    classes: Annotated[int, typer.Option(help="10 or 100.")] = 10,
    download: Annotated[bool, typer.Option(help="Fetch the archive if it is absent.")] = False,
) -> None:
    """Prepare CIFAR-10 or CIFAR-100.

    Example: python -m data_prep.cifar data/cifar100 downloads --classes 100 --download
    """
    prepare(out, source, classes=classes, download=download)
    print(f"prepared: {out}")


if __name__ == "__main__":
    run(main)
