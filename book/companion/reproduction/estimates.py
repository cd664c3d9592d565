"""How long runs that are still to be made may take, judged by the records of others."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from book.companion.pages.footer import duration
from book.companion.text.runs import machine_text
from book.companion.text.tables import counted
from dreal_lib.recipes import load_recipe
from dreal_lib.records import StoredRecord

ORIGINS = ("re-run", "recorded")  # this machine's runs tell more about it than committed ones
# By what runs a run is judged, the nearest first, with the words for it.
KIN = {
    "row": "of this row",
    "network": "of {network}, {method}, none of this row",
    "task": "of {task}, none of this network",
}


@dataclass(frozen=True)
class Estimate:
    """What one run may take.

    Attributes:
        recipe, seed: The run.
        kin: A key of `KIN`: judged by runs of the same recipe; of the same network and method,
            with other settings or seeds; or of the same task.
        judged_by: Records of one origin at the run's scale; none if there are none.
    """

    recipe: str
    seed: int
    kin: str
    judged_by: tuple[StoredRecord, ...]

    @property
    def seconds(self) -> float | None:
        """Median of what the others took; None without any."""
        taken = [stored.record.wall_seconds for stored in self.judged_by]
        return statistics.median(taken) if taken else None

    @property
    def source(self) -> str:
        """Where it comes from, in words."""
        if not self.judged_by:
            return "no record to estimate from"
        n, first = len(self.judged_by), self.judged_by[0]
        runs = f"one {first.origin} run" if n == 1 else f"median of {n} {first.origin} runs"
        of = KIN[self.kin].format(**_facts(first))
        return f"{runs} {of}; {'; '.join(machines([self]))}"


def estimate(recipe: str, seed: int, scale: str, stored: Sequence[StoredRecord]) -> Estimate:
    """Judge a run by complete records of its scale.

    By its own recipe's records (of any seed) if there are some, else by those of its network and
    method, else by those of its task; among each by those made on this machine if there are some,
    else by committed ones.

    Args:
        recipe: The run's row.
        seed: Its seed.
        scale: See `dreal_lib.records.scale_name`.
        stored: Records of any recipe and scale.

    Raises:
        UserError: No such row.
    """
    row = load_recipe(recipe)
    alike = {
        "row": {"recipe": recipe},
        "network": {"task": row.task, "network": row.network, "method": row.method},
        "task": {"task": row.task},
    }
    usable = [s for s in stored if s.record.complete and s.record.scale == scale]
    for kin, wanted in alike.items():
        for origin in ORIGINS:
            found = tuple(
                s for s in usable if s.origin == origin and wanted.items() <= _facts(s).items()
            )
            if found:
                return Estimate(recipe, seed, kin, found)
    return Estimate(recipe, seed, "task", ())


def _facts(stored: StoredRecord) -> dict[str, str]:
    record = stored.record
    return {name: getattr(record, name) for name in ("recipe", "task", "network", "method")}


def machines(estimates: Sequence[Estimate]) -> list[str]:
    """What the runs that the estimates are judged by were made on, in words, each once."""
    found = [stored.record.hardware for one in estimates for stored in one.judged_by]
    return list(dict.fromkeys(machine_text(hardware) for hardware in found))


def batch_seconds(estimates: Sequence[Estimate], jobs: int) -> float:
    """The runs' sum divided by how many go on at a time; no less than the longest, as none is cut.

    Args:
        estimates: Those without seconds count nothing.
        jobs: Runs at a time, if no run is slower for it.
    """
    seconds = [one.seconds for one in estimates if one.seconds is not None]
    return max(sum(seconds) / jobs, max(seconds, default=0.0))


def plan_lines(estimates: Sequence[Estimate], jobs: int) -> list[str]:
    """What a dry run says: each run with its estimate, their sum, and what the sum leaves out.

    Args:
        estimates: Of the runs to be made.
        jobs: Runs at a time.
    """
    if not estimates:
        return ["no run would be trained"]
    lines = [f"{counted(len(estimates), 'run')} would be trained:"]
    for one in estimates:
        time = "" if one.seconds is None else f"about {duration(one.seconds)} "
        lines.append(f"  {one.recipe} seed {one.seed}: {time}({one.source})")
    return lines + _total_lines(estimates, jobs)


def _total_lines(estimates: Sequence[Estimate], jobs: int) -> list[str]:
    known = [one.seconds for one in estimates if one.seconds is not None]
    if not known:
        return ["no total: no run at this scale is on record"]
    total = f"training in all: about {duration(sum(known))}"
    if jobs > 1:
        total += f"; with --jobs {jobs}: about {duration(batch_seconds(estimates, jobs))}"
        total += ", if no run is slowed by the others"
    lines = [total]
    unknown = len(estimates) - len(known)
    if unknown:
        lines.append(f"not counted: {counted(unknown, 'run')} without an estimate")
    lines.append(
        f"an estimate from runs on {' and on '.join(machines(estimates))}, of training alone: "
        "rendering, notebooks and book are not counted; a run that was begun takes less"
    )
    return lines
