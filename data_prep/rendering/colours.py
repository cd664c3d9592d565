"""Random colours. A class is never told by its colour: every surface draws from the same pool."""

import colorsys

import numpy as np

from data_prep.rendering.painting import Colour


def luminance(colour: Colour) -> float:
    """Perceived lightness of an RGB colour, 0 to 1 (Rec. 601 weights)."""
    return 0.299 * colour[0] + 0.587 * colour[1] + 0.114 * colour[2]


def vivid(rng: np.random.Generator) -> Colour:
    """A saturated colour of any hue."""
    hue, saturation, value = rng.random(), rng.uniform(0.45, 0.95), rng.uniform(0.5, 0.98)
    return colorsys.hsv_to_rgb(hue, saturation, value)


def contrasting_pair(rng: np.random.Generator) -> tuple[Colour, Colour]:
    """Two colours whose lightness differs enough for a pattern to be seen."""
    first = vivid(rng)
    for _ in range(12):
        second = vivid(rng)
        if abs(luminance(first) - luminance(second)) > 0.3:
            return first, second
    pale = luminance(first) < 0.5
    return first, ((0.95, 0.93, 0.88) if pale else (0.12, 0.12, 0.16))


def muted_palette(rng: np.random.Generator, count: int) -> list[Colour]:
    """Related colours for a background: one hue with its neighbours, at several lightnesses."""
    hue, spread = rng.random(), rng.uniform(0.03, 0.2)
    saturation, value = rng.uniform(0.1, 0.65), rng.uniform(0.3, 0.85)
    palette = []
    for _ in range(count):
        shade = min(max(value + rng.uniform(-0.2, 0.2), 0.12), 0.95)
        tone = min(max(saturation + rng.uniform(-0.15, 0.15), 0.03), 0.8)
        turn = (hue + spread * rng.uniform(-1, 1)) % 1.0
        palette.append(colorsys.hsv_to_rgb(turn, tone, shade))
    return palette
