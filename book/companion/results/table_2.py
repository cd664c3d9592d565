"""Table 2: instance recognition by retrieval (section 4.2), the paper's numbers and ours.

Scores are per cent, higher is better. Differences follow the rule of `dreal_lib.comparison.paired`.
"""

from collections.abc import Sequence

import numpy as np

from book.companion.papers import dreal, published
from book.companion.results.retrieval_rows import (
    LABELS,
    SetsComparison,
    against,
    by_method,
    label_of,
    step_label,
    steps_of,
)
from book.companion.text.differences import (
    NOT_RUN,
    difference_text,
    effect_text,
    interval_text,
    marked,
    summary_text,
)
from book.companion.text.tables import NOTHING, Cell, Marked, Table, signed
from dreal_lib.comparison.paired import Difference, clustered_difference
from dreal_lib.comparison.rows import Epoch, NetworkComparison
from dreal_lib.comparison.variations import VariationComparison
from dreal_lib.errors import UserError
from dreal_lib.recipes.retrieval import RETRIEVAL
from dreal_lib.records import Record, StoredRecord
from dreal_lib.records.arrays import AVERAGE_PRECISION, QUERY_IDENTITY, QUERY_PLACE

SHOWN = ("rank1_pct", "map_step_pct", "map_trapezoid_pct", "minp_pct")
SCORES = {name: RETRIEVAL.metric(name).title for name in SHOWN}
JUDGED = ("rank1_pct", "map_step_pct")

OVERVIEW_CAPTION = (
    "At other scales: Rank-1 and mAP of the last epoch in per cent, mean ± sample standard "
    "deviation over n seeds."
)
PRINTED_LABELS = {"market": "Market-1501", "duke": "DukeMTMC-reID"}


def published_results() -> Table:
    """Table 2 as printed: the compared methods, then the paper's own rows."""
    rows: list[tuple[Cell, ...]] = [
        (
            method.name,
            method.reference,
            method.backbone,
            *_pair(method.market),
            *((NOTHING, NOTHING) if method.duke is None else _pair(method.duke)),
        )
        for method in dreal.TABLE_2_COMPARED
    ]
    rows += [
        (LABELS[name], "DREAL", "ResNet-50", *_pair(results["market"]), *_pair(results["duke"]))
        for name, results in dreal.TABLE_2.items()
    ]
    heads = tuple(
        Marked(f"{name} {score}", "published")
        for name in ("Market", "Duke")
        for score in ("Rank-1", "mAP")
    )
    return Table.of(("Method", "Reference", "Backbone", *heads), rows, words=3)


def _pair(result: published.Retrieval) -> tuple[str, str]:
    return (result.rank1.printed, result.mean_ap.printed)


def published_gains() -> Table:
    """+ reinforce less + attention, as Table 2 has it and as section 4.2 says it."""
    rows = []
    for data, label in PRINTED_LABELS.items():
        for score, name in (("rank1", "Rank-1"), ("mean_ap", "mAP")):
            table = _table_gain(data, score)
            said = getattr(dreal.SECTION_4_2_MARGINS[data], score)
            agrees = abs(table - said.value) < said.tolerance
            rows.append(
                (label, name, signed(table, 1), f"+{said.printed}", "yes" if agrees else "no")
            )
    columns = (
        "Data",
        "Score",
        Marked("By Table 2", "computed"),
        Marked("By section 4.2", "published"),
        "Agree?",
    )
    return Table(columns, tuple(rows), frozenset({2, 3}))


def _table_gain(data: str, score: str) -> float:
    first, second = (getattr(dreal.TABLE_2[m][data], score) for m in ("attention", "reinforced"))
    return second.value - first.value


