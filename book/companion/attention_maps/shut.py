"""Attention that no longer acts in trained networks: maps that are as good as shut or open.

Such a map scales every place alike and hardly learns any more; shut, it leaves its block little but
the shortcut. That is a failed training rather than bad luck, and no table of errors shows it.
"""

from collections.abc import Sequence

from book.companion.attention_maps.measures import BOUNDS
from book.companion.papers.names import depth, paper_block_name
from dreal_lib.comparison.rows import METHODS, NetworkComparison
from dreal_lib.records import StoredRecord
from dreal_lib.records.arrays import MAP_MEAN


def map_levels(run: StoredRecord, kind: str = "") -> dict[str, float]:
    """Mean of each attention map over entries and validation images, from shallow to deep.

    Args:
        run: With figure data; one without has no map.
        kind: Only these ("spatial"), or all.

    Raises:
        UserError: Damaged figure data.
    """
    if run.record.files.figure_data is None:
        return {}
    arrays = run.figure_data()
    means = {name: float(arrays[MAP_MEAN.of(name)].mean()) for name in MAP_MEAN.parts_in(arrays)}
    return {name: means[name] for name in sorted(means, key=depth) if name.endswith(kind)}


def beyond(levels: dict[str, float]) -> dict[str, float]:
    """Of these maps those that are as good as shut or open."""
    return {name: x for name, x in levels.items() if not BOUNDS[0] < x < BOUNDS[1]}


def shut_text(network: NetworkComparison, kind: str = "", listed: bool = True) -> str:
    """How many maps of a network's runs are as good as shut or open, by method; "" without maps.

    Args:
        network: Baseline and reinforced runs; all of them count.
        kind: Only maps of this kind, or all.
        listed: Whether each is named, with its level and seed.
    """
    rows = dict(zip(METHODS, (network.baseline, network.reinforced), strict=True))
    texts = []
    for method, row in rows.items():
        levels = {run.record.seed: map_levels(run, kind) for run in row.runs}
        found = {seed: beyond(of_run) for seed, of_run in levels.items()}
        text = f"{sum(map(len, found.values()))} of {sum(map(len, levels.values()))} {method}"
        named = "; ".join(f"seed {seed}: {_named(maps)}" for seed, maps in found.items() if maps)
        if any(levels.values()):
            texts.append(f"{text} [{named}]" if listed and named else text)
    if not texts:
        return ""
    low, high = BOUNDS
    return f"{network.label}, maps of mean {low} or less, {high} or more: {', '.join(texts)}"


def _named(maps: dict[str, float]) -> str:
    return ", ".join(f"{paper_block_name(name)} {level:.3f}" for name, level in maps.items())


def shut_sentences(networks: Sequence[NetworkComparison], kind: str = "") -> list[str]:
    """Of each network in which a map is shut or open: how many, and which; `kind` as above."""
    lines = []
    for network in networks:
        runs = (*network.baseline.runs, *network.reinforced.runs)
        if any(beyond(map_levels(run, kind)) for run in runs):
            lines.append(
                f"{shut_text(network, kind)}. There training failed, whatever an interval says."
            )
    return lines
