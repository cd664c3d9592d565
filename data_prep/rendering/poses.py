"""From where a figure is seen and how it stands: what its body and the things it carries share.

The unit is the figure's stature: the crown is at y = 0, the ground at y = 1, x = 0 is the middle.
In a side view the figure looks towards positive x, and `Pose.facing` tells which of its sides we
see: a picture of a figure that looks to the left is painted mirrored.
"""

from dataclasses import dataclass

from data_prep.rendering.figures import Figure

VIEWS = ("front", "back", "side")
SHOULDER, FEET = 0.2, 0.965


@dataclass(frozen=True)
class Pose:
    """A view, the swing of the limbs (-1 to 1), and in a side view where the figure looks.

    Facing to the right (1) a figure shows its right side, to the left (-1) its left side.
    """

    view: str
    swing: float
    facing: int = 1


def left_hand_side(pose: Pose) -> int:
    """Where its left hand is: 1 is right of the middle or, from the side, near to the viewer."""
    return {"front": 1, "back": -1, "side": -pose.facing}[pose.view]


def waist_height(figure: Figure) -> float:
    return 1 - figure.leg_share


def half_width(figure: Figure, pose: Pose) -> float:
    """Half the width at the shoulders; a figure seen from the side is narrower."""
    return (0.075 if pose.view == "side" else 0.108) * figure.build
