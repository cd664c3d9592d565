"""What the block curves of a run say, in numbers and in words (appendix B.3, Fig. 6).

The paper says that critiques closely follow their rewards, that both rise, and that the critics of
shallow layers converge less well. Each is measured here, beside what explains it: how much of the
reward is only accuracy, and which critics are saturated.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from dreal_lib.errors import UserError
from dreal_lib.paper import paper_block_name
from dreal_lib.tables import Marked, Origin, Table, defined, signed

SATURATED_SHARE = 0.5  # a critic saturated on more of the images than this is called saturated

CURVE_TABLE_CAPTION = (
    "Critique Q and reward R of each attention module in the first and the last epoch. Of the last "
    "epoch also: mean reward on images predicted right (gain), root mean square error of Q, share "
    "of images on which the critic is saturated (Sat.). Q-R: correlation of the two, of their "
    "means over the epochs and over the images of the last epoch. A dash is undefined."
)


@dataclass(frozen=True)
class CurveSummary:
    """One attention map over a training; means over seeds. NaN where undefined.

    Attributes:
        first_critique, last_critique: Mean critique of the first and the last epoch.
        first_reward, last_reward: Mean reward of these.
        first_accuracy_part, last_accuracy_part: The reward if every image predicted right had
            gained nothing, -gamma * (share predicted wrong).
        follows: Correlation over epochs of mean critique and mean reward.
        correlation, rmse, saturated_share: Of the last epoch, over images.
    """

    map: str
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
    def gap(self) -> float:
        """Distance of critique and reward in the last epoch."""
        return abs(self.last_critique - self.last_reward)


def summarise_curves(blocks: pd.DataFrame) -> list[CurveSummary]:
    """One summary a map, from shallow to deep.

    Args:
        blocks: Block curves (`records.BLOCK_COLUMNS`), of several seeds if there are.

    Raises:
        UserError: If there are no curves.
    """
    if blocks.empty:
        raise UserError("there are no block curves to summarise; run a reinforced recipe first")
    blocks = blocks.assign(
        # No image right: no gain, and the mean over none is undefined.
        accuracy_part=blocks["reward_mean"]
        - blocks["right_share"] * blocks["reward_right_mean"].fillna(0.0)
    )
    numbers = [column for column in blocks.columns if column not in ("map", "epoch", "seed")]
    means = blocks.groupby(["map", "epoch"], sort=False)[numbers].mean().reset_index()
    return [
        _summary(name, means[means["map"] == name].sort_values("epoch"))
        for name in sorted(dict.fromkeys(blocks["map"]), key=_depth)
    ]


def _depth(name: str) -> tuple[str, int, str]:
    stage, index, *kind = name.split(".")
    return stage, int(index), "".join(kind)


def _summary(name: str, curve: pd.DataFrame) -> CurveSummary:
    first, last = curve.iloc[0], curve.iloc[-1]
    return CurveSummary(
        map=name,
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


def curve_table(summaries: list[CurveSummary], origin: Origin, scale: str) -> Table:
    """The numbers behind Fig. 6, a line a map; the mark stands in the first column."""
    columns = (
        "Block",
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
            f"{signed(s.first_critique)}, {signed(s.last_critique)}",
            f"{signed(s.first_reward)}, {signed(s.last_reward)}",
            *(defined(v, with_sign=True) for v in (s.last_gain, s.follows, s.correlation)),
            *(defined(v) for v in (s.rmse, s.saturated_share)),
        )
        for s in summaries
    )
    return Table(columns, rows, frozenset(range(1, len(columns))))


def curve_sentences(summaries: list[CurveSummary]) -> list[str]:
    """What the curves say on each claim of appendix B.3, and on what explains it."""
    return [
        _on_following(summaries),
        _on_rising(summaries),
        _on_depth(summaries),
        _on_parts(summaries),
        _on_saturation(summaries),
    ]


def alt_text(blocks: pd.DataFrame) -> str:
    """Fig. 6 for who does not see it; empty without curves."""
    if blocks.empty:
        return ""
    summaries = summarise_curves(blocks)
    return (
        f"Critique and reward against the epoch for {_maps(len(summaries))}, a panel each. "
        f"Rewards end {_range([s.last_reward for s in summaries])}, "
        f"critiques {_range([s.last_critique for s in summaries])}."
    )


def alt_text_of_parts(blocks: pd.DataFrame) -> str:
    """The same for the figure of the reward's parts."""
    if blocks.empty:
        return ""
    last = blocks[blocks["epoch"] == blocks["epoch"].max()]
    gains = last["reward_right_mean"].dropna().tolist()
    return (
        "The share of images predicted right against the epoch, ending at "
        f"{last['right_share'].mean():.2f}, and the mean reward over these for each block, ending "
        f"{_range(gains)}."
    )


