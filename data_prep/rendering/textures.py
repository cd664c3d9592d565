"""Two-colour surface patterns, as weights of the second colour.

Each pattern takes a surface's coordinates and gives weights between 0 and 1 of the same shape.
`cell` is the width of one repetition and `soft` the width over which an edge is smoothed (a pixel),
both in the coordinates' unit, so that edges stay anti-aliased at every scale.
"""

from collections.abc import Callable

import numpy as np

Pattern = Callable[[np.ndarray, np.ndarray, float, float], np.ndarray]


def triangle_wave(x: np.ndarray) -> np.ndarray:
    """1 at whole numbers, 0 halfway between them, straight in between."""
    return np.abs(x - np.floor(x) - 0.5) * 2


def soft_step(distance: np.ndarray, soft: float) -> np.ndarray:
    """0 below -soft/2, 1 above soft/2, straight in between."""
    return np.clip(distance * (1 / soft) + 0.5, 0, 1)


def _stripes_across(x: np.ndarray, cell: float, soft: float) -> np.ndarray:
    # The wave climbs 2 per cell, so half a cell turns its value into a distance from the edge.
    return soft_step((triangle_wave(x * (1 / cell)) - 0.5) * (cell / 2), soft)


def striped(u: np.ndarray, v: np.ndarray, cell: float, soft: float) -> np.ndarray:
    """Straight bands of equal width."""
    return _stripes_across(u, cell, soft)


def ringed(u: np.ndarray, v: np.ndarray, cell: float, soft: float) -> np.ndarray:
    """Bands around the origin."""
    return _stripes_across(np.sqrt(u * u + v * v), cell, soft)


def zigzag(u: np.ndarray, v: np.ndarray, cell: float, soft: float) -> np.ndarray:
    """Bands bent into chevrons of right angles."""
    bent = u + triangle_wave(v * (1 / (1.7 * cell))) * (0.85 * cell)
    return _stripes_across(bent, 1.15 * cell, 1.4 * soft)


def checkered(u: np.ndarray, v: np.ndarray, cell: float, soft: float) -> np.ndarray:
    """Squares of half a cell's width (times 1.1, so that their ink is as coarse as the bands')."""
    across = _stripes_across(u, 1.1 * cell, soft) * 2 - 1
    along = _stripes_across(v, 1.1 * cell, soft) * 2 - 1
    return (across * along + 1) * 0.5


def dotted(u: np.ndarray, v: np.ndarray, cell: float, soft: float) -> np.ndarray:
    """Round dots on a staggered lattice."""
    radius = 0.31 * cell
    width, height = cell, 1.7 * cell  # two interleaved lattices of this spacing
    nearest = None
    for shift in (0.0, 0.5):
        du = (u * (1 / width) + shift - np.floor(u * (1 / width) + shift) - 0.5) * width
        dv = (v * (1 / height) + shift - np.floor(v * (1 / height) + shift) - 0.5) * height
        squared = du * du + dv * dv
        nearest = squared if nearest is None else np.minimum(nearest, squared)
    return soft_step(radius - np.sqrt(nearest), soft)


PATTERNS: dict[str, Pattern] = {
    "striped": striped,
    "dotted": dotted,
    "checkered": checkered,
    "ringed": ringed,
    "zigzag": zigzag,
}
