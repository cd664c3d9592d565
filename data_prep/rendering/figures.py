"""Who the rendered figures are: the fixed look of an identity, in families that share colours.

A family is four figures in tops of the same two colours. Its members differ in the top's pattern,
in the colour of the legs and in what they carry, and may differ in garment, hair, hat and build:
colour narrows the choice to a family, details decide. They are drawings of no real person.
"""

from dataclasses import dataclass

import numpy as np

from data_prep.rendering.colours import luminance
from data_prep.rendering.painting import Colour

FAMILY = 4
GARMENTS = ("tee", "jumper", "coat")
LEGS = ("trousers", "shorts", "skirt")
PATTERNS = ("hooped", "striped", "checkered", "dotted", "zigzag", "yoke", "sash", "panel")
CARRIED = ("backpack", "satchel", "suitcase", "umbrella", "handbag", "nothing")
HATS = ("cap", "beanie", "brim")
HAIRSTYLES = ("short", "long", "bun", "curls")

CLOTHES: dict[str, Colour] = {
    "red": (0.80, 0.16, 0.18),
    "orange": (0.93, 0.52, 0.15),
    "mustard": (0.88, 0.74, 0.22),
    "green": (0.24, 0.58, 0.28),
    "teal": (0.10, 0.55, 0.56),
    "sky": (0.46, 0.70, 0.90),
    "blue": (0.18, 0.34, 0.74),
    "violet": (0.48, 0.28, 0.64),
    "pink": (0.92, 0.56, 0.68),
    "brown": (0.46, 0.31, 0.20),
    "cream": (0.93, 0.90, 0.80),
    "black": (0.15, 0.15, 0.19),
}
LEG_COLOURS = ("black", "blue", "brown", "cream", "green", "red")
SKINS: tuple[Colour, ...] = (
    (0.96, 0.80, 0.68),
    (0.86, 0.66, 0.50),
    (0.68, 0.48, 0.34),
    (0.46, 0.31, 0.22),
)
HAIRS: tuple[Colour, ...] = (
    (0.14, 0.11, 0.11),
    (0.36, 0.22, 0.13),
    (0.66, 0.34, 0.14),
    (0.85, 0.70, 0.38),
    (0.70, 0.70, 0.72),
)


@dataclass(frozen=True)
class Figure:
    """Everything that stays with an identity, whatever camera sees it."""

    skin: Colour
    hair: Colour
    hairstyle: str
    hat: str | None
    garment: str
    top: tuple[Colour, Colour]
    pattern: str
    legs: str
    leg_colour: Colour
    shoes: Colour
    carried: str
    carried_colour: Colour
    carrying_side: int  # 1 is the figure's left hand
    build: float  # width, about 1
    stature: float  # height, at most 1
    leg_share: float  # height of the waist above the ground, in heights


def _pick(rng: np.random.Generator, choices: tuple) -> object:
    return choices[int(rng.integers(len(choices)))]


def _top_colours(rng: np.random.Generator) -> tuple[Colour, Colour]:
    """Two clothing colours between which a pattern can be seen at every camera."""
    names = tuple(CLOTHES)
    while True:
        first, second = CLOTHES[_pick(rng, names)], CLOTHES[_pick(rng, names)]
        if abs(luminance(first) - luminance(second)) > 0.28:
            return first, second


def family(rng: np.random.Generator) -> tuple[Figure, ...]:
    """FAMILY figures in one pair of top colours; no two share a pattern, leg colour or load.

    Args:
        rng: The only source of chance.
    """
    top = _top_colours(rng)
    leg_colours = rng.permutation(len(LEG_COLOURS))
    patterns = rng.permutation(len(PATTERNS))
    carried = rng.permutation(len(CARRIED))
    members = []
    for i in range(FAMILY):
        hat = _pick(rng, HATS) if rng.random() < 0.4 else None
        members.append(
            Figure(
                skin=_pick(rng, SKINS),
                hair=_pick(rng, HAIRS),
                hairstyle=_pick(rng, HAIRSTYLES),
                hat=hat,
                garment=_pick(rng, GARMENTS),
                top=top,
                pattern=PATTERNS[patterns[i]],
                legs=_pick(rng, LEGS),
                leg_colour=CLOTHES[LEG_COLOURS[leg_colours[i]]],
                shoes=CLOTHES[_pick(rng, ("black", "brown", "cream", "red"))],
                carried=CARRIED[carried[i]],
                carried_colour=CLOTHES[_pick(rng, tuple(CLOTHES))],
                carrying_side=1 if rng.random() < 0.5 else -1,
                build=rng.uniform(0.88, 1.2),
                stature=rng.uniform(0.9, 1.0),
                leg_share=rng.uniform(0.46, 0.52),
            )
        )
    return tuple(members)
