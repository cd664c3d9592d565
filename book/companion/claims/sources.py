"""Where the numbers of a statement come from: one function a source, for the runs of one scale.

Each takes a scale and the arguments that stand in the statement's part, and returns what it
measured, or None where there is no run.
"""

import inspect
import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import pandas as pd

from book.companion.attended.scores import ScoreComparison, compare_scores, load_pairs
from book.companion.attention_maps.changes import by_seed, by_stage, change
from book.companion.attention_maps.loaded import Attention, load
from book.companion.attention_maps.measures import measure
from book.companion.claims.measured import Measured
from book.companion.claims.row_sums import printed_of, terms_of
from book.companion.critics.curves import summarise_runs
from book.companion.papers.names import STAGES, last_of_stages, stage_name
from book.companion.results import ablations, retrieval_rows, table_1, table_3
from book.companion.text.tables import defined
from dreal_lib.comparison.paired import Difference, paired_difference
from dreal_lib.comparison.rows import (
    METHODS,
    NetworkComparison,
    Row,
    ScaleComparison,
    row_of,
    split,
    threads_of,
)
from dreal_lib.errors import UserError, unknown_choice
from dreal_lib.records import StoredRecord, scale_name

# How the rows of a folder of recipes are sorted.
COMPARE: dict[str, Callable[..., ScaleComparison]] = {
    "table_1": table_1.compare_networks,
    "table_2": retrieval_rows.compare_methods,
    "table_3": table_3.compare_stages,
    "ablations": ablations.compare_changes,
}


@dataclass(frozen=True)
class Scale:
    """The runs of one scale, sorted as the pages of the book sort them."""

    stored: tuple[StoredRecord, ...] = field(repr=False)
    profile: str
    variant: str | None

    @property
    def name(self) -> str:
        return scale_name(self.profile, self.variant)

    @cached_property
    def table_1(self) -> ScaleComparison:
        return table_1.compare_networks(self.stored, self.profile, self.variant)

    @cached_property
    def _made(self) -> dict[tuple[str, str], Any]:
        return {}

    def _once(self, what: str, name: str, make: Callable[[], Any]) -> Any:
        """What was made before, for the several statements that ask for it."""
        if (what, name) not in self._made:
            self._made[what, name] = make()
        return self._made[what, name]

    def row(self, recipe: str) -> Row:
        """A row, sorted as its page does, which refuses what must not be compared with it."""
        scale = (self.stored, self.profile, self.variant)
        table = recipe.partition("/")[0]
        compare = COMPARE.get(table)
        rows = self._once("rows", table, lambda: compare(*scale).rows) if compare else []
        known = next((row for row in rows if row.recipe == recipe), None)
        return known or row_of(*scale, recipe)

    def network(self, name: str) -> NetworkComparison:
        """A network of Table 1, run or not."""
        return next(n for n in self.table_1.networks if n.network == name)

    def pair(self, name: str) -> tuple[list[StoredRecord], list[StoredRecord]]:
        """Baseline and reinforced runs of the seeds that both have."""
        return split(self.network(name).pairs)

    def attention(self, name: str) -> Attention | None:
        """The channel maps of a network's pairs."""
        return self._once("attention", name, lambda: load(*self.pair(name)))

    def scores(self, name: str) -> Mapping[str, ScoreComparison]:
        """Scores of the Grad-CAM maps of a network's pairs."""

        def make() -> dict[str, ScoreComparison]:
            return {one.score: one for one in compare_scores(load_pairs(*self.pair(name)))}

        return self._once("scores", name, make)


def of_rows(
    scale: Scale, *, rows: str, metric: str, data: str = "", variant: str | None = None
) -> Measured | None:
    """A sum of rows and of printed numbers (†), with signs, seed by seed.

    Nothing of another scale than the paper's is set beside a printed number.
    """
    terms = terms_of(rows)
    printed = [(sign, name) for sign, name in terms if name[0] == "†"]
    if printed and scale.name != "paper":
        return None
    fixed = sum(sign * printed_of(name, metric, data).value for sign, name in printed)
    at = Scale(scale.stored, scale.profile, variant) if variant else scale
    found = [(sign, at.row(name)) for sign, name in terms if name[0] != "†"]
    if not _comparable([row for _, row in found]):
        return None
    values = [(sign, row.values(metric)) for sign, row in found]
    seeds = set.intersection(*(set(of_row) for _, of_row in values))
    seeds -= _of_different_threads([row for _, row in found])
    sums = {s: fixed + sum(sign * of_row[s] for sign, of_row in values) for s in sorted(seeds)}
    runs = tuple(run for _, row in found for run in row.runs)
    return _measured(paired_difference(dict.fromkeys(sums, 0.0), sums), runs, unit=" points")


def _comparable(rows: list[Row]) -> bool:
    """Whether all were run on the same data, and all recorded or all re-run."""
    if not all(row.runs for row in rows):
        return False
    return len({(r.runs[0].origin, r.runs[0].record.data.fingerprint) for r in rows}) == 1


def _of_different_threads(rows: list[Row]) -> set[int]:
    """Seeds whose runs are no pair, as they were made with different numbers of threads."""
    used: dict[int, set] = {}
    for run in (run for row in rows for run in row.runs):
        used.setdefault(run.record.seed, set()).add(threads_of(run.record))
    return {seed for seed, threads in used.items() if len(threads) > 1}


