"""What attention maps say about the paper's claims: tables and sentences with measured numbers.

Changes are reinforced minus baseline, paired by seed, with the interval and the rule of `paired`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from book.companion.attention_maps.loaded import Attention
from book.companion.attention_maps.measures import BOUNDS, measure
from book.companion.papers.names import block_title, last_of_stages, paper_block_name, stage_name
from book.companion.text.differences import (
    DECIMALS,
    NO_RUNS,
    change_text,
    changes_text,
    interval_text,
    verdict_text,
)
from book.companion.text.tables import NOTHING, Marked, Origin, Table, signed
from dreal_lib.comparison.paired import Difference, paired_difference, summarise
from dreal_lib.comparison.rows import METHODS

ALIKE_BLOCKS = ("layer2.3", "layer3.5")  # conv3_3 and conv4_5, section 4.1
FLUCTUATING_BLOCK = "layer4.2"  # conv5_2, section 4.1

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

MEASURE_CAPTION = (
    "Reinforced against baseline, mean ± sample standard deviation over seeds; the difference is "
    "paired by seed, with its 95 % interval (Student's t), cut where two values cannot lie farther "
    "apart (shares 1, deviations 0.5); a dash where it cannot be computed. "
    "*Spread over channels*: standard deviation over channels of their mean attention; 0 "
    "is all alike, 0.5 the most there can be. *Fluctuation over images*: standard deviation of a "
    "channel over the images, averaged over channels. *Share within bounds*: share of channels "
    f"whose mean lies between {BOUNDS[0]} and {BOUNDS[1]}. There a sigmoid's slope falls to a "
    "fifth of its largest; beyond, a gate is as good as shut or open."
)

CLASS_CAPTION = (
    "Share of the channel attention's variance over images that the class explains, by block; "
    "mean ± sample standard deviation over seeds, the difference paired by seed with its 95 % "
    "interval (Student's t), cut at the 1 that shares can differ by; a dash where it cannot be "
    "computed."
)


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
    found = paired_difference(*(_by_seed(frame, name, quantity, method) for method in METHODS))
    if found is None or found.low is None or found.high is None:
        return found
    most = FARTHEST.get(quantity, float("inf"))
    return replace(found, low=max(found.low, -most), high=min(found.high, most))


def _by_seed(frame: pd.DataFrame, name: str, quantity: str, method: str) -> dict[int, float]:
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
            summary_text(list(_by_seed(frame, name, quantity, method).values()))
            for method in METHODS
        ),
        NOTHING if difference is None else signed(difference.mean, DECIMALS),
        interval_text(difference, DECIMALS),
        NOTHING if difference is None else str(difference.n),
    )


def claims(attention: Attention | None) -> list[str]:
    """The two claims that section 4.1 reads from Fig. 2, measured."""
    if attention is None:
        return [NO_RUNS]
    frame = measure(attention)
    return [
        *(_on_likeness(frame, attention, block) for block in ALIKE_BLOCKS),
        _on_fluctuation(frame, attention, FLUCTUATING_BLOCK),
    ]


def _stands_for(attention: Attention, block: str) -> tuple[str | None, str]:
    """The map that stands for a block of the paper's network, and how a sentence names it."""
    last = {name.split(".")[0]: name for name in last_of_stages(attention.maps)}
    name = last.get(block.split(".")[0])
    if name is None:
        return None, f"this network has no attention in {stage_name(block.split('.')[0])}"
    title = f"{block_title(name)} (`{name}`)"
    if block_title(name) == paper_block_name(block):
        return name, title
    return name, f"{title}, which stands for it as the last block of its stage,"


def _on_likeness(frame: pd.DataFrame, attention: Attention, block: str) -> str:
    question = f"*Do the channels of {paper_block_name(block)} grow more alike?*"
    name, title = _stands_for(attention, block)
    if name is None:
        return f"{question} Not measured: {title}."
    difference = change(frame, name, "spread")
    verdict = verdict_text(
        difference,
        "they grow more alike, as the paper says",
        "they grow less alike, against what the paper says",
    )
    return (
        f"{question} In {title} the spread of the mean attention over channels goes from "
        f"{_pair(frame, name, 'spread')}; change {change_text(difference)}: {verdict}. Divided by "
        f"the mean attention the change is {change_text(change(frame, name, 'relative_spread'))}."
    )


