"""What the block curves of a run say, in numbers (appendix B.3, Fig. 6); words: `critics.text`.

Every number is of one module in one run, a "module-run". An average over runs comes last or not at
all: the mean of a critic that answers 0 and one that does not is a curve that no run had.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from book.companion.papers.names import depth, paper_block_name
from book.companion.text.tables import Marked, Origin, Table, defined, signed
from dreal_lib.records import StoredRecord

SATURATED_SHARE = 0.5  # a critic saturated on more of the images than this is called saturated
# A critic is silent if, in the last epoch, the critique of every module that it judges, averaged
# over the images, lies within this of 0. Answers far from 0 that cancel would be counted too;
# in the committed records a silent critic is saturated on nine in ten of the images or more.
SILENT_WITHIN = 0.01
LAST = {  # what is told of the last epoch alone -> its column of the block curves
    "gain": "reward_right_mean",
    "correlation": "correlation",
    "rmse": "critique_rmse",
    "saturated": "saturated_share",
}


def load_blocks(runs: Sequence[StoredRecord]) -> pd.DataFrame:
    """Block curves of the runs of a network, with a column `seed`; empty without runs.

    Raises:
        UserError: A damaged file.
    """
    curves = [pd.DataFrame(run.blocks()).assign(seed=run.record.seed) for run in runs]
    return pd.concat(curves, ignore_index=True) if curves else pd.DataFrame()


def summarise_curves(blocks: pd.DataFrame) -> pd.DataFrame:
    """One row a map and run, from shallow to deep, the runs of a map by seed.

    Args:
        blocks: Block curves (`records.BLOCK_COLUMNS`), with a column `seed` if of several runs.

    Returns:
        Columns map, seed, stage; critic (seed, stage and kind of map: what shares one critic);
        first_ and last_ critique, reward (means of the first and the last epoch) and accuracy (the
        reward if every image predicted right had gained nothing, -gamma * (share predicted wrong));
        follows (correlation over epochs of mean critique and mean reward); of the last epoch, over
        images, gain, correlation, rmse, saturated; silent (see `SILENT_WITHIN`). NaN where
        undefined.
    """
    if blocks.empty:
        return pd.DataFrame()
    blocks = blocks.assign(
        # No image right: no gain, and the mean over none is undefined.
        accuracy_mean=blocks["reward_mean"]
        - blocks["right_share"] * blocks["reward_right_mean"].fillna(0.0),
        seed=blocks["seed"] if "seed" in blocks else 0,
    ).sort_values("epoch")
    keys = ["map", "seed"]
    ends = {
        end: blocks.drop_duplicates(keys, keep=end).set_index(keys) for end in ("first", "last")
    }
    columns = {
        f"{end}_{name}": ends[end][f"{name}_mean"]
        for end in ends
        for name in ("critique", "reward", "accuracy")
    }
    columns |= {name: ends["last"][column] for name, column in LAST.items()}
    columns["follows"] = blocks.groupby(keys)[["critique_mean", "reward_mean"]].apply(
        lambda curve: correlation(*curve.to_numpy().T)
    )
    found = pd.DataFrame(columns).reset_index()
    found = found.sort_values(keys, key=lambda c: c.map(depth) if c.name == "map" else c)
    return _with_critics(found.reset_index(drop=True))


def _with_critics(found: pd.DataFrame) -> pd.DataFrame:
    """Which critic judges each row, and whether it is silent."""
    critics = [
        (seed, stage, kind.rstrip("0123456789"))
        for seed, (stage, _, kind) in zip(found["seed"], found["map"].map(depth), strict=True)
    ]
    found = found.assign(critic=critics, stage=[stage for _, stage, _ in critics])
    near = found["last_critique"].abs() <= SILENT_WITHIN
    return found.assign(silent=near.groupby(found["critic"]).transform("all"))


def summarise_runs(runs: Sequence[StoredRecord]) -> pd.DataFrame:
    """The same of the block curves of several runs of one network.

    Raises:
        UserError: If a file cannot be read.
    """
    return summarise_curves(load_blocks(runs))


def correlation(first: np.ndarray, second: np.ndarray) -> float:
    """Pearson's correlation; NaN if either does not vary or there are fewer than three values."""
    first, second = first - first.mean(), second - second.mean()
    size = np.sqrt((first**2).sum() * (second**2).sum())
    # Below this only rounding varies, e.g. the critique of a critic that is stuck.
    if len(first) < 3 or not size > 1e-12:
        return float("nan")
    return float((first * second).sum() / size)


def curve_table(summaries: pd.DataFrame, origin: Origin, scale: str) -> Table:
    """The numbers behind Fig. 6, a line a map and run; the mark stands in the first column."""
    columns = ("Block", "Seed", "Q from, to", "R from, to", "Gain", "Q-R, epochs", "Q-R, images")
    columns += ("RMSE", "Sat.")
    rows = tuple(
        (
            Marked(paper_block_name(s.map), origin, scale),
            str(s.seed),
            f"{signed(s.first_critique)}, {signed(s.last_critique)}",
            f"{signed(s.first_reward)}, {signed(s.last_reward)}",
            *(defined(v, with_sign=True) for v in (s.gain, s.follows, s.correlation)),
            *(defined(v) for v in (s.rmse, s.saturated)),
        )
        for s in summaries.itertuples()
    )
    return Table.of(columns, rows)
