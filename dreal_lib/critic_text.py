"""What the critics of some runs could say and did say, in words for any page.

Could: with one block a stage the recurrence of Eq. 2 has nothing to carry on. Did: a critic that
answers 0 to everything, here called silent, judges nothing. The counts are those of `curves`.
"""

import math
from collections.abc import Iterable

from dreal_lib import paper
from dreal_lib.curves import SILENT_WITHIN, blocks_of_stages, silent_critics
from dreal_lib.paper import stage_name
from dreal_lib.records import StoredRecord


def recurrence_sentence(maps: Iterable[str], subject: str = "This network") -> str:
    """Whether a network has the blocks for its critics to be recurrent (Eq. 2).

    Args:
        maps: Names of its attention maps.
        subject: The network.
    """
    blocks = blocks_of_stages(maps)
    most = max(blocks.values())
    bound = (
        f"a critic of one cell stays within ±{math.tanh(most):.2f}, the bound of "
        f"{'the first step' if most == 1 else f'step {most}'}"
    )
    if most == 1:
        return (
            f"{subject} has one block a stage, so each critic, an LSTM, takes a single step from "
            f"its zero state, and {bound}: nothing here tests the recurrence of Eq. 2."
        )
    counts = ", ".join(f"{count} in {stage_name(stage)}" for stage, count in blocks.items())
    return (
        f"{subject} has several blocks a stage ({counts}), so its critics take up to {most} steps "
        f"(Eq. 2), and {bound}."
    )


def recurrence_of_runs(runs: Iterable[StoredRecord]) -> str:
    """Which networks let the critics' recurrence work, by the maps of their own runs; "" of none.

    Args:
        runs: Of any networks; one without critics (a baseline) is passed over.

    Raises:
        UserError: If a file cannot be read.
    """
    maps: dict[str, set[str]] = {}
    for label, group in _by_network(runs).items():
        maps[label] = {name for run in group for name in run.blocks()["map"]}
    most = {label: max(blocks_of_stages(names).values()) for label, names in maps.items()}
    single = [label for label, count in most.items() if count == 1]
    several = [f"{label} (up to {count})" for label, count in most.items() if count > 1]
    said = []
    if single:
        said.append(
            f"With one block a stage a critic takes a single step from its zero state, and the "
            f"recurrence of Eq. 2 is not tested: {', '.join(single)}."
        )
    if several:
        said.append(f"With several blocks a stage it is: {', '.join(several)}.")
    return " ".join(said)


def silence_of_runs(runs: Iterable[StoredRecord]) -> str:
    """How many critics are silent (`curves.silent_critics`), by network; "" without critics.

    Args:
        runs: Of any networks; one without critics (a baseline) is passed over.

    Raises:
        UserError: If a file cannot be read.
    """
    counts = {label: silent_critics(group) for label, group in _by_network(runs).items()}
    if not counts:
        return ""
    listed = ", ".join(f"{label} {silent} of {of}" for label, (silent, of) in counts.items())
    return (
        f"Critics that are silent, their mean critique within {SILENT_WITHIN} of 0 in the last "
        f"epoch, whatever the reward: {listed}."
    )


def _by_network(runs: Iterable[StoredRecord]) -> dict[str, list[StoredRecord]]:
    """The runs with critics by the paper's name of the network."""
    groups: dict[str, list[StoredRecord]] = {}
    for run in runs:
        if run.record.method == "reinforced":
            row = paper.TABLE_1.get(run.record.network)
            groups.setdefault(row.label if row else run.record.network, []).append(run)
    return groups
