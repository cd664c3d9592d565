"""Where the objects are in evaluated images: boxes and masks of a prepared set, cut as the images.

    ROOT/boxes.csv            file,x_min,y_min,x_max,y_max in pixels of the shown image, half open
    ROOT/masks/<file>.png     0 or 255, the object's visible pixels

Boxes are drawn as regions on the stored image's grid, and every region passes through the resizing
and cropping that evaluated images do (`dreal_lib.data.cache`, `dreal_lib.data.batches`); a pixel
belongs to the object if at least half of it does. Several boxes of a file are one region.
"""

import csv
import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms.v2 import functional as vision

from dreal_lib.data.batches import Crops
from dreal_lib.data.images import Split, shown_size
from dreal_lib.data.listing import is_file, is_folder
from dreal_lib.errors import UserError

BOXES = "boxes.csv"
MASKS = "masks"
CORNERS = ("x_min", "y_min", "x_max", "y_max")

Box = tuple[int, int, int, int]


@dataclass(frozen=True)
class Regions:
    """The objects of B images as the network sees them, empty where none is known.

    Attributes:
        box: (B, H, W) bool; around the mask where a file has a mask and no box.
        shape: (B, H, W) bool; the mask where there is one, else the box.
        masked: Whether `shape` is a mask, (B,) bool.
    """

    box: Tensor
    shape: Tensor
    masked: Tensor


@dataclass(frozen=True)
class Objects:
    """The objects of a split's images, read when they are asked for.

    Attributes:
        split: The listed images.
        boxes: By file, only of this split.
        crops: How evaluated images are cut.
        squared: Whether the centre square is cut out first, as the decoded cache does.
    """

    split: Split
    boxes: dict[str, tuple[Box, ...]]
    crops: Crops
    squared: bool = True

    def regions(self, start: int, count: int) -> Regions:
        """The regions of images `start` to `start + count` of the split.

        Raises:
            UserError: A mask that cannot be read, or of another size than its image.
        """
        rows = [self._region(file) for file in self.split.files[start : start + count]]
        side = self.crops.image_size
        if not rows:
            empty = torch.zeros(0, side, side, dtype=torch.bool)
            return Regions(empty, empty, torch.zeros(0, dtype=torch.bool))
        boxes, shapes, masked = zip(*rows, strict=True)
        return Regions(torch.stack(boxes), torch.stack(shapes), torch.tensor(masked))

    def _region(self, file: str) -> tuple[Tensor, Tensor, bool]:
        with Image.open(self.split.root / file) as image:
            size = shown_size(image)
        mask = self._mask(file, size)
        boxes = self.boxes.get(file, ())
        if mask is not None and not boxes:
            boxes = (mask.getbbox(),)
        drawn = Image.new("L", size)
        for box in boxes:
            drawn.paste(255, box)  # what lies outside the image is cut off
        box = self._cut(drawn)
        shape = box if mask is None else self._cut(mask)
        if not shape.any() or not box.any():  # cut off, or too small to be seen
            box = shape = torch.zeros_like(box)
        return box, shape, mask is not None

    def _mask(self, file: str, size: tuple[int, int]) -> Image.Image | None:
        path = self.split.root / MASKS / Path(file).with_suffix(".png")
        if not is_file(path):
            return None
        try:
            with Image.open(path) as image:
                mask = image.convert("L")
        except Exception as error:  # on a damaged file, decoders raise what they like
            reason = " ".join(str(error).split()) or type(error).__name__
            raise UserError(f"cannot decode mask {path} ({reason}); replace or remove it") from None
        if mask.size != size:
            raise UserError(
                f"mask {path} is {mask.size[0]} x {mask.size[1]} pixels and its image "
                f"{size[0]} x {size[1]}; give them the same size"
            )
        return mask if mask.getbbox() else None

    def _cut(self, region: Image.Image) -> Tensor:
        return torch.from_numpy(np.asarray(cut(region, self.crops, self.squared)) >= 128)


