"""A published number and what belongs to it.

A number keeps its printed form, so that its precision is known: the tolerance of an error is half a
unit of its last printed digit, that of a cost a whole unit, as DREAL's Table 1 rounds some costs
and truncates others.
"""

from dataclasses import dataclass

from book.companion.papers.paper import DREAL


@dataclass(frozen=True)
class Published:
    """One number as printed.

    Attributes:
        printed: The digits as printed.
        unit: What it counts, e.g. "% top-1 error".
        table: Where in its source it stands.
        source: Paper or repository.
        truncated: Whether the source may have cut digits off instead of rounding.
    """

    printed: str
    unit: str
    table: str
    source: str
    truncated: bool = False

    @property
    def value(self) -> float:
        return float(self.printed)

    @property
    def decimals(self) -> int:
        """Printed digits after the point."""
        return len(self.printed.partition(".")[2])

    @property
    def tolerance(self) -> float:
        """How far a recomputed value may lie off and still be printed like this."""
        return (1.0 if self.truncated else 0.5) * 10.0**-self.decimals


@dataclass(frozen=True)
class Errors:
    """Top-1 and top-5 error in per cent, single crop 224."""

    top1: Published
    top5: Published


@dataclass(frozen=True)
class Retrieval:
    """Rank-1 and mAP in per cent, single query."""

    rank1: Published
    mean_ap: Published


@dataclass(frozen=True)
class PrintedCost:
    """Parameters in millions and GFLOPs (multiply-accumulates); None where our copy has none."""

    parameters: Published
    gflops: Published | None


@dataclass(frozen=True)
class Table1Row:
    """One architecture of Table 1; `reinforced_cost` counts the critics, in training only."""

    network: str
    label: str
    cost: PrintedCost
    reinforced_cost: PrintedCost
    official: Errors
    self_implemented: Errors
    reinforced: Errors


@dataclass(frozen=True)
class ComparedMethod:
    """A method that Table 2 compares with; None where the table leaves it out.

    `backbone` is what the table's marks say.
    """

    name: str
    reference: str
    market: Retrieval
    duke: Retrieval | None
    backbone: str = "ResNet-50"


def errors_of(pair: str, table: str) -> Errors:
    top1, top5 = pair.split(" / ")
    return Errors(
        Published(top1, "% top-1 error", table, DREAL.citation),
        Published(top5, "% top-5 error", table, DREAL.citation),
    )


def retrieval_of(pair: str, table: str) -> Retrieval:
    rank1, mean_ap = pair.split(" / ")
    return Retrieval(
        Published(rank1, "% Rank-1", table, DREAL.citation),
        Published(mean_ap, "% mAP", table, DREAL.citation),
    )


def cost_of(parameters: str, gflops: str | None) -> PrintedCost:
    """Costs of DREAL's Table 1."""

    def published(printed: str, unit: str) -> Published:
        return Published(printed, unit, "Table 1", DREAL.citation, truncated=True)

    return PrintedCost(
        published(parameters, "M parameters"),
        None if gflops is None else published(gflops, "GFLOPs"),
    )
