"""Which rows' runs each page of the book shows: what has to be trained for a page.

A page named like a folder of rows (`table_3`, `ablations`) stands for the rows in it; those of
another table that it compares them with are not counted.
"""

from dreal_lib.compare import METHODS
from dreal_lib.errors import UserError, unknown_choice
from dreal_lib.parameters import PAGES, check_parameters
from dreal_lib.recipes import planned_names, recipe_names
from dreal_lib.retrieval_rows import METHODS as RETRIEVAL_METHODS
from dreal_lib.retrieval_rows import recipe_of

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
