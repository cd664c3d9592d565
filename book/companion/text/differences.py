"""Differences between runs and what may be said of them: one phrase for all pages.

A difference is significant where its 95 % interval leaves out zero (`dreal_lib.comparison.paired`).
"""

import math
from collections.abc import Iterable, Mapping, Sequence

from book.companion.text.tables import NOTHING, Cell, Marked, signed, spread_text
from dreal_lib.comparison.paired import Difference, Summary
from dreal_lib.comparison.rows import NetworkComparison, Row

DECIMALS = 3  # of measures of attention maps, most of which lie below 1
CHANGE_COLUMNS = ("Difference", "95 % interval")  # as `change_cells` has them, before n
NOT_RUN, NO_PAIR = "not run", "no pair of runs"
NO_RUNS = "No pair of a baseline and a reinforced run at this scale."
BETTER = {  # which way is better -> the words for a lower and for a higher number
    "lower": {"lower": "significantly better", "higher": "significantly worse"},
    "higher": {"lower": "significantly worse", "higher": "significantly better"},
    "": {"lower": "significantly lower", "higher": "significantly higher"},
}


def interval_text(difference: Difference | None, decimals: int = 2) -> str:
    """The interval, or a dash where there is none."""
    if difference is None or difference.low is None or difference.high is None:
        return NOTHING
    return f"{signed(difference.low, decimals)} to {signed(difference.high, decimals)}"


def p_text(value: float) -> str:
    """A p value, or a dash where it is undefined (NaN)."""
    if math.isnan(value):
        return NOTHING
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def change_cells(difference: Difference | None, decimals: int = DECIMALS) -> tuple[str, str, str]:
    """Mean, interval and n of a difference; dashes without one."""
    if difference is None:
        return (NOTHING,) * 3
    mean = signed(difference.mean, decimals)
    return mean, interval_text(difference, decimals), str(difference.n)


def difference_text(difference: Difference | None, decimals: int = 2) -> str:
    """Mean and standard deviation over seeds, or a dash."""
    if difference is None:
        return NOTHING
    return f"{signed(difference.mean, decimals)} ± {spread_text(difference.spread, decimals)}"


def brief_text(difference: Difference, decimals: int = 2, better: str = "") -> str:
    """Mean and standard deviation, and if it is significant, that and which way."""
    word = BETTER[better].get(difference.verdict)
    return difference_text(difference, decimals) + (f" ({word})" if word else "")


def effect_text(
    difference: Difference | None, unit: str = "", decimals: int = 2, better: str = ""
) -> str:
    """A difference with standard deviation, interval and n, and whether it is significant.

    Args:
        difference: Paired by seed, or None without a pair.
        unit: What follows the number, e.g. " points".
        decimals: Of each number.
        better: "lower" or "higher" if one of the two is better, else empty.
    """
    if difference is None:
        return NOT_RUN
    mean = f"{difference_text(difference, decimals)}{unit}"
    if difference.verdict == "untried":
        why = "one seed" if difference.n == 1 else "no spread"
        return f"{mean} (n = {difference.n}: {why}, no interval)"
    words = BETTER[better] | {"undecided": "not significant"}
    return (
        f"{mean} (95 % interval {interval_text(difference, decimals)}, n = {difference.n}), "
        f"{words[difference.verdict]}"
    )


def effects_text(changes: Mapping[str, Difference | None], **how) -> str:
    """Several differences in one phrase, by what they are of; `how` as for `effect_text`."""
    return "; ".join(f"{subject} {effect_text(one, **how)}" for subject, one in changes.items())


def marked(text: str, row: Row, scale: str) -> Cell:
    return text if row.origin is None else Marked(text, row.origin, scale)


def summary_text(summary: Summary | None) -> str:
    return NOT_RUN if summary is None else f"{summary.mean:.2f} ± {spread_text(summary.spread)}"


def lower_text(gains: Sequence[float], which: str, than: str) -> str:
    """How many printed errors are lower than another, and by how much."""
    return (
        f"In the paper {sum(gain > 0 for gain in gains)} of {len(gains)} {which} have a lower "
        f"error than {than}, by {min(gains):.2f} to {max(gains):.2f} points of top-1 error"
    )


def by_seed_text(differences: Mapping[int, float]) -> str:
    """Each seed's difference, in the order of the seeds."""
    return ", ".join(signed(value) for _, value in sorted(differences.items())) or NOTHING


def unpaired_sentences(pairs: Iterable[NetworkComparison]) -> list[str]:
    """Why there is no difference where both rows were run: no number is left out unexplained."""
    return [
        f"No difference between {pair.baseline.recipe} and {pair.reinforced.recipe}: "
        f"{pair.unpaired}."
        for pair in pairs
        if pair.unpaired
    ]


DIFFERENCE_COLUMNS = ("95 % interval", "n", "Pairs")


def error_cells(row: Row) -> tuple[str, str]:
    """Top-1 error of the last and of the best epoch, mean and spread; "not run" without a run."""
    last, best = (summary_text(row.summary("top1_error_pct", epoch)) for epoch in ("last", "best"))
    return last, best


def variation_cells(pair: NetworkComparison) -> tuple[str, ...]:
    """Errors of the changed row, its difference, the interval, seeds and pairs of seeds."""
    difference = pair.difference("top1_error_pct")
    return (
        *error_cells(pair.reinforced),
        difference_text(difference),
        interval_text(difference),
        str(len(pair.reinforced.seeds)),
        str(difference.n if difference else 0),
    )
