"""Ablations: one thing of a row of Table 1 changed, all else as it was.

The paper mentions two without numbers: gamma is 1 "by cross-validation" (section 3.1), and larger
critics bring "marginally additional benefit" (section 4.1). Others change what it leaves open. Each
recipe of `recipes/ablations` names its change itself, so that a new file there is a new line here.
How a row is held against the one that it changes stands in `dreal_lib.comparison.variations`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
import yaml

from book.companion.papers import dreal
from book.companion.papers.names import STAGES, stage_name
from book.companion.text.differences import (
    DIFFERENCE_COLUMNS,
    NOT_RUN,
    effect_text,
    error_cells,
    marked,
    variation_cells,
)
from book.companion.text.tables import NOTHING, Table, defined
from dreal_lib.comparison.paired import CONFIDENCE, paired_difference, summarise
from dreal_lib.comparison.rows import NetworkComparison, Row
from dreal_lib.comparison.variations import (
    Variation,
    VariationComparison,
    compare_variations,
    is_without_effect,
)
from dreal_lib.errors import UserError
from dreal_lib.recipes import FOLDER, recipe_names
from dreal_lib.records import StoredRecord
from dreal_lib.settings.dreal import Settings

# Why a setting can be without effect.
NO_EFFECT = {
    "bypass_draw": "of one block a stage there is nothing to draw, for a step or for an epoch",
}

TABLE_CAPTION = (
    "Top-1 error in per cent, mean ± sample standard deviation over n seeds. Same seeds: mean of "
    "the default row over the seeds that the changed row has. Difference: of the last epoch, "
    "paired by seed, below zero where the change errs less, with its 95 % interval (Student's t)."
)
ERRORS_CAPTION = (
    "How good the critics are in the last epoch, by stage: root mean square error of the critique, "
    "its correlation with the reward over images, share of images on which the critic is "
    "saturated. Means over the blocks of a stage and over seeds; a dash is undefined. gamma scales "
    "the reward and with it the error."
)
REWARDS_CAPTION = (
    "Mean reward R, mean critique Q, and mean reward on images predicted right (gain) in the last "
    "epoch, by stage; means over the blocks of a stage and over seeds."
)


@dataclass(frozen=True)
class Change:
    """What a recipe of `recipes/ablations` changes: a setting of a network's reinforced row."""

    recipe: str
    network: str
    setting: str
    value: Any

    @property
    def label(self) -> str:
        return f"{self.setting} = {self.value}"

    @property
    def variation(self) -> Variation:
        against = f"table_1/{self.network}_reinforced"
        keys = frozenset({f"dreal.{self.setting}"})
        return Variation(self.recipe, against, self.network, self.label, keys)


def known_changes() -> list[Change]:
    """The ablations that there are recipes for, by network, setting and value.

    Raises:
        UserError: If a recipe changes anything but one setting.
    """
    changes = []
    for name in recipe_names():
        if not name.startswith("ablations/"):
            continue
        row = yaml.safe_load((FOLDER / f"{name}.yaml").read_text())
        if set(row) != {"network", "method", "dreal"} or len(row["dreal"]) != 1:
            raise UserError(
                f"recipe {name} must set network, method and one setting below dreal, else its "
                f"effect has no single cause; got {', '.join(row)}; split it"
            )
        ((setting, value),) = row["dreal"].items()
        changes.append(Change(name, row["network"], setting, value))
    order = (list(dreal.TABLE_1), list(Settings.__dataclass_fields__))
    return sorted(
        changes,
        key=lambda c: (order[0].index(c.network), order[1].index(c.setting), c.value),
    )


def compare_changes(
    stored: Sequence[StoredRecord], profile: str, variant: str | None
) -> VariationComparison:
    """The runs of one scale, each ablation against the default row.

    Raises:
        UserError: See `dreal_lib.comparison.variations.compare_variations`.
    """
    variations = [change.variation for change in known_changes()]
    return compare_variations(stored, profile, variant, variations)


def change_table(comparison: VariationComparison) -> Table:
    """Top-1 errors of every row, and the differences to the default rows."""
    rows, shown = [], set()
    for pair, change in zip(comparison.networks, known_changes(), strict=True):
        if pair.baseline.recipe not in shown:
            shown.add(pair.baseline.recipe)
            name = f"default, {dreal.TABLE_1[pair.network].label}"
            rows.append((marked(name, pair.baseline, comparison.scale), NOTHING, *_alone(pair)))
        head = marked(change.setting, pair.reinforced, comparison.scale)
        last, best, *rest = variation_cells(pair)
        rows.append((head, str(change.value), last, best, _same_seeds(pair), *rest))
    errors = ("Top-1 last", "Top-1 best", "Default, same seeds")
    columns = ("Setting", "Value", *errors, "Difference", *DIFFERENCE_COLUMNS)
    return Table(columns, tuple(rows), frozenset(range(2, len(columns))))


def _alone(pair: NetworkComparison) -> tuple[str, ...]:
    row = pair.baseline
    return (*error_cells(row), NOTHING, NOTHING, NOTHING, str(len(row.seeds)), NOTHING)


def _same_seeds(pair: NetworkComparison) -> str:
    values = pair.baseline.values("top1_error_pct")
    mean = summarise([values[seed] for seed in pair.seeds])
    return f"{mean.mean:.2f}" if mean else NOTHING


