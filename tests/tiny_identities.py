"""A tiny identity set for tests, and a retrieval recipe small enough to be trained on it."""

import csv
from pathlib import Path

import numpy as np
from PIL import Image

from dreal_lib.recipes import RetrievalRecipe, load_recipe

HEADER = ("file", "identity", "camera", "split")

# Overrides of profile `smoke`: resnet14 with 4 planes on 32 x 16 px, 2 x 2 images a step,
# 2 steps an epoch.
TINY = {
    "width": 4,
    "stem": "cifar",
    "image_size": [32, 16],
    "epochs": 2,
    "identities_per_batch": 2,
    "images_per_identity": 2,
    "milestones": [0.5],
    "evaluate_every": 1,
    "retrieval.crop_padding": 2,
    "retrieval.draw": "once",
}


def tiny_retrieval_recipe(row: str = "resnet50_reinforced", **overrides) -> RetrievalRecipe:
    """A row of Table 2 at a size that trains in a second; keywords as keys of `RetrievalRecipe`."""
    return load_recipe(f"table_2/{row}", overrides={**TINY, **overrides})


def figure(identity: int, camera: int, number: int, height: int = 36, width: int = 20):
    """An image (height, width) whose colour is the identity's; noise and a cast by camera."""
    draw = np.random.default_rng(100 * identity + 10 * camera + number)
    pixels = draw.integers(0, 90, (height, width, 3))
    pixels[height // 4 :, :, identity % 3] += 120
    pixels[: height // 2, :, (identity // 3 + identity) % 3] += 40
    return Image.fromarray((pixels + 10 * camera).astype(np.uint8))


def write_tiny_identities(
    root: Path, trained: int = 4, tested: int = 3, cameras: int = 2, images: int = 2
) -> Path:
    """Writes `root` with index.csv: of each identity `images` by each camera; returns root.

    Camera 0 takes the queries of the tested identities, the others the gallery, which has a
    distractor (an identity without query) and a junk image besides.
    """
    rows = []

    def add(identity: str, colour: int, camera: int, number: int, split: str) -> None:
        file = f"{split}/{identity}_c{camera}_{number}.png"
        (root / split).mkdir(parents=True, exist_ok=True)
        figure(colour, camera, number).save(root / file)
        rows.append((file, identity, f"c{camera}", split))

    for identity in range(trained):
        for camera in range(cameras):
            for number in range(images):
                add(f"t{identity}", identity, camera, number, "train")
    for identity in range(tested):
        for camera in range(cameras):
            for number in range(images):
                split = "query" if camera == 0 else "gallery"
                add(f"q{identity}", identity, camera, number, split)
    add("distractor", trained, 1, 0, "gallery")
    add("-1", 0, 1, 9, "gallery")
    write_index(root, rows)
    return root


def write_index(root: Path, rows) -> None:
    with (root / "index.csv").open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows([HEADER, *rows])


def read_index(root: Path) -> list[tuple[str, ...]]:
    with (root / "index.csv").open(newline="", encoding="utf-8") as stream:
        return [tuple(row) for row in csv.reader(stream)][1:]
