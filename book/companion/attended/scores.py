"""Figs. 4 and 5: is what a reinforced network attends to more correct, and more complete?

The paper shows chosen images (appendix B.2). Here images are drawn by a rule, and scores over the
whole validation set answer: two runs of a seed, baseline and reinforced, are compared image by
image. A difference is significant as everywhere in the book (`dreal_lib.comparison.rows`): if the
two-sided 95 % interval of Student's t around the mean difference leaves out zero, over seeds if
there are several, else over the images of the one pair.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from book.companion.attended.placing import resized_scores
from dreal_lib.comparison.paired import Difference, clustered_difference, paired_difference
from dreal_lib.comparison.rows import METHODS
from dreal_lib.errors import UserError
from dreal_lib.records import Record, StoredRecord
from dreal_lib.records.arrays import BOX_SHARE, CLASS_LABELS, HEAT_MAPS, OBJECT_SHARE, SCORE

SCORES = {
    "pointing": "pointing game",
    "energy": "energy in the box",
    "iou": "IoU",
    "completeness": "completeness",
    "area": "attended area",
    "insertion": "insertion AUC",
    "deletion": "deletion AUC (lower is better)",
}
CORRECT = ("pointing", "energy", "iou")  # claim 3
COMPLETE = ("completeness",)  # claim 4
UNIFORM = ("pointing", "energy")  # what a map of one value everywhere would get is known


@dataclass(frozen=True)
class Pair:
    """Baseline and reinforced run of one seed; arrays are their figure data.

    `clusters` tells which images hang together, as numbers (N,); None: each is its own.
    """

    seed: int
    origin: str
    record: Record
    baseline: Mapping[str, np.ndarray]
    reinforced: Mapping[str, np.ndarray]
    clusters: np.ndarray | None = None

    @property
    def has_maps(self) -> bool:
        return HEAT_MAPS in self.baseline and HEAT_MAPS in self.reinforced

    @property
    def has_objects(self) -> bool:
        return all(OBJECT_SHARE in arrays for arrays in (self.baseline, self.reinforced))

    @cached_property
    def scores(self) -> tuple[str, ...]:
        """Names of the scores that both runs have."""
        both = (name for name in SCORES if SCORE.of(name) in self.baseline)
        return tuple(name for name in both if SCORE.of(name) in self.reinforced)

    @cached_property
    def resized(self) -> tuple[str, ...]:
        """Names of the scores that were measured on maps resized over the whole image."""
        if not self.has_maps:
            return ()
        return resized_scores((self.baseline, self.reinforced), self.scores)


@dataclass(frozen=True)
class SeedScore:
    """One score of one pair of runs.

    Attributes:
        baseline, reinforced: Means over the images on which both are defined.
        difference: Over these images.
        p: Of Wilcoxon's signed-rank test over images, or over clusters' means; NaN if none differs.
        undefined: Number of images left out.
    """

    baseline: float
    reinforced: float
    difference: Difference
    p: float
    undefined: int


@dataclass(frozen=True)
class ScoreComparison:
    """One score, by seed."""

    score: str
    by_seed: Mapping[int, SeedScore]

    @property
    def over_seeds(self) -> Difference:
        means = {k: {seed: getattr(s, k) for seed, s in self.by_seed.items()} for k in METHODS}
        return paired_difference(*means.values())

    @property
    def deciding(self) -> Difference:
        """What a claim rests on: the difference over seeds, of one seed that over its images."""
        if len(self.by_seed) > 1:
            return self.over_seeds
        return next(iter(self.by_seed.values())).difference


def load_pairs(
    baseline: Sequence[StoredRecord], reinforced: Sequence[StoredRecord]
) -> tuple[Pair, ...]:
    """Runs of the same seed, with their figure data.

    Raises:
        UserError: Two runs of a seed were evaluated on other images, or figure data are damaged.
    """
    plain = {run.record.seed: run for run in baseline}
    pairs = []
    for run in reinforced:
        seed = run.record.seed
        if seed not in plain:
            continue
        pair = Pair(seed, run.origin, run.record, plain[seed].figure_data(), run.figure_data())
        first, second = (arrays.get(CLASS_LABELS) for arrays in (pair.baseline, pair.reinforced))
        if first is None or second is None or not np.array_equal(first, second):
            raise UserError(
                f"{plain[seed].path} and {run.path} were not evaluated on the same images; run "
                f"both again on one set"
            )
        pairs.append(pair)
    return tuple(sorted(pairs, key=lambda pair: pair.seed))


def compare_scores(
    pairs: Sequence[Pair], within: np.ndarray | None = None
) -> list[ScoreComparison]:
    """Every score that all pairs have, in the order of `SCORES`.

    Args:
        pairs: From `load_pairs`.
        within: Only these images, (N,) bool; None for all.
    """
    found = []
    for score in SCORES:
        if not pairs or any(score not in pair.scores for pair in pairs):
            continue
        key = SCORE.of(score)
        by_seed = {
            p.seed: _seed_score(p.baseline[key], p.reinforced[key], within, p.clusters)
            for p in pairs
        }
        defined = {seed: found for seed, found in by_seed.items() if found is not None}
        if defined:
            found.append(ScoreComparison(score, defined))
    return found


def above_uniform(pairs: Sequence[Pair]) -> dict[str, dict[str, Difference]]:
    """By score and method, how much better the maps are than one of the same value everywhere.

    Such a map gets the box's share of the image, in the pointing game (its maximum lies anywhere)
    as of energy. Images count on which both networks' maps and the box are defined. The interval is
    over seeds if there are several, else over images.

    Args:
        pairs: From `load_pairs`.

    Returns:
        Score less share; {} without boxes.
    """
    if not pairs or not all(BOX_SHARE in pair.baseline for pair in pairs):
        return {}
    return {
        score: {method: _above_share(pairs, score, method) for method in METHODS}
        for score in UNIFORM
        if all(score in pair.scores for pair in pairs)
    }


def _above_share(pairs: Sequence[Pair], score: str, method: str) -> Difference:
    above = {}
    for pair in pairs:
        arrays = {name: getattr(pair, name) for name in METHODS}
        values = {name: found[SCORE.of(score)] for name, found in arrays.items()}
        share = pair.baseline[BOX_SHARE].astype(float)
        defined = np.isfinite([share, *values.values()]).all(axis=0)
        above[pair.seed] = values[method][defined].astype(float) - share[defined]
    images = next(iter(above.values()))
    found = {seed: float(one.mean()) for seed, one in above.items()}
    found = found if len(found) > 1 else dict(enumerate(images))
    return paired_difference(dict.fromkeys(found, 0.0), found)


def _seed_score(
    baseline: np.ndarray,
    reinforced: np.ndarray,
    within: np.ndarray | None,
    clusters: np.ndarray | None = None,
) -> SeedScore | None:
    from scipy.stats import wilcoxon  # not at the top: a machine that only trains lacks it

    clusters = np.arange(len(baseline)) if clusters is None else clusters
    if within is not None:
        baseline, reinforced, clusters = baseline[within], reinforced[within], clusters[within]
    # In float64: half-precision means over many images lose digits.
    first, second = baseline.astype(float), reinforced.astype(float)
    both = np.isfinite(first) & np.isfinite(second)
    first, second, clusters = first[both], second[both], clusters[both]
    difference = clustered_difference((second - first).tolist(), clusters.tolist())
    if difference is None:
        return None
    members = np.unique(clusters, return_inverse=True)[1]
    means = np.bincount(members, second - first) / np.bincount(members)
    p = float(wilcoxon(means).pvalue) if means.any() else float("nan")
    undefined = int((~both).sum())
    return SeedScore(float(first.mean()), float(second.mean()), difference, p, undefined)
