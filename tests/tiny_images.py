"""A tiny class-folder image set for tests, and a recipe small enough to be trained on it."""

from pathlib import Path

import numpy as np
from PIL import Image

from dreal_lib.recipes import Recipe, load_recipe

CLASSES = ("ant", "bee", "cat")

# Overrides of profile `smoke`: resnet14 with 4 planes on 16 px, 3 steps an epoch on the tiny set.
TINY = {
    "width": 4,
    "stem": "cifar",
    "image_size": 16,
    "resize": 20,
    "epochs": 2,
    "batch_size": 8,
    "milestones": [0.5],
}


def tiny_recipe(row: str = "se_resnet50_reinforced", **overrides) -> Recipe:
    """A row of Table 1 at a size that trains in a second; keywords as keys of `Recipe`."""
    return load_recipe(f"table_1/{row}", overrides={**TINY, **overrides})


def set_arguments(**overrides) -> list[str]:
    """`TINY` (and more) as arguments of the command line."""
    items = {**TINY, **overrides}.items()
    return [part for key, value in items for part in ("--set", f"{key}={value}")]


def noise(seed: int, width: int = 24, height: int = 20, hue: int = 0) -> Image.Image:
    """Coloured noise; `hue` 0, 1, 2 brightens red, green or blue, which makes the class."""
    pixels = np.random.default_rng(seed).integers(0, 160, (height, width, 3))
    pixels[..., hue % 3] += 90
    return Image.fromarray(pixels.astype(np.uint8))


def write_tiny_set(
    root: Path, classes: tuple[str, ...] = CLASSES, train: int = 9, val: int = 4
) -> Path:
    """Writes root/train/CLASS and root/val/CLASS, JPEG and PNG, wide and tall, and returns root."""
    for split, count in (("train", train), ("val", val)):
        for label, name in enumerate(classes):
            folder = root / split / name
            folder.mkdir(parents=True)
            for index in range(count):
                seed = 1000 * label + 10 * index + (split == "val")
                size = (24, 20) if index % 2 else (20, 23)
                image = noise(seed, *size, hue=label)
                image.save(folder / (f"{index}.png" if index % 3 else f"{index}.jpg"))
    return root
