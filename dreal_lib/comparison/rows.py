"""Our runs sorted into the rows of a table, seed by seed.

Runs of another scale than the paper's are summarised by themselves, never beside its numbers.
"""

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from dreal_lib.comparison.paired import Difference, Summary, difference_of, summarise
from dreal_lib.errors import UserError
from dreal_lib.records import Epoch, Record, StoredRecord, scale_name

METHODS = ("baseline", "reinforced")


@dataclass(frozen=True)
class Row:
    """All seeds of one recipe at one scale.

    Attributes:
        runs: Complete runs, by seed; all with the same settings and data.
        stopped: Runs that were stopped early, which no number counts.
    """

    recipe: str
    runs: tuple[StoredRecord, ...] = ()
    stopped: tuple[StoredRecord, ...] = ()

    @property
    def origin(self) -> Literal["recorded", "re-run"] | None:
        return self.runs[0].origin if self.runs else None

    @property
    def seeds(self) -> list[int]:
        return [run.record.seed for run in self.runs]

    def values(self, metric: str, epoch: Epoch = "last") -> dict[int, float]:
        """A metric of the last or best epoch, by seed; errors as `Record.metric`'s."""
        return {run.record.seed: run.record.metric(metric, epoch) for run in self.runs}

    def summary(self, metric: str, epoch: Epoch = "last") -> Summary | None:
        return summarise(list(self.values(metric, epoch).values()))


@dataclass(frozen=True)
class NetworkComparison:
    """Baseline and reinforced runs of one network at one scale."""

    network: str
    label: str
    baseline: Row
    reinforced: Row

    @property
    def pairable(self) -> bool:
        """Whether both were made the same way: on the same data, both recorded or both re-run."""
        return self._both_run and not self._unlike

    @property
    def seeds(self) -> list[int]:
        """Seeds of which there is a pair: runs made with the same number of threads."""
        if not self.pairable:
            return []
        first, second = (
            {run.record.seed: threads_of(run.record) for run in row.runs}
            for row in (self.baseline, self.reinforced)
        )
        return sorted(seed for seed in first.keys() & second if first[seed] == second[seed])

    @property
    def unpaired(self) -> str:
        """Why two rows with runs have no pair; "" where they have one, or a row has no run."""
        if not self._both_run or self.seeds:
            return ""
        if self._unlike:
            return self._unlike
        if set(self.baseline.seeds).isdisjoint(self.reinforced.seeds):
            return "they have no seed in common"
        return "runs of a seed used different numbers of threads, which alone changes results"

    @property
    def runs(self) -> list[StoredRecord]:
        """All runs of both rows."""
        return [*self.baseline.runs, *self.reinforced.runs]

    @property
    def _both_run(self) -> bool:
        return bool(self.baseline.runs and self.reinforced.runs)

    @property
    def _unlike(self) -> str:
        first, second = self.baseline.runs[0], self.reinforced.runs[0]
        if first.origin != second.origin:
            return f"one is {first.origin}, the other {second.origin}"
        if first.record.data.fingerprint != second.record.data.fingerprint:
            return "they were made from different images"
        return ""

    @property
    def pairs(self) -> list[tuple[StoredRecord, StoredRecord]]:
        """Baseline and reinforced run of each of these seeds, by seed."""
        first, second = (
            {run.record.seed: run for run in row.runs} for row in (self.baseline, self.reinforced)
        )
        return [(first[seed], second[seed]) for seed in self.seeds]

    def differences(self, metric: str, epoch: Epoch = "last") -> dict[int, float]:
        """Reinforced minus baseline, by seed; empty where the two cannot be paired."""
        first, second = (row.values(metric, epoch) for row in (self.baseline, self.reinforced))
        return {seed: second[seed] - first[seed] for seed in self.seeds}

    def difference(self, metric: str, epoch: Epoch = "last") -> Difference | None:
        """The paired difference, or None where the two cannot be paired."""
        return difference_of(list(self.differences(metric, epoch).values()))


def split(
    pairs: Sequence[tuple[StoredRecord, StoredRecord]],
) -> tuple[list[StoredRecord], list[StoredRecord]]:
    """The first runs of some pairs, and the second ones."""
    return [first for first, _ in pairs], [second for _, second in pairs]


