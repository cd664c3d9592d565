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
    error_cells,
    marked,
    variation_cells,
)
from book.companion.text.runs import trained_summary
from book.companion.text.tables import NOTHING, Table, defined
from dreal_lib.comparison.paired import CONFIDENCE, summarise
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
            name = f"default, {_name_of(pair.baseline, pair.network)}"
            rows.append((marked(name, pair.baseline, comparison.scale), NOTHING, *_alone(pair)))
        head = marked(change.setting, pair.reinforced, comparison.scale)
        last, best, *rest = variation_cells(pair)
        value = f"{change.value} (default {getattr(Settings, change.setting)})"
        rows.append((head, value, last, best, _same_seeds(pair), *rest))
    errors = ("Top-1 last", "Top-1 best", "Default, same seeds")
    columns = ("Setting", "Value", *errors, "Difference", *DIFFERENCE_COLUMNS)
    return Table.of(columns, rows, words=2)


def _alone(pair: NetworkComparison) -> tuple[str, ...]:
    row = pair.baseline
    return (*error_cells(row), NOTHING, NOTHING, NOTHING, str(len(row.seeds)), NOTHING)


def _name_of(row: Row, network: str) -> str:
    """What was trained for a row; its network as the paper calls it if it was not run."""
    return trained_summary(run.record for run in row.runs) or dreal.TABLE_1[network].label


def _same_seeds(pair: NetworkComparison) -> str:
    values = pair.baseline.values("top1_error_pct")
    mean = summarise([values[seed] for seed in pair.seeds])
    return f"{mean.mean:.2f}" if mean else NOTHING


def without_effect(comparison: VariationComparison) -> list[str]:
    """The changes after which every run ended alike to the last digit, and why."""
    return [
        f"`{change.label}` changes nothing: the runs end alike to the last digit"
        + (f" ({NO_EFFECT[change.setting]})." if change.setting in NO_EFFECT else ".")
        for pair, change in zip(comparison.networks, known_changes(), strict=True)
        if is_without_effect(pair)
    ]


def chance_sentence(comparison: VariationComparison) -> str:
    """How likely a false positive is among so many changes, each judged by itself."""
    found = [pair.difference("top1_error_pct") for pair in comparison.networks]
    judged = sum(item is not None and item.low is not None for item in found)
    run = sum(item is not None for item in found)
    text = f"Of {len(found)} changes {run} were run here, {judged} with an interval."
    if judged < 2:
        return text
    chance = 1 - CONFIDENCE**judged
    return (
        f"{text} Nothing is corrected for looking at several: if none had an effect and all were "
        f"independent, one or more of {judged} would still be significant in {100 * chance:.0f} % "
        "of the cases."
    )


def last_epoch_by_stage(row: Row) -> pd.DataFrame:
    """Block curves of a reinforced row in the last epoch, by (seed, stage), mean over the maps.

    Beside the columns of the curves there is `gap`, the distance of a map's mean critique from its
    mean reward: how far apart the paper's Fig. 6 would draw the two.

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
        last = last.assign(gap=(last["critique_mean"] - last["reward_mean"]).abs())
        frames.append(last.assign(seed=run.record.seed, stage=last["map"].str.partition(".")[0]))
    return pd.concat(frames).groupby(["seed", "stage"]).mean(numeric_only=True)


# Columns of the block curves and `gap`, and whether they are written with a sign.
OF_CRITICS = {
    "gap": False,
    "critique_rmse": False,
    "correlation": True,
    "saturated_share": False,
    "reward_mean": True,
    "critique_mean": True,
    "reward_right_mean": True,
}


def critic_table(comparison: VariationComparison, measures: Sequence[str]) -> Table:
    """Some columns of the block curves (`OF_CRITICS`) of each row in the last epoch, by stage."""
    labels = {pair.reinforced.recipe: pair.label for pair in comparison.networks}
    rows = []
    for row in comparison.rows:
        network = row.recipe.rpartition("/")[2].rpartition("_")[0]
        label = labels.get(row.recipe) or f"default, {_name_of(row, network)}"
        cells = [NOT_RUN] * len(STAGES)
        if row.runs:
            means = last_epoch_by_stage(row).groupby("stage").mean()
            cells = [
                ", ".join(
                    defined(means[measure].get(stage, float("nan")), OF_CRITICS[measure])
                    for measure in measures
                )
                for stage in STAGES
            ]
        rows.append((marked(label, row, comparison.scale), *cells))
    columns = ("Run", *(stage_name(stage) for stage in STAGES))
    return Table.of(columns, rows)
