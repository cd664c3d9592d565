"""CBAM's spatial maps, and what each block's attention is worth once a network is trained.

The second is the bypass reward of Eq. 1 as a diagnostic: with a block's attention replaced by its
mean, is the true class less probable (the attention helped) or more (it hurt)? It is known image by
image for any network with attention (`evaluation.diagnose`); here it is summed up by block.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from book.companion.attention_maps.changes import change, measure_table
from book.companion.attention_maps.loaded import Attention, Shown
from book.companion.attention_maps.measures import measure
from book.companion.papers.names import block_title, depth, paper_block_name
from book.companion.text.differences import DECIMALS, NO_RUNS, effects_text, interval_text
from book.companion.text.tables import NOTHING, Marked, Origin, Table, signed
from dreal_lib.comparison.rows import METHODS
from dreal_lib.errors import UserError
from dreal_lib.records import StoredRecord
from dreal_lib.records.arrays import REWARD_BLOCKS, REWARDS, RIGHT

SPATIAL_MEASURES = {
    "level": "level",
    "spread": "spread over places",
    "fluctuation": "fluctuation over images",
    "class_share": "class share",
}
REWARD_MEASURES = {
    "reward": "mean reward",
    "helped": "share helped",
    "hurt": "share hurt",
}


@dataclass(frozen=True)
class Rewards:
    """Bypass rewards of one network, baseline and reinforced.

    Attributes:
        origin, scale: Of the runs.
        frame: Columns method, seed, map (the bypassed unit), right (share of images predicted
            right), reward, helped, hurt (over these alone; NaN if there are none).
    """

    origin: Origin
    scale: str
    frame: pd.DataFrame

    @property
    def blocks(self) -> tuple[str, ...]:
        return tuple(sorted(set(self.frame["map"]), key=depth))


def load_rewards(
    baseline: Sequence[StoredRecord], reinforced: Sequence[StoredRecord]
) -> Rewards | None:
    """The bypass rewards of paired runs; None without runs.

    Args:
        baseline: Runs of one network, one a seed.
        reinforced: Runs with the same seeds.

    Raises:
        UserError: A run whose figure data are missing or hold no rewards, or damaged ones.
    """
    if not baseline or not reinforced:
        return None
    rows = [
        {"method": method, "seed": run.record.seed, **row}
        for method, runs in zip(METHODS, (baseline, reinforced), strict=True)
        for run in runs
        for row in _reward_rows(run)
    ]
    first = baseline[0]
    return Rewards(first.origin, first.record.scale, pd.DataFrame(rows))


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


def spatial_table(attention: Attention | None) -> Table:
    """Measures of the spatial maps, baseline against reinforced."""
    return measure_table(attention, tuple(SPATIAL_MEASURES), labels=SPATIAL_MEASURES)


def spatial_sentence(attention: Attention | None) -> str:
    """Whether the maps prefer some places whatever the image."""
    if attention is None:
        return NO_RUNS
    frame = measure(attention)
    changes = {block_title(name): change(frame, name, "spread") for name in attention.maps}
    return f"Spread of the mean map over places: {effects_text(changes, decimals=DECIMALS)}."


def reward_table(rewards: Rewards | None) -> Table:
    """The bypass rewards, a line a block; a table that says so without runs."""
    columns = ("Block", "Reward", "Difference", "95 % interval", "n", "Helped", "Hurt")
    numeric = frozenset(range(1, len(columns)))
    if rewards is None:
        return Table(columns, (("no pair of runs", *[NOTHING] * (len(columns) - 1)),), numeric)
    rows = []
    for name in rewards.blocks:
        difference = change(rewards.frame, name, "reward")
        rows.append(
            (
                Marked(paper_block_name(name), rewards.origin, rewards.scale),
                _both(rewards.frame, name, "reward"),
                NOTHING if difference is None else signed(difference.mean, DECIMALS),
                interval_text(difference, DECIMALS),
                NOTHING if difference is None else str(difference.n),
                _both(rewards.frame, name, "helped", 2),
                _both(rewards.frame, name, "hurt", 2),
            )
        )
    return Table(columns, tuple(rows), numeric)


def _both(frame: pd.DataFrame, name: str, quantity: str, decimals: int = DECIMALS) -> str:
    means = _means(frame, quantity)
    return ", ".join(_number(means[method].get(name, float("nan")), decimals) for method in METHODS)


def _number(value: float, decimals: int) -> str:
    if np.isnan(value):
        return NOTHING
    return f"{value:.{decimals}f}" if value >= 0 else signed(value, decimals)


def _means(frame: pd.DataFrame, quantity: str) -> Mapping[str, Mapping[str, float]]:
    """Mean over seeds, by method and block."""
    return {
        method: frame[frame["method"] == method].groupby("map")[quantity].mean().to_dict()
        for method in METHODS
    }


def reward_sentences(rewards: Rewards | None) -> list[str]:
    """Which block's attention matters most, where it hurts, and what reinforcing changed."""
    if rewards is None:
        return [NO_RUNS]
    changes = {
        paper_block_name(name): change(rewards.frame, name, "reward") for name in rewards.blocks
    }
    texts = effects_text(changes, decimals=DECIMALS)
    return [*(_on_best_and_worst(rewards, m) for m in METHODS), f"Change of the reward: {texts}."]


