"""The scoreboard: every testable statement of the paper with the verdict that this project reached.

Statements are data (`statements.yaml`); each names the function that decides it. What can be
counted is decided, and so is what the paper's own places say of each other. What needs training is
decided by runs at the paper's own scale alone, all that the statement speaks of and in two seeds or
more; smaller runs are shown, and decide nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from book.companion.claims.counts import COUNTED
from book.companion.claims.errors import ON_ERRORS
from book.companion.claims.judged import Observed, Scale
from book.companion.claims.printed import PRINTED
from book.companion.claims.statements import (
    NOT_REPRODUCED,
    REPRODUCED,
    UNTRIED,
    VERDICTS,
    Group,
    Statement,
    Verdict,
    statements,
)
from book.companion.claims.trained import ON_MAPS
from book.companion.text import runs as verdicts
from book.companion.text.differences import NOT_RUN
from book.companion.text.tables import Cell, Marked, Table
from dreal_lib.comparison import rows as compare
from dreal_lib.errors import UserError
from dreal_lib.records import StoredRecord

UNTRAINED = {**COUNTED, **PRINTED}
TRAINED = {**ON_ERRORS, **ON_MAPS}
MEASURES = (*UNTRAINED, *TRAINED)
NO_TRAINING = "no training needed"
SEEDS = (0, 1, 2)  # asked for where a statement is undecided

CAPTION = (
    "Statements of the paper and what became of them. Differences are reinforced less baseline "
    "unless said otherwise, errors in points, mean ± sample standard deviation over "
    "n seeds. Nothing is claimed but where it says so."
)


@dataclass(frozen=True)
class Entry:
    """One statement and what became of it.

    Attributes:
        verdict: As computed from the records at hand.
        result: In short, with its mark; "not run" without a run.
        scales: Where it was tried.
        said: More.
        runs: What it rests on.
    """

    statement: Statement
    verdict: Verdict
    result: Cell
    scales: str
    said: str = ""
    runs: tuple[StoredRecord, ...] = ()

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
    found = [own, *(scale for scale in compare.scales_of(stored) if scale != own)]
    # Of hand-made overrides no two runs need be alike.
    scales = [Scale(stored, *scale) for scale in found if not (scale[1] or "").startswith("custom")]
    return [_judge_one(statement, scales) for statement in statements()]


def _judge_one(statement: Statement, scales: Sequence[Scale]) -> Entry:
    if statement.measure in UNTRAINED:
        counted = UNTRAINED[statement.measure](statement)
        result = Marked(counted.result, "computed")
        return Entry(statement, counted.verdict, result, NO_TRAINING, counted.said)
    if statement.measure not in TRAINED:
        raise UserError(
            f"statement {statement.id} names no measure; got {statement.measure!r}; choose from "
            f"{', '.join(MEASURES)}"
        )
    observed = [(scale, TRAINED[statement.measure](scale, statement)) for scale in scales]
    seen = [(scale, found) for scale, found in observed if found is not None]
    deciding = [(s, found) for s, found in seen if found.decides and found.holds is not None]
    if deciding:
        verdict = REPRODUCED if all(found.holds for _, found in deciding) else NOT_REPRODUCED
        return _entry(statement, verdict, deciding, scales[0])
    undecided = [(s, found) for s, found in seen if found.decides]
    shown = undecided or _nearest(seen, scales[0])
    return _entry(statement, UNTRIED, shown, scales[0])


def _nearest(seen: list[tuple[Scale, Observed]], own: Scale) -> list[tuple[Scale, Observed]]:
    """What was seen at a page's own scale, else at those of its profile, else at the others."""
    return next(
        (
            chosen
            for chosen in (
                [item for item in seen if item[0] is own],
                [item for item in seen if item[0].profile == own.profile],
            )
            if chosen
        ),
        seen,
    )