def alt_text_of_quality(blocks: pd.DataFrame) -> str:
    """The same for the figure of the critics' quality."""
    if blocks.empty:
        return ""
    summaries = summarise_curves(blocks)
    correlations = [s.correlation for s in summaries if not np.isnan(s.correlation)]
    return (
        f"Three maps of colour, {_maps(len(summaries))} by epochs. In the last epoch the "
        f"correlation of critique and reward lies {_range(correlations)}, the error of the "
        f"critique {_range([s.rmse for s in summaries])}, and the saturated share "
        f"{_range([s.saturated_share for s in summaries])}."
    )


def _on_following(summaries: list[CurveSummary]) -> str:
    over_epochs = [s.follows for s in summaries if not np.isnan(s.follows)]
    over_images = [s.correlation for s in summaries if not np.isnan(s.correlation)]
    text = (
        "*Does the critique follow the reward?* Over epochs their means correlate "
        f"{_range(over_epochs)}; over the images of the last epoch they correlate "
        f"{_range(over_images)}."
    )
    undefined = len(summaries) - len(over_epochs)
    if undefined:
        text += f" For {_maps(undefined)} the former is undefined: the critique does not move."
    return text


def _on_rising(summaries: list[CurveSummary]) -> str:
    total = len(summaries)
    rewards = sum(s.last_reward > s.first_reward for s in summaries)
    critiques = sum(s.last_critique > s.first_critique for s in summaries)
    return (
        f"*Do they rise?* From the first epoch to the last the mean reward rises for {rewards} of "
        f"{_maps(total)}, the mean critique for {critiques}."
    )


def _on_depth(summaries: list[CurveSummary]) -> str:
    stages: dict[str, list[float]] = {}
    for s in summaries:
        stages.setdefault(s.map.split(".")[0], []).append(s.gap)
    gaps = ", ".join(
        f"{np.mean(gaps):.2f} in conv{int(stage[-1]) + 1}_x" for stage, gaps in stages.items()
    )
    return (
        "*Are shallow critics worse?* In the last epoch critique and reward lie this far apart, "
        f"on average over the blocks of a stage: {gaps}."
    )


def _on_parts(summaries: list[CurveSummary]) -> str:
    rise = np.mean([s.last_reward - s.first_reward for s in summaries])
    accuracy = np.mean([s.last_accuracy_part - s.first_accuracy_part for s in summaries])
    gains = [s.last_gain for s in summaries if not np.isnan(s.last_gain)]
    return (
        f"*What does the reward tell?* Averaged over the maps it changes by {signed(rise)}; "
        f"{signed(accuracy)} of that is accuracy alone (fewer images pay the penalty), "
        f"{signed(rise - accuracy)} the relative gain of the attention. On images predicted right "
        f"the last epoch's mean reward is {_range(gains)}."
    )


def _on_saturation(summaries: list[CurveSummary]) -> str:
    stuck = [s.map for s in summaries if s.saturated_share > SATURATED_SHARE]
    names = f": {', '.join(paper_block_name(name) for name in stuck)}" if stuck else ""
    return (
        f"*Which critics are saturated?* In the last epoch {len(stuck)} of {_maps(len(summaries))} "
        f"on more than half of the images{names}."
    )


def _maps(count: int) -> str:
    return f"{count} attention map{'' if count == 1 else 's'}"


def _range(values: list[float]) -> str:
    if not values:
        return "nowhere (undefined for every map)"
    low, middle, high = np.min(values), np.median(values), np.max(values)
    return f"between {signed(low)} and {signed(high)} (median {signed(middle)})"
