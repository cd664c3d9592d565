"""The embedded identity set: rendered figures seen by several cameras, in Market-1501's naming.

The figures are drawings (`data_prep.rendering.figures`): four of a family share their colours and
differ in details. The folders and names are Market-1501's (0002_c1s1_000203_01.png), with junk
(-1: a part of a figure) and distractors (0000: nobody, or a stranger), so that the reader and the
protocol of the real set run with no download. Each picture has its own seed: it depends on (seed,
identity, camera, number) and its size alone. The same numpy and Pillow give the same bytes.

    python -m data_prep.embedded_figures build/data/embedded-figures
"""

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from data_prep.command import run
from data_prep.errors import PreparationError
from data_prep.generated import generator_note, png
from data_prep.identity_layout import Entry, IdentityImage, write_identity_set
from data_prep.identity_names import market1501
from data_prep.identity_rows import FOLDERS
from data_prep.layout import already_prepared
from data_prep.rendering.figure_scenes import CAMERAS, place_strip, render
from data_prep.rendering.figures import FAMILY, Figure, family
from data_prep.workers import made_in_order, processors

NAME = "embedded-figures"
VERSION = 1  # raise it when the same settings give other pictures
MOST_IDENTITIES = 9999  # four digits, train and test together
MOST_IMAGES = 99  # an identity and camera: two digits of the frame number
SMALLEST_HEIGHT = 32

_TRAIN, _TEST, _STRANGER = 1, 2, 3  # first part of the key of a family's seed
_WHOLE, _JUNK, _DISTRACTOR = 1, 2, 3  # first part of the key of a picture's seed


@dataclass(frozen=True)
class Shot:
    """One picture to be made: its place in the set, whom it shows, and the key of its seed."""

    split: str
    file_name: str
    camera: int  # a position in CAMERAS
    group: int  # _TRAIN, _TEST or _STRANGER: which families the figure comes from
    member: int | None  # position in the group; None where the picture shows nobody
    key: tuple[int, ...]
    kind: str = "whole"


@cache
def _family(seed: int, group: int, number: int) -> tuple[Figure, ...]:
    key = (1, group, number)
    return family(np.random.default_rng(np.random.SeedSequence(seed, spawn_key=key)))


def figure_of(seed: int, group: int, member: int) -> Figure:
    """The look of a member of a group; every FAMILY members in a row are a family."""
    return _family(seed, group, member // FAMILY)[member % FAMILY]


def shots(
    train_identities: int,
    test_identities: int,
    cameras: int,
    images: int,
    distractors: int,
    junk: int,
) -> list[Shot]:
    """All pictures of the set. Of a test identity each camera's first one is the query."""
    found = []
    for number in range(1, train_identities + test_identities + 1):
        is_train = number <= train_identities
        group, member = (_TRAIN, number - 1) if is_train else (_TEST, number - train_identities - 1)
        for camera in range(cameras):
            for i in range(images):
                split = "train" if is_train else "gallery" if i else "query"
                name = f"{number:04d}_c{camera + 1}s1_{100 * number + i + 1:06d}_01.png"
                key = (_WHOLE, group, member, camera, i)
                found.append(Shot(split, name, camera, group, member, key))
    for i in range(junk):
        camera, member = i % cameras, i % test_identities
        name = f"-1_c{camera + 1}s1_{i + 1:06d}_02.png"
        found.append(Shot("gallery", name, camera, _TEST, member, (_JUNK, i), "cropped"))
    for i in range(distractors):
        camera, shows_nobody = i % cameras, (i // cameras) % 2 == 0
        name = f"0000_c{camera + 1}s1_{i + 1:06d}_01.png"
        member, kind = (None, "empty") if shows_nobody else (i, "whole")
        found.append(Shot("gallery", name, camera, _STRANGER, member, (_DISTRACTOR, i), kind))
    return found


Job = tuple[int, int, Shot]  # seed, height, what


def _picture(job: Job) -> IdentityImage:
    seed, height, shot = job
    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(2, *shot.key)))
    figure = None if shot.member is None else figure_of(seed, shot.group, shot.member)
    passer = figure_of(seed, _STRANGER, int(rng.integers(1000, 1100)))
    strip = place_strip(seed, shot.camera, height)
    image, mask = render(rng, figure, passer, shot.camera, strip, shot.kind)
    read = market1501(shot.file_name)
    path = f"{FOLDERS[shot.split]}/{shot.file_name}"
    entry = Entry(path, read.identity, read.camera, shot.split)
    return IdentityImage(entry, png(image), png(mask))


