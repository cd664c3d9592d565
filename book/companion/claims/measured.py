"""What a source of numbers found for one part of a statement."""

from dataclasses import dataclass

from dreal_lib.comparison.paired import Difference
from dreal_lib.records import StoredRecord


@dataclass(frozen=True)
class Measured:
    """What a source found.

    Attributes:
        runs: What it rests on; none where nothing was trained for it.
        difference: Paired by seed; None of a count.
        count: Of how many things something is true, and how many there are.
        ends: Means over seeds that the difference lies between.
        note: More, for the details; of what needs no training the numbers themselves.
        more: What these mean.
        unit, decimals: How the numbers are written.
    """

    runs: tuple[StoredRecord, ...] = ()
    difference: Difference | None = None
    count: tuple[int, int] | None = None
    ends: tuple[float, float] | None = None
    note: str = ""
    more: str = ""
    unit: str = ""
    decimals: int = 2

    @property
    def seeds(self) -> int:
        return self.difference.n if self.difference else len(self.runs)
