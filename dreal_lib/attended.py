"""Figs. 4 and 5: is what a reinforced network attends to more correct, and more complete?

The paper shows chosen images (appendix B.2). Here images are drawn by a rule, and scores over the
whole validation set answer: two runs of a seed, baseline and reinforced, are compared image by
image. A difference is claimed as everywhere in the book (`dreal_lib.compare`): if the two-sided
95 % interval of Student's t around the mean difference leaves out zero, over seeds if there are
several, else over the images of the one pair.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from dreal_lib.compare import Difference, paired_difference
from dreal_lib.errors import UserError
from dreal_lib.records import Record, StoredRecord
from dreal_lib.tables import NOTHING, Cell, Marked, Table, signed

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

SCORE_CAPTION = (
    "Scores of the maps, mean over the images on which both networks' are defined. Difference: "
    "reinforced minus baseline, image by image, with the 95 % interval of Student's t over the "
    "images of a seed, and over seeds in the last line of a score; p: Wilcoxon's signed-rank test "
    "over images. Pointing game: share of maps whose maximum lies in the object's box. Energy: "
    "share of the map's sum in the box. IoU, completeness, area: of the part of the map above a "
    "share of its maximum; with the object's mask (or box), the share of it that is covered, and "
    "the share of the image."
)

GROUP_CAPTION = (
    "The same scores by the size of the object. Difference: reinforced minus baseline, with its "
    "95 % interval, over seeds if there are several, else over the images of the one pair."
)


@dataclass(frozen=True)
class Pair:
    """Baseline and reinforced run of one seed; arrays are their figure data."""

    seed: int
    origin: str
    record: Record
    baseline: Mapping[str, np.ndarray]
    reinforced: Mapping[str, np.ndarray]

    @property
    def has_maps(self) -> bool:
        return "cam/maps" in self.baseline and "cam/maps" in self.reinforced

    @property
    def has_objects(self) -> bool:
        return all("cam/object_share" in arrays for arrays in (self.baseline, self.reinforced))

    @cached_property
    def scores(self) -> tuple[str, ...]:
        """Names of the scores that both runs have."""
        both = (name for name in SCORES if f"localization/{name}" in self.baseline)
        return tuple(name for name in both if f"localization/{name}" in self.reinforced)


@dataclass(frozen=True)
class SeedScore:
    """One score of one pair of runs.

    Attributes:
        baseline, reinforced: Means over the images on which both are defined.
        difference: Over these images.
        p: Of Wilcoxon's signed-rank test; NaN if no image differs.
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
        means = {k: {seed: getattr(s, k) for seed, s in self.by_seed.items()} for k in _METHODS}
        return paired_difference(*means.values())

    @property
    def deciding(self) -> Difference:
        """What a claim rests on: the difference over seeds, of one seed that over its images."""
        if len(self.by_seed) > 1:
            return self.over_seeds
        return next(iter(self.by_seed.values())).difference


_METHODS = ("baseline", "reinforced")


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
        first, second = (arrays.get("labels") for arrays in (pair.baseline, pair.reinforced))
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
        key = f"localization/{score}"
        by_seed = {p.seed: _seed_score(p.baseline[key], p.reinforced[key], within) for p in pairs}
        defined = {seed: found for seed, found in by_seed.items() if found is not None}
        if defined:
            found.append(ScoreComparison(score, defined))
    return found


def _seed_score(
    baseline: np.ndarray, reinforced: np.ndarray, within: np.ndarray | None
) -> SeedScore | None:
    from scipy.stats import wilcoxon  # not at the top: a machine that only trains lacks it

    if within is not None:
        baseline, reinforced = baseline[within], reinforced[within]
    # In float64: half-precision means over many images lose digits.
    first, second = baseline.astype(float), reinforced.astype(float)
    both = np.isfinite(first) & np.isfinite(second)
    first, second = first[both], second[both]
    difference = paired_difference(dict(enumerate(first)), dict(enumerate(second)))
    if difference is None:
        return None
    p = float(wilcoxon(second - first).pvalue) if (first != second).any() else float("nan")
    undefined = int((~both).sum())
    return SeedScore(float(first.mean()), float(second.mean()), difference, p, undefined)


def availability(pairs: Sequence[Pair]) -> list[str]:
    """What is shown, how it was measured, and what is missing and why."""
    if not pairs:
        return ["There is no pair of a baseline and a reinforced run at this scale yet."]
    if not all(pair.has_maps for pair in pairs):
        return [
            "These runs hold no maps: they were made without pytorch-grad-cam, or before maps were "
            "kept. Run them again to see maps and scores."
        ]
    import json

    pair = pairs[0]
    how = json.loads(str(pair.baseline["cam/settings"]))
    count, height, width = pair.baseline["cam/maps"].shape
    size = f"{how['image_size']} x {how['image_size']}"
    empty = sum(
        int((~arrays["cam/maps"].any((1, 2))).sum())
        for p in pairs
        for arrays in (p.baseline, p.reinforced)
    )
    facts = [
        f"Maps: {how['method']} at {how['layer']} for the true class, {height} x {width} cells for "
        f"images of {size} pixels; attended: from {how['threshold']} of a map's maximum on.",
        f"{count} validation images of {pair.record.data.name}, seeds "
        f"{', '.join(str(p.seed) for p in pairs)}; {empty} of {2 * count * len(pairs)} maps are "
        "zero everywhere and count in no score.",
    ]
    if not all(pair.has_objects for pair in pairs):
        return [*facts, _no_objects(pair)]
    share = float(np.nanmean(pair.baseline["cam/box_share"].astype(float)))
    region = "masks" if how["masks"] else "boxes"
    return [
        *facts,
        f"{how['objects']} images have a known object (IoU and completeness: {region}). A map of "
        f"one value everywhere would get {share:.3f} in the pointing game and of energy.",
    ]


