"""What each block's attention is worth once a network is trained.

It is the bypass reward of Eq. 1 as a diagnostic: with a block's attention replaced by its mean, is
the true class less probable (the attention helped) or more (it hurt)? It is known image by image
for any network with attention (`dreal_lib.diagnosis.evaluation`); here it is summed up by block.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from book.companion.attention_maps.changes import change
from book.companion.papers.names import depth, paper_block_name
from book.companion.text.differences import DECIMALS, NO_PAIR, NO_RUNS, change_cells, effects_text
from book.companion.text.tables import Marked, Origin, Table, defined
from dreal_lib.comparison.rows import METHODS
from dreal_lib.errors import UserError
from dreal_lib.records import StoredRecord
from dreal_lib.records.arrays import REWARD_BLOCKS, REWARDS, RIGHT

REWARD_MEASURES = {
    "reward": "mean reward",
    "helped": "share helped",
    "hurt": "share hurt",
}


def load_rewards(
    baseline: Sequence[StoredRecord], reinforced: Sequence[StoredRecord]
) -> pd.DataFrame:
    """The bypass rewards of paired runs; empty without runs.

    Args:
        baseline: Runs of one network, one a seed.
        reinforced: Runs with the same seeds.

    Returns:
        Columns method, seed, map (the bypassed unit, from shallow to deep), right (share of images
        predicted right), reward, helped, hurt (over these alone; NaN if there are none).

    Raises:
        UserError: A run whose figure data are missing or hold no rewards, or damaged ones.
    """
    rows = [
        {"method": method, "seed": run.record.seed, **row}
        for method, runs in zip(METHODS, (baseline, reinforced), strict=True)
        for run in runs
        for row in _reward_rows(run)
    ]
    return pd.DataFrame(rows)


def _reward_rows(run: StoredRecord) -> list[dict[str, object]]:
    arrays = run.figure_data()
    missing = [name for name in (REWARDS, REWARD_BLOCKS, RIGHT) if name not in arrays]
    if missing:
        raise UserError(
            f"record {run.path} lacks {', '.join(missing)} in its figure data (a network without "
            "attention has no bypass rewards); run an attention network's recipe"
        )
    rewards, right = arrays[REWARDS], arrays[RIGHT]
    units = [str(name) for name in arrays[REWARD_BLOCKS]]
    if rewards.shape != (len(right), len(units)):
        raise UserError(
            f"rewards of record {run.path} have shape {rewards.shape}, not {len(right)} images by "
            f"{len(units)} blocks; run its recipe again"
        )
    return [
        {"map": unit, "right": float(right.mean()), **summarise_rewards(rewards[right, index])}
        for index, unit in enumerate(units)
    ]


def summarise_rewards(rewards: np.ndarray) -> dict[str, float]:
    """Mean reward, and the shares of images that the attention helped and hurt.

    Args:
        rewards: Of one block, over images predicted right, (N,).

    Returns:
        reward, helped (above zero) and hurt (below zero); NaN of no image. The two shares leave
        out images whose prediction the bypass does not move.
    """
    if not len(rewards):
        return dict.fromkeys(REWARD_MEASURES, float("nan"))
    rewards = rewards.astype(np.float64)
    return {
        "reward": float(rewards.mean()),
        "helped": float((rewards > 0).mean()),
        "hurt": float((rewards < 0).mean()),
    }


def reward_table(rewards: pd.DataFrame, origin: Origin, scale: str) -> Table:
    """The bypass rewards, a line a block; a table that says so without runs."""
    columns = ("Block", "Reward", "Difference", "95 % interval", "n", "Helped", "Hurt")
    blocks = () if rewards.empty else blocks_of(rewards)
    rows = (
        (
            Marked(paper_block_name(name), origin, scale),
            _both(rewards, name, "reward", 3),
            *change_cells(change(rewards, name, "reward")),
            *(_both(rewards, name, share, 2) for share in ("helped", "hurt")),
        )
        for name in blocks
    )
    return Table.of(columns, rows, instead=NO_PAIR)


def blocks_of(rewards: pd.DataFrame) -> list[str]:
    """The blocks with rewards, from shallow to deep."""
    return sorted(set(rewards["map"]), key=depth)


def _both(rewards: pd.DataFrame, name: str, quantity: str, decimals: int) -> str:
    """A number of both methods, mean over seeds."""
    means = rewards[rewards["map"] == name].groupby("method")[quantity].mean().reindex(METHODS)
    return ", ".join(defined(mean, decimals=decimals) for mean in means)


def reward_sentences(rewards: pd.DataFrame) -> list[str]:
    """Which block's attention matters most, where it hurts, and what reinforcing changed."""
    if rewards.empty:
        return [NO_RUNS]
    changes = {
        paper_block_name(name): change(rewards, name, "reward") for name in blocks_of(rewards)
    }
    texts = effects_text(changes, decimals=DECIMALS)
    return [*(_best_and_worst(rewards, m) for m in METHODS), f"Change of the reward: {texts}."]


def _best_and_worst(rewards: pd.DataFrame, method: str) -> str:
    of_method = rewards[rewards["method"] == method].groupby("map").mean(numeric_only=True)
    of_method = of_method.loc[[name for name in blocks_of(rewards) if name in of_method.index]]
    right = 100 * of_method["right"].max()
    head = f"{method.capitalize()}, {right:.0f} % of the images predicted right"
    if of_method["reward"].isna().all():
        return f"{head}: no block has a reward."
    best, worst = of_method["reward"].idxmax(), of_method["hurt"].idxmax()
    return (
        f"{head}: the attention of {paper_block_name(best)} is worth most; without it the true "
        f"class loses {defined(100 * of_method['reward'][best], decimals=0)} % of its probability "
        f"on average, and it helped on {100 * of_method['helped'][best]:.0f} % of them. "
        f"{paper_block_name(worst)} hurt most often, on {100 * of_method['hurt'][worst]:.0f} %."
    )
