"""One row that changes another: the two held against each other, and what may be said of it.

Ablations, the stages of Table 3 and the methods of Table 2 are such rows. Two rows of one network
may differ in what is named and in nothing else. For a claim the rule of `dreal_lib.compare` holds.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from dreal_lib import paper
from dreal_lib.compare import Difference, NetworkComparison, Row, ScaleComparison, compare_scale
from dreal_lib.errors import UserError
from dreal_lib.recipes import ORIGIN
from dreal_lib.records import Record, StoredRecord
from dreal_lib.settings import Settings
from dreal_lib.table_1 import NOT_RUN, difference_text, interval_text, summary_text
from dreal_lib.tables import signed

DIFFERENCE_COLUMNS = ("95 % interval", "n", "Pairs")


@dataclass(frozen=True)
class Variation:
    """One row that changes another.

    Attributes:
        recipe: The row, e.g. "ablations/se_resnet50_gamma_2_reinforced".
        against: The row that it changes, of Table 1.
        network: Of both, the paper's, e.g. "se_resnet50".
        label: How a table calls it.
        keys: The recipe keys that may differ, e.g. "dreal.gamma".
    """

    recipe: str
    against: str
    network: str
    label: str
    keys: frozenset[str]


@dataclass(frozen=True)
class VariationComparison(ScaleComparison):
    """One scale: each row against the row that it changes (as `baseline`), run or not."""

    @property
    def rows(self) -> list[Row]:
        """Each row once, though several others are compared with it."""
        return list({row.recipe: row for row in super().rows}.values())


def compare_variations(
    stored: Sequence[StoredRecord],
    profile: str,
    variant: str | None,
    variations: Sequence[Variation],
) -> VariationComparison:
    """Sort the runs of one scale into rows and the rows that they change.

    Args:
        stored: Records of any scale and table; the others are left out.
        profile, variant: The scale.
        variations: What is compared.

    Raises:
        UserError: If the seeds of a row are not alike, or if two rows on the same data differ in
            more than they should.
    """
    pairs = []
    for item in variations:
        against, changed = (
            _row(stored, profile, variant, recipe, item.network)
            for recipe in (item.against, item.recipe)
        )
        pair = NetworkComparison(item.network, item.label, against, changed)
        if pair.pairable:
            _refuse_other_changes(item, against.runs[0], changed.runs[0])
        pairs.append(pair)
    return VariationComparison(profile, variant, tuple(pairs))


def _row(
    stored: Sequence[StoredRecord], profile: str, variant: str | None, recipe: str, network: str
) -> Row:
    table, _, name = recipe.rpartition("/")
    own_name, _, method = name.rpartition("_")  # method: "baseline" or "reinforced"
    networks = {own_name: paper.TABLE_1[network]}
    (found,) = compare_scale(stored, profile, variant, table=table, networks=networks).networks
    return getattr(found, method)


def _refuse_other_changes(item: Variation, against: StoredRecord, changed: StoredRecord) -> None:
    first, second = (_decisions(run.record) for run in (against, changed))
    others = sorted(
        key
        for key in (first.keys() | second.keys()) - item.keys
        if first.get(key) != second.get(key)
    )
    if others:
        raise UserError(
            f"records {against.path} and {changed.path} may differ in "
            f"{', '.join(sorted(item.keys))} alone, but differ in {', '.join(others)}; run the "
            "older of the two again"
        )


def _decisions(record: Record) -> dict[str, object]:
    """What decided a run, flat; a setting that is not written is at its default."""
    settings = {k: v for k, v in record.settings.items() if k not in ORIGIN}
    nested = {**Settings().as_dict(), **settings.pop("dreal", {})}
    return settings | {f"dreal.{name}": value for name, value in nested.items()}


def error_cells(row: Row) -> tuple[str, str]:
    """Top-1 error of the last and of the best epoch, mean and spread; "not run" without a run."""
    last, best = (summary_text(row.summary("top1_error_pct", epoch)) for epoch in ("last", "best"))
    return last, best


def variation_cells(pair: NetworkComparison) -> tuple[str, ...]:
    """Errors of the changed row, its difference, the interval, seeds and pairs of seeds."""
    difference = pair.difference("top1_error_pct")
    return (
        *error_cells(pair.reinforced),
        difference_text(difference),
        interval_text(difference),
        str(len(pair.reinforced.seeds)),
        str(difference.n if difference else 0),
    )


def is_without_effect(pair: NetworkComparison) -> bool:
    """Whether the runs of every seed that both rows have ended alike to the last digit."""
    first, second = (
        [(run.record.last, run.record.best) for run in row.runs if run.record.seed in pair.seeds]
        for row in (pair.baseline, pair.reinforced)
    )
    return bool(pair.seeds) and first == second


def effect_text(difference: Difference | None, unit: str, claims: dict[str, str]) -> str:
    """A difference with its interval and what the rule allows to be claimed.

    Args:
        difference: Paired by seed, or None without a pair.
        unit: What follows the number, e.g. " points".
        claims: The words for "lower" and "higher".
    """
    if difference is None:
        return NOT_RUN
    text = f"{signed(difference.mean)}{unit}"
    if difference.verdict == "untried":
        seeds = "one seed" if difference.n == 1 else f"n = {difference.n}, no spread"
        return f"{text} ({seeds}), nothing can be claimed"
    text += f" (95 % interval {interval_text(difference)}, n = {difference.n})"
    return f"{text}, {claims.get(difference.verdict, 'no difference can be claimed')}"
