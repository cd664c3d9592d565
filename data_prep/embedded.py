"""The embedded set: rendered objects of ten classes, made on the spot, with boxes and masks.

A class is a shape with a texture (`data_prep.rendering.scenes.CLASSES`); colour, place, scale,
turn, light, ground, distractors and occluders are drawn by lot. Each picture has its own seed,
so it depends on (seed, split, number) and its size alone: not on how many pictures there
are, nor on the number of processes. The same numpy and Pillow give the same bytes.

    python -m data_prep.embedded build/data/embedded
"""

from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from tqdm import tqdm

from data_prep.command import run
from data_prep.errors import PreparationError
from data_prep.generated import generator_note, png
from data_prep.layout import SPLITS, Box, SetWriter, already_prepared
from data_prep.rendering.scenes import CLASSES, class_name, render
from data_prep.rendering.shapes import SHAPES, distance_field
from data_prep.staging import new_set
from data_prep.workers import made_in_order, processors

NAME = "embedded"
VERSION = 1  # raise it when the same settings give other pictures
SMALLEST_SIDE = 16

Job = tuple[int, str, int, int]  # seed, split, number, image size
Picture = tuple[str, str, str, bytes, bytes, Box]  # split, class, file, image PNG, mask PNG, box


def mask_box(mask: np.ndarray) -> Box:
    """The half-open box (x_min, y_min, x_max, y_max) around a mask's non-zero pixels (H, W)."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def _picture(job: Job) -> Picture:
    seed, split, number, image_size = job
    index = number % len(CLASSES)
    key = (SPLITS.index(split), number)
    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=key))
    image, mask = render(rng, index, image_size)
    file_name = f"{number:06d}.png"
    return split, class_name(index), file_name, png(image), png(mask), mask_box(mask)


def _check(seed: int, train_images: int, val_images: int, image_size: int, workers: int) -> None:
    least = len(CLASSES)
    rules = (
        ("seed", seed, 0),
        ("train_images", train_images, least),
        ("val_images", val_images, least),
        ("image_size", image_size, SMALLEST_SIDE),
        ("workers", workers, 1),
    )
    for name, value, minimum in rules:
        if value < minimum:
            raise PreparationError(f"{name} must be at least {minimum}; got {value}; raise it")


def _store(writer: SetWriter, jobs: list[Job], workers: int) -> None:
    for index, (texture, shape) in enumerate(CLASSES):
        writer.add_class(class_name(index), f"{texture} {shape}")
    for shape in SHAPES:
        distance_field(shape)  # computed once, before forked workers share it
    with made_in_order(_picture, jobs, workers) as pictures:
        bar = tqdm(pictures, total=len(jobs), desc="rendering", unit="image", disable=None)
        for split, name, file_name, image, mask, box in bar:
            path = writer.add_image(split, name, file_name, image)
            writer.add_mask(path, mask)
            writer.add_box(path, box)


def prepare(
    out: Path,
    *,
    seed: int = 0,
    train_images: int = 2000,
    val_images: int = 500,
    image_size: int = 64,
    workers: int | None = None,
) -> Path:
    """Render the embedded set into `out`.

    Args:
        out: An absent or empty folder, or one that holds this very set already.
        seed: Of all chance in the set.
        train_images: At least 10; picture i shows class i modulo 10, so classes are balanced.
        val_images: The same for the validation split.
        image_size: Side of the pictures, in pixels.
        workers: Processes; as many as there are processors for this process when None.

    Returns:
        `out`.

    Raises:
        PreparationError: A value is out of range, `out` holds something else, or the disk is full.
    """
    out = Path(out)
    workers = processors() if workers is None else workers
    _check(seed, train_images, val_images, image_size, workers)
    settings = {
        "seed": seed,
        "train_images": train_images,
        "val_images": val_images,
        "image_size": image_size,
        "generator_version": VERSION,
    }
    if already_prepared(out, NAME, settings):
        return out
    counts = dict(zip(SPLITS, (train_images, val_images), strict=True))
    jobs = [(seed, split, i, image_size) for split in SPLITS for i in range(counts[split])]
    with new_set(out, NAME, "rendered by data_prep.embedded", settings, []) as writer:
        writer.notes["generator"] = generator_note("data_prep.embedded", settings)
        _store(writer, jobs, workers)
    return out


def main(
    out: Annotated[Path, typer.Argument(help="Folder to write; absent or empty.")],
    seed: Annotated[int, typer.Option(help="Seed of all chance in the set.")] = 0,
    train_images: Annotated[int, typer.Option(help="Training images, over 10 classes.")] = 2000,
    val_images: Annotated[int, typer.Option(help="Validation images, over 10 classes.")] = 500,
    image_size: Annotated[int, typer.Option(help="Side of the images, in pixels.")] = 64,
    workers: Annotated[int | None, typer.Option(help="Processes; all processors if unset.")] = None,
) -> None:
    """Render the embedded data set: no download, ten classes, boxes and masks.

    Example: python -m data_prep.embedded build/data/embedded --seed 0
    """
    prepare(
        out,
        seed=seed,
        train_images=train_images,
        val_images=val_images,
        image_size=image_size,
        workers=workers,
    )
    print(f"prepared: {out}")


if __name__ == "__main__":
    run(main)
