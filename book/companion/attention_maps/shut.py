"""Parts that no longer act in trained networks: attention that is as good as shut.

A gate that is shut scales everything by almost nothing and hardly learns any more. That is a failed
training rather than bad luck, and no table of errors shows it.
"""

from collections.abc import Sequence

from book.companion.attention_maps.measures import BOUNDS
from book.companion.papers.names import block_title, depth
from dreal_lib.comparison.rows import NetworkComparison, Row, ScaleComparison
from dreal_lib.records import StoredRecord
from dreal_lib.records.arrays import MAP_MEAN


def shut_maps(run: StoredRecord) -> list[str]:
    """Attention maps whose mean over entries and validation images is at most `BOUNDS[0]`.

    Args:
        run: With figure data; one without has no such map.

    Returns:
        Their names, from shallow to deep.

    Raises:
        UserError: Damaged figure data.
    """
    if run.record.files.figure_data is None:
        return []
    arrays = run.figure_data()
    means = {name: float(arrays[MAP_MEAN.of(name)].mean()) for name in MAP_MEAN.parts_in(arrays)}
    return sorted((name for name, mean in means.items() if mean <= BOUNDS[0]), key=depth)


def shut_sentences(comparison: ScaleComparison) -> list[str]:
    """Of each network in which a map is shut: in how many runs, and what its errors did there.

    Args:
        comparison: The runs of one scale.

    Returns:
        None if no map is shut in any run.
    """
    found = [_of_network(network) for network in comparison.networks]
    return [sentence for sentence in found if sentence]


def _of_network(network: NetworkComparison) -> str:
    baseline, reinforced = (_by_seed(row) for row in (network.baseline, network.reinforced))
    if not any((*baseline.values(), *reinforced.values())):
        return ""
    return (
        f"{network.label}: attention is as good as shut (a map's mean is {BOUNDS[0]} or less) in "
        f"{_counted(reinforced)} reinforced runs and in {_counted(baseline)} baseline runs. Such a "
        "block passes on little but its shortcut: training failed there, whatever an interval says."
    )


def _by_seed(row: Row) -> dict[int, list[str]]:
    return {run.record.seed: shut_maps(run) for run in row.runs}


def _counted(by_seed: dict[int, list[str]]) -> str:
    """E.g. "2 of 3 [seed 0: conv3_0 (spatial)]"."""
    text = f"{sum(map(bool, by_seed.values()))} of {len(by_seed)}"
    each = [f"seed {seed}: {_titles(names)}" for seed, names in by_seed.items() if names]
    return f"{text} [{'; '.join(each)}]" if each else text


def _titles(names: Sequence[str]) -> str:
    return ", ".join(f"{block_title(name)}{_kind(name)}" for name in names)


def _kind(name: str) -> str:
    last = name.rpartition(".")[2]
    return f" ({last})" if last in ("channel", "spatial") else ""
