"""Running one module's command: errors become one line on stderr and exit status 2."""

import sys
from collections.abc import Callable

import typer

from data_prep.errors import PreparationError


def run(command: Callable[..., None]) -> None:
    """Run a typed function as a command line and exit.

    Args:
        command: Its signature gives the arguments and options, its docstring the help text.
    """
    app = typer.Typer(add_completion=False)
    app.command()(command)
    try:
        app()
    except PreparationError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from None
