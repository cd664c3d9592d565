"""Cluttered grounds for the scenes: clouds, pebbles, grass, planks, cloth.

Cloth carries one of the class textures at low contrast, so that a texture somewhere in the picture
is no proof of a class. Each ground is a (side, side, 3) float32 canvas, 0 to 1.
"""

from collections.abc import Callable

import numpy as np
from PIL import Image, ImageDraw

from data_prep.rendering.colours import muted_palette
from data_prep.rendering.painting import turned
from data_prep.rendering.textures import PATTERNS, soft_step, triangle_wave

Ground = Callable[[np.random.Generator, int], np.ndarray]


def noise(
    rng: np.random.Generator, side: int, cells: int, octaves: int = 3, stretch: int = 1
) -> np.ndarray:
    """Smooth noise, (side, side) float32 around 0, about -1 to 1; octave k has cells * 2**k cells.

    `stretch` divides the number of cells down the picture, which draws the noise out into streaks.
    """
    total = np.zeros((side, side), dtype=np.float32)
    for octave in range(octaves):
        across = cells * 2**octave + 1
        grid = rng.integers(0, 256, (max(across // stretch, 2), across), dtype=np.uint8)
        # Eight-bit resampling counts in integers: every platform gives the same values.
        smooth = Image.fromarray(grid).resize((side, side), Image.Resampling.BICUBIC)
        total += (np.asarray(smooth, dtype=np.float32) * (2 / 255) - 1) * 0.5**octave
    return total * (1 / 1.4)


def _grid(side: int, angle: float) -> tuple[np.ndarray, np.ndarray]:
    """Turned coordinates of the pixels, in shares of the side, around the middle."""
    axis = (np.arange(side, dtype=np.float32) + 0.5) * (1 / side) - 0.5
    cosine, sine = turned(angle)
    x, y = axis[None, :], axis[:, None]
    return x * cosine + y * sine, y * cosine - x * sine


def _mix(first: np.ndarray, second: np.ndarray, weight: np.ndarray) -> np.ndarray:
    return first + (second - first) * weight[..., None]


def clouds(rng: np.random.Generator, side: int) -> np.ndarray:
    """Soft patches of three colours."""
    first, second, third = np.array(muted_palette(rng, 3), dtype=np.float32)
    canvas = _mix(first, second, np.clip(noise(rng, side, 3) + 0.5, 0, 1))
    return _mix(canvas, third, np.clip(noise(rng, side, 4) * 1.5, 0, 1))


def pebbles(rng: np.random.Generator, side: int) -> np.ndarray:
    """Rounded stones: the nearest of scattered seeds owns a pixel, and joints run between seeds."""
    count = int(rng.integers(14, 36))
    colours = np.array(muted_palette(rng, count), dtype=np.float32)
    seeds = rng.random((count, 2), dtype=np.float32) * 1.3 - 0.65
    x, y = _grid(side, 0.0)
    nearest = np.full((side, side), 9.0, dtype=np.float32)
    second, owner = nearest, np.zeros((side, side), dtype=np.intp)
    for i, (seed_x, seed_y) in enumerate(seeds):
        squared = (x - seed_x) ** 2 + (y - seed_y) ** 2
        second = np.minimum(second, np.maximum(squared, nearest))
        owner = np.where(squared < nearest, i, owner)
        nearest = np.minimum(nearest, squared)
    nearest, second = np.sqrt(nearest), np.sqrt(second)
    dome = np.clip((second - nearest) * (0.9 * count**0.5), 0, 1)
    height = dome * (2 - dome)
    return colours[owner] * (0.35 + 0.65 * height)[..., None]


def grass(rng: np.random.Generator, side: int) -> np.ndarray:
    """Many short strokes in one main direction."""
    palette = (np.array(muted_palette(rng, 7)) * 255).astype(int).tolist()
    image = Image.new("RGB", (side, side), tuple(palette[0]))
    draw = ImageDraw.Draw(image)
    count, main, spread = int(rng.integers(280, 520)), rng.uniform(0, 6.28), rng.uniform(0.25, 0.9)
    start = rng.uniform(-0.1, 1.1, (count, 2))
    turns = rng.uniform(-spread, spread, count)
    length = rng.uniform(0.1, 0.3, count)
    width = rng.uniform(0.01, 0.032, count)
    choice = rng.integers(1, 7, count)
    for i in range(count):
        cosine, sine = turned(main + float(turns[i]))
        x, y = start[i] * side
        end = (x + cosine * length[i] * side, y + sine * length[i] * side)
        thick = max(1, round(float(width[i]) * side))
        draw.line([(x, y), end], fill=tuple(palette[choice[i]]), width=thick)
    return np.asarray(image, dtype=np.float32) * (1 / 255)


def planks(rng: np.random.Generator, side: int) -> np.ndarray:
    """Boards side by side, with grain and dark joints."""
    boards = int(rng.integers(3, 7))
    colours = np.array(muted_palette(rng, 4 * boards), dtype=np.float32)
    x, y = _grid(side, rng.uniform(0, 3.14))
    grain = noise(rng, side, 24, octaves=2, stretch=8)
    across = x * boards + rng.random() + 2 * boards
    colour = colours[np.floor(across).astype(np.intp) % len(colours)]
    bent = triangle_wave(across * 5 + grain * 0.8 + y * 0.6)
    joint = soft_step((1 - triangle_wave(across)) * (0.5 / boards) - 0.012, 1 / side)
    # Joints lie at whole numbers, where the wave is 1.
    return colour * ((0.86 + 0.14 * bent + 0.06 * grain) * (0.45 + 0.55 * joint))[..., None]


def cloth(rng: np.random.Generator, side: int) -> np.ndarray:
    """A wavy cloth with a class texture at low contrast."""
    first, second = np.array(muted_palette(rng, 2), dtype=np.float32)
    pattern = PATTERNS[sorted(PATTERNS)[int(rng.integers(len(PATTERNS)))]]
    x, y = _grid(side, rng.uniform(0, 3.14))
    folds = noise(rng, side, 3, octaves=2)
    shift_x, shift_y, cell = rng.random(), rng.random(), rng.uniform(0.12, 0.24)
    weight = pattern(x + 0.03 * folds + shift_x, y + 0.03 * folds + shift_y, cell, 1 / side)
    contrast = rng.uniform(0.35, 0.8)
    return _mix(first, second, weight * contrast) * (0.92 + 0.14 * folds)[..., None]


GROUNDS: dict[str, Ground] = {
    "clouds": clouds,
    "pebbles": pebbles,
    "grass": grass,
    "planks": planks,
    "cloth": cloth,
}
