"""Attention maps over a validation set, loaded from records, and what Figs. 2 and 3 show of them.

`measures` measures them, `changes` compares, `figures` draws.

Letters: C channels, N images, K classes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from book.companion.papers.names import depth, last_of_stages
from book.companion.text.tables import Origin
from dreal_lib.comparison.rows import METHODS
from dreal_lib.errors import UserError, unknown_choice
from dreal_lib.records import StoredRecord
from dreal_lib.records.arrays import CLASS_LABELS, MAP_BETWEEN, MAP_MEAN, MAP_VARIANCE

Kind = Literal["channel", "spatial"]
Shade = Literal["variance", "deviation"]

STATISTICS = (MAP_MEAN, MAP_VARIANCE, MAP_BETWEEN)  # as `MapStatistics` has them


@dataclass(frozen=True)
class MapStatistics:
    """One attention map over N images, entry by entry; (C,) or (H, W) each.

    Attributes:
        mean: Over the images.
        variance: Over the images, divided by N.
        between: The part of the variance that lies between the classes' means.
    """

    mean: np.ndarray
    variance: np.ndarray
    between: np.ndarray


@dataclass(frozen=True)
class Attention:
    """Attention maps of one kind of one network, baseline and reinforced, seed by seed.

    Attributes:
        network: The paper's row.
        origin, scale: Of the runs.
        kind: Of the maps.
        images: Validation images.
        chance: Share of variance that classes explain by chance, see `chance_share`.
        found: Statistics by method, seed and map.
    """

    network: str
    origin: Origin
    scale: str
    kind: Kind
    images: int
    chance: float
    found: Mapping[str, Mapping[int, Mapping[str, MapStatistics]]]

    @property
    def seeds(self) -> tuple[int, ...]:
        return tuple(sorted(self.found["baseline"]))

    @property
    def maps(self) -> tuple[str, ...]:
        """Every map that any of the runs has, from shallow to deep."""
        names = {name for runs in self.found.values() for run in runs.values() for name in run}
        return tuple(sorted(names, key=depth))


@dataclass(frozen=True)
class Shown:
    """What a figure of distributions draws: some maps of one seed.

    Attributes:
        attention: Where the maps are.
        maps: Their names.
        seed: The seed shown.
        shade: What three times of is shaded around the mean.
    """

    attention: Attention
    maps: tuple[str, ...]
    seed: int
    shade: Shade

    def statistics(self, method: str, name: str) -> MapStatistics | None:
        """One map, or None where the run lacks it."""
        return self.attention.found[method][self.seed].get(name)

    def half_width(self, statistics: MapStatistics) -> np.ndarray:
        """Three times the variance (as the paper writes) or standard deviation, (C,)."""
        variance = statistics.variance
        return 3 * (variance if self.shade == "variance" else np.sqrt(variance))


def load(
    baseline: Sequence[StoredRecord], reinforced: Sequence[StoredRecord], kind: Kind = "channel"
) -> Attention | None:
    """The attention maps of paired runs; None without runs.

    Args:
        baseline: Runs of one network, one a seed.
        reinforced: Runs with the same seeds.
        kind: Which maps.

    Raises:
        UserError: Seeds that do not match; a run without figure data, without maps of this kind,
            or with a damaged one.
    """
    if not baseline or not reinforced:
        return None
    pairs = dict(zip(METHODS, (baseline, reinforced), strict=True))
    seeds = [sorted(run.record.seed for run in runs) for runs in pairs.values()]
    if seeds[0] != seeds[1]:
        raise UserError(
            f"baseline has seeds {seeds[0]}, reinforced {seeds[1]}; give runs in pairs of one seed"
        )
    first = baseline[0]
    found = {
        method: {run.record.seed: map_statistics(run, kind) for run in runs}
        for method, runs in pairs.items()
    }
    return Attention(
        network=first.record.network,
        origin=first.origin,
        scale=first.record.scale,
        kind=kind,
        images=first.record.data.val_images,
        chance=chance_share(first.figure_data().get(CLASS_LABELS, np.empty(0))),
        found=found,
    )


def map_statistics(run: StoredRecord, kind: Kind) -> dict[str, MapStatistics]:
    """Statistics of a run's maps of one kind, by name, from shallow to deep.

    Raises:
        UserError: No figure data, no map of this kind, or a map that lacks a statistic, has one of
            another shape, or holds what is no number.
    """
    arrays = run.figure_data()
    names = sorted({part for array in STATISTICS for part in array.parts_in(arrays)}, key=depth)
    if not names:
        raise UserError(
            f"record {run.path} holds no attention map (network {run.record.network!r}); "
            "run the recipe of a network with attention"
        )
    found = {name: _checked(run, name, arrays) for name in names}
    wanted = {name: item for name, item in found.items() if item.mean.ndim == _AXES[kind]}
    if not wanted:
        raise UserError(
            f"record {run.path} holds no {kind} attention map (network {run.record.network!r}); "
            f"choose a network that has, e.g. {_EXAMPLES[kind]}"
        )
    return wanted


_AXES = {"channel": 1, "spatial": 2}
_EXAMPLES = {"channel": "se_resnet50", "spatial": "cbam_resnet50"}


def _checked(run: StoredRecord, name: str, arrays: Mapping[str, np.ndarray]) -> MapStatistics:
    found = {array: arrays[array.of(name)] for array in STATISTICS}
    for array, values in found.items():
        if values.shape != found[MAP_MEAN].shape:
            problem = "has another shape than the mean"
        elif not np.isfinite(values).all():
            problem = "holds a value that is no number"
        else:
            continue
        raise UserError(f"{array.of(name)} {problem} in record {run.path}; run its recipe again")
    return MapStatistics(*(values.astype(np.float64) for values in found.values()))


def last_blocks(
    attention: Attention | None, shade: str = "variance", shown_seed: int | str = "first"
) -> Shown | None:
    """What Fig. 2 draws: the last block of each stage; None without runs.

    Args:
        attention: From `load`.
        shade: "variance", as the paper writes, or "deviation".
        shown_seed: The seed to draw, or "first" for the smallest.

    Raises:
        UserError: An unknown shade, or a seed that was not run.
    """
    shown = all_blocks(attention, shade, shown_seed)
    if shown is None:
        return None
    return Shown(shown.attention, last_of_stages(shown.maps), shown.seed, shown.shade)


def all_blocks(
    attention: Attention | None, shade: str = "variance", shown_seed: int | str = "first"
) -> Shown | None:
    """What Fig. 3 draws: every block; arguments and errors as for `last_blocks`."""
    if shade not in get_args(Shade):
        raise unknown_choice("parameter shade", shade, get_args(Shade))
    if attention is None:
        return None
    # papermill -p gives a number as a number, a hand may write it as text.
    seed = str(attention.seeds[0]) if shown_seed == "first" else str(shown_seed)
    if seed not in map(str, attention.seeds):
        raise unknown_choice("parameter shown_seed", shown_seed, ("first", *attention.seeds))
    return Shown(attention, attention.maps, int(seed), shade)


def chance_share(labels: np.ndarray) -> float:
    """`class_share` expected of a map that knows nothing of the classes: (K - 1) / (N - 1).

    It is the mean over all ways to deal these labels to the images. NaN for fewer than two images.
    """
    if len(labels) < 2:
        return float("nan")
    return (len(np.unique(labels)) - 1) / (len(labels) - 1)
