"""Which runs a page may show: committed ones, or those made on this machine in their place."""

from pathlib import Path

from book.companion.pages.catalogue import PAGES, Parameters, check_parameters
from book.companion.results.retrieval_rows import METHODS as RETRIEVAL_METHODS
from book.companion.results.retrieval_rows import recipe_of
from dreal_lib.comparison.rows import METHODS
from dreal_lib.errors import UserError, unknown_choice
from dreal_lib.recipes import planned_names, recipe_names
from dreal_lib.records import StoredRecord, find_records
from dreal_lib.runtime.environment import PROJECT_ROOT


def find_runs(parameters: Parameters, root: Path = PROJECT_ROOT) -> list[StoredRecord]:
    """The runs that a page shows, each labelled by where it comes from.

    With `results="rerun"` a row that was run on this machine shows these runs alone; the other
    rows show the committed ones.

    Args:
        parameters: What is wanted.
        root: The project, with `book/records` and `build/records`.

    Raises:
        UserError: A record that cannot be read or disagrees with another.
    """
    committed, made_here = root / "book" / "records", root / "build" / "records"
    if parameters.results == "recorded":
        found = find_records(parameters.records_root or committed)
        return [run for run in found if _wanted(run, parameters)]
    rerun = [
        run
        for run in find_records(parameters.records_root or made_here, origin="re-run")
        if _wanted(run, parameters)
    ]
    replaced = {(run.record.scale, run.record.recipe) for run in rerun}
    return rerun + [
        run
        for run in find_records(committed)
        if _wanted(run, parameters) and (run.record.scale, run.record.recipe) not in replaced
    ]


def _wanted(run: StoredRecord, parameters: Parameters) -> bool:
    """Of the page's own scale the seeds asked for; of others, which only stand beside, all."""
    return (
        parameters.seeds is None
        or run.record.seed in parameters.seeds
        or not parameters.covers(run.record.profile, run.record.variant)
    )


# Pages about one network that show not all of its rows: Fig. 6 is about critics.
NETWORK_METHODS = {"fig_6": ("reinforced",)}


def rows_of_page(page: str, network: str | None = None) -> list[str]:
    """The rows whose runs a page shows.

    Args:
        page: Name of the notebook.
        network: For a page about one network; the one that the page shows by default if None.

    Raises:
        UserError: No such page or network, or a page that no run enters.
    """
    if page not in PAGES:
        raise unknown_choice("page", page, PAGES)
    if "records_root" not in PAGES[page]:
        raise UserError(
            f"no training run enters the page {page}; `make book` builds it with the rest, "
            f"`dreal execute book/notebooks/{page}.py build/{page}.ipynb` makes it alone"
        )
    if "network" in PAGES[page]:
        shown = check_parameters(page, {} if network is None else {"network": network}).network
        return [f"table_1/{shown}_{method}" for method in NETWORK_METHODS.get(page, METHODS)]
    if page == "retrieval":
        return [recipe_of(method) for method in RETRIEVAL_METHODS]
    if page == "scoreboard":
        return [row for row in recipe_names() if row not in planned_names()]
    return [row for row in recipe_names() if row.startswith(f"{page}/")]
