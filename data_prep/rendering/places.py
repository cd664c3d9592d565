"""The places that the cameras of the rendered figures watch, and what stands before a figure there.

A place is one wide strip, (H, 3 H, 3) float32 from 0 to 1, drawn once; each picture is a cut-out of
it, as pictures of one real camera share a scene. The unit is the picture's height.
"""

from collections.abc import Callable

import numpy as np

from data_prep.rendering.backgrounds import noise
from data_prep.rendering.outlines import GROUND, Frame, Part, box, ellipse, paint_part, plain
from data_prep.rendering.painting import Colour
from data_prep.rendering.textures import soft_step, triangle_wave

STRIP = 3  # width of a place, in picture heights
HORIZON = 0.62  # where its wall meets its floor

Axes = tuple[np.ndarray, np.ndarray]  # x (1, W) and y (H, 1), in picture heights


def _axes(height: int) -> Axes:
    scale = np.float32(1 / height)
    x = (np.arange(STRIP * height, dtype=np.float32) + 0.5) * scale
    y = (np.arange(height, dtype=np.float32) + 0.5) * scale
    return x[None, :], y[:, None]


def _mix(first: Colour, second: Colour, weight: np.ndarray) -> np.ndarray:
    low, high = (np.asarray(colour, dtype=np.float32) for colour in (first, second))
    return low + (high - low) * weight[..., None]


def _joints(x: np.ndarray, y: np.ndarray, wide: float, high: float, soft: float) -> np.ndarray:
    """Weights (H, W) of the lines between bricks or slabs laid in running bond."""
    row = np.floor(y * (1 / high))
    shift = (row - 2 * np.floor(row * 0.5)) * 0.5
    across = (1 - triangle_wave(x * (1 / wide) + shift + 0.5)) * (wide / 2)
    along = (1 - triangle_wave(y * (1 / high) + 0.5)) * (high / 2)
    return soft_step(wide / 2 - 0.006 - across, soft) * soft_step(high / 2 - 0.006 - along, soft)


def _mottled(rng: np.random.Generator, height: int, cells: int, amount: float) -> np.ndarray:
    """Factors (H, 3 H, 1) that break up a flat colour."""
    return 1 + amount * noise(rng, STRIP * height, cells)[:height, :, None]


def _stack(axes: Axes, wall: np.ndarray, floor: np.ndarray) -> np.ndarray:
    """Wall above, floor below, a dark line of shade where they meet."""
    below = soft_step(axes[1] - HORIZON, 0.004)[..., None]
    near = np.clip(1 - np.abs(axes[1] - HORIZON) * 25, 0, 1)[..., None]
    return (wall + (floor - wall) * below) * (1 - 0.3 * near)


def _place(strip: np.ndarray, parts: list[Part]) -> np.ndarray:
    owners = np.zeros(strip.shape[:2], dtype=np.uint8)
    frame = Frame(0.0, 0.0, strip.shape[0])
    for part in parts:
        paint_part((strip, owners), part, frame, GROUND, -1.0)
    return strip


def _windows(xs: list[float], top: float, bottom: float, pane: Colour, sill: Colour) -> list[Part]:
    parts = []
    for x in xs:
        parts.append(plain(box(x - 0.015, top - 0.015, x + 0.245, bottom + 0.015), sill))
        parts.append(plain(box(x, top, x + 0.11, bottom), pane, 0.5))
        parts.append(plain(box(x + 0.12, top, x + 0.23, bottom), pane, 0.5))
    return parts


def street(rng: np.random.Generator, height: int) -> np.ndarray:
    """A brick wall with windows over a pavement."""
    x, y = axes = _axes(height)
    bricks = _mix((0.74, 0.66, 0.58), (0.62, 0.36, 0.28), _joints(x, y, 0.11, 0.042, 0.004))
    slabs = _mix((0.45, 0.44, 0.43), (0.63, 0.61, 0.58), _joints(x, y, 0.32, 0.125, 0.004))
    strip = _stack(
        axes, bricks * _mottled(rng, height, 40, 0.2), slabs * _mottled(rng, height, 60, 0.08)
    )
    glass = _windows([0.25, 0.95, 2.3], 0.08, 0.34, (0.35, 0.45, 0.5), (0.86, 0.83, 0.76))
    door = [plain(box(1.62, 0.1, 1.9, HORIZON), (0.2, 0.32, 0.27))]
    return _place(strip, [*glass, *door, plain(ellipse(1.86, 0.4, 0.012, 0.012), (0.8, 0.7, 0.3))])


