"""What explains the block curves of a network's runs (Fig. 6), in words.

How much of the reward is only accuracy, which critics are saturated or silent, how far off each
run's are, and whether the network lets a critic's recurrence work at all. The numbers are those of
`curves`.
"""

import math
from collections.abc import Iterable

import pandas as pd

from book.companion.critics.curves import SATURATED_SHARE, SILENT_WITHIN, summarise_runs
from book.companion.papers.names import blocks_of_stages, paper_block_name, stage_name
from book.companion.text.runs import trained_name
from book.companion.text.tables import counted, defined, seeds_text
from dreal_lib.records import StoredRecord


def curve_sentences(summaries: pd.DataFrame) -> list[str]:
    """On the reward's parts, saturation, silence, error and recurrence; nothing without curves.

    Args:
        summaries: Of all modules and runs of one network, from `curves.summarise_curves`.
    """
    if summaries.empty:
        return []
    critics = summaries.drop_duplicates("critic")
    stuck = summaries[summaries["saturated"] > SATURATED_SHARE]
    runs, modules = summaries["seed"].nunique(), summaries["map"].nunique()
    every = f"{len(summaries)} module-runs ({counted(modules, 'module')}, {counted(runs, 'run')})"
    silent = _blocks(summaries[summaries["silent"]], runs)
    return [
        f"*Reward.* {reward_parts(summaries)} On images predicted right it ends "
        f"{_range(summaries['gain'])}.",
        f"*Saturated critics:* {len(stuck)} of {every}, on more than half of the images of the "
        f"last epoch{_blocks(stuck, runs)}.",
        f"*Silent critics:* {critics['silent'].sum()} of {len(critics)}{silent}.",
        f"*Error of the critique* (RMSE), mean over the modules of a stage, by run: "
        f"{_errors(summaries)}.",
        f"*Recurrence.* {recurrence_text(summaries['map'])}",
    ]


def reward_parts(summaries: pd.DataFrame) -> str:
    """How far the reward rises in each run, mean over its modules, and by what."""
    means = summaries.groupby("seed").mean(numeric_only=True)
    rises, accuracies = (means[f"last_{n}"] - means[f"first_{n}"] for n in ("reward", "accuracy"))
    return (
        f"The mean over the modules changes by {_each(rises)} ({seeds_text(means.index)}): "
        f"{_each(accuracies)} by accuracy alone, {_each(rises - accuracies)} by the gain of the "
        "attention."
    )


def _each(values: Iterable[float], with_sign: bool = True) -> str:
    return ", ".join(defined(float(value), with_sign) for value in values)


def _errors(summaries: pd.DataFrame) -> str:
    errors = summaries.groupby(["stage", "seed"])["rmse"].mean().unstack("seed")
    return "; ".join(f"{stage_name(s)} {_each(row, False)}" for s, row in errors.iterrows())


def _blocks(some: pd.DataFrame, runs: int) -> str:
    """The blocks of some module-runs, with the number of runs of each; empty of none."""
    counts = some["map"].map(paper_block_name).value_counts(sort=False)
    named = ", ".join(f"{name} in {count}" for name, count in counts.items())
    return f": {named} of {counted(runs, 'run')}" if named else ""


def _range(values: pd.Series) -> str:
    known = values.dropna()
    if known.empty:
        return "nowhere (undefined everywhere)"
    low, middle, high = (defined(x, True) for x in (known.min(), known.median(), known.max()))
    return f"between {low} and {high} (median {middle})"


def recurrence_text(maps: Iterable[str]) -> str:
    """Whether a network has the blocks for its critics to be recurrent (Eq. 2).

    Args:
        maps: Names of its attention maps.
    """
    blocks = blocks_of_stages(maps)
    most = max(blocks.values())
    bound = f"a critic of one cell stays within ±{math.tanh(most):.2f}"
    if most == 1:
        return (
            "One block a stage, so a critic takes a single step from its zero state, and nothing "
            f"tests the recurrence of Eq. 2; {bound}."
        )
    counts = ", ".join(f"{count} in {stage_name(stage)}" for stage, count in blocks.items())
    return f"Several blocks a stage ({counts}): critics take up to {most} steps (Eq. 2); {bound}."


def recurrence_of_runs(runs: Iterable[StoredRecord]) -> str:
    """How many steps critics take, by network, by the maps of its own runs; "" without critics.

    Raises:
        UserError: If a file cannot be read.
    """
    maps = {
        label: {name for run in group for name in run.blocks()["map"]}
        for label, group in _by_network(runs).items()
    }
    steps = ", ".join(f"{n} {max(blocks_of_stages(of).values())}" for n, of in maps.items())
    return f"Steps of a critic, 1 being no recurrence (Eq. 2): {steps}." if steps else ""


def silence_of_runs(runs: Iterable[StoredRecord]) -> str:
    """How many critics are silent (`curves.SILENT_WITHIN`), by network; "" without critics.

    Raises:
        UserError: If a file cannot be read.
    """
    counts = {}
    for label, group in _by_network(runs).items():
        critics = summarise_runs(group).drop_duplicates("critic")["silent"]
        counts[label] = (int(critics.sum()), len(critics))
    if not counts:
        return ""
    silent, total = (sum(column) for column in zip(*counts.values(), strict=True))
    listed = ", ".join(f"{label} {some} of {of}" for label, (some, of) in counts.items())
    return (
        f"{silent} of {total} critics are silent, their mean critique within {SILENT_WITHIN} of 0 "
        f"in the last epoch: {listed}."
    )


def _by_network(runs: Iterable[StoredRecord]) -> dict[str, list[StoredRecord]]:
    """The runs with critics by what was trained; a baseline is passed over."""
    groups: dict[str, list[StoredRecord]] = {}
    for run in runs:
        if run.record.method == "reinforced":
            groups.setdefault(trained_name(run.record), []).append(run)
    return groups
