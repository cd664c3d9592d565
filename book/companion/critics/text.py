"""What explains the block curves of a network's runs (Fig. 6), in words.

How much of the reward is only accuracy, which critics are saturated or silent, and whether the
network lets a critic's recurrence work at all. The numbers are those of `curves`.
"""

import math
from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd

from book.companion.critics.curves import (
    SATURATED_SHARE,
    SILENT_WITHIN,
    CurveSummary,
    critics_by_silence,
    silent_critics,
    summarise_curves,
)
from book.companion.papers import dreal
from book.companion.papers.names import blocks_of_stages, paper_block_name, stage_name
from book.companion.text.tables import defined
from dreal_lib.records import StoredRecord


def curve_sentences(summaries: Sequence[CurveSummary]) -> list[str]:
    """On the reward's parts, saturation, silence and recurrence.

    Args:
        summaries: Of all modules and runs of one network.

    Returns:
        Nothing without curves.
    """
    if not summaries:
        return []
    stuck = [s for s in summaries if s.saturated_share > SATURATED_SHARE]
    silent = critics_by_silence(summaries)
    named = [s for s in summaries if silent[s.critic]]
    return [
        f"*Reward.* {reward_parts(summaries)} On images predicted right it ends "
        f"{_range([s.last_gain for s in summaries])}.",
        f"*Saturated critics:* {len(stuck)} of {_module_runs(summaries)}, on more than half of the "
        f"images of the last epoch{_counted(stuck, summaries)}.",
        f"*Silent critics:* {sum(silent.values())} of {len(silent)}{_counted(named, summaries)}.",
        f"*Recurrence.* {recurrence_text(s.map for s in summaries)}",
    ]


def reward_parts(summaries: Sequence[CurveSummary]) -> str:
    """How far the reward rises in each run, mean over its modules, and by what."""
    rises, accuracies = [], []
    for seed in _seeds(summaries):
        of_run = [s for s in summaries if s.seed == seed]
        rises.append(float(np.mean([s.last_reward - s.first_reward for s in of_run])))
        parts = [s.last_accuracy_part - s.first_accuracy_part for s in of_run]
        accuracies.append(float(np.mean(parts)))
    gains = [rise - accuracy for rise, accuracy in zip(rises, accuracies, strict=True)]
    seeds = ", ".join(map(str, _seeds(summaries)))
    return (
        f"The mean over the modules changes by {_each(rises)} (seeds {seeds}): {_each(accuracies)} "
        f"by accuracy alone, {_each(gains)} by the gain of the attention."
    )


def _each(values: Iterable[float], with_sign: bool = True) -> str:
    return ", ".join(defined(float(value), with_sign) for value in values)


def _counted(some: Sequence[CurveSummary], summaries: Sequence[CurveSummary]) -> str:
    """The blocks of some module-runs, with the number of runs of each; empty of none."""
    names = [paper_block_name(s.map) for s in some]
    counts = [f"{name} in {names.count(name)}" for name in dict.fromkeys(names)]
    return f": {', '.join(counts)} of {len(_seeds(summaries))} runs" if counts else ""


def _module_runs(summaries: Sequence[CurveSummary]) -> str:
    runs, modules = len(_seeds(summaries)), len({s.map for s in summaries})
    return f"{len(summaries)} module-runs ({modules} modules, {runs} runs)"


def _seeds(summaries: Iterable[CurveSummary]) -> list[int]:
    return sorted({s.seed for s in summaries})


def _range(values: Sequence[float], with_sign: bool = True) -> str:
    known = [value for value in values if not math.isnan(value)]
    if not known:
        return "nowhere (undefined everywhere)"
    low, middle, high = (defined(float(f(known)), with_sign) for f in (np.min, np.median, np.max))
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
    """How many critics are silent (`curves.silent_critics`), by network; "" without critics.

    Raises:
        UserError: If a file cannot be read.
    """
    counts = {label: silent_critics(group) for label, group in _by_network(runs).items()}
    if not counts:
        return ""
    silent, total = (sum(column) for column in zip(*counts.values(), strict=True))
    listed = ", ".join(f"{label} {some} of {of}" for label, (some, of) in counts.items())
    return (
        f"{silent} of {total} critics are silent, their mean critique within {SILENT_WITHIN} of 0 "
        f"in the last epoch: {listed}."
    )


def _by_network(runs: Iterable[StoredRecord]) -> dict[str, list[StoredRecord]]:
    """The runs with critics by the paper's name of the network; a baseline is passed over."""
    groups: dict[str, list[StoredRecord]] = {}
    for run in runs:
        if run.record.method == "reinforced":
            row = dreal.TABLE_1.get(run.record.network)
            groups.setdefault(row.label if row else run.record.network, []).append(run)
    return groups


# Figures for who does not see them


def alt_text(blocks: pd.DataFrame) -> str:
    """Fig. 6 for who does not see it; empty without curves."""
    if blocks.empty:
        return ""
    summaries = summarise_curves(blocks)
    return (
        "Critique and reward against the epoch, a panel a module, a line a run: "
        f"{_module_runs(summaries)}. Rewards end {_range([s.last_reward for s in summaries])}, "
        f"critiques {_range([s.last_critique for s in summaries])}."
    )


def alt_text_of_parts(blocks: pd.DataFrame) -> str:
    """The same for the figure of the reward's parts."""
    if blocks.empty:
        return ""
    last = blocks[blocks["epoch"] == blocks["epoch"].max()]
    shares = last.groupby("seed")["right_share"].mean()
    return (
        "The share of images predicted right against the epoch, ending, run by run, at "
        f"{_each(shares, with_sign=False)}, and the mean reward over these for each module and "
        f"run, ending {_range(last['reward_right_mean'].tolist())}."
    )


def alt_text_of_quality(blocks: pd.DataFrame) -> str:
    """The same for the figure of the critics' quality."""
    if blocks.empty:
        return ""
    summaries = summarise_curves(blocks)
    errors = _range([s.rmse for s in summaries], with_sign=False)
    saturated = _range([s.saturated_share for s in summaries], with_sign=False)
    return (
        f"Three maps of colour, {_module_runs(summaries)}, by epochs. In the last epoch the "
        f"correlation of critique and reward lies {_range([s.correlation for s in summaries])}, "
        f"the error of the critique {errors}, and the saturated share {saturated}."
    )
