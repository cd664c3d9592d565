"""Table 1, part by part: the paper's errors, the costs, and what our own runs measured."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from dreal_lib import compare, paper
from dreal_lib.compare import Difference, NetworkComparison, Row, ScaleComparison, Summary
from dreal_lib.tables import NOTHING, Cell, Marked, Table, signed, spread_text

NOT_RUN = "not run"
REINFORCED = "+ reinforced"
ERRORS = ("Top-1 last", "Top-1 best", "Top-5 last", "Top-5 best")
DIFFERENCES = (
    (ERRORS[0], "top1_error_pct", "last"),
    (ERRORS[1], "top1_error_pct", "best"),
    (ERRORS[2], "top5_error_pct", "last"),
)


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
    """The errors of Table 1 as printed, and the difference that they mean."""
    rows = []
    for row in paper.TABLE_1.values():
        changes = [
            signed(getattr(row.reinforced, k).value - getattr(row.self_implemented, k).value, 3)
            for k in ("top1", "top5")
        ]
        errors = (row.official, row.self_implemented, row.reinforced)
        rows.append((row.label, *(_printed_pair(e) for e in errors), " / ".join(changes)))
    published = (Marked(name, "published") for name in ("Official", "Self impl.", "Reinforced"))
    columns = ("Network", *published, Marked("Difference", "computed"))
    return Table(columns, tuple(rows), frozenset(range(1, 5)))


def costs(by_network: Mapping[str, NetworkCosts]) -> Table:
    """Parameters and GFLOPs: printed, counted in the paper's convention, and true.

    Args:
        by_network: What the networks really cost, by the library's name.
    """
    rows: list[tuple[Cell, ...]] = []
    for name, row in paper.TABLE_1.items():
        ours = by_network[name]
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
    return Table(("Network", *counts), tuple(rows), frozenset(range(1, 7)))


def our_errors(comparison: ScaleComparison) -> Table:
    """Our errors at one scale: mean and spread over seeds, of the last and the best epoch.

    At the paper's own scale its numbers stand beside them; at any other they do not.
    """
    beside = compare.is_paper_scale(comparison)
    rows = []
    for network in comparison.networks:
        published = paper.TABLE_1[network.network]
        own = (published.self_implemented, published.reinforced)
        for row, printed in zip((network.baseline, network.reinforced), own, strict=True):
            name = network.label if row is network.baseline else REINFORCED
            cells = [
                summary_text(row.summary(metric, epoch))
                for metric in ("top1_error_pct", "top5_error_pct")
                for epoch in ("last", "best")
            ]
            paper_cells = (_printed_pair(printed),) if beside else ()
            head = marked(name, row, comparison.scale)
            rows.append((head, *cells, *paper_cells, str(len(row.seeds))))
    paper_column = (Marked("Paper", "published"),) if beside else ()
    columns = ("Network", *ERRORS, *paper_column, "n")
    return Table(columns, tuple(rows), frozenset(range(1, len(columns))))


def our_differences(comparison: ScaleComparison) -> Table:
    """Reinforced minus baseline, paired by seed: each seed, their mean, its 95 % interval.

    A line for each network and error; one of dashes where there is no pair.
    """
    rows: list[tuple[Cell, ...]] = []
    for network in comparison.networks:
        head = _paired_label(network, comparison.scale)
        if not network.seeds:
            rows.append((head, *[NOTHING] * 4))
        for error, metric, epoch in DIFFERENCES * bool(network.seeds):
            found = network.difference(metric, epoch)
            by_seed = by_seed_text(network.differences(metric, epoch))
            rows.append((head, error, by_seed, difference_text(found), interval_text(found)))
    columns = ("Network", "Error", "By seed", "Mean", "95 % interval")
    return Table(columns, tuple(rows), frozenset(range(2, len(columns))))


def overview(comparisons: Sequence[ScaleComparison]) -> Table:
    """Top-1 error of the last epoch at several scales, for the networks that were run there."""
    rows = []
    for comparison in comparisons:
        for network in comparison.networks:
            pair = (network.baseline, network.reinforced)
            run = next((row for row in pair if row.runs), None)
            if run is None:
                continue
            difference = network.difference("top1_error_pct")
            cells = (
                *(summary_text(row.summary("top1_error_pct")) for row in pair),
                difference_text(difference),
                interval_text(difference),
            )
            head = marked(comparison.scale, run, comparison.scale)
            rows.append((head, network.label, *cells, str(difference.n if difference else 0)))
    columns = ("Scale", "Network", "Baseline", "Reinforced", "Difference", "95 % interval", "Pairs")
    return Table(columns, tuple(rows), frozenset(range(2, len(columns))))


def _printed_pair(errors: paper.Errors) -> str:
    return f"{errors.top1.printed} / {errors.top5.printed}"


def _counts(printed: paper.Published, convention: int, true: int) -> tuple[str, ...]:
    return (printed.printed, f"{convention / 1e6:.4f}", f"{true / 1e6:.4f}")


def _flops(printed: paper.Published | None, convention: float, true: float) -> tuple[str, ...]:
    return (printed.printed if printed else NOTHING, f"{convention:.4f}", f"{true:.4f}")


def marked(text: str, row: Row, scale: str) -> Cell:
    return text if row.origin is None else Marked(text, row.origin, scale)


def _paired_label(network: NetworkComparison, scale: str) -> Cell:
    if not network.pairable:
        return network.label
    return marked(network.label, network.baseline, scale)


def summary_text(summary: Summary | None) -> str:
    return NOT_RUN if summary is None else f"{summary.mean:.2f} ± {spread_text(summary.spread)}"


def difference_text(difference: Difference | None) -> str:
    if difference is None:
        return NOTHING
    return f"{signed(difference.mean)} ± {spread_text(difference.spread)}"


def by_seed_text(differences: Mapping[int, float]) -> str:
    """Each seed's difference, in the order of the seeds."""
    return ", ".join(signed(value) for _, value in sorted(differences.items())) or NOTHING


def interval_text(difference: Difference | None) -> str:
    if difference is None or difference.low is None or difference.high is None:
        return NOTHING
    return f"{signed(difference.low)} to {signed(difference.high)}"
