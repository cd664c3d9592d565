"""Painting one lit, bevelled, patterned shape with its shadow onto a canvas.

Lengths and positions are shares of the picture's side, so that one scene can be painted at any
size. A canvas is (side, side, 3) float32 with values from 0 to 1.
"""

import math
from dataclasses import dataclass

import numpy as np

from data_prep.rendering.shapes import distance_field, sample_field
from data_prep.rendering.textures import PATTERNS, soft_step

Colour = tuple[float, float, float]


@dataclass(frozen=True)
class Light:
    """A distant lamp: direction (x, y, z), towards it, of unit length; its warmth as a colour."""

    direction: tuple[float, float, float]
    ambient: float
    tint: Colour
    shadow: float


@dataclass(frozen=True)
class Sprite:
    """One object: where it stands, how it is turned, and what its surface looks like."""

    shape: str
    centre: tuple[float, float]
    radius: float
    angle: float  # radians
    squash: float  # a tilted view: the second axis is this much shorter, 0.5 to 1
    colours: tuple[Colour, Colour]
    pattern: str | None = None
    cell: float = 0.5  # of the pattern, in radii
    pattern_angle: float = 0.0
    pattern_shift: tuple[float, float] = (0.0, 0.0)
    bevel: float = 0.3  # width of the rounded rim, in radii
    gloss: float = 0.3
    lift: float = 0.08  # height above the ground, in radii: how far the shadow falls


def turned(angle: float) -> tuple[float, float]:
    """Cosine and sine, rounded so that platforms agree on every bit."""
    return round(math.cos(angle), 9), round(math.sin(angle), 9)


def _window(sprite: Sprite, side: int) -> tuple[slice, slice]:
    """Rows and columns that the sprite and its shadow can reach."""
    reach = sprite.radius * (1.15 + 1.5 * sprite.lift)
    spans = []
    for middle in (sprite.centre[1], sprite.centre[0]):
        first = max(0, math.floor((middle - reach) * side) - 2)
        last = min(side, math.ceil((middle + reach) * side) + 2)
        spans.append(slice(first, max(first, last)))
    return spans[0], spans[1]


def _coordinates(
    sprite: Sprite, side: int, window: tuple[slice, slice], shift: tuple[float, float] = (0.0, 0.0)
) -> tuple[np.ndarray, np.ndarray]:
    """The shape's own coordinates (u, v) of each pixel of the window, in radii."""
    rows, columns = window
    scale = 1 / sprite.radius
    x = (np.arange(columns.start, columns.stop, dtype=np.float32) + 0.5) * (1 / side)
    y = (np.arange(rows.start, rows.stop, dtype=np.float32) + 0.5) * (1 / side)
    x = ((x - sprite.centre[0]) * scale - shift[0])[None, :]
    y = ((y - sprite.centre[1]) * scale - shift[1])[:, None]
    cosine, sine = turned(sprite.angle)
    return x * cosine + y * sine, (y * cosine - x * sine) * (1 / sprite.squash)


def coverage(sprite: Sprite, side: int) -> np.ndarray:
    """Share of each pixel that the sprite covers, (side, side) float32."""
    whole = np.zeros((side, side), dtype=np.float32)
    window = _window(sprite, side)
    distance = sample_field(distance_field(sprite.shape), *_coordinates(sprite, side, window))
    whole[window] = soft_step(distance, 1 / (side * sprite.radius))
    return whole


def _albedo(sprite: Sprite, u: np.ndarray, v: np.ndarray, pixel: float) -> np.ndarray:
    """Surface colour (h, w, 3) before lighting."""
    first, second = (np.asarray(colour, dtype=np.float32) for colour in sprite.colours)
    if sprite.pattern is None:
        return np.broadcast_to(first, (*u.shape, 3))
    cosine, sine = turned(sprite.pattern_angle)
    across = u * cosine + v * sine + sprite.pattern_shift[0]
    along = v * cosine - u * sine + sprite.pattern_shift[1]
    weight = PATTERNS[sprite.pattern](across, along, sprite.cell, pixel)[..., None]
    return first + (second - first) * weight


def _shade(
    albedo: np.ndarray, distance: np.ndarray, sprite: Sprite, light: Light, pixel: float
) -> np.ndarray:
    """Lambert's diffuse term and a Blinn-Phong highlight on a surface with a rounded rim."""
    rim = np.clip(distance * (1 / sprite.bevel), 0, 1)
    height = rim * (2 - rim) * (0.55 * sprite.bevel)
    slope_y, slope_x = np.gradient(height, pixel)
    length = np.sqrt(slope_x * slope_x + slope_y * slope_y + 1)
    lx, ly, lz = light.direction
    diffuse = np.maximum((lz - slope_x * lx - slope_y * ly) / length, 0)
    norm = math.sqrt(lx * lx + ly * ly + (lz + 1) ** 2)
    half = np.maximum(((lz + 1) - slope_x * lx - slope_y * ly) / (length * norm), 0)
    for _ in range(5):  # to the power of 32
        half = half * half
    lit = albedo * (light.ambient + (1.12 - light.ambient) * diffuse)[..., None]
    return lit * np.asarray(light.tint, dtype=np.float32) + (sprite.gloss * half)[..., None]


def paint(canvas: np.ndarray, sprite: Sprite, light: Light) -> None:
    """Draw the sprite's shadow and then the sprite into the canvas, in place.

    Args:
        canvas: (side, side, 3) float32, 0 to 1.
        sprite: What to draw.
        light: Whence the light comes.
    """
    side = canvas.shape[0]
    window = _window(sprite, side)
    if canvas[window].size == 0 or min(canvas[window].shape[:2]) < 2:
        return
    field = distance_field(sprite.shape)
    pixel = 1 / (side * sprite.radius)
    fall = (-light.direction[0] * sprite.lift * 2, -light.direction[1] * sprite.lift * 2)
    behind = sample_field(field, *_coordinates(sprite, side, window, fall))
    shadow = soft_step(behind, max(2.2 * sprite.lift, 2 * pixel)) * light.shadow
    canvas[window] *= (1 - shadow)[..., None]
    u, v = _coordinates(sprite, side, window)
    distance = sample_field(field, u, v)
    alpha = soft_step(distance, pixel)[..., None]
    surface = _shade(_albedo(sprite, u, v, pixel), distance, sprite, light, pixel)
    canvas[window] += (np.clip(surface, 0, 1) - canvas[window]) * alpha
