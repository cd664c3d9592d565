"""Many intervals at once: how many would leave out zero by chance, and what is left after Holm.

A statement whose parts must all hold needs no correction; who picks the significant ones out of
many does. Holm's step-down procedure (1979) holds the chance of any false one in a family to 5 %,
whatever the dependence. Families are the groups of the scoreboard.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from book.companion.claims.board import Entry
from book.companion.text.differences import p_text
from book.companion.text.tables import counted
from dreal_lib.comparison.contrasts import holm, p_of
from dreal_lib.comparison.paired import CONFIDENCE, Difference


@dataclass(frozen=True)
class Trial:
    """One interval of the scoreboard.

    Attributes:
        group: Of the scoreboard, the family.
        name: Statement and part.
        difference: With an interval.
    """

    group: str
    name: str
    difference: Difference


def trials_of(board: Sequence[Entry]) -> list[Trial]:
    """Every interval that a rule judges, once each, though several statements may quote it."""
    found: dict[tuple, Trial] = {}
    for entry in board:
        for scale, observed in entry.observed:
            for name, part in observed.statement.parts.items():
                measured = observed.parts[name]
                difference = measured.difference if measured else None
                if difference is None or difference.low is None or not part.rules:
                    continue
                runs = frozenset(run.path for run in measured.runs)
                key = (scale, runs, part.source, difference)
                where = f" ({scale})" if len(entry.observed) > 1 else ""
                said = f"{entry.statement.id}: {name}{where}"
                trial = Trial(entry.statement.group, said, difference)
                found.setdefault(key, trial)
    return list(found.values())


def after_holm(trials: Sequence[Trial]) -> dict[str, float]:
    """Adjusted p values by the trial's name, each group a family."""
    families: dict[str, list[Trial]] = {}
    for trial in trials:
        families.setdefault(trial.group, []).append(trial)
    corrected = (holm({t.name: p_of(t.difference) for t in f}) for f in families.values())
    return {name: p for family in corrected for name, p in family.items()}


def sentences(board: Sequence[Entry]) -> list[str]:
    """How many intervals leave out zero, how many would by chance, and which remain."""
    trials = trials_of(board)
    if not trials:
        return []
    alpha = 1 - CONFIDENCE
    beyond = [trial for trial in trials if trial.difference.verdict in ("lower", "higher")]
    left = {name: p for name, p in after_holm(trials).items() if p < alpha}
    return [
        f"{counted(len(trials), 'different interval')} of 95 % decide parts of statements, and "
        f"{len(beyond)} leave out zero. If nothing had an effect, about "
        f"{alpha * len(trials):.1f} would by chance.",
        f"Corrected by Holm within each group, {len(left)} of these "
        f"{'is' if len(left) == 1 else 'are'} left{_listed(left)}. Verdicts and "
        "pages use the uncorrected intervals: a statement whose parts must all hold needs no "
        "correction, and one significant number picked out of many does.",
    ]


def _listed(left: Mapping[str, float]) -> str:
    named = ", ".join(f"{name} (p {p_text(p)})" for name, p in left.items())
    return f": {named}" if named else ""
