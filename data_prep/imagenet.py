"""ImageNet, the ILSVRC 2012 classification set, from its official archives.

The archives must be requested at https://image-net.org (an account and its terms) and put into one
folder; nothing is downloaded here. They are read in place, never unpacked as a whole: about 150 GB
go from the archives to the prepared set. The class of a validation image comes from the devkit.

    python -m data_prep.imagenet data/imagenet folder/with/the/archives
"""

import io
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated
from xml.etree import ElementTree

import typer
from PIL import Image
from tqdm import tqdm

from data_prep.archives import members, require_room, tar_members, verify_checksum
from data_prep.command import run
from data_prep.errors import PreparationError
from data_prep.layout import Box, SetWriter, already_prepared
from data_prep.staging import new_set

NAME = "imagenet"
HOME = "https://image-net.org/challenges/LSVRC/2012/2012-downloads.php"
TRAIN = "ILSVRC2012_img_train.tar"
VAL = "ILSVRC2012_img_val.tar"
DEVKIT = "ILSVRC2012_devkit_t12.tar.gz"
VAL_BOXES = "ILSVRC2012_bbox_val_v3.tgz"  # optional
MD5 = {  # as the official page gives them
    TRAIN: "1d675b47d978889d74fa0da5fadfb00e",
    VAL: "29b22e2961454d5413ddabcf34fc5622",
    DEVKIT: "fa75699e90414af021442c21a62c3abf",
    VAL_BOXES: "f4cd18b5ea29fe6bbea62ec9c20d80f0",
}
_CORNERS = ("xmin", "ymin", "xmax", "ymax")
_VAL_NAME = re.compile(r"ILSVRC2012_val_(\d{8})")


@dataclass(frozen=True)
class Devkit:
    """The classes and the validation labels."""

    titles: dict[str, str]  # of the 1,000 classes that have no narrower ones, by wnid
    val_wnids: list[str]  # of validation image 1, 2, ...


def read_devkit(archive: Path) -> Devkit:
    """Read `meta.mat` and the validation labels out of the devkit.

    Raises:
        PreparationError: scipy is missing, or the devkit is not as expected.
    """
    try:
        from scipy.io import loadmat
        from scipy.io.matlab import MatReadError
    except ImportError:
        raise PreparationError(
            "reading ImageNet's devkit needs scipy, which is not installed; run: pip install scipy"
        ) from None
    wanted = {"data/meta.mat": b"", "data/ILSVRC2012_validation_ground_truth.txt": b""}
    for member in members(archive):
        inner = "/".join(member.path.parts[1:])
        if inner in wanted:
            wanted[inner] = member.read()
    meta, labels = wanted.values()
    if not (meta and labels):
        raise PreparationError(
            f"'{archive.name}' lacks one of {', '.join(wanted)}; get it again from {HOME}"
        )
    try:
        # Rows: ILSVRC2012_ID, WNID, words, gloss, num_children, ...
        synsets = loadmat(io.BytesIO(meta), squeeze_me=True)["synsets"]
        leaves = [row for row in synsets.tolist() if int(row[4]) == 0]
        wnid_of = {int(row[0]): str(row[1]) for row in leaves}
        titles = {str(row[1]): str(row[2]).split(",")[0] for row in leaves}
        numbers = [int(line) for line in labels.decode().split()]
    except (MatReadError, LookupError, TypeError, ValueError) as error:
        raise PreparationError(
            f"cannot read the classes in '{archive.name}' ({error}); get it again from {HOME}"
        ) from None
    if unknown := set(numbers) - wnid_of.keys():
        raise PreparationError(
            f"'{archive.name}' gives labels that it does not define, such as {min(unknown)}; get "
            f"it again from {HOME}"
        )
    return Devkit(titles, [wnid_of[number] for number in numbers])


def read_boxes(archive: Path) -> dict[str, list[tuple[str, Box, tuple[int, int]]]]:
    """Boxes of the validation images, by image name without extension.

    An annotation's maxima are taken for the last pixel inside, as in PASCAL VOC.

    Returns:
        For each image its objects: wnid, box in the annotation's pixels (half open), and the
        (width, height) that the annotation states for the image.

    Raises:
        PreparationError: An annotation cannot be read.
    """
    boxes = {}
    for member in members(archive):
        if member.path.suffix != ".xml":
            continue
        content = member.read()
        try:
            if (
                b"<!DOCTYPE" in content
            ):  # a document type could define entities that grow without bound
                raise ValueError("it holds a document type")
            root = ElementTree.fromstring(content)
            size = int(root.findtext("size/width")), int(root.findtext("size/height"))
            objects = []
            for item in root.iter("object"):
                x, y, x_last, y_last = (int(item.findtext(f"bndbox/{key}")) for key in _CORNERS)
                box = x, y, x_last + 1, y_last + 1
                objects.append((str(item.findtext("name")), box, size))
        except (ElementTree.ParseError, TypeError, ValueError) as error:
            raise PreparationError(
                f"'{member.path}' of '{archive.name}' is no annotation ({error}); get the archive "
                f"again from {HOME}"
            ) from None
        boxes[member.path.stem] = objects
    return boxes


