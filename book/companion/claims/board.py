"""The scoreboard: every testable statement of a paper with the verdict that this project reached.

What can be counted is decided, and so is what a paper's own places say of each other. What needs
training is decided by runs at the paper's own scale alone, all that the statement speaks of and in
two seeds or more; smaller runs are shown, and decide nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from book.companion.claims import render
from book.companion.claims.counted import COUNTED
from book.companion.claims.judged import Observed, observe, verdict_without_runs
from book.companion.claims.sources import Scale
from book.companion.claims.statements import (
    NOT_REPRODUCED,
    REPRODUCED,
    UNCLEAR,
    UNTRIED,
    VERDICTS,
    Group,
    Statement,
    Verdict,
    statements,
)
from book.companion.text.differences import NOT_RUN
from book.companion.text.runs import train_command
from book.companion.text.tables import Cell, Marked, Table, marked_by
from dreal_lib.comparison import rows as compare
from dreal_lib.recipes.own_data import is_reproduction
from dreal_lib.records import StoredRecord

NO_TRAINING = "no training needed"
SEEDS = (0, 1, 2)  # asked for where a statement is undecided


@dataclass(frozen=True)
class Entry:
    """One statement and what became of it.

    Attributes:
        verdict: As computed from the records at hand.
        result: In short, with its mark; "not run" without a run.
        scales: Where it was tried.
        said: More.
        runs: What it rests on.
        observed: What runs say of it, by scale.
    """

    statement: Statement
    verdict: Verdict
    result: Cell
    scales: str
    said: str = ""
    runs: tuple[StoredRecord, ...] = ()
    observed: tuple[tuple[str, Observed], ...] = ()

    @property
    def wanted(self) -> str:
        """The rows that would decide it (`how_to_decide`); empty if it is decided."""
        if self.verdict != UNTRIED or not self.statement.recipes:
            return ""
        rows = ", ".join(f"`{name}`" for name in self.statement.recipes)
        others = [f"with `--variant {name}`" for name in self.statement.variants if name]
        if not others:
            return rows
        plain = "without a variant and " if None in self.statement.variants else ""
        return f"{rows}; {plain}{' and '.join(others)}"


def judge(stored: Sequence[StoredRecord], profile: str, variant: str | None) -> list[Entry]:
    """Every statement, decided by what there is.

    Args:
        stored: Records of any scale.
        profile, variant: The scale that is shown where none decides; others stand in for it only
            where it has no run.

    Raises:
        UserError: An entry that names no measure, or records that cannot be compared.
    """
    own = (profile, variant)
    scales = [Scale(stored, *own), *(s for s in scales_of(stored) if (s.profile, s.variant) != own)]
    return [judge_one(statement, scales) for statement in statements()]


def scales_of(stored: Sequence[StoredRecord]) -> list[Scale]:
    """The reproduction's scales that there are runs of."""
    found = [Scale(stored, *scale) for scale in compare.scales_of(stored)]
    return [scale for scale in found if is_reproduction(scale.variant)]


def judge_one(statement: Statement, scales: Sequence[Scale]) -> Entry:
    """One statement, by the runs of several scales; the first is the page's own."""
    if statement.reading:
        return Entry(statement, UNCLEAR, Marked(statement.reading, "computed"), NO_TRAINING)
    if not statement.recipes:
        found = observe(Scale((), "paper", None), statement, sources=COUNTED)
        result = Marked(render.brief(found), "computed")
        said = " ".join(part.more for part in found.parts.values() if part.more)
        return Entry(statement, verdict_without_runs(found), result, NO_TRAINING, said)
    seen = [(scale, found) for scale in scales if (found := observe(scale, statement))]
    deciding = [(s, found) for s, found in seen if found.decides and found.holds is not None]
    if deciding:
        verdict = REPRODUCED if all(found.holds for _, found in deciding) else NOT_REPRODUCED
        return _entry(statement, verdict, deciding, scales[0])
    undecided = [(s, found) for s, found in seen if found.decides]
    return _entry(statement, UNTRIED, undecided or _nearest(seen, scales[0]), scales[0])


def _nearest(seen: list[tuple[Scale, Observed]], own: Scale) -> list[tuple[Scale, Observed]]:
    """What was seen at a page's own scale, else at those of its profile, else at the others."""
    mine = [item for item in seen if item[0] is own]
    return mine or [item for item in seen if item[0].profile == own.profile] or seen


