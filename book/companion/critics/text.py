"""What the block curves of a network's runs say in words (appendix B.3, Fig. 6).

The paper says that critiques closely follow their rewards, that both rise, and that the critics of
shallow layers converge less well. Each is answered here run by run, beside what explains it: how
much of the reward is only accuracy, which critics are saturated or silent, and whether the network
lets a critic's recurrence work at all. The numbers are those of `curves`.
"""

import math
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import pandas as pd

from book.companion.critics.curves import (
    SATURATED_SHARE,
    SILENT_WITHIN,
    CurveSummary,
    critics_by_silence,
    means_by_stage,
    silent_critics,
    summarise_curves,
)
from book.companion.papers import dreal
from book.companion.papers.names import blocks_of_stages, paper_block_name, stage_name
from book.companion.text.differences import effect_text
from book.companion.text.tables import defined
from dreal_lib.comparison.paired import paired_difference
from dreal_lib.records import StoredRecord

MOST_LISTED = 5  # of more runs the range is told, not each
DEEP = {"lower": "lower in the deep stage", "higher": "higher in the deep stage"}


def curve_sentences(summaries: Sequence[CurveSummary]) -> list[str]:
    """What the curves say on each claim of appendix B.3, and on what explains it.

    Args:
        summaries: Of all modules and runs of one network.

    Returns:
        On following, rising, depth, the reward's parts, saturation, silence and recurrence; nothing
        without curves.
    """
    if not summaries:
        return []
    return [
        _on_following(summaries),
        _on_rising(summaries),
        _on_depth(summaries),
        _on_parts(summaries),
        _on_saturation(summaries),
        _on_silence(summaries),
        f"*Is the recurrence tested?* {recurrence_sentence(s.map for s in summaries)}",
    ]


def _on_following(summaries: Sequence[CurveSummary]) -> str:
    over_epochs = [s for s in summaries if not math.isnan(s.follows)]
    over_images = [s.correlation for s in summaries]
    silent = critics_by_silence(summaries)
    speaking = [s for s in over_epochs if not silent[s.critic]]
    text = (
        "*Does the critique follow the reward?* Over the epochs of a run their means correlate, "
        f"module by module, {_range([s.follows for s in over_epochs])}"
    )
    if len(speaking) < len(over_epochs):
        text += f"; without the silent critics {_range([s.follows for s in speaking])}"
    text += f". Over the images of the last epoch they correlate {_range(over_images)}."
    undefined = len(summaries) - len(over_epochs)
    if undefined:
        text += (
            f" In {undefined} of {_module_runs(summaries)} the former is undefined: the critique "
            "does not move."
        )
    return text


def _on_rising(summaries: Sequence[CurveSummary]) -> str:
    rewards = sum(s.last_reward > s.first_reward for s in summaries)
    critiques = sum(s.last_critique > s.first_critique for s in summaries)
    return (
        f"*Do they rise?* From the first epoch to the last the mean reward rises in {rewards} of "
        f"{_module_runs(summaries)}, the mean critique in {critiques}."
    )


def _on_depth(summaries: Sequence[CurveSummary]) -> str:
    errors = means_by_stage(summaries, "rmse")
    listed = "; ".join(
        f"{stage_name(stage)} {_by_run(of_runs, with_sign=False)}"
        for stage, of_runs in errors.items()
    )
    text = (
        "*Are shallow critics worse?* Root mean square error of the critique in the last epoch, "
        f"mean over the modules of a stage, {_seeds(summaries)}: {listed}."
    )
    if len(errors) > 1:
        shallow, *_, deep = errors
        effect = effect_text(paired_difference(errors[shallow], errors[deep]), "", DEEP)
        text += f" {stage_name(deep)} less {stage_name(shallow)}: {effect}."
    return text


