"""Attention that no longer acts in trained networks: maps that are shut, or open, for every image.

A shut map multiplies its block's features by next to nothing, whatever the image, and leaves the
block little but its shortcut. No table of errors shows it. A low mean alone does not make a map
shut: some let single places or images through. The rule was written, and made stricter, after the
runs of this book had been seen: it describes them, and tests nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from book.companion.attention_maps.measures import BOUNDS
from book.companion.papers.names import depth, paper_block_name
from book.companion.text.runs import pair_name
from dreal_lib.comparison.rows import METHODS, NetworkComparison
from dreal_lib.records import StoredRecord
from dreal_lib.records.arrays import MAP_MEAN, MAP_VARIANCE

DEVIATION = 0.01  # over entries and images; a shut map of our runs has 0.001, the next one 0.09


@dataclass(frozen=True)
class Level:
    """Where one map of one run lies, in units of attention.

    Attributes:
        mean: Over entries and validation images.
        lowest, highest: Of the entries' means over the images.
        deviation: Standard deviation over entries and images together.
    """

    mean: float
    lowest: float
    highest: float
    deviation: float

    @property
    def beyond(self) -> bool:
        """Whether its mean lies beyond the bounds, which alone is no rule."""
        return not BOUNDS[0] < self.mean < BOUNDS[1]

    @property
    def acts(self) -> bool:
        """Whether it is neither shut nor open: mean and every entry beyond one bound, and still."""
        one_side = self.highest <= BOUNDS[0] or self.lowest >= BOUNDS[1]
        return not (self.beyond and one_side and self.deviation <= DEVIATION)


RULE = (
    f"A map counts as shut if its mean and each entry's mean over the images are at most "
    f"{BOUNDS[0]}, as open if they are at least {BOUNDS[1]}, and if it varies by a standard "
    f"deviation of at most {DEVIATION} over entries and images; below stand mean ± that deviation. "
    "The rule was written after these runs had been seen."
)


def map_levels(run: StoredRecord, kind: str = "") -> dict[str, Level]:
    """Level of each attention map of a run, from shallow to deep.

    Args:
        run: With figure data; one without has no map.
        kind: Only these ("spatial"), or all.

    Raises:
        UserError: Damaged figure data.
    """
    if run.record.files.figure_data is None:
        return {}
    arrays = run.figure_data()
    names = sorted((n for n in MAP_MEAN.parts_in(arrays) if n.endswith(kind)), key=depth)
    return {n: level(arrays[MAP_MEAN.of(n)], arrays[MAP_VARIANCE.of(n)]) for n in names}


def level(mean: np.ndarray, variance: np.ndarray) -> Level:
    """Of a map's mean and variance over images, entry by entry, (C,) or (H, W) each."""
    total = float(np.sqrt(variance.mean() + mean.var()))
    return Level(float(mean.mean()), float(mean.min()), float(mean.max()), total)


def shut_text(network: NetworkComparison, kind: str = "", listed: bool = True) -> str:
    """How many maps of a network's runs are shut or open, by method; "" without maps.

    Args:
        network: Baseline and reinforced runs; all of them count.
        kind: Only maps of this kind, or all.
        listed: Whether each is named, with its level and seed, and those of such a mean that vary.
    """
    rows = dict(zip(METHODS, (network.baseline, network.reinforced), strict=True))
    texts = []
    for method, row in rows.items():
        levels = {run.record.seed: map_levels(run, kind) for run in row.runs}
        if not any(levels.values()):
            continue
        still, vary = (
            {
                s: {n: x for n, x in of.items() if x.beyond and x.acts is acts}
                for s, of in levels.items()
            }
            for acts in (False, True)
        )
        text = f"{sum(map(len, still.values()))} of {sum(map(len, levels.values()))} {method}"
        if listed and any(still.values()):
            text += f" [{_named(still)}]"
        if listed and any(vary.values()):
            text += (
                f", and {sum(map(len, vary.values()))} of such a mean that vary [{_named(vary)}]"
            )
        texts.append(text)
    name = pair_name(network)
    return f"{name}, maps shut or open for every image: {', '.join(texts)}" if texts else ""


def _named(found: dict[int, dict[str, Level]]) -> str:
    return "; ".join(
        f"seed {seed}: "
        + ", ".join(
            f"{paper_block_name(n)} {x.mean:.3f} ± {x.deviation:.3f}" for n, x in maps.items()
        )
        for seed, maps in found.items()
        if maps
    )


def shut_sentences(networks: Sequence[NetworkComparison], kind: str = "") -> list[str]:
    """Of each network with a map whose mean is beyond the bounds: how many are shut, and which.

    The rule comes first; nothing where every map's mean is within. `kind` as above.
    """
    lines = [
        f"{shut_text(network, kind)}."
        for network in networks
        if any(
            one.beyond
            for run in (*network.baseline.runs, *network.reinforced.runs)
            for one in map_levels(run, kind).values()
        )
    ]
    return [RULE, *lines] if lines else []
