"""At which scale a batch trains, by the images that it is given: see `recipes.own_data`.

File names do not say what images a record is of, and fingerprints do. So the workflow asks for the
records of one scale, whose name holds the fingerprint of own data, and stops before any training
where a record of other images lies in the place of one that it would make.
"""

from collections.abc import Iterable
from pathlib import Path

from book.companion.reproduction.backlog import rows_of
from dreal_lib.recipes import TASKS, load_recipe, task_of


def placed_variant(rows: str, data: Path | None, profile: str, variant: str | None) -> str | None:
    """The variant of a batch's records: with the data, if they are not the scale's own.

    Args:
        rows: See `rows_of`.
        data: A prepared set, or None for the rendered ones, which are the reproduction's.
        profile, variant: The scale that was asked for.

    Raises:
        UserError: Images that cannot be used.
    """
    if data is None:
        return variant
    from dreal_lib.tasks.task import open_data  # torch: a refusal before this needs none
    from dreal_lib.training.runs import placed

    recipe = load_recipe(rows_of(rows, data)[0], profile, variant)
    return placed(recipe, open_data(recipe, data, None)).variant


def refuse_records_of_other_images(
    paths: Iterable[tuple[str, Path]],
    data: Path | None,
    profile: str,
    variant: str | None,
    build: Path,
) -> None:
    """Refuses a batch in whose records' places lie records of other images.

    Args:
        paths: Each row with the place of its record.
        data: As above.
        profile, variant: The scale that was asked for.
        build: Where rendered sets lie; one that is still to be rendered is not compared.

    Raises:
        UserError: It names both sets.
    """
    present = [(row, path) for row, path in paths if path.exists()]
    if not present:
        return
    from dreal_lib.tasks.task import open_data
    from dreal_lib.training.runs import refuse_other_images

    facts = {}
    for row, path in present:
        task = task_of(row)
        root = build / "data" / TASKS[task].rendered if data is None else data
        if data is None and not (root / "manifest.json").exists():
            continue
        if task not in facts:
            facts[task] = open_data(load_recipe(row, profile, variant), root, None).facts
        refuse_other_images(path, facts[task])
