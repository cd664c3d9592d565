"""Table 1 as rows of marked cells.

A mark says where a number comes from: published, computed here, recorded (committed with the
project) or re-run (made on this machine). Every number on a page carries one.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol

from dreal_lib import compare, paper
from dreal_lib.compare import Difference, Row, ScaleComparison, Summary
from dreal_lib.verdicts import MINUS, NOTHING, signed, spread_text

Origin = Literal["published", "computed", "recorded", "re-run"]

MARKS: dict[Origin, str] = {"published": "†", "computed": "○", "recorded": "●", "re-run": "▲"}
NOT_RUN = "not run"


@dataclass(frozen=True)
class Marked:
    """A number as text with its origin; `scale` tells recorded and re-run ones apart further."""

    text: str
    origin: Origin
    scale: str = ""

    def __str__(self) -> str:
        return f"{self.text} {MARKS[self.origin]}"


Cell = str | Marked


@dataclass(frozen=True)
class Table:
    """A table as text; the columns in `numeric` are set to the right."""

    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    numeric: frozenset[str] = field(default_factory=frozenset)

    def to_markdown(self) -> str:
        """A pipe table as Markdown extensions read it."""
        from tabulate import tabulate  # not at the top: a machine that only trains lacks it

        return tabulate(
            [[str(cell).replace("|", r"\|") for cell in row] for row in self.rows],
            headers=self.columns,
            tablefmt="pipe",
            colalign=["right" if name in self.numeric else "left" for name in self.columns],
            disable_numparse=True,
        )

    def legend(self) -> str:
        """One line that explains the marks used, e.g. "† published; ● recorded (smoke)"."""
        meanings = {
            (cell.origin, cell.scale): f"{MARKS[cell.origin]} {cell.origin}"
            + (f" ({cell.scale})" if cell.scale else "")
            for row in self.rows
            for cell in row
            if isinstance(cell, Marked)
        }
        order = list(MARKS)
        keys = sorted(meanings, key=lambda key: (order.index(key[0]), key[1]))
        return "; ".join(meanings[key] for key in keys)


class NetworkCosts(Protocol):
    """What a network costs: parameters, and multiply-accumulates in units of 1e9."""

    true_parameters: int
    paper_parameters: int
    gmacs: float
    reinforced_true_parameters: int
    reinforced_paper_parameters: int
    reinforced_gmacs: float
    reinforced_paper_gmacs: float


def published_errors() -> Table:
    """The errors of Table 1 as printed, and the gain that they mean."""
    rows = []
    for row in paper.TABLE_1.values():
        gains = [
            signed(getattr(row.reinforced, k).value - getattr(row.self_implemented, k).value, 3)
            for k in ("top1", "top5")
        ]
        errors = (row.official, row.self_implemented, row.reinforced)
        printed = [Marked(f"{e.top1.printed} / {e.top5.printed}", "published") for e in errors]
        rows.append((row.label, *printed, Marked(" / ".join(gains), "computed")))
    columns = ("Network", "Official", "Self impl.", "Reinforced", f"Reinforced {MINUS} self impl.")
    return Table(columns, tuple(rows), frozenset(columns[1:]))


def costs(by_network: Mapping[str, NetworkCosts]) -> Table:
    """Parameters and GFLOPs: printed, counted in the paper's convention, and true.

    Args:
        by_network: What the networks really cost, by the library's name.
    """
    rows = []
    for name, row in paper.TABLE_1.items():
        ours = by_network[name]
        rows.append(
            (
                row.label,
                "baseline",
                *_counts(row.cost.parameters, ours.paper_parameters, ours.true_parameters),
                *_flops(row.cost.gflops, ours.gmacs, ours.gmacs),
            )
        )
        rows.append(
            (
                row.label,
                "with critics",
                *_counts(
                    row.reinforced_cost.parameters,
                    ours.reinforced_paper_parameters,
                    ours.reinforced_true_parameters,
                ),
                *_flops(
                    row.reinforced_cost.gflops, ours.reinforced_paper_gmacs, ours.reinforced_gmacs
                ),
            )
        )
    kinds = ("printed", "paper's convention", "true")
    columns = (
        "Network",
        "Method",
        *(f"{count}, {kind}" for count in ("Params (M)", "GFLOPs") for kind in kinds),
    )
    return Table(columns, tuple(rows), frozenset(columns[2:]))


def _counts(printed: paper.Published, convention: int, true: int) -> tuple[Cell, ...]:
    computed = (Marked(f"{count / 1e6:.6f}", "computed") for count in (convention, true))
    return (Marked(printed.printed, "published"), *computed)


def _flops(printed: paper.Published | None, convention: float, true: float) -> tuple[Cell, ...]:
    computed = (Marked(f"{count:.4f}", "computed") for count in (convention, true))
    return (NOTHING if printed is None else Marked(printed.printed, "published"), *computed)


def our_errors(comparison: ScaleComparison) -> Table:
    """Our errors at one scale: mean and spread over seeds, of the last and the best epoch.

    At the paper's own scale its numbers stand beside them; at any other they do not.
    """
    beside = compare.is_paper_scale(comparison)
    rows = []
    for network in comparison.networks:
        published = paper.TABLE_1.get(network.network)
        for method, row in (("baseline", network.baseline), ("reinforced", network.reinforced)):
            cells: list[Cell] = [network.label, method]
            for metric in ("top1_error_pct", "top5_error_pct"):
                cells += [
                    _summary_cell(row, row.summary(metric, epoch), comparison.scale)
                    for epoch in ("last", "best")
                ]
            cells.append(str(len(row.seeds)))
            if beside and published is not None:
                errors = (
                    published.self_implemented if method == "baseline" else published.reinforced
                )
                cells.append(Marked(f"{errors.top1.printed} / {errors.top5.printed}", "published"))
            rows.append(tuple(cells))
    columns = ("Network", "Method", "Top-1, last", "Top-1, best", "Top-5, last", "Top-5, best", "n")
    columns += ("Published top-1 / top-5",) if beside else ()
    return Table(columns, tuple(rows), frozenset(columns[2:]))


def our_differences(comparison: ScaleComparison) -> Table:
    """Reinforced minus baseline by network, paired by seed, with the 95 % interval of top-1."""
    rows = []
    for network in comparison.networks:
        top1 = network.difference("top1_error_pct")
        others = [
            network.difference("top1_error_pct", "best"),
            network.difference("top5_error_pct"),
            network.difference("top5_error_pct", "best"),
        ]
        origin = network.baseline.origin
        cells = [_difference_cell(d, origin, comparison.scale) for d in (top1, *others)]
        rows.append(
            (
                network.label,
                cells[0],
                _interval_cell(top1, origin, comparison.scale),
                *cells[1:],
                str(top1.n if top1 else 0),
            )
        )
    columns = (
        "Network",
        "Top-1, last",
        "95 % interval",
        "Top-1, best",
        "Top-5, last",
        "Top-5, best",
        "n",
    )
    return Table(columns, tuple(rows), frozenset(columns[1:]))


def _summary_cell(row: Row, summary: Summary | None, scale: str) -> Cell:
    if summary is None or row.origin is None:
        return NOT_RUN
    return Marked(f"{summary.mean:.2f} ± {spread_text(summary.spread)}", row.origin, scale)


def _difference_cell(difference: Difference | None, origin: Origin | None, scale: str) -> Cell:
    if difference is None or origin is None:
        return NOTHING
    return Marked(f"{signed(difference.mean)} ± {spread_text(difference.spread)}", origin, scale)


def _interval_cell(difference: Difference | None, origin: Origin | None, scale: str) -> Cell:
    if difference is None or origin is None or difference.low is None or difference.high is None:
        return NOTHING
    return Marked(f"{signed(difference.low)} to {signed(difference.high)}", origin, scale)
