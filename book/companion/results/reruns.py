"""Did you get what we got? Each run of this machine beside the record of its row, scale and seed.

The same seed on the same machine with the same number of threads ends alike to the last bit;
another number rounds sums in another order. How far apart runs end by that alone was measured
(`tests/benchmarks/threads.py`).
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from book.companion.results.costs import BENCHMARKS
from book.companion.text.foreign import plain
from book.companion.text.runs import trained_name
from book.companion.text.tables import NOTHING, Cell, Marked, Table, counted, signed
from dreal_lib.errors import UserError
from dreal_lib.recipes import metric as known_metric
from dreal_lib.recipes import task_facts
from dreal_lib.recipes.task_facts import Metric
from dreal_lib.records import Record, StoredRecord, find_records
from dreal_lib.runtime.environment import PROJECT_ROOT

THREADS = "threads.json"


@dataclass(frozen=True)
class Repeat:
    """A run of this machine, and the committed record of the same row, scale and seed."""

    again: StoredRecord
    recorded: StoredRecord

    @property
    def unlike(self) -> str:
        """Why the two need not agree at all; "" if they had the same to do."""
        first, second = self.recorded.record, self.again.record
        if first.data.fingerprint != second.data.fingerprint:
            return "made from other images"
        if first.recipe_hash != second.recipe_hash:
            return "made with other settings"
        return "" if first.complete and second.complete else "stopped early"

    def change(self, metric: Metric) -> float:
        """Re-run less recorded, at the last epoch, in the metric's unit."""
        first, second = (run.record.metric(metric.name) for run in (self.recorded, self.again))
        return second - first


@dataclass(frozen=True)
class Spread:
    """How far apart runs of one seed and recipe ended on the same images.

    Attributes:
        pairs: How many were compared.
        largest: The largest difference, by metric.
        made: By what, in words.
    """

    pairs: int
    largest: dict[str, float]
    made: str


def read_spread(folder: Path | None = None) -> Spread:
    """The committed measurement.

    Args:
        folder: Another folder with a `threads.json`, such as build/benchmarks.

    Raises:
        UserError: It is missing, or is no such measurement.
    """
    path = (folder or BENCHMARKS) / THREADS
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        pairs = content["pairs"]
        names = dict.fromkeys(name for pair in pairs for name in pair["changes"])
        largest = {
            name: max(abs(p["changes"][name]) for p in pairs if name in p["changes"])
            for name in names
        }
        return Spread(len(pairs), largest, "; ".join(map(_made, pairs)))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{path} is no measurement of threads ({error}); make it again by "
            f"tests/benchmarks/threads.py"
        ) from None


def _made(pair: dict[str, Any]) -> str:
    """Which two runs a pair is of."""
    runs = zip(pair["threads"], pair["cpus"], pair["torch"], pair["commits"], strict=True)
    first, second = (
        f"{counted(threads, 'thread') if threads else 'threads not kept'}, {plain(cpu)}, "
        f"torch {plain(torch)}, commit {plain(commit[:12])}"
        for threads, cpu, torch, commit in runs
    )
    row = f"{plain(pair['recipe'])}, scale {plain(pair['scale'])}, seed {pair['seed']}"
    return f"{row}: {first}, and {second}"


def find_repeats(results: str = "rerun", root: Path = PROJECT_ROOT) -> list[Repeat]:
    """Every run of this machine of which there is a committed record, by scale, row and seed.

    Args:
        results: "recorded" looks for no run of this machine.
        root: The project, with `book/records` and `build/records`.

    Raises:
        UserError: A record that cannot be read.
    """
    if results != "rerun":
        return []
    committed = {run.record.key: run for run in find_records(root / "book" / "records")}
    again = find_records(root / "build" / "records", origin="re-run")
    return [Repeat(run, committed[run.record.key]) for run in again if run.record.key in committed]


def table(repeats: Sequence[Repeat], spread: Spread) -> Table:
    """Each re-run beside its record, metric by metric, with threads and what is expected."""
    rows: list[tuple[Cell, ...]] = []
    for repeat in repeats:
        first, second = repeat.recorded.record, repeat.again.record
        for metric in (m for m in task_facts(second.task).metrics if m.shown):
            change = repeat.change(metric)
            expected = spread.largest.get(metric.name)
            rows.append(
                (
                    f"{second.recipe}: {trained_name(second)}",
                    second.scale,
                    str(second.seed),
                    metric.title,
                    f"{first.metric(metric.name):.2f}",
                    f"{second.metric(metric.name):.2f}",
                    signed(change),
                    NOTHING if expected is None else f"± {expected:.2f}",
                    f"{_threads(first)} / {_threads(second)}",
                    repeat.unlike or verdict(change, expected),
                )
            )
    columns = (
        "Run", "Scale", "Seed", "Score", Marked("Record", "recorded"), Marked("Yours", "re-run"),
        "Difference", "Expected", "Threads", "Agree?",
    )  # fmt: skip
    return Table(columns, tuple(rows), frozenset(range(4, 8)))


def verdict(change: float, expected: float | None) -> str:
    """Whether a difference lies within what threads alone do.

    Args:
        change: Re-run less recorded.
        expected: The largest difference that was measured; None: not measured for this score.
    """
    if change == 0:
        return "equal"
    if expected is None:
        return "not measured"
    return "within" if abs(change) <= expected else "beyond"


def _threads(record: Record) -> str:
    return str(record.threads) if record.threads else "not kept"


def sentences(repeats: Sequence[Repeat], spread: Spread) -> list[str]:
    """How to read it, and how many agree."""
    largest = ", ".join(
        f"{value:.2f} points of {known_metric(name).title}"
        for name, value in spread.largest.items()
    )
    said = [
        f"The same seed on the same images ended up to {largest} apart "
        f"({counted(spread.pairs, 'pair')}; {spread.made}). So few pairs bound nothing: a "
        "difference a little beyond is no sign of a fault, one of several times as much is worth a "
        "look.",
        "Records older than the field do not say how many threads they used. With the same number "
        "on the same machine and versions, a seed repeats to the last bit.",
    ]
    if not repeats:
        return [
            *said,
            "No run of this machine is shown: `make reproduce` makes some and fills this page.",
        ]
    like = [repeat for repeat in repeats if not repeat.unlike]
    counts = {"equal": 0, "within": 0, "beyond": 0, "not measured": 0}
    for repeat in like:
        for metric in (m for m in task_facts(repeat.again.record.task).metrics if m.shown):
            counts[verdict(repeat.change(metric), spread.largest.get(metric.name))] += 1
    told = ", ".join(f"{n} {name}" for name, n in counts.items() if n)
    return [f"{len(like)} of {len(repeats)} re-runs had the same to do. Scores: {told}.", *said]
