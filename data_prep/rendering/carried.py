"""What figures carry. A thing hangs on one side of its figure, so that a front view and a back view
show it on different sides of the picture. Units as in `data_prep.rendering.poses`.
"""

from collections.abc import Callable

from data_prep.rendering.figures import Figure
from data_prep.rendering.outlines import Part, box, ellipse, plain, rounded
from data_prep.rendering.painting import Colour
from data_prep.rendering.poses import SHOULDER, Pose, half_width, left_hand_side, waist_height

WHEEL: Colour = (0.13, 0.12, 0.14)
METAL: Colour = (0.55, 0.56, 0.6)

Carrying = tuple[list[Part], list[Part]]  # behind the figure, before it


def _backpack(figure: Figure, pose: Pose, hand: tuple[float, float]) -> Carrying:
    colour, waist = figure.carried_colour, waist_height(figure)
    if pose.view == "back":
        sack = rounded(box(-0.085, SHOULDER, 0.085, waist - 0.03), 0.045)
        pocket = rounded(box(-0.055, waist - 0.15, 0.055, waist - 0.055), 0.025)
        return [], [plain(sack, colour), plain(pocket, figure.top[1])]
    if pose.view == "side":
        sack = rounded(box(-0.17, SHOULDER, -0.03, waist - 0.04), 0.05)
        return [plain(sack, colour)], []
    wide = half_width(figure, pose)
    straps = [box(x - 0.014, SHOULDER - 0.02, x + 0.014, 0.37) for x in (-wide * 0.58, wide * 0.58)]
    return [], [plain(strap, colour) for strap in straps]


def _satchel(figure: Figure, pose: Pose, hand: tuple[float, float]) -> Carrying:
    colour, waist = figure.carried_colour, waist_height(figure)
    side, wide = figure.carrying_side * left_hand_side(pose), half_width(figure, pose)
    strap = [(-side * wide * 0.7 - 0.012, 0.19), (-side * wide * 0.7 + 0.012, 0.19)]
    strap += [(side * wide * 0.9 + 0.012, waist), (side * wide * 0.9 - 0.012, waist)]
    middle = 0.0 if pose.view == "side" else side * (wide + 0.005)
    bag = rounded(box(middle - 0.072, waist - 0.02, middle + 0.072, waist + 0.1), 0.025)
    flap = box(middle - 0.066, waist - 0.012, middle + 0.066, waist + 0.036)
    bag_parts = [plain(bag, colour), plain(flap, figure.top[1])]
    if pose.view == "side" and side < 0:
        return bag_parts, [plain(strap, colour)]
    return [], [plain(strap, colour), *bag_parts]


def _suitcase(figure: Figure, pose: Pose, hand: tuple[float, float]) -> Carrying:
    x = (
        -0.2
        if pose.view == "side"
        else hand[0] + 0.035 * figure.carrying_side * left_hand_side(pose)
    )
    handle = box(x - 0.008, hand[1], x + 0.008, 0.7)
    case = rounded(box(x - 0.075, 0.68, x + 0.075, 0.955), 0.03)
    band = box(x - 0.074, 0.78, x + 0.074, 0.82)
    wheels = [plain(ellipse(x + shift, 0.968, 0.016, 0.016), WHEEL) for shift in (-0.05, 0.05)]
    parts = [plain(handle, METAL), *wheels, plain(case, figure.carried_colour)]
    return [], [*parts, plain(band, figure.top[1], 0.3)]


def _handbag(figure: Figure, pose: Pose, hand: tuple[float, float]) -> Carrying:
    x, y = hand
    grip = [box(x - 0.045, y, x - 0.032, y + 0.06), box(x + 0.032, y, x + 0.045, y + 0.06)]
    grip.append(box(x - 0.045, y, x + 0.045, y + 0.013))
    bag = rounded(
        [(x - 0.06, y + 0.05), (x + 0.06, y + 0.05), (x + 0.08, y + 0.16), (x - 0.08, y + 0.16)],
        0.03,
    )
    clasp = ellipse(x, y + 0.075, 0.014, 0.014)
    colour = figure.carried_colour
    parts = [
        *(plain(part, colour) for part in grip),
        plain(bag, colour),
        plain(clasp, figure.top[1]),
    ]
    return (
        ([], parts)
        if pose.view != "side" or figure.carrying_side * left_hand_side(pose) > 0
        else (parts, [])
    )


def _umbrella(figure: Figure, pose: Pose, hand: tuple[float, float]) -> Carrying:
    x, middle = hand[0], hand[0] * 0.45
    stick = plain(
        [(x - 0.008, 0.27), (x + 0.008, 0.27), (middle + 0.007, -0.1), (middle - 0.007, -0.1)],
        METAL,
    )
    rim, crown = 0.0, -0.15
    dome = [
        (-0.25, rim),
        (-0.225, -0.07),
        (-0.13, -0.13),
        (0.0, crown),
        (0.13, -0.13),
        (0.225, -0.07),
    ]
    dome += [
        (0.25, rim),
        (0.165, -0.018),
        (0.083, rim),
        (0.0, -0.018),
        (-0.083, rim),
        (-0.165, -0.018),
    ]
    gores = [[(0.0, crown), (-0.165, -0.018), (-0.083, rim), (0.0, -0.018)]]
    gores.append([(0.0, crown), (0.165, -0.018), (0.25, rim), (0.225, -0.07), (0.13, -0.13)])
    moved = [[(px + middle, py) for px, py in outline] for outline in (dome, *gores)]
    cloth = [plain(moved[0], figure.carried_colour)]
    cloth += [plain(outline, figure.top[1], 0.4) for outline in moved[1:]]
    return [stick], cloth


CARRIED_THINGS: dict[str, Callable[[Figure, Pose, tuple[float, float]], Carrying]] = {
    "backpack": _backpack,
    "satchel": _satchel,
    "suitcase": _suitcase,
    "umbrella": _umbrella,
    "handbag": _handbag,
}
