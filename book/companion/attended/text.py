"""What Figs. 4 and 5 say in tables and sentences, from the scores of images (`scores`)."""

from collections.abc import Mapping, Sequence

import numpy as np

from book.companion.attended.placing import placing_sentence
from book.companion.attended.scores import (
    COMPLETE,
    CORRECT,
    SCORES,
    Pair,
    ScoreComparison,
    above_uniform,
)
from book.companion.text.differences import CHANGE_COLUMNS, change_cells, effect_text, p_text
from book.companion.text.foreign import plain
from book.companion.text.runs import trained_name
from book.companion.text.tables import NOTHING, Marked, Table, seeds_text
from dreal_lib.comparison.rows import METHODS
from dreal_lib.records.arrays import BOX_SHARE, HEAT_MAPS, heat_settings


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
    method, layer = plain(how["method"]), plain(how["layer"])
    count, height, width = pair.baseline[HEAT_MAPS].shape
    size = f"{how['image_size']} x {how['image_size']}"
    empty = sum(
        int((~arrays[HEAT_MAPS].any((1, 2))).sum())
        for p in pairs
        for arrays in (p.baseline, p.reinforced)
    )
    facts = [
        f"Maps: {method} at {layer} for the true class, {height} x {width} cells for "
        f"images of {size} pixels; attended: from {how['threshold']} of a map's maximum on.",
        f"{trained_name(pair.record)}; {count} validation images of "
        f"{plain(pair.record.data.name)}, "
        f"{seeds_text(p.seed for p in pairs)}; {empty} of {2 * count * len(pairs)} maps are "
        "zero everywhere and count in no score.",
        placing_sentence(pair.baseline, (height, width)),
        *_resized_sentences(pairs),
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


def _resized_sentences(pairs: Sequence[Pair]) -> list[str]:
    names = [SCORES[n] for n in SCORES if any(n in pair.resized for pair in pairs)]
    if not names:
        return []
    return [
        "Measured on maps that were resized, before cells had their places, and not again, as that "
        f"needs the trained networks: {', '.join(names)}."
    ]


def _named(score: str, pairs: Sequence[Pair]) -> str:
    resized = any(score in pair.resized for pair in pairs)
    return f"{SCORES[score]}, map resized" if resized else SCORES[score]


def _no_objects(pair: Pair) -> str:
    return (
        f"{plain(pair.record.data.name)} comes without boxes and masks of its validation images, "
        "so the scores that need them are left out."
    )


def score_table(comparisons: Sequence[ScoreComparison], pairs: Sequence[Pair]) -> Table:
    """Scores with intervals and tests, a line a seed; one line says why if there is none."""
    columns = ("Score", "Seed", *(m.capitalize() for m in METHODS), *CHANGE_COLUMNS, "p", "n")
    rows = [
        (Marked(_named(comparison.score, pairs), pairs[0].origin, pairs[0].record.scale), *cells)
        for comparison in comparisons
        for cells in seed_lines(comparison)
    ]
    return Table.of(columns, rows, instead=availability(pairs)[-1])


def seed_lines(comparison: ScoreComparison, of_all: bool = False) -> list[tuple[str, ...]]:
    """Seed, both means, difference, interval, p and n: a line a seed, and one over several.

    Args:
        comparison: Of one score.
        of_all: Whether n also says how many images there are.
    """
    lines = []
    for seed, found in comparison.by_seed.items():
        n = found.difference.n
        count = f"{n} of {n + found.undefined}" if of_all else str(n)
        means = (f"{getattr(found, method):.3f}" for method in METHODS)
        change = change_cells(found.difference)[:2]
        lines.append((str(seed), *means, *change, p_text(found.p), count))
    if len(lines) > 1:
        scores = comparison.by_seed.values()
        means = (f"{np.mean([getattr(s, method) for s in scores]):.3f}" for method in METHODS)
        change = change_cells(comparison.over_seeds)[:2]
        lines.append(("all", *means, *change, NOTHING, f"{len(scores)} seeds"))
    return lines


def group_table(groups: Mapping[str, Sequence[ScoreComparison]], pairs: Sequence[Pair]) -> Table:
    """The difference that decides, by group of images; one line says why if there is none."""
    columns = ("Images", "Score", *CHANGE_COLUMNS, "n")
    rows = [
        (
            Marked(name, pairs[0].origin, pairs[0].record.scale),
            _named(comparison.score, pairs),
            *change_cells(comparison.deciding)[:2],
            _counted(comparison),
        )
        for name, comparisons in groups.items()
        for comparison in comparisons
        if comparison.score in (*CORRECT, *COMPLETE, "area")
    ]
    return Table.of(columns, rows, words=2, instead=availability(pairs)[-1])


def _counted(comparison: ScoreComparison) -> str:
    n = comparison.deciding.n
    return f"{n} seeds" if len(comparison.by_seed) > 1 else f"{n} images, 1 seed"


def uniform_sentences(pairs: Sequence[Pair]) -> list[str]:
    """Whether the maps are better than one of the same value everywhere; nothing without boxes.

    A score in which neither network is significantly better than such a map cannot rank the two by
    how correct they attend.
    """
    found = above_uniform(pairs)
    if not found:
        return []
    texts, blind = [], []
    for score, by_method in found.items():
        better = {method: one.verdict == "higher" for method, one in by_method.items()}
        told = (
            f"{name} {effect_text(one, decimals=3, better='higher')}"
            for name, one in by_method.items()
        )
        texts.append(f"{SCORES[score].capitalize()}: {'; '.join(told)}")
        if not any(better.values()):
            blind.append(SCORES[score])
    end = (
        f" By {' and '.join(blind)} neither network beats such a map: here it cannot rank the two."
        if blind
        else ""
    )
    return [f"Score less what a map of one value everywhere would get. {'. '.join(texts)}.{end}"]
