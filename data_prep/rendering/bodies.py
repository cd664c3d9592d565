"""How a figure is drawn: its parts from the far ones to the near ones, for one view and one pose.

Units as in `data_prep.rendering.poses`.
"""

from data_prep.rendering.carried import CARRIED_THINGS
from data_prep.rendering.figures import Figure
from data_prep.rendering.outlines import Outline, Part, box, ellipse, limb, plain, rounded
from data_prep.rendering.painting import Colour
from data_prep.rendering.poses import (
    FEET,
    SHOULDER,
    Pose,
    half_width,
    left_hand_side,
    waist_height,
)

DARK: Colour = (0.13, 0.12, 0.14)


def _leg(figure: Figure, pose: Pose, side: int) -> list[Part]:
    waist, thick = waist_height(figure), 0.041 * figure.build
    if pose.view == "side":
        stride = 0.085 * pose.swing * side
        points = [(0.0, waist), (stride * 0.7 + 0.012, 0.74), (stride * 1.25, FEET - 0.03)]
        toe = [(-0.04, -0.05), (0.025, -0.045), (0.085, -0.01), (0.085, 0.035), (-0.04, 0.035)]
        toe = rounded(toe, 0.03)
    else:
        hip = 0.046 * figure.build * side
        points = [
            (hip, waist),
            (hip * 1.1, 0.74),
            (hip * 1.2, FEET - 0.03 - 0.012 * pose.swing * side),
        ]
        toe = ellipse(0.006 * side, 0.0, 0.04, 0.034)
    foot = [(points[2][0] + x, points[2][1] + 0.02 + y) for x, y in toe]
    colour = figure.leg_colour if figure.legs == "trousers" else figure.skin
    leg = Part(limb(points, [thick * 1.15, thick * 0.88, thick * 0.66]), (colour, colour))
    parts = [plain(foot, figure.shoes), leg]
    if figure.legs == "shorts":  # wider than the knee, and cut off straight
        (ax, ay), (bx, by) = points[:2]
        cut = [(ax - 0.055 * figure.build, ay), (ax + 0.055 * figure.build, ay)]
        cut += [(bx + 0.05 * figure.build, by + 0.015), (bx - 0.05 * figure.build, by + 0.015)]
        parts.append(plain(cut, figure.leg_colour))
    return parts


def _skirt(figure: Figure, pose: Pose) -> list[Part]:
    if figure.legs != "skirt":
        return []
    top, bottom = half_width(figure, pose) * 0.86, half_width(figure, pose) * 0.95 + 0.045
    waist = waist_height(figure) - 0.03
    hem = [(bottom, 0.75), (0.0, 0.768), (-bottom, 0.75)]
    return [plain([(-top, waist), (top, waist), *hem], figure.leg_colour)]


def _torso(figure: Figure, pose: Pose) -> list[Part]:
    wide, waist = half_width(figure, pose), waist_height(figure)
    hem = waist + (0.2 if figure.garment == "coat" else 0.035)
    flare = 1.12 if figure.garment == "coat" else 0.86
    outline: Outline = [(-wide * 0.5, 0.168), (wide * 0.5, 0.168), (wide * 1.02, SHOULDER + 0.005)]
    outline += [(wide * 0.84, waist - 0.06), (wide * flare, hem), (-wide * flare, hem)]
    outline += [(-wide * 0.84, waist - 0.06), (-wide * 1.02, SHOULDER + 0.005)]
    centre = (0.0, (SHOULDER + waist) / 2 - 0.01)
    torso = Part([rounded(outline, 0.04)], figure.top, figure.pattern, 0.092, centre)
    neck = plain(box(-0.026, 0.12, 0.026, 0.185), figure.skin)
    return [neck, torso]


def _arm(figure: Figure, pose: Pose, side: int) -> tuple[list[Part], tuple[float, float]]:
    """An arm, and where its hand is. Sleeves are of the first colour, short ones on a tee."""
    wide, thick = half_width(figure, pose), 0.031 * figure.build
    if pose.view == "side":
        swing = -0.09 * pose.swing * side
        points = [(-0.005, SHOULDER + 0.02), (swing * 0.5 - 0.012, 0.355), (swing + 0.014, 0.49)]
    else:
        reach = 0.004 * pose.swing * side
        points = [(side * wide * 0.92, SHOULDER + 0.018), (side * (wide + 0.026), 0.355)]
        points += [(side * (wide + 0.03) + reach, 0.492)]
    lift = figure.carried == "umbrella" and side == figure.carrying_side * left_hand_side(pose)
    if lift:
        ahead = 0.075 if pose.view == "side" else side * (wide + 0.012)
        points = [points[0], (ahead * 1.08, 0.36), (ahead, 0.235)]
    pieces = limb(points, [thick * 1.12, thick * 0.94, thick * 0.8])
    hand, sleeve = plain(ellipse(*points[2], 0.026, 0.029), figure.skin), figure.top[0]
    if figure.garment == "tee":
        bare = Part(pieces, (figure.skin, figure.skin))
        return [hand, bare, plain(limb(points[:2], [thick * 1.2, thick])[0], sleeve)], points[2]
    return [hand, Part(pieces, (sleeve, sleeve))], points[2]


