"""Planned contrasts: tests of a difference and of equivalence, corrected together (Holm).

Two one-sided t-tests (TOST) try whether a mean lies within a margin of zero. An undecided contrast
is not "no effect". None is judged before all of its planned pairs are there.
"""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from dreal_lib.comparison.paired import Difference, difference_of, probability_within

LEVEL = 0.05


@dataclass(frozen=True)
class Contrast:
    """What may be said of one planned contrast.

    Attributes:
        planned: Pairs that were planned.
        pairs: Pairs there are.
        difference: With its 95 % interval; None before all pairs are there.
        p_difference, p_equivalence: Corrected p-values of the two-sided t-test, and of TOST; None
            likewise.
    """

    planned: int
    pairs: int
    difference: Difference | None = None
    p_difference: float | None = None
    p_equivalence: float | None = None

    @property
    def differs(self) -> bool:
        return self.p_difference is not None and self.p_difference <= LEVEL

    @property
    def equivalent(self) -> bool:
        return self.p_equivalence is not None and self.p_equivalence <= LEVEL


def judge_contrasts(
    differences: Mapping[str, Sequence[float]], planned: Mapping[str, int], margin: float
) -> dict[str, Contrast]:
    """Judges a family of contrasts; those that lack pairs count in the correction as not rejected.

    Args:
        differences: Paired differences of each, by name.
        planned: How many each was planned with; further ones are refused by the caller.
        margin: Half the width of the interval of equivalence, in the unit of the differences.
    """
    ready = {n: d for n, d in differences.items() if len(d) >= planned[n]}
    apart = holm({n: difference_p(d) for n, d in ready.items()}, len(planned))
    alike = holm({n: equivalence_p(d, margin) for n, d in ready.items()}, len(planned))
    judged = {}
    for name, values in differences.items():
        made = Contrast(planned[name], len(values))
        if name in ready:
            made = Contrast(
                planned[name], len(values), difference_of(values), apart[name], alike[name]
            )
        judged[name] = made
    return judged


def difference_p(differences: Sequence[float]) -> float:
    """p of the two-sided paired t-test against 0; 0 or 1 where there is no spread."""
    t, freedom = _t(differences, 0.0)
    return 1 - _within(t, freedom)


def p_of(difference: Difference) -> float:
    """The same of a difference that is summed up already, and has a spread."""
    t = difference.mean * math.sqrt(difference.n) / difference.spread
    return 1 - _within(t, difference.n - 1)


def equivalence_p(differences: Sequence[float], margin: float) -> float:
    """p of two one-sided t-tests: the larger of "not above -margin" and "not below +margin"."""
    return max(
        1 - _below(*_t(differences, -margin)),
        _below(*_t(differences, margin)),
    )


def holm(p_values: Mapping[str, float], family: int | None = None) -> dict[str, float]:
    """Holm's corrected p-values.

    Args:
        p_values: By name.
        family: How many tests there are in all, if more than those at hand.
    """
    count, corrected, highest = family or len(p_values), {}, 0.0
    for place, name in enumerate(sorted(p_values, key=p_values.get)):
        highest = max(highest, min(1.0, (count - place) * p_values[name]))
        corrected[name] = highest
    return corrected


def _t(differences: Sequence[float], centre: float) -> tuple[float, int]:
    """Student's t against a centre, and its degrees of freedom."""
    n, mean = len(differences), statistics.fmean(differences)
    error = statistics.stdev(differences) / math.sqrt(n)
    if not error:
        return math.copysign(math.inf, mean - centre) if mean != centre else 0.0, n - 1
    return (mean - centre) / error, n - 1


def _within(t: float, freedom: int) -> float:
    """P(|T| <= |t|)."""
    return probability_within(math.atan(abs(t) / math.sqrt(freedom)), freedom)


def _below(t: float, freedom: int) -> float:
    """P(T <= t)."""
    return (1 + math.copysign(_within(t, freedom), t)) / 2