def contradiction() -> str:
    """What the paper's text and its table disagree on."""
    parts = [
        f"+{dreal.SECTION_4_2_MARGINS[data].mean_ap.printed} on {label}, where Table 2 gives "
        f"{signed(_table_gain(data, 'mean_ap'), 1)}"
        for data, label in PRINTED_LABELS.items()
    ]
    return (
        f"Section 4.2 states the gain in mAP over + attention as {'; and '.join(parts)}. Both "
        "cannot be; its Rank-1 gains agree with the table. We show the table's numbers."
    )


def our_results(comparison: SetsComparison, epoch: Epoch) -> Table:
    """Our scores at the last or the best epoch: mean and spread over seeds.

    Where a set was run by the paper's own recipe, its printed numbers stand beside ours.
    """
    printed = {part.scale: _printed(part) for part in comparison.parts}
    beside = any(printed.values())
    rows = []
    for part in comparison.parts:
        for method, row in by_method(part).items():
            cells = (summary_text(row.summary(metric, epoch)) for metric in SCORES)
            half = printed[part.scale]
            own = " / ".join(_pair(dreal.TABLE_2[method][half])) if half else NOTHING
            rows.append(
                (
                    label_of(part) if method == "baseline" else "",
                    marked(LABELS[method], row, part.scale),
                    *cells,
                    *((own,) if beside else ()),
                    str(len(row.seeds)),
                )
            )
    paper_column = (Marked("Paper", "published"),) if beside else ()
    columns = ("Data", "Method", *SCORES.values(), *paper_column, "n")
    return Table.of(columns, rows, words=2)


def best_epochs(comparison: SetsComparison) -> list[str]:
    """Where the best epoch's scores are others than the last epoch's; one line if nowhere."""
    said = []
    for part in comparison.parts:
        for method, row in by_method(part).items():
            last, best = (
                [summary_text(row.summary(metric, epoch)) for metric in SCORES]
                for epoch in ("last", "best")
            )
            if last != best:
                found = zip(SCORES.values(), best, strict=True)
                lone = f" ± {NOTHING}"  # a single seed has no spread
                scores = ", ".join(f"{name} {score.removesuffix(lone)}" for name, score in found)
                said.append(f"{label_of(part)}, {LABELS[method]}, best epoch: {scores}.")
    if not comparison.runs:
        return []
    if not said:
        return [
            "The best epoch (highest mAP, step sum) of every run has the scores of the last one."
        ]
    return [
        "The best epoch is the evaluated one with the highest mAP (step sum), picked on the very "
        "images it is measured on, and so flattered; rows not named have the last epoch's scores.",
        *said,
    ]


def _printed(part: VariationComparison) -> str | None:
    """The half of Table 2 that a part repeats, or None."""
    halves = {
        dreal.TABLE_2_HALVES.get(run.record.data.name)
        if run.record.profile == "paper" and not _changed(run.record)
        else None
        for run in part.runs
    }
    return halves.pop() if len(halves) == 1 else None


def _changed(record: Record) -> bool:
    """Whether anything but the data set was set by hand or by the variant."""
    return any(key != "dataset" for key in record.overrides)


def our_differences(comparison: SetsComparison) -> Table:
    """Each step's differences at the last epoch, paired by seed, with 95 % intervals."""
    rows = []
    for part, pair in steps_of(comparison):
        found = {metric: pair.difference(metric) for metric in SCORES}
        cells: list[str] = []
        for metric, difference in found.items():
            cells.append(difference_text(difference))
            if metric in JUDGED:
                cells.append(interval_text(difference))
        head = step_label(pair)
        label = Marked(head, pair.baseline.origin, part.scale) if pair.pairable else head
        count = found["rank1_pct"].n if found["rank1_pct"] else 0
        rows.append((label_of(part), label, *cells, str(count)))
    names: list[str] = []
    for metric, name in SCORES.items():
        names += [name, "95 % interval"] if metric in JUDGED else [name]
    columns = ("Data", "Difference", *names, "n")
    return Table.of(columns, rows, words=2)


