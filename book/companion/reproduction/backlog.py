"""Which runs a batch consists of, which of them have no record yet, and which to make first."""

from collections.abc import Iterable, Sequence
from fnmatch import fnmatch
from pathlib import Path

from book.companion.pages.catalogue import PAGES, check_parameters, specification_of
from dreal_lib.errors import UserError, unknown_choice
from dreal_lib.recipes import (
    FIRST_TASK,
    TASKS,
    planned_names,
    recipe_names,
    task_facts,
    task_of,
)
from dreal_lib.records import find_records

Run = tuple[str, int]  # recipe and seed

# The paper's headline first: both ends of the range of attention, at the depth that costs least.
MOST_INFORMATIVE = ("table_1/se_resnet50_", "table_1/srm_resnet50_", "table_1/", "table_2/")
MOST_INFORMATIVE += ("table_3/", "ablations/", "evidence/")


def tasks_of(data: Path | None) -> tuple[str, ...]:
    """The tasks that a prepared set serves; without one every task has rendered images."""
    if data is None:
        return tuple(TASKS)
    for facts in TASKS.values():
        if any((data / name).exists() for name in facts.found_in):
            return (facts.name,)
    return (FIRST_TASK,)  # whose reader says what is wrong with the data


def rows_of(rows: str, data: Path | None) -> list[str]:
    """The rows of a batch, of the tasks that the data serve.

    Args:
        rows: "pair" (one of each task), "all" (but those of the plan), or tables, rows and pages
            of the book with commas between, such as "table_3",
            "table_1/se_resnet50_baseline,ablations" or "fig_6". A page stands for the rows that it
            shows (`book.companion.pages.catalogue`).
        data: A prepared set, or None for the rendered ones.

    Raises:
        UserError: No such table, row or page, a page without runs, or none that these data serve.
    """
    tasks = tasks_of(data)
    if rows == "pair":
        return [row for task in tasks for row in task_facts(task).pair]
    every = recipe_names()
    if rows == "all":
        return [row for row in every if task_of(row) in tasks and row not in planned_names()]
    wanted = {row for name in rows.split(",") for row in _rows_named(name.strip(), every)}
    found = [row for row in every if row in wanted and task_of(row) in tasks]
    if not found:
        raise UserError(
            f"these data are for {' and '.join(tasks)}, and {rows} is not; give other --data"
        )
    return found


def rows_of_page(page: str, network: str | None = None) -> list[str]:
    """The rows whose runs a page shows.

    Args:
        page: Name of the notebook.
        network: For a page about one network; the one that the page shows by default if None.

    Raises:
        UserError: No such page or network, or a page that no run enters.
    """
    spec = specification_of(page)
    if not spec.rows:
        raise UserError(
            f"no run of its own enters the page {page}; `make book` builds it with the rest, "
            f"`dreal execute book/notebooks/{page}.py build/{page}.ipynb` makes it alone"
        )
    parameters = check_parameters(page, {} if network is None else {"network": network})
    return rows_like(spec.shown(parameters.network))


def rows_like(patterns: Iterable[str]) -> list[str]:
    """The rows whose names fit one of some shell patterns."""
    every = dict.fromkeys(patterns)
    return [row for row in recipe_names() if any(fnmatch(row, pattern) for pattern in every)]


def _rows_named(name: str, every: Sequence[str]) -> list[str]:
    """What one name of `rows_of` stands for."""
    if not name:
        raise UserError(
            "--only takes tables, rows or pages with single commas between, and one of them is "
            "empty; try table_3 or table_3,fig_6"
        )
    tables = dict.fromkeys(row.split("/")[0] for row in every)
    if name in every:
        return [name]
    if name in tables:
        return [row for row in every if row.startswith(f"{name}/")]
    if name in PAGES:
        return rows_of_page(name)
    choices = dict.fromkeys([*tables, *PAGES, *every])
    raise unknown_choice("table, row or page", name, choices)


def by_information(runs: Iterable[Run]) -> list[Run]:
    """The runs, most informative first.

    SE-50 and SRM-50 come first, seed by seed with baseline and reinforced side by side, as a
    difference needs both and its interval several; then the rest of Table 1, Table 2, Table 3 and
    the ablations, each seed by seed.
    """

    def key(run: Run) -> tuple:
        row, seed = run
        found = (i for i, start in enumerate(MOST_INFORMATIVE) if row.startswith(start))
        group = next(found, len(MOST_INFORMATIVE))
        headline = max(group, 1)  # the first two are one group
        return (headline, seed, group, row)

    return sorted(runs, key=key)


def missing(
    runs: Sequence[Run], profile: str, variant: str | None, roots: Iterable[Path]
) -> list[Run]:
    """Those without a complete record in any of the record folders, in the same order.

    Raises:
        UserError: A record that cannot be read.
    """
    made = {
        (stored.record.recipe, stored.record.seed)
        for root in roots
        for stored in find_records(root, profile=profile, variant=variant)
        if stored.record.complete
    }
    return [run for run in runs if run not in made]