def park(rng: np.random.Generator, height: int) -> np.ndarray:
    """Hedge and trees behind a lawn with a path."""
    x, y = axes = _axes(height)
    leaves = noise(rng, STRIP * height, 50)[:height]
    edge = noise(rng, STRIP * height, 14)[:height]
    hedge = _mix((0.13, 0.28, 0.14), (0.38, 0.55, 0.24), np.clip(leaves * 0.7 + 0.5, 0, 1))
    sky = _mix((0.72, 0.84, 0.92), (0.92, 0.95, 0.95), np.clip(y * 3, 0, 1) * np.ones_like(x))
    above = soft_step(0.19 + 0.1 * edge - y, 0.02)[..., None]
    blades = np.clip(noise(rng, STRIP * height, 90)[:height] * 0.6 + 0.5, 0, 1)
    lawn = _mix((0.30, 0.50, 0.20), (0.55, 0.68, 0.34), blades)
    path = soft_step(y - 0.8 - 0.02 * edge, 0.01)[..., None]
    gravel = _mix((0.66, 0.60, 0.48), (0.78, 0.73, 0.62), np.clip(leaves + 0.5, 0, 1))
    strip = _stack(axes, hedge + (sky - hedge) * above, lawn + (gravel - lawn) * path)
    trunks = [plain(box(t, 0.0, t + 0.075, 0.66), (0.36, 0.25, 0.17)) for t in (0.35, 1.3, 2.45)]
    return _place(strip, trunks)


def hall(rng: np.random.Generator, height: int) -> np.ndarray:
    """An indoor wall with pictures over a chequered floor."""
    x, y = axes = _axes(height)
    lower = soft_step(y - 0.42, 0.006) * np.ones_like(x)
    wall = _mix((0.88, 0.86, 0.80), (0.50, 0.62, 0.64), lower) * _mottled(rng, height, 8, 0.04)
    depth = (y - HORIZON) * 6
    tiles = (soft_step(triangle_wave(x * 4) - 0.5, 0.06) * 2 - 1) * (
        soft_step(triangle_wave(depth) - 0.5, 0.06) * 2 - 1
    )
    strip = _stack(axes, wall, _mix((0.58, 0.56, 0.55), (0.83, 0.82, 0.80), (tiles + 1) * 0.5))
    parts = []
    for left, colour in (
        (0.2, (0.80, 0.45, 0.30)),
        (1.05, (0.30, 0.50, 0.62)),
        (2.5, (0.75, 0.68, 0.35)),
    ):
        parts.append(plain(box(left, 0.08, left + 0.28, 0.32), (0.28, 0.24, 0.22)))
        parts.append(plain(box(left + 0.02, 0.1, left + 0.26, 0.3), colour, 0.4))
        parts.append(plain(ellipse(left + 0.14, 0.2, 0.06, 0.05), (0.9, 0.88, 0.82), 0.4))
    parts.append(plain(box(1.6, 0.06, 2.1, HORIZON), (0.62, 0.46, 0.32)))
    parts.append(plain(box(1.845, 0.06, 1.855, HORIZON), (0.3, 0.22, 0.16), 0.2))
    return _place(strip, parts)


def platform(rng: np.random.Generator, height: int) -> np.ndarray:
    """A tiled station wall with a coloured band, a bench and a yellow line on the floor."""
    x, y = axes = _axes(height)
    tiles = _mix((0.60, 0.62, 0.64), (0.84, 0.85, 0.84), _joints(x, y, 0.085, 0.085, 0.004))
    band = (soft_step(y - 0.14, 0.004) * soft_step(0.24 - y, 0.004))[..., None]
    wall = tiles + (np.asarray((0.18, 0.34, 0.58), dtype=np.float32) - tiles) * band
    concrete = _mix((0.42, 0.42, 0.44), (0.5, 0.5, 0.5), np.ones_like(x) * np.ones_like(y))
    line = (soft_step(y - 0.9, 0.004) * soft_step(0.94 - y, 0.004))[..., None]
    yellow = np.asarray((0.9, 0.76, 0.2), dtype=np.float32)
    floor = concrete + (yellow - concrete) * line
    strip = _stack(
        axes, wall * _mottled(rng, height, 12, 0.05), floor * _mottled(rng, height, 70, 0.12)
    )
    parts = []
    for left in (0.5, 2.1):
        parts += [
            plain(box(left + s, 0.6, left + s + 0.03, 0.72), (0.25, 0.25, 0.27))
            for s in (0.05, 0.4)
        ]
        parts.append(plain(box(left, 0.57, left + 0.5, 0.615), (0.55, 0.36, 0.22)))
    return _place(strip, parts)


