"""Measures of attention maps, each a number for one map of one run.

The paper reads from its Fig. 2 that channels of conv3_3 and conv4_5 grow alike, and that conv5_2
fluctuates more but within a moderate range; from Fig. 3 that conv5_x grows more diverse. How much
of a map is about the class follows the question that SENet's authors ask with their curves of
single classes (Hu et al., 2018).
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from book.companion.attention_maps.loaded import Attention, MapStatistics, Shown
from book.companion.text.tables import columns_first, entries_of
from dreal_lib.comparison.rows import METHODS

# "Within a moderate range": a sigmoid's slope at 0.05 or 0.95 is 0.0475, a fifth of its largest.
# Beyond, a gate is as good as shut or open, and hardly any gradient reaches what decides it.
BOUNDS = (0.05, 0.95)


def spread(mean: np.ndarray) -> float:
    """How unlike the entries of a mean map are: their standard deviation, in units of attention.

    Attention lies between 0 and 1 in every block, so blocks compare without dividing by the mean;
    it is 0 where all entries are alike and at most 0.5.
    """
    return float(np.std(mean))


def relative_spread(mean: np.ndarray) -> float:
    """`spread` divided by the mean of the map; NaN for a map of zeros."""
    return spread(mean) / float(np.mean(mean)) if np.mean(mean) > 0 else float("nan")


def fluctuation(variance: np.ndarray) -> float:
    """Standard deviation over images, averaged over the entries of a map."""
    return float(np.sqrt(variance).mean())


def inside_share(mean: np.ndarray, bounds: tuple[float, float] = BOUNDS) -> float:
    """Share of the entries whose mean over images lies strictly within the bounds."""
    return float(((mean > bounds[0]) & (mean < bounds[1])).mean())


def class_share(between: np.ndarray, variance: np.ndarray) -> float:
    """Share of a map's variance over images that the true class explains (eta squared).

    Entries are summed before dividing, so that those that do not vary have no say. NaN for a map
    that is the same for every image.
    """
    total = float(variance.sum())
    return float(between.sum()) / total if total > 0 else float("nan")


def measure(attention: Attention, maps: Sequence[str] | None = None) -> pd.DataFrame:
    """Every measure of every map: a row for each method, seed and map.

    Args:
        attention: From `load`.
        maps: Only these; None for all.

    Returns:
        Columns method, seed, map, level, spread, relative_spread, lowest, highest, inside,
        fluctuation, class_share. A map that a run lacks has no row.
    """
    wanted = attention.maps if maps is None else maps
    rows = [
        {
            "method": method,
            "seed": seed,
            "map": name,
            "level": float(found[name].mean.mean()),
            "spread": spread(found[name].mean),
            "relative_spread": relative_spread(found[name].mean),
            "lowest": float(found[name].mean.min()),
            "highest": float(found[name].mean.max()),
            "inside": inside_share(found[name].mean),
            "fluctuation": fluctuation(found[name].variance),
            "class_share": class_share(found[name].between, found[name].variance),
        }
        for method, runs in attention.found.items()
        for seed, found in runs.items()
        for name in wanted
        if name in found
    ]
    return pd.DataFrame(rows)


def of_maps(shown: Shown) -> pd.DataFrame:
    """Attention maps over the validation images, a row an entry.

    Args:
        shown: Channel maps (C,) of Figs. 2 and 3, or spatial ones (H, W).

    Returns:
        Columns map, method, seed, channel (or row and column), mean, variance.
    """
    tables = [
        _entries(found).assign(map=name, method=method, seed=shown.seed)
        for name in shown.maps
        for method in METHODS
        if (found := shown.statistics(method, name)) is not None
    ]
    return columns_first(pd.concat(tables, ignore_index=True), "map", "method", "seed")


def _entries(found: MapStatistics) -> pd.DataFrame:
    return entries_of(mean=found.mean, variance=found.variance)