def cut(image: Image.Image, crops: Crops, squared: bool = True) -> Image.Image:
    """Resizes and crops as evaluated images are.

    Args:
        image: Any mode that can be resized.
        crops: How evaluated images are cut.
        squared: Whether the centre square is cut out first, as the decoded cache does.
    """
    image = vision.resize(image, [crops.resize], antialias=True)
    if squared:
        image = vision.center_crop(image, [crops.resize] * 2)
    return vision.center_crop(image, [crops.image_size] * 2)


def rectangles(regions: Tensor) -> Tensor:
    """The rectangle around each region (B, H, W) bool, half open; -1 for an empty one.

    Returns:
        x_min, y_min, x_max, y_max, (B, 4) int16.
    """
    edges = []
    for occupied in (regions.any(1), regions.any(2)):  # (B, W) columns, (B, H) rows
        first = occupied.int().argmax(1)
        last = occupied.shape[1] - occupied.flip(1).int().argmax(1)
        edges.append(torch.where(occupied.any(1), torch.stack((first, last)), -1))
    (x_min, x_max), (y_min, y_max) = edges
    return torch.stack((x_min, y_min, x_max, y_max), dim=1).to(torch.int16)


def open_objects(split: Split, crops: Crops, *, squared: bool = True) -> Objects | None:
    """The objects of a split, or None if the set has neither boxes nor masks of it.

    Args:
        split: The listed images.
        crops: How evaluated images are cut.
        squared: See `Objects`; a recipe's `decoded_cache`.

    Raises:
        UserError: A damaged boxes.csv, or one that names no image of the data.
    """
    wanted = set(split.files)
    path = split.root / BOXES
    boxes = read_boxes(path, wanted) if is_file(path) else {}
    if is_file(path) and not boxes:
        _refuse_strangers(path)
    folders = {Path(file).parent for file in split.files}
    masks = any(is_folder(split.root / MASKS / folder) for folder in folders)
    return Objects(split, boxes, crops, squared) if boxes or masks else None


def read_boxes(path: Path, files: Iterable[str]) -> dict[str, tuple[Box, ...]]:
    """The boxes of some files.

    Args:
        path: Of boxes.csv.
        files: Paths as its column `file` gives them.

    Raises:
        UserError: No readable table, a missing column, or a box that is none; with its line.
    """
    files, found = set(files), {}
    try:
        with path.open(encoding="utf-8", newline="") as lines:
            table = csv.DictReader(lines, strict=True)
            header = table.fieldnames or []
            missing = [column for column in ("file", *CORNERS) if column not in header]
            if missing and ";" in "".join(header):
                raise UserError(f"{path} has semicolons between its columns; write it with commas")
            if missing:
                raise UserError(f"{path} lacks the column {missing[0]!r}; prepare the set again")
            for row in table:
                box = _box([row[corner] for corner in CORNERS])
                if box is None:
                    raise UserError(
                        f"line {table.line_num} of {path} is no box (whole numbers, x_min below "
                        f"x_max, y_min below y_max); mend or remove it"
                    )
                if row["file"] in files:
                    found.setdefault(row["file"], []).append(box)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        reason = " ".join(str(error).split())
        raise UserError(
            f"{path} is not a readable table ({reason}); prepare the set again"
        ) from None
    return {file: tuple(several) for file, several in found.items()}


def _refuse_strangers(path: Path) -> None:
    """A table that is another set's, or whose paths begin elsewhere, would be no table at all."""
    with path.open(encoding="utf-8", newline="") as lines:
        named = [row["file"] for row in csv.DictReader(lines)]
    if named and not any(is_file(path.parent / file) for file in named):
        raise UserError(
            f"none of the {len(named)} boxes in {path} is of an image of {path.parent}; its first "
            f"names {named[0]!r}; write paths such as val/CLASS/NAME.jpg, or remove the table"
        )


def _box(cells: list[str | None]) -> Box | None:
    try:
        corners = [float(cell or "nan") for cell in cells]
    except ValueError:
        return None
    if not all(abs(value) < 2**31 and value == math.floor(value) for value in corners):
        return None  # NaN is below nothing
    x_min, y_min, x_max, y_max = map(int, corners)
    return (x_min, y_min, x_max, y_max) if x_min < x_max and y_min < y_max else None
