"""How measures of attention maps change with reinforcement: tables with measured numbers.

Changes are reinforced minus baseline, paired by seed, with the interval and the rule of `paired`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from book.companion.attention_maps.loaded import Attention
from book.companion.attention_maps.measures import measure
from book.companion.papers.names import block_title, last_of_stages, stage_name
from book.companion.text.differences import DECIMALS, NO_RUNS, effects_text, interval_text
from book.companion.text.tables import NOTHING, Marked, Origin, Table, signed
from dreal_lib.comparison.paired import Difference, paired_difference, summarise
from dreal_lib.comparison.rows import METHODS

MEASURES = {
    "spread": "spread over channels",
    "fluctuation": "fluctuation over images",
    "inside": "share within bounds",
    "class_share": "class share",
}

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
        frame: From `attention_measures.measure`, or another with method, seed and map.
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


def summary_text(values: Sequence[float], decimals: int = DECIMALS) -> str:
    """Mean ± standard deviation over seeds; a dash of none."""
    summary = summarise(list(values))
    if summary is None:
        return NOTHING
    mean = f"{summary.mean:.{decimals}f}" if summary.mean >= 0 else signed(summary.mean, decimals)
    return mean if summary.spread is None else f"{mean} ± {summary.spread:.{decimals}f}"


def measure_table(
    attention: Attention | None,
    quantities: Sequence[str],
    maps: Sequence[str] | None = None,
    labels: Mapping[str, str] = MEASURES,
) -> Table:
    """Measures of maps, baseline against reinforced: a line for each measure and map.

    Args:
        attention: From `channel_attention.load`; None gives a table that says so.
        quantities: Columns of `attention_measures.measure`.
        maps: Only these; None for all.
        labels: What the measures are called.
    """
    columns = ("Measure", "Block", "Baseline", "Reinforced", "Difference", "95 % interval", "n")
    numeric = frozenset(range(2, len(columns)))
    if attention is None:
        return Table(columns, (("no pair of runs", *[NOTHING] * (len(columns) - 1)),), numeric)
    frame = measure(attention, maps)
    rows = tuple(
        _measure_row(frame, quantity, name, labels[quantity], attention.origin, attention.scale)
        for quantity in quantities
        for name in dict.fromkeys(maps or attention.maps)
    )
    return Table(columns, rows, numeric)


def last_block_table(attention: Attention | None) -> Table:
    """The measures behind Fig. 2: those of the last block of each stage."""
    maps = last_of_stages(attention.maps) if attention else None
    return measure_table(attention, ("spread", "fluctuation", "inside"), maps)


def _measure_row(
    frame: pd.DataFrame, quantity: str, name: str, label: str, origin: Origin, scale: str
) -> tuple[str | Marked, ...]:
    difference = change(frame, name, quantity)
    return (
        label,
        Marked(block_title(name), origin, scale),
        *(
            summary_text(list(by_seed(frame, name, quantity, method).values()))
            for method in METHODS
        ),
        NOTHING if difference is None else signed(difference.mean, DECIMALS),
        interval_text(difference, DECIMALS),
        NOTHING if difference is None else str(difference.n),
    )


def by_stage(frame: pd.DataFrame) -> pd.DataFrame:
    """Measures averaged over the blocks of a stage, which stands where `measure` has the map."""
    stages = frame.assign(map=frame["map"].str.split(".").str[0])
    return stages.groupby(["method", "seed", "map"], as_index=False).mean(numeric_only=True)


def class_sentence(attention: Attention | None) -> str:
    """How much of the attention is about the class, by stage."""
    if attention is None:
        return NO_RUNS
    stages = by_stage(measure(attention))
    names = sorted(set(stages["map"]))
    changes = {
        f"{stage_name(name)} {_pair(stages, name, 'class_share')}:": change(
            stages, name, "class_share"
        )
        for name in names
    }
    chance = "undefined" if np.isnan(attention.chance) else f"{attention.chance:.{DECIMALS}f}"
    return (
        "Class share, mean over a stage's blocks, baseline to reinforced: "
        f"{effects_text(changes, decimals=DECIMALS)}. By chance: {chance}."
    )


def _pair(frame: pd.DataFrame, name: str, quantity: str) -> str:
    """Mean over seeds in the baseline and in the reinforced network, "0.077 to 0.151"."""
    values = [list(by_seed(frame, name, quantity, method).values()) for method in METHODS]
    return " to ".join(f"{np.mean(v):.{DECIMALS}f}" if v else "undefined" for v in values)


def alt_text_by_block(attention: Attention | None) -> str:
    """The measures by block for who does not see them; empty without runs."""
    if attention is None:
        return ""
    frame = measure(attention)
    ends = dict.fromkeys((attention.maps[0], attention.maps[-1]))
    texts = [
        f"{MEASURES[quantity]}: "
        + ", ".join(f"{block_title(name)} {_pair(frame, name, quantity)}" for name in ends)
        for quantity in ("spread", "fluctuation", "class_share")
    ]
    return (
        "Three measures by block, a dot a seed. From baseline to reinforced in the first and last "
        f"block, {'; '.join(texts)}."
    )