def _entry(
    statement: Statement, verdict: Verdict, seen: Sequence[tuple[Scale, Observed]], own: Scale
) -> Entry:
    if not seen:
        return Entry(statement, verdict, render.in_print(statement), NOT_RUN)
    runs = tuple({run.path: run for _, found in seen for run in found.runs}.values())
    alone = len(seen) == 1 and seen[0][0] is own
    result, said = (
        joint.join(write(found) if alone else f"{s.name}: {write(found)}" for s, found in seen)
        for joint, write in (("; ", render.brief), (" ", render.full))
    )
    scales = ", ".join(dict.fromkeys(run.record.scale for run in runs))
    observed = tuple((scale.name, found) for scale, found in seen)
    result = marked_by(result, runs, scales)
    return Entry(statement, verdict, result, scales, said, runs, observed)


def overview(board: Sequence[Entry]) -> Table:
    """The compact table: statement, verdict, result."""
    rows = tuple((e.statement.title, e.verdict, e.result) for e in board)
    return Table(("Statement", "Verdict", "Result"), rows)


def tally_sentence(board: Sequence[Entry]) -> str:
    """How many statements there are of each verdict, and what the reproduced ones are."""
    counts = [f"{sum(e.verdict == v for e in board)} {v}" for v in VERDICTS]
    text = f"{len(board)} statements: {', '.join(counts)}."
    found = [e for e in board if e.verdict == REPRODUCED]
    if not found:
        return text
    counted = sum(not e.statement.recipes for e in found)
    share = "All" if counted == len(found) else f"{counted} of the {len(found)}"
    text += f" {share} reproduced ones are counts of parameters and operations"
    if not any(e.statement.group in ("errors", "retrieval") for e in found):
        text += "; none says that the method lowers an error"
    return f"{text}."


def how_to_decide() -> str:
    """How a row named under "would decide" is trained."""
    command = train_command("ROW", "paper", None, SEEDS[0])
    others = " and ".join(map(str, SEEDS[1:]))
    return (
        f"A row named after *would decide* is trained by `{command}` (DATA: the prepared images), "
        f"and likewise with the seeds {others}."
    )


def details(board: Sequence[Entry], group: Group) -> str:
    """All that belongs to the statements of a group, as a Markdown list that starts folded."""
    stated: dict[str, str] = {}
    entries = [_detail(entry, stated) for entry in board if entry.statement.group == group]
    # An admonition that folds, unlike a plain dropdown, is unfolded when the page is printed.
    head = ":::{admonition} Quotes, criteria and measurements\n:class: dropdown\n"
    return "\n".join([head, *entries, ":::"])


def _detail(entry: Entry, stated: dict[str, str]) -> str:
    of = entry.statement
    scale = "" if entry.scales in (NO_TRAINING, NOT_RUN) else f" (scale {entry.scales})"
    quote = f"{of.paper}, {of.source}: “{of.quotation}”"
    criterion = criterion_text(of)
    parts = [
        f"- **{of.title}** (`{of.id}`): *{entry.verdict}*",
        _once(quote, "Quote", of.id, stated),
        _once(criterion, "Criterion", of.id, stated),
    ]
    if entry.said:
        parts.append(f"Found{scale}: {entry.said}")
    if entry.wanted:
        parts.append(f"Would decide: {entry.wanted}.")
    parts.append(f"More: {{doc}}`{of.seen}`")
    return "\n  - ".join(parts)


def criterion_text(statement: Statement) -> str:
    """What decides a statement, how close is close enough, and when that was fixed."""
    text = f"Decides: {statement.decides}. Tolerance: {statement.tolerance}."
    if not statement.fixed:
        return text
    when, commit = statement.fixed.split()
    return f"{text} Fixed {when} the first of its runs was on record, by commit `{commit}`."


def _once(text: str, name: str, own: str, stated: dict[str, str]) -> str:
    """A text, or where it stands if it was stated before."""
    first = stated.setdefault(text, own)
    return text if first == own else f"{name}: as `{first}`."


def runs_of_board(board: Sequence[Entry]) -> list[StoredRecord]:
    """Every run that any entry rests on."""
    found = {run.path: run for entry in board for run in entry.runs}
    return sorted(found.values(), key=lambda r: (r.record.scale, r.record.recipe, r.record.seed))
