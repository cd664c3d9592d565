"""When a number bears a statement out: True, False, or None where runs leave it open.

A difference counts where its 95 % interval leaves out zero. Where the paper prints a size, which
comes from one pair of runs, it has to lie where one more pair of ours would (95 %). The more ours
scatter, the easier that is; so where that half-width is not below the printed size, agreement says
nothing.
"""

import math
from collections.abc import Callable, Sequence

from book.companion.claims.measured import Measured
from dreal_lib.comparison.paired import Difference


def prediction_half_width(difference: Difference) -> float:
    """Half of the 95 % interval in which one more difference would lie; NaN without an interval.

    It is sqrt(n + 1) times as wide as that of the mean.
    """
    if difference.low is None or difference.high is None:
        return math.nan
    return (difference.high - difference.low) / 2 * math.sqrt(difference.n + 1)


def holds_size(difference: Difference | None, claimed: str, printed: float | None) -> bool | None:
    """Whether a difference has the claimed direction, and the printed size if there is one.

    Args:
        difference: Ours, or None.
        claimed: "lower" or "higher".
        printed: The paper's difference, or None.
    """
    if difference is None or difference.verdict == "untried":
        return None
    half = prediction_half_width(difference)
    if printed is not None and abs(difference.mean - printed) > half:
        return False
    if difference.verdict == "undecided":
        return None
    if difference.verdict != claimed:
        return False
    return True if printed is None or half < abs(printed) else None


def not_lower(difference: Difference | None, printed: float | None) -> bool | None:
    """Whether no fall is significant; None if one of the printed size could have been missed."""
    if difference is None or difference.low is None or difference.high is None:
        return None
    if difference.verdict == "lower":
        return False
    return True if (difference.high - difference.low) / 2 < abs(printed or 0.0) else None


def marginal(difference: Difference | None, printed: float | None) -> bool | None:
    """Whether a fall is at most of the printed size, and no rise larger than it."""
    if difference is None or difference.low is None or difference.high is None:
        return None
    most = abs(printed or 0.0)
    if difference.low > 0 or difference.high < -most:
        return False  # no benefit, or more than a marginal one
    return True if -most <= difference.low and difference.high <= most else None


def agrees(difference: Difference | None, printed: float | None) -> bool | None:
    """Whether zero lies where one more run would; None if that is wider than the printed size."""
    if difference is None or difference.verdict == "untried":
        return None
    half = prediction_half_width(difference)
    if abs(difference.mean) > half:
        return False
    return True if half < abs(printed or 0.0) else None


def largest(found: Measured, others: Sequence[Measured]) -> bool:
    """Whether no other part of the statement changes more."""
    changes = [abs(one.difference.mean) for one in others if one.difference]
    return found.difference is not None and abs(found.difference.mean) == max(changes)


Rule = Callable[[Measured, float | None, Sequence[Measured]], bool | None]

RULES: dict[str, Rule] = {
    "lower": lambda found, printed, _: holds_size(found.difference, "lower", printed),
    "higher": lambda found, printed, _: holds_size(found.difference, "higher", printed),
    "not_lower": lambda found, printed, _: not_lower(found.difference, printed),
    "marginal": lambda found, printed, _: marginal(found.difference, printed),
    "agrees": lambda found, printed, _: agrees(found.difference, printed),
    "above_zero": lambda found, *_: found.difference is not None and found.difference.mean > 0,
    "largest": lambda found, _, others: largest(found, others),
    "whole": lambda found, *_: found.ends is not None and found.ends[1] == 1,
    "every": lambda found, *_: found.count is not None and len(set(found.count)) == 1,
}


def all_of(answers: Sequence[bool | None]) -> bool | None:
    """Whether all hold: not if one does not; unknown if one is unknown."""
    if False in answers:
        return False
    return None if None in answers or not answers else True
