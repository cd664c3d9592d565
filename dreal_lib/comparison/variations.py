"""One row that changes another: the two held against each other, and what may be said of it.

Ablations, the stages of Table 3 and the methods of Table 2 are such rows. Two rows of one network
may differ in what is named and in nothing else. The rule for a claim is that of
`dreal_lib.comparison.paired`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from dreal_lib.comparison.rows import NetworkComparison, Row, ScaleComparison, row_of
from dreal_lib.errors import UserError
from dreal_lib.recipes import ORIGIN
from dreal_lib.records import Record, StoredRecord
from dreal_lib.settings.dreal import Settings


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
            row_of(stored, profile, variant, recipe) for recipe in (item.against, item.recipe)
        )
        pair = NetworkComparison(item.network, item.label, against, changed)
        if pair.pairable:
            _refuse_other_changes(item, against.runs[0], changed.runs[0])
        pairs.append(pair)
    return VariationComparison(profile, variant, tuple(pairs))


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


def is_without_effect(pair: NetworkComparison) -> bool:
    """Whether the runs of every seed that both rows have ended alike to the last digit."""
    first, second = (
        [(run.record.last, run.record.best) for run in row.runs if run.record.seed in pair.seeds]
        for row in (pair.baseline, pair.reinforced)
    )
    return bool(pair.seeds) and first == second