def _on_fluctuation(frame: pd.DataFrame, attention: Attention, block: str) -> str:
    question = f"*Does {paper_block_name(block)} fluctuate more, but within a moderate range?*"
    name, title = _stands_for(attention, block)
    if name is None:
        return f"{question} Not measured: {title}."
    parts = []
    for quantity, over in (("fluctuation", "over images"), ("spread", "over channels")):
        difference = change(frame, name, quantity)
        verdict = verdict_text(difference, "less, against the paper", "more, as the paper says")
        parts.append(
            f"{over} from {_pair(frame, name, quantity)}, change {change_text(difference)}: "
            f"{verdict}"
        )
    return (
        f"{question} In {title} the standard deviation of the attention goes {'; '.join(parts)}. "
        f"{_on_bounds(frame, name)}"
    )


def _on_bounds(frame: pd.DataFrame, name: str) -> str:
    rows = frame[(frame["map"] == name) & (frame["method"] == "reinforced")]
    if rows.empty:
        return "The reinforced runs lack this map."
    low, high = rows["lowest"].min(), rows["highest"].max()
    stays = "stay" if (rows["inside"] == 1).all() else "do not all stay"
    return (
        f"The reinforced channels' means reach from {low:.{DECIMALS}f} to {high:.{DECIMALS}f}: "
        f"they {stays} between {BOUNDS[0]} and {BOUNDS[1]}. The share that does goes from "
        f"{_pair(frame, name, 'inside')}, change {change_text(change(frame, name, 'inside'))}."
    )


def _pair(frame: pd.DataFrame, name: str, quantity: str) -> str:
    """Mean over seeds in the baseline and in the reinforced network, "0.077 to 0.151"."""
    values = [list(_by_seed(frame, name, quantity, method).values()) for method in METHODS]
    return " to ".join(f"{np.mean(v):.{DECIMALS}f}" if v else "undefined" for v in values)


def depth_sentences(attention: Attention | None) -> list[str]:
    """What Fig. 3 says: where the change is largest, and how much of the attention is the class."""
    if attention is None:
        return [NO_RUNS]
    frame = measure(attention)
    stages = frame.assign(map=frame["map"].str.split(".").str[0])
    stages = stages.groupby(["method", "seed", "map"], as_index=False).mean(numeric_only=True)
    return [_on_largest_change(stages), _on_classes(stages, attention.chance)]


def _on_largest_change(stages: pd.DataFrame) -> str:
    names = sorted(set(stages["map"]))
    changes = {name: change(stages, name, "spread") for name in names}
    defined = {name: found for name, found in changes.items() if found is not None}
    texts = changes_text(
        {stage_name(name): found for name, found in changes.items()}, "less diverse", "more diverse"
    )
    if not defined:
        return "*Is the change largest in conv5_x?* Undefined: no map is in both networks."
    largest = max(defined, key=lambda name: abs(defined[name].mean))
    deepest = changes[names[-1]]
    verdict = verdict_text(
        deepest, "it grows less diverse", "it grows more diverse, as the paper says"
    )
    return (
        "*Is the change largest in conv5_x, towards more diverse channels?* The spread over "
        f"channels, averaged over the blocks of a stage, changes by: {texts}. It is "
        f"largest in {stage_name(largest)}; of {stage_name(names[-1])}: {verdict}."
    )


def _on_classes(stages: pd.DataFrame, chance: float) -> str:
    names = sorted(set(stages["map"]))
    shares = [f"{stage_name(name)} {_pair(stages, name, 'class_share')}" for name in names]
    changes = {stage_name(name): change(stages, name, "class_share") for name in names}
    by_chance = "undefined" if np.isnan(chance) else f"{chance:.{DECIMALS}f}"
    return (
        "*How much of the attention is about the class?* The share of the attention's variance "
        "over images that the class explains, averaged over the blocks of a stage, goes from "
        f"baseline to reinforced in {'; in '.join(shares)}; a map that knows nothing of the "
        f"classes would have {by_chance}. "
        f"It changes by: {changes_text(changes, 'less about the class', 'more about the class')}."
    )


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
