"""One picture of the embedded set: ground, distractors, the object, occluders, light and noise.

The class is the pair of the object's shape and texture. Each shape occurs with two textures and
each texture on two shapes, and distractors carry the textures on shapes of no class (or small
shapes without a texture), so neither colour nor shape nor texture alone tells the class.
"""

import math
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image

from data_prep.rendering.backgrounds import GROUNDS, noise
from data_prep.rendering.colours import contrasting_pair, muted_palette, vivid
from data_prep.rendering.painting import Light, Sprite, coverage, paint
from data_prep.rendering.textures import PATTERNS

CLASSES: tuple[tuple[str, str], ...] = tuple(
    (texture, shape)
    for shape, textures in {
        "star": ("striped", "dotted"),
        "heart": ("dotted", "checkered"),
        "cross": ("checkered", "ringed"),
        "gear": ("ringed", "zigzag"),
        "moon": ("zigzag", "striped"),
    }.items()
    for texture in textures
)
DISTRACTOR_SHAPES = ("disc", "square", "triangle", "hexagon", "pebble")
OCCLUDER_SHAPES = ("leaf", "twig", "pebble")
OVERSAMPLING = 2  # pictures are painted at this multiple of their side, then reduced
LEAST_VISIBLE = 0.7  # share of the object that occluders leave


@dataclass(frozen=True)
class Scene:
    """Everything that is drawn by lot before painting, apart from the ground and the noise."""

    target: Sprite
    distractors: tuple[Sprite, ...]
    occluders: tuple[Sprite, ...]
    light: Light
    ground: str


def class_name(index: int) -> str:
    """Folder name of a class: "striped_star"."""
    return "_".join(CLASSES[index])


def _light(rng: np.random.Generator) -> Light:
    around, height = rng.uniform(0, 2 * math.pi), rng.uniform(0.55, 0.9)
    flat = math.sqrt(1 - height * height)
    warmth = rng.uniform(-0.07, 0.07)
    direction = (round(flat * math.cos(around), 9), round(flat * math.sin(around), 9), height)
    tint = (1 + warmth, 1.0, 1 - warmth)
    return Light(direction, rng.uniform(0.35, 0.55), tint, rng.uniform(0.3, 0.6))


def _surface(rng: np.random.Generator, pattern: str | None) -> dict:
    """The arguments of a sprite that describe its surface."""
    return {
        "colours": contrasting_pair(rng),
        "pattern": pattern,
        "cell": rng.uniform(0.44, 0.58),
        "pattern_angle": rng.uniform(0, math.pi),
        "pattern_shift": (rng.uniform(-0.25, 0.25), rng.uniform(-0.25, 0.25)),
        "bevel": rng.uniform(0.2, 0.34),
        "gloss": rng.uniform(0.1, 0.5),
    }


def _target(rng: np.random.Generator, index: int) -> Sprite:
    texture, shape = CLASSES[index]
    radius = rng.uniform(0.28, 0.42)
    room = max(0.5 - 0.95 * radius, 0.05)
    centre = (0.5 + rng.uniform(-room, room), 0.5 + rng.uniform(-room, room))
    angle, squash = rng.uniform(0, 2 * math.pi), rng.uniform(0.78, 1.0)
    return Sprite(shape, centre, radius, angle, squash, **_surface(rng, texture))


def _distractor(rng: np.random.Generator, target: Sprite) -> Sprite:
    """A patterned shape of no class, or a small plain one of a class's shape, beside the object."""
    textures = sorted(PATTERNS)
    if rng.random() < 0.75:
        shape = DISTRACTOR_SHAPES[int(rng.integers(len(DISTRACTOR_SHAPES)))]
        pattern = textures[int(rng.integers(len(textures)))] if rng.random() < 0.75 else None
        radius = rng.uniform(0.1, 0.19)
    else:
        shape = CLASSES[int(rng.integers(len(CLASSES)))][1]
        pattern, radius = None, rng.uniform(0.08, 0.13)
    for _ in range(8):
        centre = (rng.uniform(-0.02, 1.02), rng.uniform(-0.02, 1.02))
        apart = math.dist(centre, target.centre)
        if apart > target.radius + 0.4 * radius:
            break
    angle, squash = rng.uniform(0, 2 * math.pi), rng.uniform(0.75, 1.0)
    surface = _surface(rng, pattern)
    return Sprite(shape, centre, radius, angle, squash, lift=0.12, **surface)


