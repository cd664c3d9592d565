"""Which runs a batch consists of, which of them have no record yet, and which to make first."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from dreal_lib.errors import UserError, unknown_choice
from dreal_lib.recipes import recipe_names, task_of
from dreal_lib.records import find_records

Run = tuple[str, int]  # recipe and seed

PAIRS = {
    "classification": ("table_1/se_resnet50_baseline", "table_1/se_resnet50_reinforced"),
    "retrieval": ("table_2/resnet50_attention", "table_2/resnet50_reinforced"),
}
# The paper's headline first: both ends of the range of attention, at the depth that costs least.
MOST_INFORMATIVE = ("table_1/se_resnet50_", "table_1/srm_resnet50_", "table_1/", "table_2/")
MOST_INFORMATIVE += ("table_3/", "ablations/")


def tasks_of(data: Path | None) -> tuple[str, ...]:
    """The tasks that a prepared set serves; without one every task has rendered images."""
    if data is None:
        return tuple(PAIRS)
    identities = (data / "index.csv").exists() or (data / "query").is_dir()
    return ("retrieval",) if identities else ("classification",)


def rows_of(rows: str, data: Path | None) -> list[str]:
    """The rows of a batch, of the tasks that the data serve.

    Args:
        rows: "pair" (one of each task), "all", or tables and rows with commas between, such as
            "table_3" or "table_1/se_resnet50_baseline,ablations".
        data: A prepared set, or None for the rendered ones.

    Raises:
        UserError: No such table or row, or none that these data serve.
    """
    tasks = tasks_of(data)
    if rows == "pair":
        return [row for task in tasks for row in PAIRS[task]]
    every = recipe_names()
    if rows == "all":
        return [row for row in every if task_of(row) in tasks]
    wanted = rows.split(",")
    known = {*every, *(row.split("/")[0] for row in every)}
    for name in wanted:
        if name not in known:
            raise unknown_choice("table or row", name, sorted(known))
    chosen = [row for row in every if row in wanted or row.split("/")[0] in wanted]
    found = [row for row in chosen if task_of(row) in tasks]
    if not found:
        raise UserError(
            f"these data are for {' and '.join(tasks)}, and {rows} is not; give other --data"
        )
    return found


def by_information(rows: Iterable[str], seeds: Iterable[int]) -> list[Run]:
    """Every row with every seed, most informative first.

    SE-50 and SRM-50 come first, seed by seed with baseline and reinforced side by side, as a
    difference needs both and its interval several; then the rest of Table 1, Table 2, Table 3 and
    the ablations, each seed by seed.
    """

    def key(run: Run) -> tuple:
        row, seed = run
        group = next(i for i, start in enumerate(MOST_INFORMATIVE) if row.startswith(start))
        headline = max(group, 1)  # the first two are one group
        return (headline, seed, group, row)

    return sorted(((row, seed) for row in rows for seed in seeds), key=key)


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
