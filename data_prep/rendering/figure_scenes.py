"""One picture of a rendered figure as one of six cameras sees it.

A camera has its place, colour cast, contrast, usual viewpoint, distance, obstacles and noise; a
picture adds the pose, the position, passers-by, and chance. Masks show a figure's visible pixels.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from PIL import Image, ImageFilter

from data_prep.rendering.bodies import body
from data_prep.rendering.figures import Figure
from data_prep.rendering.outlines import FIGURE, GROUND, Frame, Sheet, paint_part
from data_prep.rendering.places import OBSTACLES, PLACES, STRIP
from data_prep.rendering.poses import VIEWS, Pose

OVERSAMPLING = 4  # pictures are painted at this multiple of their size, then reduced
ASPECT = 0.5  # width of a picture, in heights
LEAST_VISIBLE = 0.6  # share of a figure's pixels that obstacles leave
KINDS = ("whole", "cropped", "empty")


@dataclass(frozen=True)
class Camera:
    """What all pictures of one camera have in common. Heights are shares of the picture's."""

    place: str
    tint: tuple[float, float, float]
    contrast: float
    lift: float
    views: tuple[float, float, float]  # chances of VIEWS
    height: tuple[float, float]
    obstacle: str
    obstacle_chance: float
    light: float
    blur: float  # radius in output pixels at a height of 96
    grain: float  # standard deviation in grey levels


CAMERAS: tuple[Camera, ...] = (
    Camera(
        "street",
        (1.06, 0.99, 0.88),
        1.0,
        0.01,
        (0.6, 0.1, 0.3),
        (0.74, 0.84),
        "post",
        0.3,
        -1,
        0.0,
        4,
    ),
    Camera(
        "park",
        (0.90, 0.98, 0.88),
        0.92,
        0.0,
        (0.15, 0.6, 0.25),
        (0.68, 0.78),
        "bush",
        0.4,
        1,
        0.4,
        5,
    ),
    Camera(
        "hall",
        (0.89, 0.97, 1.08),
        0.92,
        0.03,
        (0.2, 0.2, 0.6),
        (0.78, 0.88),
        "rail",
        0.3,
        1,
        0.2,
        3,
    ),
    Camera(
        "platform",
        (0.92, 0.84, 0.93),
        1.05,
        0.0,
        (0.35, 0.35, 0.3),
        (0.66, 0.80),
        "crate",
        0.4,
        -1,
        0.0,
        7,
    ),
    Camera(
        "plaza", (1.08, 1.05, 1.01), 0.9, 0.05, (0.3, 0.3, 0.4), (0.6, 0.74), "post", 0.3, 1, 0.3, 3
    ),
    Camera(
        "night",
        (1.0, 0.88, 0.72),
        1.0,
        -0.03,
        (0.4, 0.3, 0.3),
        (0.7, 0.82),
        "rail",
        0.3,
        -1,
        0.2,
        9,
    ),
)


@lru_cache(maxsize=len(CAMERAS))
def place_strip(seed: int, camera: int, height: int) -> np.ndarray:
    """The place that a camera watches, (H, 3 H, 3) float32 at painting scale."""
    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(0, camera)))
    strip = PLACES[CAMERAS[camera].place](rng, height * OVERSAMPLING).astype(np.float32)
    strip.setflags(write=False)
    return strip


def _pose(rng: np.random.Generator, chances: tuple[float, ...]) -> Pose:
    view = VIEWS[int(rng.choice(len(VIEWS), p=chances))]
    swing = rng.uniform(0.25, 1.0) * (1 if rng.random() < 0.5 else -1)
    return Pose(view, swing, 1 if rng.random() < 0.5 else -1)


def _stand(
    sheet: Sheet,
    figure: Figure,
    pose: Pose,
    spot: tuple[float, float, float],
    owner: int,
    light: float,
) -> None:
    """Paint a figure whose feet stand at spot = (x, y, height), in picture heights."""
    side = sheet[1].shape[0]
    x, y, height = spot
    unit = height * figure.stature * side
    frame = Frame(x * side, y * side - unit, unit, pose.view == "side" and pose.facing < 0)
    _shade_ground(sheet[0], x * side, y * side, 0.19 * unit)
    for part in body(figure, pose):
        paint_part(sheet, part, frame, owner, light)


def _shade_ground(canvas: np.ndarray, x: float, y: float, reach: float) -> None:
    """A soft shadow, an ellipse that is flat on the ground, in place."""
    across = ((np.arange(canvas.shape[1], dtype=np.float32) - x) * (1 / reach))[None, :]
    down = ((np.arange(canvas.shape[0], dtype=np.float32) - y) * (4 / reach))[:, None]
    canvas *= (1 - 0.5 * np.clip(1 - across * across - down * down, 0, 1))[..., None]


