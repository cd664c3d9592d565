"""Planned contrasts against scipy, and by hand."""

import numpy as np
import pytest
from scipy import stats

from dreal_lib.comparison.contrasts import difference_p, equivalence_p, holm, judge_contrasts
from dreal_lib.comparison.paired import difference_of


@pytest.mark.parametrize("n", [2, 3, 5, 8, 9])
@pytest.mark.parametrize("shift", [-2.0, 0.0, 0.4, 3.0])
def test_both_tests_are_scipys(n, shift):
    values = np.random.default_rng(n).normal(shift, 1.0, n)
    assert difference_p(values) == pytest.approx(stats.ttest_1samp(values, 0).pvalue, abs=1e-12)
    above = stats.ttest_1samp(values, -1.0, alternative="greater").pvalue
    below = stats.ttest_1samp(values, 1.0, alternative="less").pvalue
    assert equivalence_p(values, 1.0) == pytest.approx(max(above, below), abs=1e-12)


def test_the_interval_is_scipys():
    for n in range(2, 40):
        values = np.random.default_rng(n).normal(size=n)
        found = difference_of(list(values))
        ends = stats.ttest_1samp(values, 0).confidence_interval(0.95)
        assert (found.low, found.high) == pytest.approx((ends.low, ends.high), rel=1e-9)


def test_without_spread_the_tests_are_certain():
    assert difference_p([0.5, 0.5]) == 0
    assert difference_p([0.0, 0.0]) == 1
    assert equivalence_p([0.5, 0.5], 1.0) == 0
    assert equivalence_p([1.5, 1.5], 1.0) == 1


def test_holm_by_hand():
    assert holm({"a": 0.01, "b": 0.04, "c": 0.03}) == pytest.approx(
        {"a": 0.03, "c": 0.06, "b": 0.06}
    )
    # Two of a family of five: as if the three others came last.
    assert holm({"a": 0.01, "b": 0.3}, 5) == pytest.approx({"a": 0.05, "b": 1.0})


def test_nothing_is_judged_before_all_pairs_are_there():
    found = judge_contrasts(
        {"whole": [2.0, 2.1, 1.9], "short": [2.0, 2.1]}, {"whole": 3, "short": 3}, margin=1.0
    )
    assert found["whole"].differs
    assert not found["whole"].equivalent
    assert found["whole"].p_difference == pytest.approx(
        2 * stats.ttest_1samp([2.0, 2.1, 1.9], 0).pvalue
    )
    short = found["short"]
    assert (short.pairs, short.difference, short.p_difference) == (2, None, None)
    assert not short.differs
    assert not short.equivalent


def test_a_small_difference_may_differ_and_be_equivalent():
    found = judge_contrasts({"a": [0.30, 0.31, 0.29, 0.30]}, {"a": 4}, margin=1.0)["a"]
    assert found.differs
    assert found.equivalent
