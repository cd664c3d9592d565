"""The program `dreal`: the library's commands, and those of the book.

`execute`, `reproduce`, `rows` and `archive` work on a checkout of the project.
"""

import os
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from data_prep.errors import PreparationError
from dreal_lib.cli import MaxMinutes, Profile, Variant, app
from dreal_lib.errors import Interrupted, OutOfTime, UserError
from dreal_lib.runtime.deadline import EX_TEMPFAIL

STOPPED = 130  # the shell's status for a program ended by Ctrl-C


def main() -> None:
    """Runs `app`; an error meant for the user becomes one line on stderr and status 2."""
    os.environ.pop("MPLBACKEND", None)  # no command opens a window; a bad name would end it
    try:
        app()
    except (UserError, PreparationError) as error:
        print(f"dreal: {error}", file=sys.stderr)
        sys.exit(2)
    except Interrupted:
        print("dreal: stopped; the same command continues from the checkpoint", file=sys.stderr)
        sys.exit(STOPPED)
    except OutOfTime as error:
        print(f"dreal: {error}", file=sys.stderr)
        # torchrun would take any other status for a failure, and start the run again.
        sys.exit(0 if "TORCHELASTIC_RUN_ID" in os.environ else EX_TEMPFAIL)


def _require_checkout(command: str) -> None:
    # Before what the command needs is imported, which takes seconds.
    from dreal_lib.runtime.environment import PROJECT_ROOT

    if not (PROJECT_ROOT / "Snakefile").is_file():
        raise UserError(
            f"`dreal {command}` needs a checkout of the project, and {PROJECT_ROOT} is none; "
            "clone it and run `make setup` there"
        )


@app.command()
def execute(
    notebook: Annotated[Path, typer.Argument(help="A notebook or its py:percent source.")],
    out: Annotated[Path, typer.Argument(help="The executed notebook.")],
    parameters: Annotated[
        list[str] | None, typer.Option("--parameter", "-p", help="NAME=VALUE; may be repeated.")
    ] = None,
) -> None:
    """Execute a notebook of the book; a misspelt parameter is refused.

    Example:

      dreal execute book/notebooks/fig_6.py out.ipynb -p profile=smoke -p results=rerun
    """
    _require_checkout("execute")
    from book.companion.pages.execute import execute_notebook, parse_parameters

    for needed in ("jupytext", "papermill", "ipykernel"):
        if find_spec(needed) is None:
            raise UserError(
                f"`dreal execute` needs {needed}, which is not installed; try "
                "pip install -c constraints.txt -e '.[book]'"
            )
    execute_notebook(notebook, out, parse_parameters(parameters or []))


@app.command()
def reproduce(
    profile: Profile = "smoke",
    variant: Variant = None,
    everything: Annotated[
        bool, typer.Option("--all", help="Every row of every table, not one pair of each.")
    ] = False,
    only: Annotated[
        str | None,
        typer.Option(
            help="Tables, rows, or pages of the book, comma-separated, e.g. table_3,fig_6."
        ),
    ] = None,
    seeds: Annotated[str, typer.Option(help="Seeds, comma-separated.")] = "0",
    data: Annotated[
        Path | None, typer.Option(help="Prepared images; the embedded data by default.")
    ] = None,
    jobs: Annotated[int, typer.Option(help="Runs at a time; 0: one a core, or on a GPU one.")] = 0,
    dry_run: Annotated[
        bool, typer.Option(help="Only say what would be run, and about how long training takes.")
    ] = False,
    missing: Annotated[
        bool, typer.Option(help="Only train rows without a record, most informative first.")
    ] = False,
    max_minutes: MaxMinutes = None,
) -> None:
    """Prepare data, train, execute the notebooks and build the book; continue what was begun.

    Examples:

      dreal reproduce

      dreal reproduce --all --seeds 0,1,2

      dreal reproduce --only table_3

      dreal reproduce --only fig_6 --seeds 7

      dreal reproduce --all --dry-run

      dreal reproduce --profile desktop --variant two_cores --data DATA

      dreal reproduce --missing --profile desktop --data DATA --seeds 0,1,2 --max-minutes 55
    """
    if everything and only is not None:
        raise UserError("--all trains every row and --only some of them; leave one of the two out")
    _require_checkout("reproduce")
    from book.companion.reproduction.workflow import reproduce as run_workflow

    chosen = "pair" if only is None else only
    status = run_workflow(
        profile=profile,
        variant=variant,
        rows="all" if everything else chosen,
        seeds=seeds,
        data=data,
        jobs=jobs,
        dry_run=dry_run,
        only_missing=missing,
        max_minutes=max_minutes,
    )
    if status == EX_TEMPFAIL:
        typer.echo("time is up; the same command goes on", err=True)
    raise typer.Exit(status)


@app.command()
def rows(profile: Profile = "desktop") -> None:
    """List every row: its paper and table, its task, what a run may take, the pages that show it.

    The page's notebook is book/notebooks/PAGE.py, the recipe dreal_lib/recipes/ROW.yaml.

    Example:

      dreal rows --profile smoke
    """
    _require_checkout("rows")
    from book.companion.reproduction.listing import row_lines
    from dreal_lib.errors import unknown_choice
    from dreal_lib.recipes import PROFILES
    from dreal_lib.records import find_records
    from dreal_lib.runtime.environment import PROJECT_ROOT

    if profile not in PROFILES:
        raise unknown_choice("profile", profile, PROFILES)
    stored = [
        run
        for folder, origin in (("build/records", "re-run"), ("book/records", "recorded"))
        for run in find_records(PROJECT_ROOT / folder, origin=origin)
        if run.record.profile == profile
    ]
    typer.echo("\n".join(row_lines(stored)))


@app.command()
def archive(
    out: Annotated[Path, typer.Argument(help="The .zip; an existing one is not overwritten.")],
    results: Annotated[
        str, typer.Option(help="recorded: what is committed; rerun: what was made here.")
    ] = "recorded",
    check: Annotated[
        bool, typer.Option("--check", help="Write nothing: check an archive that is there.")
    ] = False,
) -> None:
    """Put records, notebooks, figures and pins into one zip with checksums; or check such a zip.

    Examples:

      dreal archive build/artifact.zip

      dreal archive --check build/artifact.zip
    """
    if not check:
        _require_checkout("archive")
    from book.companion.reproduction.archive import check_archive, write_archive

    archived = check_archive(out) if check else write_archive(out, results)
    manifest = archived.manifest
    state = "checked" if check else "written"
    held = f"{len(manifest.files)} files, {manifest.records} records ({manifest.results})"
    typer.echo(f"{state}: {out}, {held}")
    typer.echo(f"sha256: {archived.sha256}")
