"""What a user is told: errors of a single line that names the thing, the value and the remedy."""

import difflib
from collections.abc import Iterable


class UserError(ValueError):
    """Bad input. The command line prints it without a traceback and exits with status 2."""

    def _render_traceback_(self) -> list[str]:  # IPython calls it: one line in a notebook, too
        return [str(self)]


class Interrupted(Exception):
    """Training was stopped by a signal, and its checkpoint is written."""


class OutOfTime(Exception):
    """The time given to a run or a batch is spent; what was done is kept, the rest is for later."""


def unknown_choice(thing: str, value: object, choices: Iterable[str]) -> UserError:
    """A `UserError` that lists the choices and the nearest one.

    Args:
        thing: What was asked for, e.g. "attention".
        value: What was given.
        choices: What there is.
    """
    choices = [str(choice) for choice in choices]
    nearest = difflib.get_close_matches(str(value), choices, n=1)
    hint = f"; did you mean {nearest[0]!r}?" if nearest else ""
    return UserError(f"unknown {thing} {value!r}{hint}; choices: {', '.join(choices)}")
