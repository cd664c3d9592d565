"""Is attention taken from misleading regions (appendix B.2)? Heat maps against the figures' masks.

Energy is the share of a map's sum that lies on the mask. It is measured on pairs of a query and a
match that are the same in all runs (`dreal_lib.diagnosis.drawn_queries`), and compared pair by pair
under the rule of `book.companion.attended.scores`: over seeds if there are several, else over the
pairs of images, clustered by identity.
"""

from collections.abc import Mapping

import numpy as np

from book.companion.attended.placing import resized_scores
from book.companion.attended.ranked_lists import same_places
from book.companion.attended.scores import Pair, ScoreComparison, compare_scores
from book.companion.attended.text import seed_lines
from book.companion.results.retrieval_rows import (
    SetsComparison,
    against,
    step_label,
    steps_of,
)
from book.companion.text.differences import CHANGE_COLUMNS, effect_text
from book.companion.text.tables import NOTHING, Marked, Table
from dreal_lib.comparison.rows import NetworkComparison
from dreal_lib.records.arrays import (
    MASK_SHARE,
    PAIR_ENERGY,
    PAIR_GALLERY,
    PAIR_QUERY,
    QUERY_IDENTITY,
    QUERY_PLACE,
    SCORE,
)


def energies(comparison: SetsComparison) -> list[tuple[NetworkComparison, ScoreComparison]]:
    """The share of maps on the figures, step by step.

    Nothing where no mask is known, or where two runs measured other pairs.

    Raises:
        UserError: Figure data are damaged.
    """
    found = []
    for _, pair in steps_of(comparison):
        seeds = []
        for first, second in pair.pairs:
            arrays = {"before": first.figure_data(), "after": second.figure_data()}
            if not all(PAIR_ENERGY in kept for kept in arrays.values()):
                continue
            if not same_places(arrays, PAIR_QUERY, PAIR_GALLERY):
                continue
            scores = ({SCORE.of("energy"): kept[PAIR_ENERGY]} for kept in arrays.values())
            clusters = _identities(next(iter(arrays.values())))
            one = first.record
            seeds.append(Pair(one.seed, first.origin, one, *scores, clusters))
        found += [(pair, score) for score in compare_scores(seeds)]
    return found


def _identities(arrays: Mapping[str, np.ndarray]) -> np.ndarray:
    """Of each pair (P,); all the same, so that there is no interval, if the run kept none."""
    if QUERY_IDENTITY not in arrays:
        return np.zeros_like(arrays[PAIR_QUERY])
    by_place = dict(zip(arrays[QUERY_PLACE].tolist(), arrays[QUERY_IDENTITY].tolist(), strict=True))
    return np.array([by_place[place] for place in arrays[PAIR_QUERY].tolist()])


def mask_share(comparison: SetsComparison) -> float:
    """Mean share of the image on the masks of the pairs; NaN without masks."""
    for run in comparison.runs:
        arrays = run.figure_data()
        if MASK_SHARE in arrays:
            return float(arrays[MASK_SHARE].mean())
    return float("nan")


def energy_table(comparison: SetsComparison) -> Table:
    """Energy on the mask by step and seed."""
    columns = ("Difference", "Seed", "Before", "After", *CHANGE_COLUMNS, "p", "Pairs")
    rows = [
        (Marked(step_label(pair), pair.baseline.origin, comparison.scale), *cells)
        for pair, score in energies(comparison)
        for cells in seed_lines(score, of_all=True)
    ]
    return Table.of(columns, rows, instead=NOTHING)


def energy_sentences(comparison: SetsComparison) -> list[str]:
    """What the energy on the masks allows to be said of the appendix's claim."""
    found = energies(comparison)
    if not found:
        return [
            "Not measured here: the set has no masks, the runs kept no maps, or no two of them "
            "can be compared."
        ]
    share = mask_share(comparison)
    said = [f"A map of one value everywhere would have {share:.3f} of its energy on the figures."]
    if resized_scores((run.figure_data() for run in comparison.runs), ("pairs",)):
        said.append(
            "These energies were measured on maps resized over the whole image, and not again, as "
            "that needs the trained networks: behind padded convolutions up to half a cell too far "
            "right and down."
        )
    for pair, score in found:
        several = len(score.by_seed) > 1
        scope = "" if several else " over pairs of images; one seed says nothing about the method"
        effect = effect_text(score.deciding, decimals=3, better="higher")
        said.append(f"{pair.label} against {against(pair)}: energy {effect}{scope}.")
    return said