def _occluder(rng: np.random.Generator, target: Sprite) -> Sprite:
    """A leaf, twig or pebble across the object's rim."""
    shape = OCCLUDER_SHAPES[int(rng.integers(len(OCCLUDER_SHAPES)))]
    around, share = rng.uniform(0, 2 * math.pi), rng.uniform(0.35, 0.95) * target.radius
    centre = (
        round(target.centre[0] + share * math.cos(around), 9),
        round(target.centre[1] + share * math.sin(around), 9),
    )
    radius = rng.uniform(0.14, 0.26) * {"leaf": 1.0, "twig": 1.5, "pebble": 0.55}[shape]
    colours = (vivid(rng) if rng.random() < 0.5 else muted_palette(rng, 1)[0],) * 2
    angle, gloss = rng.uniform(0, 2 * math.pi), rng.uniform(0.05, 0.3)
    return Sprite(shape, centre, radius, angle, 1.0, colours, bevel=0.22, gloss=gloss, lift=0.2)


def draw_scene(rng: np.random.Generator, index: int) -> Scene:
    """Draw a scene with an object of class `index`; it does not depend on the picture's size."""
    target = _target(rng, index)
    light = _light(rng)
    grounds = sorted(GROUNDS)
    ground = grounds[int(rng.integers(len(grounds)))]
    distractors = tuple(_distractor(rng, target) for _ in range(int(rng.integers(1, 5))))
    wanted = int(rng.choice(3, p=(0.35, 0.45, 0.2)))
    occluders = tuple(_occluder(rng, target) for _ in range(wanted))
    return Scene(target, distractors, occluders, light, ground)


def _visible(scene: Scene, side: int) -> tuple[np.ndarray, tuple[Sprite, ...]]:
    """The object's visible share of each pixel, and the occluders that leave enough of it."""
    whole = coverage(scene.target, side)
    least = LEAST_VISIBLE * float(whole.sum(dtype=np.float64))
    visible, kept = whole, []
    for occluder in scene.occluders:
        for shrink in (1.0, 0.7, 0.5):
            smaller = replace(occluder, radius=occluder.radius * shrink)
            left = visible * (1 - coverage(smaller, side))
            if float(left.sum(dtype=np.float64)) >= least:
                visible, kept = left, [*kept, smaller]
                break
    return visible, tuple(kept)


def _finish(rng: np.random.Generator, canvas: np.ndarray, size: int) -> np.ndarray:
    """Uneven light, reduction to `size`, and a camera's noise: (size, size, 3) uint8."""
    side = canvas.shape[0]
    axis = (np.arange(side, dtype=np.float32) + 0.5) * (1 / side) - 0.5
    tilt_x, tilt_y, vignette = (
        rng.uniform(-0.25, 0.25),
        rng.uniform(-0.25, 0.25),
        rng.uniform(0, 0.5),
    )
    x, y = axis[None, :], axis[:, None]
    canvas *= (1 + tilt_x * x + tilt_y * y - vignette * (x * x + y * y))[..., None]
    fine = np.clip(canvas * 255 + 0.5, 0, 255).astype(np.uint8)
    reduced = np.asarray(Image.fromarray(fine).reduce(OVERSAMPLING), dtype=np.float32)
    level = rng.uniform(1.5, 6.0)
    grain = rng.standard_normal(reduced.shape, dtype=np.float32) * level
    return np.clip(reduced + grain + 0.5, 0, 255).astype(np.uint8)


def render(rng: np.random.Generator, index: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw and paint one picture of class `index`.

    Args:
        rng: The only source of chance.
        index: Class, a position in CLASSES.
        size: Side of the picture in pixels, at least 16.

    Returns:
        The picture, (size, size, 3) uint8, and the mask of the object's visible pixels, (size,
        size) uint8, 0 or 255: pixels of which the object covers half or more.
    """
    scene = draw_scene(rng, index)
    side = size * OVERSAMPLING
    visible, occluders = _visible(scene, side)
    canvas = GROUNDS[scene.ground](rng, side).astype(np.float32)
    canvas = canvas * (1 + 0.1 * noise(rng, side, 12, octaves=2))[..., None]
    for sprite in (*scene.distractors, scene.target, *occluders):
        paint(canvas, sprite, scene.light)
    share = np.clip(visible * 255 + 0.5, 0, 255).astype(np.uint8)
    mask = np.asarray(Image.fromarray(share).reduce(OVERSAMPLING)) >= 128
    return _finish(rng, canvas, size), mask.astype(np.uint8) * 255
