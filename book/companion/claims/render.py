"""Statements in words, for a result page, the scoreboard and the front page alike."""

from collections.abc import Mapping

from book.companion.claims.judged import Observed, observe, printed_size
from book.companion.claims.measured import Measured
from book.companion.claims.sources import Scale
from book.companion.claims.statements import Part, Statement, statements
from book.companion.pages.page import Page
from book.companion.text.differences import NOT_RUN, brief_text, effect_text
from book.companion.text.runs import trained_summary
from book.companion.text.tables import signed

ANSWERS = {True: "as the paper says", False: "not as the paper says", None: "open"}


def brief(observed: Observed) -> str:
    """What runs say of a statement, for a cell of a table or a line."""
    statement = observed.statement
    named = [(statement.parts[n], n, found) for n, found in observed.parts.items() if found]
    counts = sorted({found.seeds for _, _, found in named})
    listed = ", ".join(
        _brief_part(name, found, part) + ("" if len(counts) == 1 else f" (n = {found.seeds})")
        for part, name, found in named
    )
    in_all = len(counts) == 1 or statement.tally
    texts = [_tally(observed.parts) if statement.tally else listed]
    for name, found in observed.beside.items():
        if found and statement.beside[name].brief:
            texts.append(_brief_part(name, found, statement.beside[name]))
    if not observed.runs:
        return "; ".join(f"{n} {found.note}" if named[1:] else found.note for _, n, found in named)
    n = " to ".join(map(str, dict.fromkeys((counts[0], counts[-1]))))
    said = "; ".join(texts) + (f", n = {n}" if in_all else "")
    trained = trained_summary(run.record for run in observed.runs)
    return f"{trained}: {said}" if trained else said


def _tally(parts: Mapping[str, Measured | None]) -> str:
    verdicts = [found.difference.verdict for found in parts.values() if found]
    lower, higher = (verdicts.count(way) for way in ("lower", "higher"))
    return f"of {len(verdicts)} {lower} significantly better, {higher} significantly worse"


def _brief_part(name: str, found: Measured, part: Part) -> str:
    if found.count:
        return f"{name} in {found.count[0]} of {found.count[1]} module-runs"
    if found.difference is None:
        return f"{name} {found.note}"
    return f"{name} {brief_text(found.difference, found.decimals, part.better)}"


def full(observed: Observed) -> str:
    """What runs say of a statement, with intervals and what stands beside it."""
    statement = observed.statement
    parts = {**statement.parts, **statement.beside}
    found = {**observed.parts, **observed.beside}
    texts = [
        _full_part(name, found[name], part)
        for name, part in parts.items()
        if name in statement.parts or found[name]
    ]
    if observed.same_settings is not None:
        same = "the same in all" if observed.same_settings else "not the same"
        texts.append(f"settings of the method {same}")
    trained = trained_summary(run.record for run in observed.runs)
    return f"{trained + ': ' if trained else ''}{'; '.join(texts)}."


def _full_part(name: str, found: Measured | None, part: Part) -> str:
    if found is None:
        return f"{name} {NOT_RUN}"
    if found.difference is None:
        return _brief_part(name, found, part)
    ends = [f"{end:.{found.decimals}f}" for end in found.ends or ()]
    change = effect_text(found.difference, found.unit, found.decimals, part.better)
    text = f"{name} {f'{ends[0]} to {ends[1]}: ' if ends else ''}{change}"
    return f"{text} ({found.note})" if found.note else text


def in_print(statement: Statement) -> str:
    """What the paper's own numbers say of a statement that sets our runs beside them."""
    sums = {
        name: printed_size(part)
        for name, part in statement.parts.items()
        if part.printed == "same" and "†" in part.arguments["rows"]
    }
    if not sums:
        return NOT_RUN
    return f"{NOT_RUN}; in print {', '.join(f'{n} {signed(s)}' for n, s in sums.items())}"


def line(statement: Statement, observed: Observed) -> str:
    """A statement on a result page: what runs of its scale say, and whether it is as printed."""
    return f"*{statement.title}.* {full(observed)} Here: {ANSWERS[observed.holds]}."


def say(view: Page, *names: str, network: str = "") -> None:
    """Say on a page what its runs say of these statements; those without a run are left out.

    Args:
        view: The page.
        names: Ids of statements that training decides.
        network: Instead of the statements' own.
    """
    by_id = {statement.id: statement for statement in statements()}
    scale = Scale(view.stored, view.parameters.profile, view.parameters.variant)
    found = [(by_id[name], observe(scale, by_id[name], network)) for name in names]
    lines = [line(statement, observed) for statement, observed in found if observed]
    view.say(lines or f"No run at scale {scale.name}.")
