"""Outlines of the rendered objects as signed distance fields.

A shape is a list of closed contours; a point is inside where an odd number of them surrounds it, so
a second contour cuts a hole. Distances are exact for the polygons (curves have about 100 edges).
One field per shape is computed once a process and then sampled under any position, turn and scale.
Units: a shape lies within the unit circle around (0, 0); distances are positive inside.
"""

import math
from collections.abc import Callable
from functools import cache

import numpy as np

FIELD_EXTENT = 1.6  # fields cover [-1.6, 1.6] squared; outside, the border's value holds
FIELD_POINTS = 225

Contours = list[np.ndarray]


def _around(radii: list[float], start: float = -math.pi / 2) -> np.ndarray:
    """Vertices (n, 2) at equal angles, the i-th at distance radii[i]."""
    turn = 2 * math.pi / len(radii)
    # Rounded, so that the last bit of a platform's sine cannot reach a picture.
    return np.array(
        [
            (
                round(radius * math.cos(start + i * turn), 9),
                round(radius * math.sin(start + i * turn), 9),
            )
            for i, radius in enumerate(radii)
        ]
    )


def _star() -> Contours:
    return [_around([1.0, 0.47] * 5)]


def _heart() -> Contours:
    points = []
    for i in range(96):
        t = 2 * math.pi * i / 96
        x = 16 * math.sin(t) ** 3
        y = 13 * math.cos(t) - 5 * math.cos(2 * t) - 2 * math.cos(3 * t) - math.cos(4 * t)
        points.append((round(x / 18, 9), round(-(y + 2.5) / 18, 9)))
    return [np.array(points)]


def _cross() -> Contours:
    arm, reach = 0.34, 0.92
    corners = [(-arm, -reach), (arm, -reach), (arm, -arm), (reach, -arm), (reach, arm), (arm, arm)]
    return [np.array(corners + [(-x, -y) for x, y in corners])]


def _gear() -> Contours:
    teeth = [1.0, 1.0, 1.0, 0.74, 0.74, 0.74] * 8
    return [_around(teeth), _around([0.3] * 48)]


def _moon() -> Contours:
    """A crescent: a disc of radius 0.95 less a disc of radius 0.78 beside its centre."""
    big, small, shift = 0.95, 0.78, 0.5
    x = (big**2 - small**2 + shift**2) / (2 * shift)
    cut = math.acos(x / big)
    inner = math.acos((x - shift) / small)
    outer_arc = [cut + (2 * math.pi - 2 * cut) * i / 64 for i in range(65)]
    inner_arc = [2 * math.pi - inner - (2 * math.pi - 2 * inner) * i / 48 for i in range(1, 48)]
    points = [(big * math.cos(a), big * math.sin(a)) for a in outer_arc]
    points += [(shift + small * math.cos(a), small * math.sin(a)) for a in inner_arc]
    return [np.array([(round(px + 0.08, 9), round(py, 9)) for px, py in points])]


def _disc() -> Contours:
    return [_around([0.9] * 64)]


def _square() -> Contours:
    return [_around([1.0] * 4, start=math.pi / 4)]


def _triangle() -> Contours:
    return [_around([1.0] * 3)]


def _hexagon() -> Contours:
    return [_around([1.0] * 6)]


def _leaf() -> Contours:
    """A pointed oval, the overlap of two discs."""
    points = [(-1 + i / 16, 0.42 * (1 - (-1 + i / 16) ** 2)) for i in range(33)]
    return [np.array(points + [(x, -y) for x, y in points[-2:0:-1]])]


def _twig() -> Contours:
    points = [(-1.0, -0.1), (-0.2, -0.15), (0.45, -0.09), (1.0, -0.13)]
    points += [(1.0, 0.07), (0.35, 0.13), (-0.3, 0.08), (-1.0, 0.13)]
    return [np.array(points)]


def _pebble() -> Contours:
    radii = [
        0.86 + 0.09 * math.sin(3 * a) + 0.05 * math.cos(5 * a) for a in np.linspace(0, 6.2, 64)
    ]
    return [_around(radii) * np.array([1.0, 0.8])]


SHAPES: dict[str, Callable[[], Contours]] = {
    "star": _star,
    "heart": _heart,
    "cross": _cross,
    "gear": _gear,
    "moon": _moon,
    "disc": _disc,
    "square": _square,
    "triangle": _triangle,
    "hexagon": _hexagon,
    "leaf": _leaf,
    "twig": _twig,
    "pebble": _pebble,
}


def signed_distance(contours: Contours, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Distance of the points (x, y) to the contours: positive inside, negative outside.

    Args:
        contours: Closed polygons, each (n, 2).
        x: Any shape S.
        y: The same shape S.

    Returns:
        Array of shape S, in the contours' unit.
    """
    squared = np.full(x.shape, np.inf)
    inside = np.zeros(x.shape, dtype=bool)
    for contour in contours:
        for (ax, ay), (bx, by) in zip(contour, np.roll(contour, -1, axis=0), strict=True):
            ex, ey = bx - ax, by - ay
            px, py = x - ax, y - ay
            along = np.clip((px * ex + py * ey) / (ex * ex + ey * ey), 0.0, 1.0)
            dx, dy = px - along * ex, py - along * ey
            squared = np.minimum(squared, dx * dx + dy * dy)
            if ay != by:  # an edge crosses the ray to the right of the point: change sides
                inside ^= ((ay > y) != (by > y)) & (px < py * ex / ey)
    return np.where(inside, 1.0, -1.0) * np.sqrt(squared)


@cache
def distance_field(shape: str) -> np.ndarray:
    """The shape's field on a grid, (FIELD_POINTS, FIELD_POINTS) float32, indexed [y, x]."""
    axis = np.linspace(-FIELD_EXTENT, FIELD_EXTENT, FIELD_POINTS)
    x, y = np.meshgrid(axis, axis)
    field = signed_distance(SHAPES[shape](), x, y).astype(np.float32)
    field.setflags(write=False)
    return field


def sample_field(field: np.ndarray, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Bilinear samples of a field at the shape's coordinates (u, v), any one shape S."""
    scale = np.float32((FIELD_POINTS - 1) / (2 * FIELD_EXTENT))
    last = np.float32(FIELD_POINTS - 1.001)
    column = np.clip((u + np.float32(FIELD_EXTENT)) * scale, 0, last)
    row = np.clip((v + np.float32(FIELD_EXTENT)) * scale, 0, last)
    left, top = column.astype(np.intp), row.astype(np.intp)
    fx, fy = column - left.astype(np.float32), row - top.astype(np.float32)
    flat, start = field.ravel(), top * FIELD_POINTS + left
    upper = flat[start] * (1 - fx) + flat[start + 1] * fx
    lower = flat[start + FIELD_POINTS] * (1 - fx) + flat[start + FIELD_POINTS + 1] * fx
    return upper * (1 - fy) + lower * fy
