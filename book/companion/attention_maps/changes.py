"""How measures of attention maps change with reinforcement: tables with measured numbers.

Changes are reinforced minus baseline, paired by seed, with the interval and the rule of `paired`.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from book.companion.attention_maps.loaded import Attention
from book.companion.attention_maps.measures import measure
from book.companion.papers.names import block_title, last_of_stages, stage_name
from book.companion.text.differences import DECIMALS, NO_PAIR, NO_RUNS, change_cells, effects_text
from book.companion.text.tables import NOTHING, Marked, Table, defined
from dreal_lib.comparison.paired import Difference, paired_difference, summarise
from dreal_lib.comparison.rows import METHODS

MEASURES = {
    "level": "level",
    "spread": "spread over channels",
    "fluctuation": "fluctuation over images",
    "inside": "share within bounds",
    "class_share": "class share",
}
OF_KIND = {"channel": MEASURES, "spatial": MEASURES | {"spread": "spread over places"}}

# How far two values of a measure can lie apart; measures not named have no such bound.
FARTHEST = {
    "level": 1.0,
    "inside": 1.0,
    "class_share": 1.0,
    "helped": 1.0,
    "hurt": 1.0,
    "spread": 0.5,
    "fluctuation": 0.5,
}


def change(frame: pd.DataFrame, name: str, quantity: str) -> Difference | None:
    """Reinforced minus baseline of one map's measure, paired by seed; None without a pair.

    Args:
        frame: From `measures.measure`, or another with method, seed and map.
        name: The map.
        quantity: A column. Undefined (NaN) values are left out.

    Returns:
        With few seeds Student's t can reach beyond what two shares can differ by: the interval is
        cut there (`FARTHEST`). As zero is never cut off, no claim depends on it.
    """
    found = paired_difference(*(by_seed(frame, name, quantity, method) for method in METHODS))
    if found is None or found.low is None or found.high is None:
        return found
    most = FARTHEST.get(quantity, float("inf"))
    return replace(found, low=max(found.low, -most), high=min(found.high, most))


def by_seed(frame: pd.DataFrame, name: str, quantity: str, method: str) -> dict[int, float]:
    """A measure of one map in one method's runs, by seed."""
    rows = frame[(frame["map"] == name) & (frame["method"] == method)].dropna(subset=[quantity])
    return dict(zip(rows["seed"].astype(int), rows[quantity].astype(float), strict=True))


def summary_text(values: Iterable[float]) -> str:
    """Mean ± standard deviation over seeds; a dash of none."""
    summary = summarise(list(values))
    if summary is None:
        return NOTHING
    mean = defined(summary.mean, decimals=DECIMALS)
    return mean if summary.spread is None else f"{mean} ± {summary.spread:.{DECIMALS}f}"


def measure_table(
    attention: Attention | None, quantities: Sequence[str], maps: Sequence[str] | None = None
) -> Table:
    """Measures of maps, baseline against reinforced: a line for each measure and map.

    Args:
        attention: From `loaded.load`; None gives a table that says so.
        quantities: Keys of `MEASURES`.
        maps: Only these; None for all.
    """
    columns = ("Measure", "Block", "Baseline", "Reinforced", "Difference", "95 % interval", "n")
    if attention is None:
        return Table.of(columns, (), words=2, instead=NO_PAIR)
    frame = measure(attention, maps)
    rows = tuple(
        (
            OF_KIND[attention.kind][quantity],
            Marked(block_title(name), attention.origin, attention.scale),
            *(summary_text(by_seed(frame, name, quantity, method).values()) for method in METHODS),
            *change_cells(change(frame, name, quantity)),
        )
        for quantity in quantities
        for name in dict.fromkeys(maps or attention.maps)
    )
    return Table.of(columns, rows, words=2)


def last_block_table(attention: Attention | None) -> Table:
    """The measures behind Fig. 2: those of the last block of each stage."""
    maps = last_of_stages(attention.maps) if attention else None
    return measure_table(attention, ("spread", "fluctuation", "inside"), maps)


def by_stage(frame: pd.DataFrame) -> pd.DataFrame:
    """Measures averaged over the blocks of a stage, which stands where `measure` has the map."""
    stages = frame.assign(map=frame["map"].str.split(".").str[0])
    return stages.groupby(["method", "seed", "map"], as_index=False).mean(numeric_only=True)


def class_sentence(attention: Attention | None) -> str:
    """How much of the attention is about the class, by stage."""
    if attention is None:
        return NO_RUNS
    stages = by_stage(measure(attention))
    changes = {
        f"{stage_name(name)} {_pair(stages, name, 'class_share')}:": change(
            stages, name, "class_share"
        )
        for name in sorted(set(stages["map"]))
    }
    chance = "undefined" if np.isnan(attention.chance) else f"{attention.chance:.{DECIMALS}f}"
    return (
        "Class share, mean over a stage's blocks, baseline to reinforced: "
        f"{effects_text(changes, decimals=DECIMALS)}. By chance: {chance}."
    )


def spread_sentence(attention: Attention | None) -> str:
    """Whether the maps prefer some places, or channels, whatever the image."""
    if attention is None:
        return NO_RUNS
    frame = measure(attention)
    changes = {block_title(name): change(frame, name, "spread") for name in attention.maps}
    head = OF_KIND[attention.kind]["spread"].capitalize()
    return f"{head} of the mean map: {effects_text(changes, decimals=DECIMALS)}."


def _pair(frame: pd.DataFrame, name: str, quantity: str) -> str:
    """Mean over seeds in the baseline and in the reinforced network, "0.077 to 0.151"."""
    values = [list(by_seed(frame, name, quantity, method).values()) for method in METHODS]
    return " to ".join(f"{np.mean(v):.{DECIMALS}f}" if v else "undefined" for v in values)