def plaza(rng: np.random.Generator, height: int) -> np.ndarray:
    """Pale house fronts under the sky, bright paving."""
    x, y = axes = _axes(height)
    house = np.floor(x * (1 / 0.6)) * np.ones_like(y)
    fronts = np.array(
        [
            (0.86, 0.78, 0.62),
            (0.80, 0.62, 0.55),
            (0.70, 0.76, 0.74),
            (0.90, 0.88, 0.82),
            (0.66, 0.70, 0.58),
        ],
        dtype=np.float32,
    )
    wall = fronts[house.astype(np.intp) % len(fronts)] * _mottled(rng, height, 30, 0.05)
    slabs = _mix((0.62, 0.60, 0.56), (0.80, 0.78, 0.73), _joints(x, y, 0.2, 0.07, 0.004))
    strip = _stack(axes, wall, slabs * _mottled(rng, height, 50, 0.06))
    xs = [0.18 + 0.6 * i for i in range(5)]
    upper = _windows(xs, 0.05, 0.2, (0.38, 0.44, 0.5), (0.95, 0.94, 0.9))
    return _place(strip, upper + _windows(xs, 0.33, 0.5, (0.3, 0.34, 0.4), (0.55, 0.36, 0.28)))


def night(rng: np.random.Generator, height: int) -> np.ndarray:
    """Lit shop windows over wet asphalt."""
    axes = _axes(height)
    flat = np.ones((height, STRIP * height), dtype=np.float32)
    wall = _mix((0.24, 0.24, 0.30), (0.3, 0.3, 0.34), flat) * _mottled(rng, height, 30, 0.15)
    asphalt = _mix((0.22, 0.22, 0.25), (0.3, 0.3, 0.32), flat) * _mottled(rng, height, 90, 0.25)
    strip = _stack(axes, wall, asphalt)
    parts = []
    for left in (0.15, 1.15, 2.2):
        parts.append(plain(box(left, 0.12, left + 0.6, 0.5), (0.93, 0.84, 0.6), 0.6))
        for i in range(3):
            x = left + 0.12 + 0.18 * i
            parts.append(plain(box(x - 0.04, 0.3 - 0.03 * i, x + 0.04, 0.5), (0.62, 0.40, 0.35)))
        parts.append(plain(box(left - 0.03, 0.06, left + 0.63, 0.13), (0.55, 0.2, 0.22)))
    return _place(strip, parts)


PLACES: dict[str, Callable[[np.random.Generator, int], np.ndarray]] = {
    "street": street,
    "park": park,
    "hall": hall,
    "platform": platform,
    "plaza": plaza,
    "night": night,
}


def post(x: float, bottom: float) -> list[Part]:
    """A lamp post as high as the picture."""
    shaft = plain(box(x - 0.021, -0.1, x + 0.021, bottom), (0.30, 0.33, 0.34))
    return [shaft, plain(box(x - 0.036, bottom - 0.09, x + 0.036, bottom), (0.24, 0.26, 0.28))]


def bush(x: float, bottom: float) -> list[Part]:
    """A round shrub."""
    spots = (
        (-0.11, 0.0, 0.1),
        (0.12, 0.0, 0.1),
        (0.0, -0.05, 0.13),
        (-0.05, 0.06, 0.12),
        (0.08, 0.06, 0.12),
    )
    greens = (
        (0.20, 0.40, 0.18),
        (0.24, 0.46, 0.2),
        (0.30, 0.52, 0.24),
        (0.26, 0.48, 0.2),
        (0.22, 0.42, 0.2),
    )
    return [
        plain(ellipse(x + dx, bottom - 0.08 + dy, radius, radius * 0.85), green)
        for (dx, dy, radius), green in zip(spots, greens, strict=True)
    ]


def rail(x: float, bottom: float) -> list[Part]:
    """A barrier with two bars, across the whole picture."""
    steel = (0.64, 0.66, 0.70)
    bars = [plain(box(-0.1, bottom - y, 1.1, bottom - y + 0.032), steel) for y in (0.3, 0.16)]
    return [*bars, plain(box(x - 0.018, bottom - 0.33, x + 0.018, bottom + 0.1), steel)]


def crate(x: float, bottom: float) -> list[Part]:
    """A wooden box with two boards."""
    case = plain(box(x - 0.15, bottom - 0.24, x + 0.15, bottom + 0.02), (0.62, 0.46, 0.28))
    boards = [box(x - 0.15, bottom - y, x + 0.15, bottom - y + 0.03) for y in (0.22, 0.06)]
    return [case, *(plain(board, (0.46, 0.33, 0.2)) for board in boards)]


OBSTACLES: dict[str, Callable[[float, float], list[Part]]] = {
    "post": post,
    "bush": bush,
    "rail": rail,
    "crate": crate,
}