def _face(pose: Pose) -> list[Part]:
    if pose.view == "front":
        eyes = [plain(ellipse(x, 0.083, 0.0085, 0.0115), DARK, 0.3) for x in (-0.024, 0.024)]
        return [*eyes, plain(box(-0.016, 0.117, 0.016, 0.124), (0.55, 0.25, 0.24), 0.3)]
    if pose.view == "side":
        return [plain(ellipse(0.036, 0.083, 0.0085, 0.0115), DARK, 0.3)]
    return []


_LONG = {  # hair that falls on the shoulders: seen from the side (True) it lies at the back
    False: [(-0.07, 0.02), (0.07, 0.02), (0.088, 0.22), (-0.088, 0.22)],
    True: [(-0.05, 0.02), (0.0, 0.02), (-0.02, 0.22), (-0.1, 0.22)],
}


def _hair(figure: Figure, pose: Pose) -> tuple[list[Part], list[Part]]:
    """Hair behind the head and before it."""
    style, behind, front = figure.hairstyle, [], []
    back = -0.018 if pose.view == "side" else 0.0
    if style == "long":
        behind.append(rounded(_LONG[pose.view == "side"], 0.04))
    if style == "curls":
        behind.append(ellipse(back, 0.062, 0.09, 0.085))
    if style == "bun":
        behind.append(ellipse(-0.07 if pose.view == "side" else 0.0, 0.008, 0.034, 0.034))
    if pose.view == "back":
        front.append(ellipse(0.0, 0.07, 0.065, 0.074))
        front += behind if style in ("long", "bun") else []
    elif pose.view == "side":
        front.append(
            [
                (0.05, 0.05),
                (0.03, 0.008),
                (-0.03, 0.0),
                (-0.066, 0.05),
                (-0.056, 0.12),
                (-0.02, 0.1),
                (-0.012, 0.055),
            ]
        )
    else:
        front.append(
            [
                (-0.063, 0.075),
                (-0.052, 0.02),
                (0.0, -0.004),
                (0.052, 0.02),
                (0.063, 0.075),
                (0.038, 0.046),
                (-0.02, 0.04),
            ]
        )
    return [plain(part, figure.hair) for part in behind], [
        plain(part, figure.hair) for part in front
    ]


def _hat(figure: Figure, pose: Pose) -> list[Part]:
    colour = figure.top[1]
    crown = rounded([(-0.07, 0.055), (-0.066, -0.03), (0.066, -0.03), (0.07, 0.055)], 0.045)
    if figure.hat == "beanie":
        band = rounded(box(-0.072, 0.022, 0.072, 0.058), 0.015)
        bobble = ellipse(0.0, -0.03, 0.024, 0.024)
        return [
            plain(crown, colour),
            plain(band, figure.carried_colour),
            plain(bobble, figure.carried_colour),
        ]
    if figure.hat == "brim":
        return [plain(crown, colour), plain(ellipse(0.0, 0.045, 0.125, 0.022), colour)]
    if figure.hat == "cap":
        peaks = {
            "front": ellipse(0.0, 0.046, 0.056, 0.02),
            "side": ellipse(0.085, 0.044, 0.05, 0.014),
        }
        peak = [plain(peaks[pose.view], figure.carried_colour)] if pose.view in peaks else []
        return [plain(crown, colour), *peak]
    return []


def _head(figure: Figure, pose: Pose) -> tuple[list[Part], list[Part]]:
    """The hair that hangs behind the shoulders, and the rest of the head."""
    behind, front = _hair(figure, pose)
    nose = [plain(ellipse(0.064, 0.094, 0.014, 0.012), figure.skin)] if pose.view == "side" else []
    head = plain(ellipse(0.0, 0.078, 0.06, 0.072), figure.skin)
    return behind, [*nose, head, *_face(pose), *front, *_hat(figure, pose)]


def body(figure: Figure, pose: Pose) -> list[Part]:
    """The parts of a figure in the order of painting.

    Args:
        figure: Whom to draw.
        pose: From where it is seen, and how its limbs swing.
    """
    near = figure.carrying_side * left_hand_side(pose)
    carrying_arm, hand = _arm(figure, pose, near)
    other_arm, _ = _arm(figure, pose, -near)
    behind, before = [], []
    if figure.carried in CARRIED_THINGS:
        behind, before = CARRIED_THINGS[figure.carried](figure, pose, hand)
    legs = [*_leg(figure, pose, -1), *_leg(figure, pose, 1)]
    middle = [*legs, *_skirt(figure, pose), *_torso(figure, pose)]
    if pose.view == "side" and near > 0:
        middle = [*other_arm, *middle]
        arms = carrying_arm
    elif pose.view == "side":
        middle, arms = [*carrying_arm, *middle], other_arm
    else:
        arms = [*other_arm, *carrying_arm]
    hair, head = _head(figure, pose)
    middle = [*hair, *middle]
    if figure.carried in ("backpack", "satchel"):
        return [*behind, *middle, *before, *arms, *head]
    return [*behind, *middle, *arms, *head, *before]
