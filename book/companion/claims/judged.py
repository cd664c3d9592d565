"""What runs say of a statement: its parts measured at one scale, its rules, and the verdict."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from book.companion.claims.measured import Measured
from book.companion.claims.row_sums import printed_sum
from book.companion.claims.rules import RULES, all_of
from book.companion.claims.sources import SOURCES, Scale, Sources, measure_part
from book.companion.claims.statements import Part, Statement, Verdict
from book.companion.papers import dreal
from dreal_lib.comparison import rows as compare
from dreal_lib.comparison.rows import NetworkComparison, Row, ScaleComparison
from dreal_lib.errors import unknown_choice
from dreal_lib.records import StoredRecord
from dreal_lib.settings.dreal import Settings

SEEDS = 2  # fewer decide nothing, here as in `dreal_lib.comparison.rows`


@dataclass(frozen=True)
class Observed:
    """What the runs of one scale say of a statement.

    Attributes:
        parts: What was measured, by name; None where there is no run.
        beside: The same of what decides nothing.
        holds: Whether the statement holds there; None if the runs leave it open.
        runs: What it rests on.
        complete: Whether all that the statement speaks of was run.
        network: The network that its parts are of, where the statement is about one.
        same_settings: Whether the reinforced runs share their settings; None if it is not asked.
    """

    statement: Statement
    parts: Mapping[str, Measured | None]
    beside: Mapping[str, Measured | None]
    holds: bool | None
    runs: tuple[StoredRecord, ...]
    complete: bool
    network: str
    same_settings: bool | None = None

    @property
    def seeds(self) -> int:
        """The fewest that any of its parts rests on."""
        return min((found.seeds for found in self.parts.values() if found), default=0)

    @property
    def decides(self) -> bool:
        """Whether a verdict can rest on it: all of it, at the paper's scale, in several seeds."""
        enough = self.complete and self.seeds >= SEEDS
        return enough and at_paper_scale(self.runs, self.statement.data)


def at_paper_scale(runs: Sequence[StoredRecord], data: str = "") -> bool:
    """Whether all runs followed the paper's recipe on the paper's data, or on the set `data`."""
    if any(run.record.task == "retrieval" for run in runs):
        return all(
            run.record.profile == "paper"
            and run.record.data.name in (data or dreal.TABLE_2_HALVES)
            and set(run.record.overrides) <= {"dataset"}
            for run in runs
        )
    alone = NetworkComparison("", "", Row("", tuple(runs)), Row(""))
    return compare.is_paper_scale(ScaleComparison("paper", None, (alone,)))


def verdict_without_runs(observed: Observed) -> Verdict:
    """What is decided without training, by how many parts do not hold."""
    statement = observed.statement
    failed = sum(
        False in _answers(statement.parts[name], found, ())
        for name, found in observed.parts.items()
    )
    return (statement.held, *statement.broken)[min(failed, len(statement.broken))]


def observe(
    scale: Scale, statement: Statement, network: str = "", sources: Sources = SOURCES
) -> Observed | None:
    """What the runs of a scale say of a statement; None if nothing.

    Args:
        scale: The runs.
        statement: With parts.
        network: Instead of the statement's own, which then decides nothing.
        sources: Of its numbers.

    Raises:
        UserError: A part that names no source or rule; records that cannot be compared.
    """
    own = network or statement.network
    networks = [own] if network or not statement.stand_in else [own, statement.stand_in]
    for chosen in networks:
        found = _observe(scale, statement, chosen, sources)
        if found is not None and (found.complete or len(networks) == 1):
            whole = found.complete and chosen == statement.network
            return replace(found, complete=whole)
    return None


def _observe(scale: Scale, statement: Statement, network: str, sources: Sources) -> Observed | None:
    own, beside = (
        {
            name: part.about(network=network, printed=statement.printed)
            for name, part in some.items()
        }
        for some in (statement.parts, statement.beside)
    )
    parts, more = (
        {
            name: measure_part(scale, part.source, part.arguments, sources)
            for name, part in some.items()
        }
        for some in (own, beside)
    )
    known = [found for found in parts.values() if found is not None]
    if not known:
        return None
    answers = [a for name, found in parts.items() for a in _answers(own[name], found, known)]
    runs = tuple({run.path: run for found in known for run in found.runs}.values())
    same = _same_settings(runs) if statement.same_settings else None
    answers += [same or None] * statement.same_settings
    named = not statement.data or all(run.record.data.name == statement.data for run in runs)
    if not named and not statement.elsewhere:
        return None
    complete = named and len(known) == len(parts)
    return Observed(statement, parts, more, all_of(answers), runs, complete, network, same)


def printed_size(part: Part) -> float | None:
    """The paper's own number for a part, or None where none is asked for."""
    if not part.printed:
        return None
    rows = part.arguments["rows"] if part.printed == "same" else part.printed
    return printed_sum(rows, part.arguments["metric"], part.arguments.get("data", ""))


def _answers(part: Part, found: Measured | None, known: Sequence[Measured]) -> list[bool | None]:
    for rule in part.rules:
        if rule not in RULES:
            raise unknown_choice("rule", rule, RULES)
    if found is None:
        return [None] * len(part.rules)
    return [RULES[rule](found, printed_size(part), known) for rule in part.rules]


def _same_settings(runs: Sequence[StoredRecord]) -> bool:
    reinforced = [run.record for run in runs if run.record.method == "reinforced"]
    return len({Settings(**record.settings.get("dreal", {})) for record in reinforced}) == 1