def scaled_box(box: Box, stated: tuple[int, int], actual: tuple[int, int]) -> Box:
    """A box in the stored image's pixels; a few annotations were made on another scale."""
    x = [round(value * actual[0] / stated[0]) for value in (box[0], box[2])]
    y = [round(value * actual[1] / stated[1]) for value in (box[1], box[3])]
    x_min, y_min = min(x[0], actual[0] - 1), min(y[0], actual[1] - 1)
    return x_min, y_min, max(min(x[1], actual[0]), x_min + 1), max(min(y[1], actual[1]), y_min + 1)


def _store_train(writer: SetWriter, archive: Path, devkit: Devkit) -> None:
    """The outer tar holds one tar for each class, named after it."""
    total = len(devkit.titles)
    # Checksums were verified, so a missing end marker would be the official archive's own.
    classes = tar_members(archive, require_end=False)
    for inner in tqdm(classes, desc="train", unit="class", total=total, disable=None):
        wnid = inner.path.stem
        if wnid not in devkit.titles:
            raise PreparationError(
                f"'{archive.name}' holds '{inner.path}', which is no class of the devkit; get both "
                f"from {HOME}"
            )
        for photo in tar_members(inner.open(), name=str(inner.path), require_end=False):
            writer.add_image("train", wnid, photo.path.name, photo.read())


def _store_val(writer: SetWriter, archive: Path, devkit: Devkit, boxes: Mapping) -> None:
    photos = tar_members(archive, require_end=False)
    total = len(devkit.val_wnids)
    for photo in tqdm(photos, desc="val", unit="image", total=total, disable=None):
        match = _VAL_NAME.fullmatch(photo.path.stem)
        if match is None or not 1 <= int(match[1]) <= total:
            raise PreparationError(
                f"'{archive.name}' holds '{photo.path}', for which the devkit has no label; get "
                f"both from {HOME}"
            )
        content = photo.read()
        wnid = devkit.val_wnids[int(match[1]) - 1]
        path = writer.add_image("val", wnid, photo.path.name, content)
        objects = [entry for entry in boxes.get(photo.path.stem, []) if entry[0] == wnid]
        for _, box, stated in objects:
            with Image.open(io.BytesIO(content)) as image:
                writer.add_box(path, scaled_box(box, stated, image.size))


def _find_archives(source: Path) -> list[Path]:
    missing = [name for name in (TRAIN, VAL, DEVKIT) if not (source / name).is_file()]
    if missing:
        raise PreparationError(
            f"ImageNet must be requested by hand: get {', '.join(missing)} from {HOME} and place "
            f"them in '{source}' (also {VAL_BOXES} if boxes are wanted)"
        )
    names = [name for name in MD5 if (source / name).is_file()]
    return [source / name for name in names]


def prepare(out: Path, source: Path) -> Path:
    """Prepare ImageNet in `out`.

    Args:
        out: An absent or empty folder, or one that holds the prepared set already.
        source: The folder with the official archives; boxes.csv is written where it also has the
            validation boxes, of the objects that are of the image's class.

    Returns:
        `out`.

    Raises:
        PreparationError: An archive is missing or damaged, `out` holds something else, or there is
            no space.
    """
    out, source = Path(out), Path(source)
    archives = _find_archives(source)
    settings = {"boxes": (source / VAL_BOXES) in archives}
    if already_prepared(out, NAME, settings):
        return out
    records = []
    with new_set(out, NAME, f"ILSVRC 2012, {HOME}", settings, records) as writer:
        require_room(writer.folder, sum(archive.stat().st_size for archive in archives), NAME)
        for archive in tqdm(archives, desc="checksums", unit="archive", disable=None):
            sha256 = verify_checksum(archive, MD5[archive.name], "md5", HOME)
            records.append({"file": archive.name, "sha256": sha256})
        devkit = read_devkit(source / DEVKIT)
        for wnid, title in devkit.titles.items():
            writer.add_class(wnid, title)
        boxes = read_boxes(source / VAL_BOXES) if settings["boxes"] else {}
        _store_val(writer, source / VAL, devkit, boxes)
        _store_train(writer, source / TRAIN, devkit)
    return out


def main(
    out: Annotated[Path, typer.Argument(help="Folder to write; absent or empty.")],
    source: Annotated[Path, typer.Argument(help="Folder with the official archives.")],
) -> None:
    """Prepare ImageNet (ILSVRC 2012) from the archives that image-net.org gives on request.

    Example: python -m data_prep.imagenet data/imagenet ~/Downloads/ilsvrc2012
    """
    prepare(out, source)
    print(f"prepared: {out}")


if __name__ == "__main__":
    run(main)
