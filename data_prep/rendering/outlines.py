"""Closed outlines and the painting of one rounded, patterned part of a figure or a thing.

Outlines are lists of points in the unit of what they belong to; a `Frame` puts them into a picture.
Pillow fills polygons and blurs in integers, so every processor gives the same picture.
"""

import math
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from data_prep.rendering.painting import Colour, turned
from data_prep.rendering.textures import PATTERNS, Pattern, soft_step

Point = tuple[float, float]
Outline = list[Point]
Sheet = tuple[np.ndarray, np.ndarray]  # canvas (H, W, 3) float32, 0 to 1; owner (H, W) uint8

GROUND, FIGURE = 0, 1  # values of an owner sheet


@dataclass(frozen=True)
class Frame:
    """Where a thing stands: pixel of its origin, pixels per unit, and whether it is mirrored."""

    x: float
    y: float
    unit: float
    mirrored: bool = False


@dataclass(frozen=True)
class Part:
    """The union of filled outlines. A pattern mixes two colours; its cell is in their unit."""

    outlines: list[Outline]
    colours: tuple[Colour, Colour]
    pattern: str | None = None
    cell: float = 0.1
    centre: Point = (0.0, 0.0)  # of the pattern
    relief: float = 1.0  # how strongly the rim is shaded


def plain(outline: Outline, colour: Colour, relief: float = 1.0) -> Part:
    """A part of one outline and one colour."""
    return Part([outline], (colour, colour), relief=relief)


def ellipse(x: float, y: float, across: float, down: float) -> Outline:
    """An ellipse around (x, y) with the half axes `across` and `down`."""
    steps = [turned(2 * math.pi * i / 28) for i in range(28)]
    return [(x + across * cosine, y + down * sine) for cosine, sine in steps]


def box(left: float, top: float, right: float, bottom: float) -> Outline:
    """An upright rectangle."""
    return [(left, top), (right, top), (right, bottom), (left, bottom)]


def rounded(outline: Outline, radius: float) -> Outline:
    """The outline with its corners cut along curves that start `radius` before each corner."""
    points = []
    for before, corner, after in zip(
        [outline[-1], *outline[:-1]], outline, [*outline[1:], outline[0]], strict=True
    ):
        ends = []
        for other in (before, after):
            share = min(radius / max(math.dist(corner, other), 1e-6), 0.5)
            ends.append(tuple(c + share * (o - c) for c, o in zip(corner, other, strict=True)))
        for t in (0.0, 0.25, 0.5, 0.75, 1.0):  # a quadratic Bezier curve
            points.append(
                tuple(
                    (1 - t) * (1 - t) * first + 2 * t * (1 - t) * c + t * t * last
                    for first, c, last in zip(ends[0], corner, ends[1], strict=True)
                )
            )
    return points


def limb(points: Outline, radii: list[float]) -> list[Outline]:
    """A bent limb: one tapered, round-ended piece between each two points."""
    pieces = []
    for (ax, ay), (bx, by), start, end in zip(
        points[:-1], points[1:], radii[:-1], radii[1:], strict=True
    ):
        along = math.atan2(by - ay, bx - ax)
        piece = []
        for middle, radius, first in ((bx, by), end, -0.5), ((ax, ay), start, 0.5):
            for i in range(9):
                cosine, sine = turned(along + math.pi * (first + i / 8))
                piece.append((middle[0] + radius * cosine, middle[1] + radius * sine))
        pieces.append(piece)
    return pieces


def _hooped(u: np.ndarray, v: np.ndarray, cell: float, soft: float) -> np.ndarray:
    return PATTERNS["striped"](v, u, cell, soft)


def _chevrons(u: np.ndarray, v: np.ndarray, cell: float, soft: float) -> np.ndarray:
    return PATTERNS["zigzag"](v, u, cell, soft)


def _yoke(u: np.ndarray, v: np.ndarray, cell: float, soft: float) -> np.ndarray:
    return soft_step(-v, soft) * np.ones_like(u)