def _on_parts(summaries: Sequence[CurveSummary]) -> str:
    rises, accuracies = {}, {}
    for seed in _seed_list(summaries):
        of_run = [s for s in summaries if s.seed == seed]
        rises[seed] = np.mean([s.last_reward - s.first_reward for s in of_run])
        accuracies[seed] = np.mean([s.last_accuracy_part - s.first_accuracy_part for s in of_run])
    gains = {seed: rises[seed] - accuracies[seed] for seed in rises}
    return (
        "*What does the reward tell?* Averaged over the modules of a run it changes by "
        f"{_by_run(rises)} ({_seeds(summaries)}): by accuracy alone (fewer images pay the penalty) "
        f"{_by_run(accuracies)}, by the relative gain of the attention {_by_run(gains)}. On images "
        "predicted right the last epoch's mean reward is, module by module, "
        f"{_range([s.last_gain for s in summaries])}."
    )


def _on_saturation(summaries: Sequence[CurveSummary]) -> str:
    stuck = [s for s in summaries if s.saturated_share > SATURATED_SHARE]
    return (
        "*Which critics are saturated?* In the last epoch, on more than half of the images, in "
        f"{len(stuck)} of {_module_runs(summaries)}{_counted(stuck, summaries)}."
    )


def _on_silence(summaries: Sequence[CurveSummary]) -> str:
    silent = critics_by_silence(summaries)
    named = [s for s in summaries if silent[s.critic]]
    critics = f"critic{'' if len(silent) == 1 else 's'}"
    return (
        f"*Which critics are silent?* {sum(silent.values())} of {len(silent)} {critics}, counted "
        "run by run, answer 0 whatever the reward: in the last epoch their mean critique lies "
        f"within {SILENT_WITHIN} of it{_counted(named, summaries)}."
    )


def _counted(some: Sequence[CurveSummary], summaries: Sequence[CurveSummary]) -> str:
    """The blocks of some module-runs, with the number of runs of each; empty of none."""
    runs = len(_seed_list(summaries))
    names = [paper_block_name(s.map) for s in some]
    if runs == 1:
        listed = ", ".join(names)
    else:
        counts = [f"{name} in {names.count(name)}" for name in dict.fromkeys(names)]
        listed = f"{', '.join(counts)} of {runs} runs" if counts else ""
    return f": {listed}" if listed else ""


def _module_runs(summaries: Sequence[CurveSummary]) -> str:
    runs, modules = len(_seed_list(summaries)), len({s.map for s in summaries})
    if runs == 1:
        return f"{modules} module{'' if modules == 1 else 's'}"
    return (
        f"{len(summaries)} module-runs ({modules} module{'' if modules == 1 else 's'}, {runs} runs)"
    )


def _seed_list(summaries: Iterable[CurveSummary]) -> list[int]:
    return sorted({s.seed for s in summaries})


def _seeds(summaries: Sequence[CurveSummary]) -> str:
    seeds = _seed_list(summaries)
    if len(seeds) > MOST_LISTED:
        return f"over {len(seeds)} runs"
    return f"seed{'' if len(seeds) == 1 else 's'} {', '.join(map(str, seeds))}"


def _by_run(values: Mapping[int, float], with_sign: bool = True) -> str:
    """One value a run, by seed, or of many their range."""
    shown = [defined(float(values[seed]), with_sign) for seed in sorted(values)]
    if len(shown) > MOST_LISTED:
        known = [value for value in values.values() if not math.isnan(value)]
        low, high = (defined(float(f(known)), with_sign) for f in (min, max))
        return f"{low} to {high}"
    return ", ".join(shown)


def _range(values: Sequence[float], with_sign: bool = True) -> str:
    known = [value for value in values if not math.isnan(value)]
    if not known:
        return "nowhere (undefined everywhere)"
    low, middle, high = (defined(float(f(known)), with_sign) for f in (np.min, np.median, np.max))
    return f"between {low} and {high} (median {middle})"


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
    shares = last.groupby(last["seed"] if "seed" in last else last["epoch"])["right_share"].mean()
    return (
        "The share of images predicted right against the epoch, ending, run by run, at "
        f"{_by_run(shares.to_dict(), with_sign=False)}, and the mean reward over these for each "
        f"module and run, ending {_range(last['reward_right_mean'].tolist())}."
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
            row = dreal.TABLE_1.get(run.record.network)
            groups.setdefault(row.label if row else run.record.network, []).append(run)
    return groups