def _spot(rng: np.random.Generator, camera: Camera, kind: str) -> tuple[float, float, float]:
    """Where the figure stands. Cropped ones stand too near, or half out of the picture."""
    height = rng.uniform(*camera.height)
    x, y = ASPECT / 2 + rng.uniform(-0.05, 0.05), 0.94 + rng.uniform(-0.03, 0.03)
    if kind == "whole":
        return x, y, height
    case = int(rng.integers(3))
    if case == 0:  # legs alone
        return x, 0.9, height * rng.uniform(2.0, 2.6)
    if case == 1:  # head and shoulders alone
        height *= rng.uniform(2.0, 2.6)
        return x, 0.12 + height, height
    return (ASPECT * (1.08 if x > ASPECT / 2 else -0.08), y, height)


def _obstruct(rng: np.random.Generator, sheet: Sheet, camera: Camera) -> None:
    """Put the camera's obstacle before the figure, unless it would hide too much of it."""
    x, bottom = rng.uniform(0.08, ASPECT - 0.08), rng.uniform(0.95, 1.05)
    before = int(np.count_nonzero(sheet[1]))
    canvas, owners = sheet[0].copy(), sheet[1].copy()
    side = owners.shape[0]
    for part in OBSTACLES[camera.obstacle](x, bottom):
        paint_part((canvas, owners), part, Frame(0.0, 0.0, side), GROUND, camera.light)
    if np.count_nonzero(owners) >= LEAST_VISIBLE * before:
        sheet[0][...], sheet[1][...] = canvas, owners


def _develop(rng: np.random.Generator, canvas: np.ndarray, camera: Camera) -> np.ndarray:
    """The camera's cast and contrast, reduction, blur and noise: (H, W, 3) uint8."""
    exposure = rng.uniform(0.88, 1.12)
    tint = np.asarray([t * exposure * rng.uniform(0.97, 1.03) for t in camera.tint], np.float32)
    seen = ((canvas - 0.5) * camera.contrast + (0.5 + camera.lift)) * tint
    fine = Image.fromarray(np.clip(seen * 255 + 0.5, 0, 255).astype(np.uint8))
    if camera.blur:
        fine = fine.filter(ImageFilter.BoxBlur(camera.blur * canvas.shape[0] / 96))
    reduced = np.asarray(fine.reduce(OVERSAMPLING), dtype=np.float32)
    grain = rng.standard_normal(reduced.shape, dtype=np.float32) * camera.grain
    return np.clip(reduced + grain + 0.5, 0, 255).astype(np.uint8)


def render(
    rng: np.random.Generator,
    figure: Figure | None,
    passer: Figure,
    camera: int,
    strip: np.ndarray,
    kind: str = "whole",
) -> tuple[np.ndarray, np.ndarray]:
    """Draw one picture.

    Args:
        rng: The only source of chance.
        figure: Whom it shows; None with the kind "empty".
        passer: Somebody else, who sometimes walks by in the background.
        camera: A position in CAMERAS.
        strip: The camera's place, from `place_strip`; it sets the size.
        kind: "whole", "cropped" (a bad detection: a part of a figure) or "empty" (nobody).

    Returns:
        The picture, (H, H / 2, 3) uint8, and the mask of the figure's visible pixels, (H, H / 2)
        uint8, 0 or 255: pixels of which the figure covers half or more.
    """
    seen_by = CAMERAS[camera]
    side = strip.shape[0]
    width = round(side * ASPECT)
    left = int(rng.integers(STRIP * side - width + 1))
    canvas = strip[:, left : left + width].copy()
    sheet = (canvas, np.zeros((side, width), dtype=np.uint8))
    if rng.random() < 0.2:
        spot = (
            ASPECT * float(rng.integers(2)) + rng.uniform(-0.03, 0.03),
            0.8,
            rng.uniform(0.4, 0.5),
        )
        _stand(sheet, passer, _pose(rng, seen_by.views), spot, GROUND, seen_by.light)
    if figure is not None:
        spot, pose = _spot(rng, seen_by, kind), _pose(rng, seen_by.views)
        _stand(sheet, figure, pose, spot, FIGURE, seen_by.light)
    if rng.random() < seen_by.obstacle_chance:
        _obstruct(rng, sheet, seen_by)
    share = Image.fromarray(sheet[1] * 255)
    mask = np.asarray(share.reduce(OVERSAMPLING)) >= 128
    return _develop(rng, canvas, seen_by), mask.astype(np.uint8) * 255
