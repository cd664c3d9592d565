"""What runs can say of a statement of the paper: the runs of one scale, and the rule for a verdict.

What may be claimed follows the rule of `dreal_lib.comparison.paired`; where the paper prints a
size, `holds_size` asks for it too, and for runs that scatter less than that size.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from book.companion.attention_maps.loaded import Attention, load
from book.companion.papers import names
from book.companion.results import ablations, retrieval_rows, table_1, table_2, table_3
from book.companion.text.differences import CLAIMS, effect_text, mean_text
from dreal_lib.comparison import rows as compare
from dreal_lib.comparison.paired import Difference
from dreal_lib.comparison.rows import NetworkComparison, Row, ScaleComparison
from dreal_lib.comparison.variations import VariationComparison
from dreal_lib.records import StoredRecord, scale_name

SEEDS = 2  # fewer decide nothing, here as in `dreal_lib.comparison.rows`

# A difference, if measured, and whether it bears the statement out.
Found = Mapping[str, tuple[Difference | None, bool | None]]


@dataclass(frozen=True)
class Observed:
    """What the runs of one scale say of a statement.

    Attributes:
        result: In short, for the table.
        holds: Whether the statement holds there; None if nothing can be claimed.
        runs: What it rests on.
        said: More, for the details.
        complete: Whether all that the statement speaks of was run.
        seeds: The fewest that any of its parts rests on.
    """

    result: str
    holds: bool | None
    runs: tuple[StoredRecord, ...]
    said: str = ""
    complete: bool = True
    seeds: int = 0

    @property
    def decides(self) -> bool:
        """Whether a verdict can rest on it: all of it, at the paper's scale, in several seeds."""
        return self.complete and self.seeds >= SEEDS and at_paper_scale(self.runs)


def at_paper_scale(runs: Sequence[StoredRecord]) -> bool:
    """Whether all runs followed the paper's recipe on the paper's data."""
    if any(run.record.task == "retrieval" for run in runs):
        return all(
            run.record.profile == "paper"
            and run.record.data.name in table_2.PRINTED
            and set(run.record.overrides) <= {"dataset"}
            for run in runs
        )
    alone = NetworkComparison("", "", Row("", tuple(runs)), Row(""))
    return compare.is_paper_scale(ScaleComparison("paper", None, (alone,)))


@dataclass(frozen=True)
class Scale:
    """The runs of one scale, sorted as the pages of the book sort them."""

    stored: Sequence[StoredRecord] = field(repr=False)
    profile: str
    variant: str | None

    @property
    def name(self) -> str:
        return scale_name(self.profile, self.variant)

    @cached_property
    def table_1(self) -> ScaleComparison:
        return table_1.compare_networks(self.stored, self.profile, self.variant)

    @cached_property
    def changes(self) -> VariationComparison:
        return ablations.compare_changes(self.stored, self.profile, self.variant)

    @cached_property
    def stages(self) -> dict[str, NetworkComparison]:
        """Table 3's columns, each against none, by stage and "all"."""
        found = table_3.compare_stages(self.stored, self.profile, self.variant).networks
        return dict(zip((*names.STAGES, "all"), found, strict=True))

    @cached_property
    def methods(self) -> VariationComparison:
        """Table 2's rows, if the scale is one of a retrieval task."""
        return retrieval_rows.compare_methods(self.stored, self.profile, self.variant)

    def network(self, name: str) -> NetworkComparison:
        """A network of Table 1, run or not."""
        return next(n for n in self.table_1.networks if n.network == name)

    def pair(self, name: str) -> tuple[list[StoredRecord], list[StoredRecord]]:
        """Baseline and reinforced runs of the seeds that both have."""
        network = self.network(name)
        if not network.pairable:
            return [], []
        shared = set(network.baseline.seeds) & set(network.reinforced.seeds)
        first, second = (
            [run for run in row.runs if run.record.seed in shared]
            for row in (network.baseline, network.reinforced)
        )
        return first, second

    def attention(self, name: str) -> Attention | None:
        """The channel maps of a network's pairs."""
        return load(*self.pair(name))


def prediction_half_width(difference: Difference) -> float:
    """Half of the 95 % interval in which one more difference would lie; NaN without an interval.

    It is sqrt(n + 1) times as wide as that of the mean.
    """
    if difference.low is None or difference.high is None:
        return math.nan
    return (difference.high - difference.low) / 2 * math.sqrt(difference.n + 1)


def holds_size(
    difference: Difference | None, claimed: str, printed: float | None = None
) -> bool | None:
    """Whether a difference bears a claim out: its direction, and its size if one is printed.

    The printed one comes from a single pair of runs, so it has to lie where one more pair of ours
    would (`prediction_half_width`). The more ours scatter, the easier that is; so where the
    half-width is not below the printed size, agreement says nothing.

    Args:
        difference: Ours, or None.
        claimed: "lower" or "higher".
        printed: The paper's difference, or None.

    Returns:
        None where nothing can be claimed.
    """
    if difference is None or difference.verdict == "untried":
        return None
    half = prediction_half_width(difference)
    if printed is not None and abs(difference.mean - printed) > half:
        return False
    if difference.verdict == "undecided":
        return None
    if difference.verdict != claimed:
        return False
    return True if printed is None or half < abs(printed) else None


def all_of(answers: Sequence[bool | None]) -> bool | None:
    """Whether all hold: not if one does not; unknown if one is unknown."""
    if False in answers:
        return False
    return None if None in answers or not answers else True


def runs_of(*rows: Row) -> tuple[StoredRecord, ...]:
    """The runs of several rows, each once."""
    return tuple({run.path: run for row in rows for run in row.runs}.values())


def observe(
    found: Found,
    runs: Sequence[StoredRecord],
    *,
    unit: str = " points",
    decimals: int = 2,
    said: str = "",
    also: bool | None = True,
    claims: dict[str, str] = CLAIMS,
) -> Observed | None:
    """Several differences that a statement needs together; None if none was measured.

    Args:
        found: By what they are of.
        runs: What they were computed from.
        unit: What follows a number.
        decimals: Of the numbers in the table.
        said: Added to the details.
        also: A further condition of the statement.
        claims: The words for a difference that can be claimed to be "lower" or "higher".
    """
    known = {name: d for name, (d, _) in found.items() if d is not None}
    if not known:
        return None
    seeds = min(d.n for d in known.values())
    short = ", ".join(f"{name} {mean_text(d, decimals, claims)}" for name, d in known.items())
    long = "; ".join(f"{name}: {effect_text(d, unit, claims)}" for name, (d, _) in found.items())
    answers = [*(answer for _, answer in found.values()), also]
    details = f"{long}.{' ' if said else ''}{said}"
    whole = len(known) == len(found)
    return Observed(f"{short}, n = {seeds}", all_of(answers), tuple(runs), details, whole, seeds)