def _on_best_and_worst(rewards: Rewards, method: str) -> str:
    right = max(_means(rewards.frame, "right")[method].values())
    means = {
        quantity: {k: v for k, v in _means(rewards.frame, quantity)[method].items() if v == v}
        for quantity in REWARD_MEASURES
    }
    head = f"{method.capitalize()}, {100 * right:.0f} % of the images predicted right"
    if not means["reward"]:
        return f"{head}: no block has a reward."
    best = max(means["reward"], key=means["reward"].__getitem__)
    worst = max(means["hurt"], key=means["hurt"].__getitem__)
    return (
        f"{head}: the attention of {paper_block_name(best)} is worth most; without it the true "
        f"class loses {_number(100 * means['reward'][best], 0)} % of its probability on average, "
        f"and it helped on {100 * means['helped'][best]:.0f} % of them. {paper_block_name(worst)} "
        f"hurt most often, on {100 * means['hurt'][worst]:.0f} %."
    )


def spatial_caption(shown: Shown | None, what: str) -> str:
    """The caption of a figure of spatial maps; empty without runs.

    Args:
        shown: What it shows.
        what: "mean" or "deviation".
    """
    if shown is None:
        return ""
    told = {
        "mean": "Mean spatial map of each block, less its own level; below each its level and "
        "range. No colour: all places alike; the level below tells whether the gate is shut",
        "deviation": "Standard deviation over images at each place of each spatial map; below each "
        "its mean and range. No colour: the same for every image",
    }
    return (
        f"{told[what]}. {shown.attention.images:,} validation images, seed {shown.seed}, baseline "
        "above reinforced, one scale of colour."
    )


def spatial_alt_text(shown: Shown | None, what: str) -> str:
    """The same figure for who does not see it; empty without runs."""
    if shown is None:
        return ""
    texts = []
    for name in shown.maps:
        found = {method: shown.statistics(method, name) for method in METHODS}
        values = {
            method: item.mean if what == "mean" else np.sqrt(item.variance)
            for method, item in found.items()
            if item is not None
        }
        ranges = [
            f"{method} {values[method].min():.3f} to {values[method].max():.3f}"
            if method in values
            else f"{method} missing"
            for method in METHODS
        ]
        texts.append(f"{block_title(name)}: {', '.join(ranges)}")
    quantity = {"mean": "Mean spatial map", "deviation": "Standard deviation over images"}[what]
    return f"{quantity} of {len(shown.maps)} blocks as heat maps. Ranges in {'; in '.join(texts)}."


def reward_alt_text(rewards: Rewards | None) -> str:
    """The figure of the bypass rewards for who does not see it; empty without runs."""
    if rewards is None:
        return ""
    texts = [
        f"{paper_block_name(name)}: {_both(rewards.frame, name, 'reward')}"
        for name in rewards.blocks
    ]
    return (
        "Mean bypass reward, share helped and share hurt by block, a dot a seed. Mean rewards of "
        f"baseline and reinforced in {'; in '.join(texts)}."
    )


def of_rewards(rewards: Rewards) -> pd.DataFrame:
    """Bypass rewards by method, seed and map; columns as `Rewards.frame`."""
    return rewards.frame