@dataclass(frozen=True)
class ScaleComparison:
    """One scale (profile and variant): every network of a table, run or not."""

    profile: str
    variant: str | None
    networks: tuple[NetworkComparison, ...]

    @property
    def scale(self) -> str:
        return scale_name(self.profile, self.variant)

    @property
    def parts(self) -> "tuple[ScaleComparison, ...]":
        """Itself; a page over several data sets has one a set."""
        return (self,)

    @property
    def rows(self) -> list[Row]:
        return [row for network in self.networks for row in (network.baseline, network.reinforced)]

    @property
    def runs(self) -> list[StoredRecord]:
        return [run for row in self.rows for run in row.runs]

    @property
    def averaged(self) -> tuple[NetworkComparison, ...]:
        """The networks that a mean over networks is taken of: those with the most pairs.

        One of fewer would cost the others the seeds that it lacks.
        """
        most = max((len(network.seeds) for network in self.networks), default=0)
        return tuple(n for n in self.networks if most and len(n.seeds) == most)

    def difference(self, metric: str, epoch: Epoch = "last") -> Difference | None:
        """The difference averaged over `averaged`, seed by seed, over seeds that all of them have.

        None without a pair.
        """
        by_network = [network.differences(metric, epoch) for network in self.averaged]
        if not by_network:
            return None
        seeds = sorted(set.intersection(*(set(differences) for differences in by_network)))
        return difference_of(
            [statistics.fmean(differences[seed] for differences in by_network) for seed in seeds]
        )


def compare_scale(
    stored: Sequence[StoredRecord],
    profile: str,
    variant: str | None,
    *,
    table: str,
    networks: Mapping[str, str],
) -> ScaleComparison:
    """Sort the runs of one scale into the rows of a table.

    Args:
        stored: Records of any scale and table; the others are left out.
        profile: The scale's profile.
        variant: The scale's variant, or None.
        table: First part of the recipes' names.
        networks: What each network of the table is called, by its name in the recipes.

    Raises:
        UserError: If the seeds of one row were not run with the same settings on the same data.
    """

    def row(network: str, method: str) -> Row:
        return row_of(stored, profile, variant, f"{table}/{network}_{method}")

    return ScaleComparison(
        profile,
        variant,
        tuple(
            NetworkComparison(name, label, row(name, "baseline"), row(name, "reinforced"))
            for name, label in networks.items()
        ),
    )


def threads_of(record: Record) -> int | str | None:
    """What must be equal in a pair: threads of the CPU, whose sums it computed; None if not kept.

    By another number of threads sums are rounded in another order, and training makes much of
    little. Where a GPU computed them, they do not matter.
    """
    on_cpu = record.hardware.device.startswith("cpu")
    return record.threads if on_cpu else "gpu"


@dataclass(frozen=True)
class RowsComparison(ScaleComparison):
    """Rows at one scale that are no pairs of methods, run or not.

    Attributes:
        by_recipe: In their order; `networks` is empty.
    """

    by_recipe: Mapping[str, Row]

    @property
    def rows(self) -> list[Row]:
        return list(self.by_recipe.values())


def compare_rows(
    stored: Sequence[StoredRecord], profile: str, variant: str | None, recipes: Iterable[str]
) -> RowsComparison:
    """Sort the runs of one scale into rows alone; errors as `compare_scale`'s."""
    rows = {name: row_of(stored, profile, variant, name) for name in recipes}
    return RowsComparison(profile, variant, (), rows)


def scales_of(stored: Sequence[StoredRecord]) -> list[tuple[str, str | None]]:
    """The scales (profile, variant) that the records come from, by name."""
    scales = {(run.record.profile, run.record.variant) for run in stored}
    return sorted(scales, key=lambda scale: scale_name(*scale))


def is_paper_scale(comparison: ScaleComparison) -> bool:
    """Whether every run followed the paper's recipe on ImageNet, with nothing overridden."""
    return bool(comparison.runs) and all(
        run.record.profile == "paper"
        and run.record.variant is None
        and not run.record.overrides
        and run.record.data.name == "imagenet"
        and run.record.data.classes == 1000
        for run in comparison.runs
    )


def row_of(stored: Sequence[StoredRecord], profile: str, variant: str | None, recipe: str) -> Row:
    """The runs of one recipe at one scale; errors as `compare_scale`'s."""
    wanted = (profile, variant, recipe)
    found = [
        run
        for run in stored
        if (run.record.profile, run.record.variant, run.record.recipe) == wanted
    ]
    runs = sorted((run for run in found if run.record.complete), key=lambda run: run.record.seed)
    stopped = tuple(run for run in found if not run.record.complete)
    for run in runs[1:]:
        _refuse_unlike(runs[0], run)
    return Row(recipe, tuple(runs), stopped)


def _refuse_unlike(first: StoredRecord, other: StoredRecord) -> None:
    facts = {
        "settings": _without_seed,
        "data": lambda record: record.data.fingerprint,
    }
    for name, fact in facts.items():
        if fact(first.record) != fact(other.record):
            raise UserError(
                f"records {first.path} and {other.path} are seeds of one row but differ in {name}; "
                "remove one of them or run its recipe again"
            )


def _without_seed(record: Record) -> dict[str, object]:
    # `overrides` say how values came, which a variant may say otherwise today.
    left_out = ("seed", "overrides")
    return {name: value for name, value in record.settings.items() if name not in left_out}