def _no_objects(pair: Pair) -> str:
    return (
        f"{pair.record.data.name} comes without boxes and masks of its validation images, so the "
        "scores that need them are left out."
    )


def score_table(comparisons: Sequence[ScoreComparison], pairs: Sequence[Pair]) -> Table:
    """Scores with intervals and tests, a line a seed; one line says why if there is none."""
    columns = ("Score", "Seed", *(m.capitalize() for m in _METHODS), "Difference", "95 % interval")
    columns = (*columns, "p", "n")
    numeric = frozenset(range(1, len(columns)))
    if not comparisons:
        return Table(columns, ((availability(pairs)[-1], *[NOTHING] * 7),), numeric)
    rows: list[tuple[Cell, ...]] = []
    for comparison in comparisons:
        for seed, found in comparison.by_seed.items():
            name = Marked(SCORES[comparison.score], pairs[0].origin, pairs[0].record.scale)
            total = found.difference.n + found.undefined
            count = f"{found.difference.n} of {total} images"
            numbers = _numbers(found.baseline, found.reinforced, found.difference)
            rows.append((name, str(seed), *numbers, _p(found.p), count))
        if len(comparison.by_seed) > 1:
            scores = comparison.by_seed.values()
            means = (float(np.mean([getattr(s, method) for s in scores])) for method in _METHODS)
            numbers = _numbers(*means, comparison.over_seeds)
            name = Marked(SCORES[comparison.score], pairs[0].origin, pairs[0].record.scale)
            rows.append((name, "all", *numbers, NOTHING, f"{len(scores)} seeds"))
    return Table(columns, tuple(rows), numeric)


def group_table(groups: Mapping[str, Sequence[ScoreComparison]], pairs: Sequence[Pair]) -> Table:
    """The difference that decides, by group of images; one line says why if there is none."""
    columns = ("Images", "Score", "Difference", "95 % interval", "n")
    numeric = frozenset(range(2, len(columns)))
    rows = [
        (
            Marked(name, pairs[0].origin, pairs[0].record.scale),
            SCORES[comparison.score],
            signed(comparison.deciding.mean, 3),
            _interval(comparison.deciding),
            _counted(comparison),
        )
        for name, comparisons in groups.items()
        for comparison in comparisons
        if comparison.score in (*CORRECT, *COMPLETE)
    ]
    rows = rows or [(availability(pairs)[-1], *[NOTHING] * 4)]
    return Table(columns, tuple(rows), numeric)


def _numbers(baseline: float, reinforced: float, difference: Difference) -> tuple[str, ...]:
    return (
        f"{baseline:.3f}",
        f"{reinforced:.3f}",
        signed(difference.mean, 3),
        _interval(difference),
    )


def _interval(difference: Difference) -> str:
    if difference.low is None or difference.high is None:
        return NOTHING
    return f"{signed(difference.low, 3)} to {signed(difference.high, 3)}"


def _p(value: float) -> str:
    if np.isnan(value):
        return NOTHING
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def _counted(comparison: ScoreComparison) -> str:
    n = comparison.deciding.n
    return f"{n} seeds" if len(comparison.by_seed) > 1 else f"{n} images, 1 seed"


def claim_sentences(comparisons: Sequence[ScoreComparison], where: str = "") -> list[str]:
    """Claims 3 and 4 of the paper's pictures, each decided by the rule of the module's header.

    "More correct" holds if the intervals of pointing game, energy and IoU all lie above zero, so
    looking at three scores makes it no easier; "more complete" if that of completeness does.

    Args:
        comparisons: From `compare_scores`.
        where: Which images, if not all.
    """
    by_score = {comparison.score: comparison for comparison in comparisons}
    return [
        _claim(f"more {what}", [by_score[s] for s in scores if s in by_score], len(scores), where)
        + _of_area(what, by_score)
        for what, scores in (("correct", CORRECT), ("complete", COMPLETE))
    ]


def group_sentences(
    groups: Mapping[str, Sequence[ScoreComparison]], pairs: Sequence[Pair]
) -> list[str]:
    """The two claims for each group of images; why there are none, if so."""
    sentences = [
        sentence
        for name, comparisons in groups.items()
        for sentence in claim_sentences(comparisons, f" ({name} of the objects)")
    ]
    return sentences or availability(pairs)[-1:]


def _claim(what: str, comparisons: Sequence[ScoreComparison], wanted: int, where: str) -> str:
    question = f"*Are attended regions {what}{where}?*"
    if len(comparisons) < wanted:
        return f"{question} Not measured here: the scores that tell are missing."
    verdicts = {comparison.deciding.verdict for comparison in comparisons}
    measured = "; ".join(
        f"{SCORES[c.score]} {signed(c.deciding.mean, 3)} ({_interval(c.deciding)})"
        for c in comparisons
    )
    answers = {"higher": f"yes, {what}", "lower": f"no, less {what.removeprefix('more ')}"}
    answer = "no difference can be claimed"
    if len(verdicts) == 1:
        answer = answers.get(verdicts.pop(), answer)
    several = len(comparisons[0].by_seed) > 1
    scope = "" if several else " One pair of networks says nothing about the method."
    return (
        f"{question} Reinforced minus baseline, n = {_counted(comparisons[0])} (95 % intervals): "
        f"{measured}; {answer}.{scope}"
    )


def _of_area(what: str, by_score: Mapping[str, ScoreComparison]) -> str:
    if what != "complete" or not {"area", *COMPLETE} <= by_score.keys():
        return ""
    area = by_score["area"].deciding
    return (
        f" A wider map covers more of anything: the attended area differs by "
        f"{signed(area.mean, 3)} ({_interval(area)})."
    )