def change_sentences(comparison: VariationComparison) -> list[str]:
    """One sentence a setting: by how much each value moves the error, and what may be claimed."""
    by_setting: dict[tuple[str, str], list[str]] = {}
    for pair, change in zip(comparison.networks, known_changes(), strict=True):
        difference = pair.difference("top1_error_pct")
        claims = {"lower": "errs less", "higher": "errs more"}
        effect = effect_text(difference, " points", claims)
        if is_without_effect(pair):
            reason = NO_EFFECT.get(change.setting)
            effect = "without effect, the runs end alike to the last digit"
            effect += f" ({reason})" if reason else ""
        said = f"{change.value}: {effect}"
        by_setting.setdefault((change.setting, change.network), []).append(said)
    return [
        f"`{setting}` ({dreal.TABLE_1[network].label}, default {getattr(Settings, setting)}): "
        + "; ".join(effects)
        + "."
        for (setting, network), effects in by_setting.items()
    ]


def chance_sentence(comparison: VariationComparison) -> str:
    """How likely a false claim is among so many changes, each judged by itself."""
    found = [pair.difference("top1_error_pct") for pair in comparison.networks]
    judged = sum(item is not None and item.low is not None for item in found)
    run = sum(item is not None for item in found)
    text = f"Of {len(found)} changes {run} were run here, {judged} with an interval."
    if judged < 2:
        return text
    chance = 1 - CONFIDENCE**judged
    return (
        f"{text} No correction is made for looking at several: if no change had an effect, and all "
        f"were independent, one or more of {judged} intervals would still leave out zero in "
        f"{100 * chance:.0f} % of the cases."
    )


def last_epoch_by_stage(row: Row) -> pd.DataFrame:
    """Block curves of a reinforced row in the last epoch, by (seed, stage), mean over the maps.

    A block that was not drawn in that epoch (`bypass_draw: epoch`) takes no part; neither does an
    undefined value (NaN) of one block in the mean of the others.

    Raises:
        UserError: If the row has no run, or a file cannot be read.
    """
    if not row.runs:
        raise UserError(f"row {row.recipe} has no run to average over; run its recipe first")
    frames = []
    for run in row.runs:
        blocks = pd.DataFrame(run.blocks())
        last = blocks[blocks["epoch"] == blocks["epoch"].max()]
        frames.append(last.assign(seed=run.record.seed, stage=last["map"].str.partition(".")[0]))
    return pd.concat(frames).groupby(["seed", "stage"]).mean(numeric_only=True)


def critic_error_table(comparison: VariationComparison) -> Table:
    """Error, correlation and saturation of the critics of each row, by stage."""
    measures = ("critique_rmse", "correlation", "saturated_share")
    return _stage_table(comparison, measures, (False, True, False))


def critic_reward_table(comparison: VariationComparison) -> Table:
    """Reward, critique and gain of each row, by stage."""
    measures = ("reward_mean", "critique_mean", "reward_right_mean")
    return _stage_table(comparison, measures, (True, True, True))


def _stage_table(
    comparison: VariationComparison, measures: Sequence[str], with_sign: Sequence[bool]
) -> Table:
    labels = {pair.reinforced.recipe: pair.label for pair in comparison.networks}
    rows = []
    for row in comparison.rows:
        network = row.recipe.rpartition("/")[2].rpartition("_")[0]
        label = labels.get(row.recipe) or f"default, {dreal.TABLE_1[network].label}"
        cells = [NOT_RUN] * len(STAGES)
        if row.runs:
            means = last_epoch_by_stage(row).groupby("stage").mean()
            cells = [
                ", ".join(
                    defined(means[measure].get(stage, float("nan")), sign)
                    for measure, sign in zip(measures, with_sign, strict=True)
                )
                for stage in STAGES
            ]
        rows.append((marked(label, row, comparison.scale), *cells))
    columns = ("Run", *(stage_name(stage) for stage in STAGES))
    return Table(columns, tuple(rows), frozenset(range(1, len(columns))))


def depth_sentences(comparison: VariationComparison) -> list[str]:
    """Whether the deepest critics err less and the deepest attention earns more, by default row."""
    asked = (
        ("critique_rmse", "error of the critique", False),
        ("reward_right_mean", "reward on images predicted right", True),
    )
    claims = {"lower": "lower in the deep stage", "higher": "higher in the deep stage"}
    sentences = []
    for pair in {pair.baseline.recipe: pair for pair in comparison.networks}.values():
        label = dreal.TABLE_1[pair.network].label
        if not pair.baseline.runs:
            sentences.append(f"{label}: no default run at scale {comparison.scale} yet.")
            continue
        by_stage = last_epoch_by_stage(pair.baseline)
        for measure, name, with_sign in asked:
            values = by_stage[measure].unstack("stage").dropna()
            means = [f"{defined(values[s].mean(), with_sign)} in {stage_name(s)}" for s in STAGES]
            shallow, deep = (values[stage].to_dict() for stage in (STAGES[0], STAGES[-1]))
            effect = effect_text(paired_difference(shallow, deep), "", claims)
            sentences.append(
                f"{label}, {name}: {', '.join(means)}. {stage_name(STAGES[-1])} less "
                f"{stage_name(STAGES[0])}: {effect}."
            )
    return sentences
