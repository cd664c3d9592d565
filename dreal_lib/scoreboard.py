"""The scoreboard: every testable statement of the paper with the verdict that this project reached.

Statements are data (`statements.yaml`); each names the function that decides it. What can be
counted is decided. What needs training is decided by runs at the paper's own scale alone, all that
the statement speaks of and in two seeds or more; smaller runs are shown, and decide nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from dreal_lib import compare, verdicts
from dreal_lib.counted_claims import COUNTED
from dreal_lib.error_claims import ON_ERRORS
from dreal_lib.errors import UserError
from dreal_lib.evidence import Observed, Scale
from dreal_lib.map_claims import ON_MAPS
from dreal_lib.records import StoredRecord
from dreal_lib.statements import (
    NOT_REPRODUCED,
    REPRODUCED,
    UNTRIED,
    VERDICTS,
    Group,
    Statement,
    Verdict,
    statements,
)
from dreal_lib.table_1 import NOT_RUN
from dreal_lib.tables import Cell, Marked, Table

TRAINED = {**ON_ERRORS, **ON_MAPS}
MEASURES = (*COUNTED, *TRAINED)
NO_TRAINING = "no training needed"
SEEDS = (0, 1, 2)  # asked for where a statement is undecided

CAPTION = (
    "Statements of the paper and what became of them. Differences are reinforced less baseline "
    "unless said otherwise, errors in points, mean ± sample standard deviation over n seeds. The "
    "details below tell what decides and how close is close enough."
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
    def command(self) -> str:
        """What would decide it; empty if it is decided."""
        if self.verdict != UNTRIED or not self.statement.recipes:
            return ""
        first, *others = self.statement.recipes
        commands = " and ".join(
            f"`{verdicts.train_command(first, 'paper', variant, SEEDS[0])}`"
            for variant in self.statement.variants
        )
        likewise = f"; likewise {', '.join(f'`{name}`' for name in others)}" if others else ""
        return f"{commands}{likewise}; with seeds {', '.join(map(str, SEEDS))}"


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
    if statement.measure in COUNTED:
        counted = COUNTED[statement.measure](statement)
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


def overview(board: Sequence[Entry]) -> Table:
    """The compact table: statement, verdict, result."""
    rows = tuple((e.statement.id, e.statement.title, e.verdict, e.result) for e in board)
    return Table(("Id", "Statement", "Verdict", "Result"), rows)


def tally(board: Sequence[Entry]) -> dict[Verdict, int]:
    """Number of statements by verdict."""
    return {verdict: sum(e.verdict == verdict for e in board) for verdict in VERDICTS}


def tally_sentence(board: Sequence[Entry]) -> str:
    """The tally in one line."""
    counts = ", ".join(f"{count} {verdict}" for verdict, count in tally(board).items())
    return f"{len(board)} statements: {counts}."


def tally_text(board: Sequence[Entry]) -> str:
    """The tally and every id below its verdict, as plain text."""
    parts = []
    for verdict, count in tally(board).items():
        ids = "\n".join(f"  {e.statement.id}" for e in board if e.verdict == verdict)
        parts.append(f"{count} {verdict}" + (f"\n{ids}" if ids else ""))
    return "\n".join(parts)


def details(board: Sequence[Entry], group: Group) -> str:
    """All that belongs to the statements of a group, as a Markdown list."""
    return "\n".join(_detail(entry) for entry in board if entry.statement.group == group)


def _detail(entry: Entry) -> str:
    statement = entry.statement
    scale = "" if entry.scales in (NO_TRAINING, NOT_RUN) else f" (scale {entry.scales})"
    parts = [
        f"- **{statement.title}** (`{statement.id}`): *{entry.verdict}*",
        f"The paper, {statement.source}: “{statement.quotation}”",
        f"Decides: {statement.decides}. Tolerance: {statement.tolerance}.",
        f"Found{scale}: {_shown(entry.result)}. {entry.said}".rstrip(),
    ]
    if entry.command:
        parts.append(f"Would decide: {entry.command}.")
    parts.append(f"More: {{doc}}`{statement.seen}`")
    return "\n  - ".join(parts)


def _shown(result: Cell) -> str:
    return result.text if isinstance(result, Marked) else result


def in_short(board: Sequence[Entry]) -> dict[str, str]:
    """Verdict and marked result of each statement in one line, by id, for other pages to quote."""
    return {e.statement.id: f"{e.verdict}: {e.result}" for e in board}


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
