"""The costs of Table 1: parameters and multiply-accumulates, printed and counted."""

from book.companion.papers import dreal
from book.companion.papers.published import Published
from book.companion.text.tables import NOTHING, Cell, Marked, Table
from dreal_lib.diagnosis.complexity import table_1_costs


def cost_table() -> Table:
    """Parameters and GFLOPs: printed, counted in the paper's convention, and true."""
    rows: list[tuple[Cell, ...]] = []
    for name, row in dreal.TABLE_1.items():
        ours = table_1_costs(name)
        rows += [
            (
                row.label,
                *_counts(row.cost.parameters, ours.paper_parameters, ours.true_parameters),
                *_flops(row.cost.gflops, ours.gmacs, ours.gmacs),
            ),
            (
                "+ critics",
                *_counts(
                    row.reinforced_cost.parameters,
                    ours.reinforced_paper_parameters,
                    ours.reinforced_true_parameters,
                ),
                *_flops(
                    row.reinforced_cost.gflops, ours.reinforced_paper_gmacs, ours.reinforced_gmacs
                ),
            ),
        ]
    counts = [
        cell
        for count in ("Params", "GFLOPs")
        for cell in (
            Marked(f"{count} printed", "published"),
            Marked(f"{count} their way", "computed"),
            Marked(f"{count} true", "computed"),
        )
    ]
    return Table.of(("Network", *counts), rows)


def _counts(printed: Published, convention: int, true: int) -> tuple[str, ...]:
    return (printed.printed, f"{convention / 1e6:.4f}", f"{true / 1e6:.4f}")


def _flops(printed: Published | None, convention: float, true: float) -> tuple[str, ...]:
    return (printed.printed if printed else NOTHING, f"{convention:.4f}", f"{true:.4f}")
