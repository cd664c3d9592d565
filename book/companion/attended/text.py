"""What Figs. 4 and 5 say in tables and sentences, from the scores of images (`scores`)."""

from collections.abc import Mapping, Sequence

import numpy as np

from book.companion.attended.scores import (
    COMPLETE,
    CORRECT,
    SCORES,
    Pair,
    ScoreComparison,
    above_uniform,
)
from book.companion.text.tables import NOTHING, Cell, Marked, Table, signed
from dreal_lib.comparison.paired import Difference
from dreal_lib.comparison.rows import METHODS
from dreal_lib.records.arrays import BOX_SHARE, HEAT_MAPS, heat_settings

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


def score_caption(pairs: Sequence[Pair]) -> str:
    """The caption of the scores, with the number of images that there are."""
    images = f"of {len(pairs[0].baseline['labels'])} images" if pairs else "images"
    return f"{SCORE_CAPTION} n: {images}, those counted; seeds in the last line of a score."


def availability(pairs: Sequence[Pair]) -> list[str]:
    """What is shown, how it was measured, and what is missing and why."""
    if not pairs:
        return ["There is no pair of a baseline and a reinforced run at this scale yet."]
    if not all(pair.has_maps for pair in pairs):
        return [
            "These runs hold no maps: they were made without pytorch-grad-cam, or before maps were "
            "kept. Run them again to see maps and scores."
        ]
    pair = pairs[0]
    how = heat_settings(pair.baseline)
    count, height, width = pair.baseline[HEAT_MAPS].shape
    size = f"{how['image_size']} x {how['image_size']}"
    empty = sum(
        int((~arrays[HEAT_MAPS].any((1, 2))).sum())
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
    share = float(np.nanmean(pair.baseline[BOX_SHARE].astype(float)))
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
    columns = ("Score", "Seed", *(m.capitalize() for m in METHODS), "Difference", "95 % interval")
    columns = (*columns, "p", "n")
    numeric = frozenset(range(1, len(columns)))
    if not comparisons:
        return Table(columns, ((availability(pairs)[-1], *[NOTHING] * 7),), numeric)
    rows: list[tuple[Cell, ...]] = []
    for comparison in comparisons:
        for seed, found in comparison.by_seed.items():
            name = Marked(SCORES[comparison.score], pairs[0].origin, pairs[0].record.scale)
            numbers = _numbers(found.baseline, found.reinforced, found.difference)
            rows.append((name, str(seed), *numbers, _p(found.p), str(found.difference.n)))
        if len(comparison.by_seed) > 1:
            scores = comparison.by_seed.values()
            means = (float(np.mean([getattr(s, method) for s in scores])) for method in METHODS)
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
    """Claims 3 and 4 of the paper's pictures, each decided by the rule of `scores`.

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


def uniform_sentences(pairs: Sequence[Pair]) -> list[str]:
    """Whether the maps are better than one of the same value everywhere; nothing without boxes.

    Better is claimed, as everywhere, where the 95 % interval lies above zero. A score in which
    neither network is better than such a map cannot rank the two by how correct they attend.
    """
    found = above_uniform(pairs)
    if not found:
        return []
    texts, blind = [], []
    for score, by_method in found.items():
        better = {method: one.verdict == "higher" for method, one in by_method.items()}
        told = (
            f"{name} {signed(one.mean, 3)} ({_interval(one)}), {'yes' if better[name] else 'no'}"
            for name, one in by_method.items()
        )
        texts.append(f"{SCORES[score].capitalize()}: {'; '.join(told)}")
        if not any(better.values()):
            blind.append(SCORES[score])
    end = (
        f" Neither network is better than such a map by {' and '.join(blind)}, which at this scale "
        "cannot show more or less correct attention."
        if blind
        else ""
    )
    question = "*Are the maps better than one of the same value everywhere?*"
    return [f"{question} Score less what such a map would get. {'. '.join(texts)}.{end}"]


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
