"""Which runs a page may show: committed ones, or those made on this machine in their place."""

from collections.abc import Sequence
from pathlib import Path

from book.companion.pages.catalogue import Parameters
from dreal_lib.records import StoredRecord, find_records
from dreal_lib.runtime.environment import PROJECT_ROOT


def find_runs(
    parameters: Parameters, recipes: Sequence[str] = ("*",), root: Path = PROJECT_ROOT
) -> list[StoredRecord]:
    """The runs that a page shows, each labelled by where it comes from.

    With `results="rerun"` a row that was run on this machine shows these runs alone; the other
    rows show the committed ones.

    Args:
        parameters: What is wanted.
        recipes: Patterns of the rows that are read at all.
        root: The project, with `book/records` and `build/records`.

    Raises:
        UserError: A record that cannot be read or disagrees with another.
    """
    committed, made_here = root / "book" / "records", root / "build" / "records"
    if parameters.results == "recorded":
        found = find_records(parameters.records_root or committed, recipes=recipes)
        return [run for run in found if _wanted(run, parameters)]
    place = parameters.records_root or made_here
    found = find_records(place, recipes=recipes, origin="re-run")
    rerun = [run for run in found if _wanted(run, parameters)]
    replaced = {(run.record.scale, run.record.recipe) for run in rerun}
    return rerun + [
        run
        for run in find_records(committed, recipes=recipes)
        if _wanted(run, parameters) and (run.record.scale, run.record.recipe) not in replaced
    ]


def _wanted(run: StoredRecord, parameters: Parameters) -> bool:
    """Of the page's own scale the seeds asked for; of others, which only stand beside, all."""
    return (
        parameters.seeds is None
        or run.record.seed in parameters.seeds
        or not parameters.covers(run.record.profile, run.record.variant)
    )
