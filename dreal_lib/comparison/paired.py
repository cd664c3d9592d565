"""Differences paired by seed, and the rule for a claim.

The two-sided 95 % interval of Student's t around the mean of the paired differences must leave out
zero. With one seed there is no interval and no claim.

Queries of one identity are right or wrong together; where differences come in such groups, the
interval is that of `clustered_difference`.
"""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Literal

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Summary:
    """Mean and sample standard deviation over seeds; the latter is None for one seed."""

    mean: float
    spread: float | None
    n: int


@dataclass(frozen=True)
class Difference:
    """Reinforced minus baseline, paired by seed; errors below zero mean that it errs less.

    Of images or queries instead of seeds, `n` counts these.

    `low` and `high` bound the mean at 95 %; None where the rule allows no claim to be tried (one
    seed, or differences that agree to the last digit).
    """

    mean: float
    spread: float | None
    n: int
    low: float | None
    high: float | None

    @property
    def verdict(self) -> Literal["lower", "higher", "undecided", "untried"]:
        """Which claim about the reinforced network's number the rule allows."""
        if self.low is None or self.high is None:
            return "untried"
        if self.high < 0:
            return "lower"
        return "higher" if self.low > 0 else "undecided"


def summarise(values: Sequence[float]) -> Summary | None:
    """Mean and spread of the values of several seeds; None of none."""
    if not values:
        return None
    spread = statistics.stdev(values) if len(values) > 1 else None
    return Summary(statistics.fmean(values), spread, len(values))


def paired_difference(
    baseline: Mapping[int, float], reinforced: Mapping[int, float]
) -> Difference | None:
    """Reinforced minus baseline over the seeds that both have; None if there is none.

    Args:
        baseline: Value by seed.
        reinforced: Value by seed.
    """
    seeds = sorted(baseline.keys() & reinforced.keys())
    return difference_of([reinforced[seed] - baseline[seed] for seed in seeds])


def difference_of(differences: Sequence[float]) -> Difference | None:
    """Mean of paired differences with its interval; None of none."""
    summary = summarise(differences)
    if summary is None:
        return None
    if not summary.spread:  # one seed, or no spread at all: nothing to build an interval from
        return Difference(summary.mean, summary.spread, summary.n, None, None)
    half = _t_quantile(summary.n - 1) * summary.spread / math.sqrt(summary.n)
    mean = summary.mean
    return Difference(mean, summary.spread, summary.n, mean - half, mean + half)


def clustered_difference(
    differences: Sequence[float], clusters: Sequence[int]
) -> Difference | None:
    """The mean of differences of which those of one cluster hang together; None of none.

    The interval is that of the cluster-robust standard error (Liang and Zeger, 1986): with n
    differences d, mean m and G clusters g,

        se^2 = G / (G - 1) * sum over g of (sum over g of (d - m))^2 / n^2,

    times Student's t with G - 1 degrees of freedom. With clusters of one size it is the interval
    of the clusters' means, with clusters of one difference that of `paired_difference`.

    Args:
        differences: One an image or query.
        clusters: Number of the cluster of each.
    """
    summary = summarise(list(differences))
    if summary is None:
        return None
    together = sorted(zip(clusters, differences, strict=True))
    groups = [[d for _, d in group] for _, group in groupby(together, key=lambda pair: pair[0])]
    mean, count = summary.mean, len(groups)
    if not summary.spread or count < 2:
        return Difference(mean, summary.spread, summary.n, None, None)
    squares = sum(math.fsum(d - mean for d in group) ** 2 for group in groups)
    half = _t_quantile(count - 1) * math.sqrt(count / (count - 1) * squares) / summary.n
    return Difference(mean, summary.spread, summary.n, mean - half, mean + half)


def _t_quantile(degrees_of_freedom: int) -> float:
    """t with P(|T| <= t) = CONFIDENCE, by halving the angle's interval."""
    low, high = 0.0, math.pi / 2
    while low < (middle := (low + high) / 2) < high:
        if probability_within(middle, degrees_of_freedom) < CONFIDENCE:
            low = middle
        else:
            high = middle
    return math.sqrt(degrees_of_freedom) * math.tan(high)


def probability_within(angle: float, degrees_of_freedom: int) -> float:
    """P(|T| <= sqrt(n) tan(angle)), exact (Abramowitz and Stegun, 26.7.3 and 26.7.4)."""
    odd, total = degrees_of_freedom % 2, 0.0
    term = math.cos(angle) ** odd
    for power in range(odd, degrees_of_freedom - 1, 2):
        total += term
        term *= (power + 1) / (power + 2) * math.cos(angle) ** 2
    if odd:
        return 2 / math.pi * (angle + math.sin(angle) * total)
    return math.sin(angle) * total