def _sash(u: np.ndarray, v: np.ndarray, cell: float, soft: float) -> np.ndarray:
    return soft_step(0.65 * cell - np.abs(u + v) * 0.7, soft)


def _panel(u: np.ndarray, v: np.ndarray, cell: float, soft: float) -> np.ndarray:
    return soft_step(0.46 * cell - np.abs(u), soft) * np.ones_like(v)


WEAVES: dict[str, Pattern] = {  # across a garment; the last three are one block of colour
    "striped": PATTERNS["striped"],
    "checkered": PATTERNS["checkered"],
    "dotted": PATTERNS["dotted"],
    "hooped": _hooped,
    "zigzag": _chevrons,
    "yoke": _yoke,
    "sash": _sash,
    "panel": _panel,
}


def _window(points: Outline, shape: tuple[int, int], margin: int) -> tuple[slice, slice] | None:
    spans = []
    for axis, length in ((1, shape[0]), (0, shape[1])):
        values = [point[axis] for point in points]
        first = max(0, math.floor(min(values)) - margin)
        last = min(length, math.ceil(max(values)) + margin + 1)
        if last - first < 3:
            return None
        spans.append(slice(first, last))
    return spans[0], spans[1]


def _albedo(part: Part, frame: Frame, window: tuple[slice, slice]) -> np.ndarray:
    first, second = (np.asarray(colour, dtype=np.float32) for colour in part.colours)
    if part.pattern is None:
        return first
    rows, columns = window
    scale, sign = 1 / frame.unit, -1 if frame.mirrored else 1
    x = (np.arange(columns.start, columns.stop, dtype=np.float32) + 0.5 - frame.x) * (scale * sign)
    y = (np.arange(rows.start, rows.stop, dtype=np.float32) + 0.5 - frame.y) * scale
    u, v = (x - part.centre[0])[None, :], (y - part.centre[1])[:, None]
    weight = WEAVES[part.pattern](u, v, part.cell, scale)[..., None]
    return first + (second - first) * weight


def paint_part(sheet: Sheet, part: Part, frame: Frame, owner: int, light: float) -> None:
    """Paint one part and note whose pixels it takes, in place.

    Args:
        sheet: The canvas (H, W, 3) and the owner of each pixel (H, W).
        part: What to paint.
        frame: Where.
        owner: GROUND or FIGURE.
        light: Whence light falls: -1 from the left, 1 from the right.
    """
    canvas, owners = sheet
    sign = -1 if frame.mirrored else 1
    scale, origin = (sign * frame.unit, frame.unit), (frame.x, frame.y)
    outlines = [
        [(origin[0] + scale[0] * x, origin[1] + scale[1] * y) for x, y in outline]
        for outline in part.outlines
    ]
    soft = max(1, round(0.018 * frame.unit))
    window = _window([point for outline in outlines for point in outline], owners.shape, 2 * soft)
    if window is None:
        return
    rows, columns = window
    stencil = Image.new("L", (columns.stop - columns.start, rows.stop - rows.start))
    for outline in outlines:
        corners = [(round(x) - columns.start, round(y) - rows.start) for x, y in outline]
        ImageDraw.Draw(stencil).polygon(corners, fill=255)
    inside = np.asarray(stencil) > 0
    # The blurred stencil is a rounded height: its level darkens the rim, its slope is lit.
    height = np.asarray(stencil.filter(ImageFilter.BoxBlur(soft)), dtype=np.float32) * (1 / 255)
    slope = np.zeros_like(height)
    slope[:, soft:-soft] = height[:, 2 * soft :] - height[:, : -2 * soft]
    shade = 1 - part.relief * (0.34 * (1 - height) + (0.16 * light) * slope - 0.04)
    painted = np.clip(_albedo(part, frame, window) * shade[..., None], 0, 1)
    canvas[window][inside] = painted[inside]
    owners[window][inside] = owner