def sentences(comparison: SetsComparison) -> list[str]:
    """What our runs say of attention and of its reinforcement, by the stated rule."""
    said = []
    for part, pair in steps_of(comparison):
        effects = [
            f"{SCORES[metric]} {effect_text(difference, ' points', better='higher')}"
            for metric in JUDGED
            if (difference := pair.difference(metric)) is not None
        ]
        if effects:
            said.append(
                f"{label_of(part)}, {pair.label} against {against(pair)}: {'; '.join(effects)}."
                f"{_lost(pair)}"
            )
    return said or [f"No pair of runs at scale {comparison.scale}: nothing can be said yet."]


def _lost(pair: NetworkComparison) -> str:
    """That a step itself loses here, if it is significantly worse in a score and better in none."""
    verdicts = {SCORES[m]: d.verdict for m in JUDGED if (d := pair.difference(m)) is not None}
    worse = [name for name, verdict in verdicts.items() if verdict == "lower"]
    if not worse or "higher" in verdicts.values():
        return ""
    step = pair.label.removeprefix("+ ")
    return f" {step.capitalize()} itself loses here, in {' and '.join(worse)}."


def by_query(comparison: SetsComparison) -> Table:
    """Average precision query by query: each step of each seed, over the same queries.

    Intervals are clustered by identity (`dreal_lib.comparison.paired.clustered_difference`), and
    left out where a run kept no identities.

    Raises:
        UserError: Two runs of a seed were judged by other queries, or figure data are damaged.
    """
    rows: list[tuple[Cell, ...]] = []
    for part, pair in steps_of(comparison):
        for first, second in pair.pairs:
            change = query_changes(first, second)
            if change is None:
                continue
            identities = first.figure_data().get(QUERY_IDENTITY)
            better, worse = (int((sign * change > 0).sum()) for sign in (1, -1))
            mean = _over_queries(change, identities)
            rows.append(
                (
                    label_of(part),
                    Marked(step_label(pair), first.origin, part.scale),
                    str(first.record.seed),
                    signed(float(change.mean())),
                    interval_text(mean),
                    f"{better} / {worse}",
                    str(len(change)),
                    NOTHING if identities is None else str(len(np.unique(identities))),
                )
            )
    columns = ("Data", "Difference", "Seed", "Mean AP", "95 % interval", "Up / down", "Queries")
    return Table.of((*columns, "Identities"), rows, words=2, instead=NOT_RUN)


def query_changes(first: StoredRecord, second: StoredRecord) -> np.ndarray | None:
    """Second less first in average precision, in points, by query (V,); None if not kept.

    Raises:
        UserError: They were judged by other queries.
    """
    runs = (first, second)
    arrays = [run.figure_data() for run in runs]
    if not all(AVERAGE_PRECISION in found for found in arrays):
        return None
    places = [found[QUERY_PLACE] for found in arrays]
    if not np.array_equal(*places):
        raise UserError(
            f"{first.path} and {second.path} were judged by other queries; run both again"
        )
    before, after = (found[AVERAGE_PRECISION].astype(float) for found in arrays)
    return 100 * (after - before)


def _over_queries(change: np.ndarray, identities: np.ndarray | None) -> Difference | None:
    """None without identities: as if queries were independent, the interval would be too small."""
    if identities is None:
        return None
    return clustered_difference(change.tolist(), identities.tolist())


def overview(comparisons: Sequence[SetsComparison]) -> Table:
    """Rank-1 and mAP of the last epoch at other scales, for what was run there."""
    rows = []
    for comparison in comparisons:
        for part in comparison.parts:
            for method, row in by_method(part).items():
                if row.runs:
                    head = marked(part.scale, row, part.scale)
                    cells = (summary_text(row.summary(metric)) for metric in JUDGED)
                    rows.append((head, label_of(part), LABELS[method], *cells, str(len(row.runs))))
    columns = ("Scale", "Data", "Method", *(SCORES[metric] for metric in JUDGED), "n")
    return Table.of(columns, rows, words=3)