def _check(settings: dict[str, int], workers: int) -> None:
    rules = {
        "seed": (0, None),
        "train_identities": (2, MOST_IDENTITIES),
        "test_identities": (2, MOST_IDENTITIES - settings["train_identities"]),
        "cameras": (2, len(CAMERAS)),
        "images": (2, MOST_IMAGES),
        "distractors": (0, MOST_IDENTITIES),
        "junk": (0, MOST_IDENTITIES),
        "height": (SMALLEST_HEIGHT, None),
        "workers": (1, None),
    }
    for name, (least, most) in rules.items():
        value = {**settings, "workers": workers}[name]
        if value < least or (most is not None and value > most):
            bounds = f"at least {least}" if most is None else f"between {least} and {most}"
            raise PreparationError(f"{name} must be {bounds}; got {value}; choose another number")
    if settings["height"] % 2:
        raise PreparationError(
            f"height must be even, as pictures are half as wide; got {settings['height']}; "
            f"try {settings['height'] + 1}"
        )


def prepare(
    out: Path,
    *,
    seed: int = 0,
    train_identities: int = 32,
    test_identities: int = 24,
    cameras: int = 4,
    images: int = 4,
    distractors: int = 40,
    junk: int = 20,
    height: int = 96,
    workers: int | None = None,
) -> Path:
    """Render the embedded identity set into `out`.

    Args:
        out: An absent or empty folder, or one that holds this very set already.
        seed: Of all chance in the set.
        train_identities: Figures of the training split.
        test_identities: Other figures, of the query and gallery splits.
        cameras: 2 to 6.
        images: Pictures an identity and camera; a test identity's first is a query.
        distractors: Gallery pictures of identity 0: in turn nobody and a stranger, by camera.
        junk: Gallery pictures of identity -1: a part of a test figure.
        height: Of the pictures, in pixels, even; they are half as wide.
        workers: Processes; as many as there are processors for this process when None.

    Returns:
        `out`.

    Raises:
        PreparationError: A value is out of range, `out` holds something else, or the disk is full.
    """
    out = Path(out)
    workers = processors() if workers is None else workers
    counts = {
        "train_identities": train_identities,
        "test_identities": test_identities,
        "cameras": cameras,
        "images": images,
        "distractors": distractors,
        "junk": junk,
    }
    settings = {"seed": seed, **counts, "height": height}
    _check(settings, workers)
    settings["generator_version"] = VERSION
    if already_prepared(out, NAME, settings):
        return out
    jobs = [(seed, height, shot) for shot in shots(**counts)]
    for camera in range(cameras):
        place_strip(seed, camera, height)  # drawn once, before forked workers share it
    with made_in_order(_picture, jobs, workers) as pictures:
        return write_identity_set(
            out,
            NAME,
            "rendered by data_prep.embedded_figures",
            pictures,
            settings=settings,
            notes={"generator": generator_note("data_prep.embedded_figures", settings)},
            total=len(jobs),
        )


def main(
    out: Annotated[Path, typer.Argument(help="Folder to write; absent or empty.")],
    seed: Annotated[int, typer.Option(help="Seed of all chance in the set.")] = 0,
    train_identities: Annotated[int, typer.Option(help="Figures of the training split.")] = 32,
    test_identities: Annotated[int, typer.Option(help="Other figures, for testing.")] = 24,
    cameras: Annotated[int, typer.Option(help="2 to 6.")] = 4,
    images: Annotated[int, typer.Option(help="Pictures an identity and camera.")] = 4,
    distractors: Annotated[int, typer.Option(help="Gallery pictures of nobody or strangers.")] = 40,
    junk: Annotated[int, typer.Option(help="Gallery pictures of parts of figures.")] = 20,
    height: Annotated[int, typer.Option(help="Pixels, even; pictures are half as wide.")] = 96,
    workers: Annotated[int | None, typer.Option(help="Processes; all processors if unset.")] = None,
) -> None:
    """Render figures seen by several cameras, in Market-1501's naming: no download.

    Example: python -m data_prep.embedded_figures build/data/embedded-figures --seed 0
    """
    prepare(
        out,
        seed=seed,
        train_identities=train_identities,
        test_identities=test_identities,
        cameras=cameras,
        images=images,
        distractors=distractors,
        junk=junk,
        height=height,
        workers=workers,
    )
    print(f"prepared: {out}")


if __name__ == "__main__":
    run(main)