def _entry(
    statement: Statement,
    verdict: Verdict,
    seen: Sequence[tuple[Scale, Observed]],
    own: Scale,
) -> Entry:
    if not seen:
        return Entry(statement, verdict, NOT_RUN, NOT_RUN)
    runs = tuple({run.path: run for _, found in seen for run in found.runs}.values())
    alone = len(seen) == 1 and seen[0][0] is own
    result, said = (
        joint.join(
            text if alone else f"{scale.name}: {text}"
            for scale, found in seen
            if (text := getattr(found, attribute))
        )
        for joint, attribute in (("; ", "result"), (" ", "said"))
    )
    scales = ", ".join(dict.fromkeys(run.record.scale for run in runs)) or NOT_RUN
    if not runs:
        return Entry(statement, verdict, result, scales, said)
    return Entry(statement, verdict, Marked(result, runs[0].origin, scales), scales, said, runs)


def at_every_scale(stored: Sequence[StoredRecord], statement: Statement) -> dict[str, Observed]:
    """What each scale's runs say of a statement that training decides, by the scale's name.

    Raises:
        UserError: As `judge`.
    """
    scales = [Scale(stored, *scale) for scale in compare.scales_of(stored)]
    named = [scale for scale in scales if not (scale.variant or "").startswith("custom")]
    observed = {scale.name: TRAINED[statement.measure](scale, statement) for scale in named}
    return {name: found for name, found in observed.items() if found is not None}


def overview(board: Sequence[Entry]) -> Table:
    """The compact table: statement, verdict, result."""
    rows = tuple((e.statement.title, e.verdict, e.result) for e in board)
    return Table(("Statement", "Verdict", "Result"), rows)


def tally(board: Sequence[Entry]) -> dict[Verdict, int]:
    """Number of statements by verdict."""
    return {verdict: sum(e.verdict == verdict for e in board) for verdict in VERDICTS}


def tally_sentence(board: Sequence[Entry]) -> str:
    """The tally in one line."""
    counts = ", ".join(f"{count} {verdict}" for verdict, count in tally(board).items())
    return f"{len(board)} statements: {counts}."


def reproduced_sentence(board: Sequence[Entry]) -> str:
    """What kind of statements the reproduced ones are; empty without any."""
    found = [e for e in board if e.verdict == REPRODUCED]
    if not found:
        return ""
    counted = sum(e.statement.measure in COUNTED for e in found)
    share = "All" if counted == len(found) else f"{counted} of the {len(found)}"
    text = f"{share} reproduced ones are counts of parameters and operations"
    if not any(e.statement.group in ("errors", "retrieval") for e in found):
        text += "; none says that the method lowers an error"
    return f"{text}."


def how_to_decide() -> str:
    """How a row named under "would decide" is trained."""
    command = verdicts.train_command("ROW", "paper", None, SEEDS[0])
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
    statement = entry.statement
    scale = "" if entry.scales in (NO_TRAINING, NOT_RUN) else f" (scale {entry.scales})"
    parts = [
        f"- **{statement.title}** (`{statement.id}`): *{entry.verdict}*",
        _once(f"The paper, {statement.source}: “{statement.quotation}”", "Quote", entry, stated),
        _once(
            f"Decides: {statement.decides}. Tolerance: {statement.tolerance}.",
            "Criterion",
            entry,
            stated,
        ),
    ]
    if entry.said:
        parts.append(f"Found{scale}: {entry.said}")
    if entry.wanted:
        parts.append(f"Would decide: {entry.wanted}.")
    parts.append(f"More: {{doc}}`{statement.seen}`")
    return "\n  - ".join(parts)


def _once(text: str, name: str, entry: Entry, stated: dict[str, str]) -> str:
    """A text, or where it stands if it was stated before."""
    first = stated.setdefault(text, entry.statement.id)
    return text if first == entry.statement.id else f"{name}: as `{first}`."


def changed_verdicts(board: Sequence[Entry]) -> list[str]:
    """One line for each verdict that is not the one its entry holds."""
    return [
        f"{e.statement.id}: the records say {e.verdict!r}, its entry in statements.yaml "
        f"{e.statement.verdict!r}; look at why, then change the entry"
        for e in board
        if e.verdict != e.statement.verdict
    ]


def runs_of_board(board: Sequence[Entry]) -> list[StoredRecord]:
    """Every run that any entry rests on."""
    found = {run.path: run for entry in board for run in entry.runs}
    return sorted(found.values(), key=lambda r: (r.record.scale, r.record.recipe, r.record.seed))
