"""Intervals over differences that hang together, by hand, in their limits and by resampling."""

import numpy as np
import pytest

from dreal_lib.comparison.paired import clustered_difference, paired_difference


def plain(values):
    return paired_difference(dict.fromkeys(range(len(values)), 0.0), dict(enumerate(values)))


def test_by_hand():
    found = clustered_difference([4, 2, -2, 0, 0, 0, 0], [7, 7, 1, 1, 1, 3, 3])
    # Mean 4/7. Sums within clusters less their share: 6 - 8/7, -2 - 12/7, -8/7; squares
    # 23.5918 + 13.7959 + 1.3061 = 38.6939; se = sqrt(3/2 * 38.6939) / 7 = 1.08835; t(2) = 4.302653.
    assert (found.mean, found.n) == (pytest.approx(4 / 7), 7)
    assert (found.low, found.high) == pytest.approx((4 / 7 - 4.68279, 4 / 7 + 4.68279), abs=1e-4)


def test_clusters_of_one_are_the_plain_interval():
    values = [0.5, -1.0, 2.0, 0.25]
    assert clustered_difference(values, [5, 2, 9, 1]) == plain(values)


def test_clusters_of_one_size_are_the_interval_of_their_means():
    values = np.random.default_rng(0).normal(size=(6, 4))
    found = clustered_difference(values.ravel().tolist(), np.repeat(np.arange(6), 4).tolist())
    means = plain(values.mean(1).tolist())
    assert (found.mean, found.low, found.high) == pytest.approx((means.mean, means.low, means.high))


def test_it_is_as_wide_as_a_bootstrap_of_clusters_and_wider_than_the_plain_one():
    """Clusters of uneven size whose members share half of their variance, as queries do."""
    generator = np.random.default_rng(1)
    clusters = np.repeat(np.arange(80), generator.integers(2, 7, 80))
    values = generator.normal(size=80)[clusters] + generator.normal(size=len(clusters))
    found = clustered_difference(values.tolist(), clusters.tolist())
    sums, sizes = (np.bincount(clusters, w) for w in (values, np.ones(len(values))))
    drawn = generator.integers(80, size=(4000, 80))
    means = sums[drawn].sum(1) / sizes[drawn].sum(1)
    low, high = np.quantile(means, (0.025, 0.975))
    width = found.high - found.low
    assert width == pytest.approx(high - low, rel=0.06)
    assert width > 1.3 * (plain(values.tolist()).high - plain(values.tolist()).low)


@pytest.mark.parametrize("clusters", [[1, 1, 1], [1, 2, 3]])
def test_without_spread_or_with_one_cluster_there_is_no_interval(clusters):
    values = [0.1, 0.2, 0.3] if clusters[0] == clusters[1] else [0.1] * 3
    found = clustered_difference(values, clusters)
    assert (found.verdict, found.n) == ("untried", 3)
    assert clustered_difference([], []) is None
