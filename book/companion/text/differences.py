"""Differences between runs and what may be claimed of them, as short texts."""

from collections.abc import Mapping

from book.companion.text.tables import NOTHING, Cell, Marked, signed, spread_text
from dreal_lib.comparison.paired import Difference, Summary
from dreal_lib.comparison.rows import NetworkComparison, Row

DECIMALS = 3  # of measures of attention maps, most of which lie below 1


NO_RUNS = "No pair of a baseline and a reinforced run at this scale: nothing can be said yet."


def change_text(difference: Difference | None, decimals: int = DECIMALS) -> str:
    """A difference with its spread, n and interval, in one phrase."""
    if difference is None:
        return "undefined"
    mean = signed(difference.mean, decimals)
    if difference.n == 1:
        return f"{mean} in one seed, n = 1"
    if difference.low is None or difference.high is None:
        return f"{mean} over n = {difference.n} seeds, which agree to the last digit"
    return (
        f"{mean} ± {difference.spread:.{decimals}f} over n = {difference.n} seeds, 95 % interval "
        f"{interval_text(difference, decimals)}"
    )


def verdict_text(difference: Difference | None, lower: str, higher: str) -> str:
    """What the rule of `paired` allows to be said.

    Args:
        difference: The change.
        lower: What it means if it is below zero.
        higher: What it means if it is above zero.
    """
    if difference is None or difference.verdict == "untried":
        return "nothing can be claimed"
    words = {"lower": lower, "higher": higher, "undecided": "no change can be claimed"}
    return words[difference.verdict]


def changes_text(changes: Mapping[str, Difference | None], lower: str, higher: str) -> str:
    """Several changes in one phrase; what may be claimed stands behind the change.

    Args:
        changes: By what they are of.
        lower: What a change below zero means.
        higher: What one above zero means.
    """
    texts = []
    for subject, difference in changes.items():
        if difference is None:
            texts.append(f"{subject} undefined")
            continue
        interval = "" if difference.low is None else f" ({interval_text(difference, DECIMALS)})"
        claim = {"lower": f", {lower}", "higher": f", {higher}"}.get(difference.verdict, "")
        texts.append(f"{subject} {signed(difference.mean, DECIMALS)}{interval}{claim}")
    counts = sorted({difference.n for difference in changes.values() if difference})
    seeds = " to ".join(str(n) for n in dict.fromkeys((counts or [0])[:: max(1, len(counts) - 1)]))
    tried = any(difference and difference.low is not None for difference in changes.values())
    rule = (
        "in brackets the 95 % interval; no change can be claimed where none is named"
        if tried
        else "nothing can be claimed"
    )
    return f"{'; '.join(texts)} (n = {seeds}; {rule})"


CLAIMS = {"lower": "a claimed fall", "higher": "a claimed rise"}


OF_ERRORS = {"lower": "a claimed improvement", "higher": "a claimed worsening"}


OF_SCORES = {"lower": OF_ERRORS["higher"], "higher": OF_ERRORS["lower"]}


def mean_text(difference: Difference, decimals: int = 2, claims: dict[str, str] = CLAIMS) -> str:
    """Mean and spread of a difference, and where the rule allows a claim, that and which."""
    spread = difference.spread
    shown = spread_text(spread) if spread is None or decimals == 2 else f"{spread:.{decimals}f}"
    text = f"{signed(difference.mean, decimals)} ± {shown}"
    claim = claims.get(difference.verdict)
    return f"{text} ({claim})" if claim else text


NOT_RUN = "not run"


def marked(text: str, row: Row, scale: str) -> Cell:
    return text if row.origin is None else Marked(text, row.origin, scale)


def summary_text(summary: Summary | None) -> str:
    return NOT_RUN if summary is None else f"{summary.mean:.2f} ± {spread_text(summary.spread)}"


def difference_text(difference: Difference | None) -> str:
    if difference is None:
        return NOTHING
    return f"{signed(difference.mean)} ± {spread_text(difference.spread)}"


def by_seed_text(differences: Mapping[int, float]) -> str:
    """Each seed's difference, in the order of the seeds."""
    return ", ".join(signed(value) for _, value in sorted(differences.items())) or NOTHING


def interval_text(difference: Difference | None, decimals: int = 2) -> str:
    """The interval, or a dash where there is none."""
    if difference is None or difference.low is None or difference.high is None:
        return NOTHING
    return f"{signed(difference.low, decimals)} to {signed(difference.high, decimals)}"


def verdict_sentence(subject: str, difference: Difference | None) -> str:
    """What the rule of `paired` allows to be said, in plain words.

    Args:
        subject: What was compared, e.g. "SE-ResNet-50".
        difference: Its paired top-1 difference, or None if there is no pair.
    """
    if difference is None:
        return f"{subject}: no pair of runs to compare."
    mean = f"{signed(difference.mean)} ± {spread_text(difference.spread)} points"
    if difference.n == 1:
        return (
            f"{subject}: the difference is {signed(difference.mean)} points in one seed; "
            "nothing can be claimed from n = 1."
        )
    if difference.low is None or difference.high is None:
        return (
            f"{subject}: mean difference {mean} over n = {difference.n} seeds, which agree to the "
            "last digit; no interval can be built and nothing can be claimed."
        )
    interval = f"95 % interval {signed(difference.low)} to {signed(difference.high)}"
    claims = {
        "undecided": "no difference can be claimed",
        "lower": "the reinforced network errs less",
        "higher": "the reinforced network errs more",
    }
    return (
        f"{subject}: mean difference {mean} over n = {difference.n} seeds ({interval}): "
        f"{claims[difference.verdict]}."
    )


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


def effect_text(difference: Difference | None, unit: str, claims: dict[str, str]) -> str:
    """A difference with its interval and what the rule allows to be claimed.

    Args:
        difference: Paired by seed, or None without a pair.
        unit: What follows the number, e.g. " points".
        claims: The words for "lower" and "higher".
    """
    if difference is None:
        return NOT_RUN
    text = f"{signed(difference.mean)}{unit}"
    if difference.verdict == "untried":
        seeds = "one seed" if difference.n == 1 else f"n = {difference.n}, no spread"
        return f"{text} ({seeds}), nothing can be claimed"
    text += f" (95 % interval {interval_text(difference)}, n = {difference.n})"
    return f"{text}, {claims.get(difference.verdict, 'no difference can be claimed')}"
