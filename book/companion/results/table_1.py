"""Table 1: the paper's errors, and what our own runs measured; its costs: `network_costs`."""

from collections.abc import Sequence

from book.companion.papers import dreal
from book.companion.papers.published import Errors
from book.companion.text.differences import (
    NO_RUNS,
    by_seed_text,
    difference_text,
    effect_text,
    interval_text,
    lower_text,
    marked,
    summary_text,
)
from book.companion.text.runs import pair_name, scale_facts
from book.companion.text.tables import NOTHING, Cell, Marked, Table, marked_by, signed
from dreal_lib.comparison.rows import (
    NetworkComparison,
    ScaleComparison,
    compare_scale,
    is_paper_scale,
)
from dreal_lib.records import StoredRecord

REINFORCED = "+ reinforced"
ERRORS = ("Top-1 last", "Top-1 best", "Top-5 last", "Top-5 best")
DIFFERENCES = (
    (ERRORS[0], "top1_error_pct", "last"),
    (ERRORS[1], "top1_error_pct", "best"),
    (ERRORS[2], "top5_error_pct", "last"),
)


def compare_networks(
    stored: Sequence[StoredRecord], profile: str, variant: str | None
) -> ScaleComparison:
    """Sort the runs of one scale into the rows of Table 1; errors as `rows.compare_scale`'s."""
    labels = {name: row.label for name, row in dreal.TABLE_1.items()}
    return compare_scale(stored, profile, variant, table="table_1", networks=labels)


def published_errors() -> Table:
    """The errors of Table 1 as printed, and the difference that they mean."""
    rows = []
    for row in dreal.TABLE_1.values():
        changes = [
            signed(getattr(row.reinforced, k).value - getattr(row.self_implemented, k).value, 3)
            for k in ("top1", "top5")
        ]
        errors = (row.official, row.self_implemented, row.reinforced)
        rows.append((row.label, *(_printed_pair(e) for e in errors), " / ".join(changes)))
    published = (Marked(name, "published") for name in ("Official", "Self impl.", "Reinforced"))
    columns = ("Network", *published, Marked("Difference", "computed"))
    return Table.of(columns, rows)


def our_errors(comparison: ScaleComparison) -> Table:
    """Our errors at one scale: mean and spread over seeds, of the last and the best epoch.

    At the paper's own scale its numbers stand beside them; at any other they do not.
    """
    beside = is_paper_scale(comparison)
    rows = []
    for network in comparison.networks:
        published = dreal.TABLE_1[network.network]
        own = (published.self_implemented, published.reinforced)
        for row, printed in zip((network.baseline, network.reinforced), own, strict=True):
            name = pair_name(network) if row is network.baseline else REINFORCED
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
    return Table.of(columns, rows)


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
    return Table.of(columns, rows, words=2)


def overview(comparisons: Sequence[ScaleComparison]) -> Table:
    """Top-1 error of the last epoch at several scales, for the networks that were run there."""
    rows = []
    for comparison in comparisons:
        for network in comparison.networks:
            pair = (network.baseline, network.reinforced)
            if not network.runs:
                continue
            difference = network.difference("top1_error_pct")
            cells = (
                *(summary_text(row.summary("top1_error_pct")) for row in pair),
                difference_text(difference),
                interval_text(difference),
            )
            head = marked_by(comparison.scale, network.runs, comparison.scale)
            rows.append((head, pair_name(network), *cells, str(difference.n if difference else 0)))
    columns = ("Scale", "Network", "Baseline", "Reinforced", "Difference", "95 % interval", "Pairs")
    return Table.of(columns, rows, words=2)


def overview_caption(comparisons: Sequence[ScaleComparison]) -> str:
    """What the runs of each scale were made on."""
    facts = " ".join(scale_facts(comparison) for comparison in comparisons)
    return f"Top-1 error of the last epoch at other scales. {facts}"


def overview_sentences(comparisons: Sequence[ScaleComparison]) -> list[str]:
    """The mean difference of each scale."""
    said = [mean_sentence(found) for found in comparisons]
    return said or ["No run at another scale is on record."]


def _printed_pair(errors: Errors) -> str:
    return f"{errors.top1.printed} / {errors.top5.printed}"


def _paired_label(network: NetworkComparison, scale: str) -> Cell:
    name = pair_name(network)
    return marked(name, network.baseline, scale) if network.pairable else name


def mean_sentence(comparison: ScaleComparison) -> str:
    """The difference in top-1 error, averaged over the networks with the most pairs."""
    difference = comparison.difference("top1_error_pct")
    averaged = "; ".join(map(pair_name, comparison.averaged))
    if difference is None:
        return f"Scale {comparison.scale}: {NO_RUNS}"
    effect = effect_text(difference, " points", better="lower")
    return f"Scale {comparison.scale}, top-1 error, mean of {averaged}: {effect}."


def published_gain_sentence() -> str:
    """By how much the paper's reinforced networks lie below its baselines in error."""
    gains = [
        row.self_implemented.top1.value - row.reinforced.top1.value
        for row in dreal.TABLE_1.values()
    ]
    said = lower_text(gains, "reinforced networks", "their baseline")
    return f"{said}. It gives one number a network and no spread."