def _measured(difference: Difference | None, runs: tuple, **how) -> Measured | None:
    return None if difference is None else Measured(runs, difference, **how)


def mean_of_networks(scale: Scale, *, metric: str) -> Measured | None:
    """The difference of Table 1's networks, averaged seed by seed over those with most pairs."""
    averaged = scale.table_1.averaged
    runs = tuple(run for n in averaged for row in (n.baseline, n.reinforced) for run in row.runs)
    note = f"mean of {', '.join(n.label for n in averaged)}"
    return _measured(scale.table_1.difference(metric), runs, note=note, unit=" points")


def of_maps(
    scale: Scale, *, network: str, quantity: str, stage: str, blocks: str = "last"
) -> Measured | None:
    """A measure of channel maps: of the last block of a stage, or the mean over all its blocks."""
    attention = scale.attention(network)
    if attention is None:
        return None
    last = {name.split(".")[0]: name for name in last_of_stages(attention.maps)}
    if stage not in last:
        return None
    frame, name = measure(attention), last[stage]
    note = f"reinforced means {_range(frame, name)}" if quantity == "inside" else ""
    if blocks == "all":
        frame, name = by_stage(frame), stage
    ends = [list(by_seed(frame, name, quantity, method).values()) for method in METHODS]
    return _measured(
        change(frame, name, quantity),
        _runs(*scale.pair(network)),
        ends=tuple(statistics.fmean(e) for e in ends) if all(ends) else None,
        note=note,
        decimals=3,
    )


def _range(frame: pd.DataFrame, name: str) -> str:
    rows = frame[(frame["map"] == name) & (frame["method"] == "reinforced")]
    return f"{rows['lowest'].min():.3f} to {rows['highest'].max():.3f}"


def _runs(*groups: list[StoredRecord]) -> tuple[StoredRecord, ...]:
    return tuple(run for group in groups for run in group)


def of_scores(scale: Scale, *, network: str, score: str) -> Measured | None:
    """A score of Grad-CAM maps, mean over all images with a known object."""
    found = scale.scores(network).get(score)
    runs = _runs(*scale.pair(network))
    return None if found is None else _measured(found.over_seeds, runs, decimals=3)


def of_stages(scale: Scale, *, network: str, column: str) -> Measured | None:
    """A column of the block curves in the last epoch: the deepest stage less the shallowest."""
    row = scale.network(network).reinforced
    if not row.runs:
        return None
    values = ablations.last_epoch_by_stage(row)[column].unstack("stage").dropna()
    stages = [stage for stage in STAGES if stage in values]
    if len(stages) < 2:
        return None
    shallow, deep = (values[stage].to_dict() for stage in (stages[0], stages[-1]))
    note = ", ".join(f"{defined(float(values[s].mean()))} in {stage_name(s)}" for s in stages)
    return _measured(paired_difference(shallow, deep), row.runs, note=note)


# What may be true of a module in one run; a number that is undefined (NaN) makes it false.
OF_MODULES: dict[str, Callable[[pd.DataFrame, float], pd.Series]] = {
    "follows": lambda found, limit: found["follows"] >= limit,
    "tells images apart": lambda found, limit: found["correlation"] >= limit,
    "reward rises": lambda found, _: found["last_reward"] > found["first_reward"],
    "critique rises": lambda found, _: found["last_critique"] > found["first_critique"],
}


def of_modules(
    scale: Scale, *, network: str, counted: str, limit: float = float("nan")
) -> Measured | None:
    """In how many module-runs (each module in each run) something of `OF_MODULES` is true."""
    runs = scale.network(network).reinforced.runs
    if not runs:
        return None
    answers = OF_MODULES[counted](summarise_runs(runs), limit)
    return Measured(runs, count=(int(answers.sum()), len(answers)))


def median_of_modules(
    scale: Scale, *, network: str, quantity: str, silent: bool = True
) -> Measured | None:
    """The median over module-runs of a number, its range beside it; with silent critics or not."""
    runs = scale.network(network).reinforced.runs
    found = summarise_runs(runs)
    known = [] if found.empty else found.loc[~found["silent"] | silent, quantity].dropna()
    if not len(known):
        return None
    low, middle, high = (defined(x, True) for x in (known.min(), known.median(), known.max()))
    return Measured(runs, note=f"median {middle}, {low} to {high}")


Sources = Mapping[str, Callable[..., Measured | None]]
SOURCES: Sources = {
    "rows": of_rows,
    "mean of networks": mean_of_networks,
    "maps": of_maps,
    "scores": of_scores,
    "stages": of_stages,
    "modules": of_modules,
    "median of modules": median_of_modules,
}


def measure_part(
    scale: Scale, source: str, arguments: Mapping[str, object], sources: Sources = SOURCES
) -> Measured | None:
    """What a source finds; `sources` are those to choose from.

    Raises:
        UserError: No such source, or arguments that it does not take; records that cannot be read.
    """
    if source not in sources:
        raise unknown_choice("source", source, sources)
    try:
        inspect.signature(sources[source]).bind(scale, **arguments)
    except TypeError as error:
        raise UserError(f"source {source!r}: {error}; mend the statement's part") from None
    return sources[source](scale, **arguments)
