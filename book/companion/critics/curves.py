"""What the block curves of a run say, in numbers (appendix B.3, Fig. 6); words: `critics.text`.

Every number is of one module in one run, a "module-run". An average over runs comes last or not at
all: the mean of a critic that answers 0 and one that does not is a curve that no run had.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from book.companion.papers.names import depth, paper_block_name
from book.companion.text.tables import Marked, Origin, Table, defined, signed
from dreal_lib.records import StoredRecord

SATURATED_SHARE = 0.5  # a critic saturated on more of the images than this is called saturated
SILENT_WITHIN = 0.01  # of 0: a critic whose mean critique lies no further off is called silent


@dataclass(frozen=True)
class CurveSummary:
    """One attention map over one training. NaN where undefined.

    Attributes:
        seed: Of the run.
        first_critique, last_critique: Mean critique of the first and the last epoch.
        first_reward, last_reward: Mean reward of these.
        first_accuracy_part, last_accuracy_part: The reward if every image predicted right had
            gained nothing, -gamma * (share predicted wrong).
        follows: Correlation over epochs of mean critique and mean reward.
        correlation, rmse, saturated_share: Of the last epoch, over images.
    """

    map: str
    seed: int
    first_critique: float
    last_critique: float
    first_reward: float
    last_reward: float
    first_accuracy_part: float
    last_accuracy_part: float
    last_gain: float
    follows: float
    correlation: float
    rmse: float
    saturated_share: float

    @property
    def stage(self) -> str:
        """The network's name of the stage, e.g. "layer1"."""
        return self.map.partition(".")[0]

    @property
    def critic(self) -> tuple[int, str, str]:
        """Seed, stage and kind of map: what shares one critic."""
        *_, kind = depth(self.map)
        return self.seed, self.stage, kind.rstrip("0123456789")


def load_blocks(runs: Sequence[StoredRecord]) -> pd.DataFrame:
    """Block curves of the runs of a network, with a column `seed`; empty without runs.

    Raises:
        UserError: A damaged file.
    """
    curves = [pd.DataFrame(run.blocks()).assign(seed=run.record.seed) for run in runs]
    return pd.concat(curves, ignore_index=True) if curves else pd.DataFrame()


def summarise_curves(blocks: pd.DataFrame) -> list[CurveSummary]:
    """One summary a map and run, from shallow to deep, the runs of a map by seed.

    Args:
        blocks: Block curves (`records.BLOCK_COLUMNS`), with a column `seed` if of several runs.
    """
    if blocks.empty:
        return []
    blocks = blocks.assign(
        # No image right: no gain, and the mean over none is undefined.
        accuracy_part=blocks["reward_mean"]
        - blocks["right_share"] * blocks["reward_right_mean"].fillna(0.0),
        seed=blocks["seed"] if "seed" in blocks else 0,
    )
    curves = {key: curve.sort_values("epoch") for key, curve in blocks.groupby(["map", "seed"])}
    return [
        _summary(name, int(seed), curves[name, seed])
        for name, seed in sorted(curves, key=lambda key: (depth(key[0]), key[1]))
    ]


def summarise_runs(runs: Sequence[StoredRecord]) -> list[CurveSummary]:
    """The same of the block curves of several runs of one network.

    Raises:
        UserError: If a file cannot be read.
    """
    return summarise_curves(load_blocks(runs))


def _summary(name: str, seed: int, curve: pd.DataFrame) -> CurveSummary:
    first, last = curve.iloc[0], curve.iloc[-1]
    return CurveSummary(
        map=name,
        seed=seed,
        first_critique=first["critique_mean"],
        last_critique=last["critique_mean"],
        first_reward=first["reward_mean"],
        last_reward=last["reward_mean"],
        first_accuracy_part=first["accuracy_part"],
        last_accuracy_part=last["accuracy_part"],
        last_gain=last["reward_right_mean"],
        follows=correlation(curve["critique_mean"].to_numpy(), curve["reward_mean"].to_numpy()),
        correlation=last["correlation"],
        rmse=last["critique_rmse"],
        saturated_share=last["saturated_share"],
    )


def correlation(first: np.ndarray, second: np.ndarray) -> float:
    """Pearson's correlation; NaN if either does not vary or there are fewer than three values."""
    first, second = first - first.mean(), second - second.mean()
    size = np.sqrt((first**2).sum() * (second**2).sum())
    # Below this only rounding varies, e.g. the critique of a critic that is stuck.
    if len(first) < 3 or not size > 1e-12:
        return float("nan")
    return float((first * second).sum() / size)


def curve_table(summaries: Sequence[CurveSummary], origin: Origin, scale: str) -> Table:
    """The numbers behind Fig. 6, a line a map and run; the mark stands in the first column."""
    columns = (
        "Block",
        "Seed",
        "Q from, to",
        "R from, to",
        "Gain",
        "Q-R, epochs",
        "Q-R, images",
        "RMSE",
        "Sat.",
    )
    rows = tuple(
        (
            Marked(paper_block_name(s.map), origin, scale),
            str(s.seed),
            f"{signed(s.first_critique)}, {signed(s.last_critique)}",
            f"{signed(s.first_reward)}, {signed(s.last_reward)}",
            *(defined(v, with_sign=True) for v in (s.last_gain, s.follows, s.correlation)),
            *(defined(v) for v in (s.rmse, s.saturated_share)),
        )
        for s in summaries
    )
    return Table(columns, rows, frozenset(range(1, len(columns))))


def critics_by_silence(summaries: Iterable[CurveSummary]) -> dict[tuple[int, str, str], bool]:
    """Whether each critic is silent, by seed, stage and kind of map.

    A critic is silent if, in the last epoch, the critique of every module that it judges, averaged
    over the images, lies within `SILENT_WITHIN` of 0. Answers far from 0 that cancel in the mean
    would be counted too; in the committed records a silent critic is saturated on nine in ten of
    the images or more, so it is stuck there.

    Args:
        summaries: Of one or several runs of a network.
    """
    silent: dict[tuple[int, str, str], bool] = {}
    for s in summaries:
        silent[s.critic] = silent.get(s.critic, True) and bool(
            abs(s.last_critique) <= SILENT_WITHIN
        )
    return silent


def silent_critics(runs: Iterable[StoredRecord]) -> tuple[int, int]:
    """How many critics are silent (`critics_by_silence`), of how many, each run's by themselves.

    Args:
        runs: Of any networks; one without critics (a baseline) is passed over.

    Raises:
        UserError: If a file cannot be read.
    """
    answers = [
        silent
        for run in runs
        if run.record.method == "reinforced"
        for silent in critics_by_silence(summarise_curves(pd.DataFrame(run.blocks()))).values()
    ]
    return int(sum(answers)), len(answers)
