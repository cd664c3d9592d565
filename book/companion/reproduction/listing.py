"""`dreal rows`: every row with its paper, what it repeats, its task, its cost and its pages."""

from collections.abc import Sequence

from book.companion.pages.catalogue import PAGES
from book.companion.pages.footer import duration
from book.companion.papers.paper import paper_of, part_of
from book.companion.reproduction.dependencies import rows_of_records
from book.companion.reproduction.estimates import KIN, estimate
from book.companion.text.tables import NOTHING
from dreal_lib.recipes import recipe_names, task_of
from dreal_lib.records import StoredRecord

HEADS = ("Row", "Paper", "Part", "Task", "About", "Judged by", "Shown by")


def row_lines(stored: Sequence[StoredRecord]) -> list[str]:
    """The list, a line a row, below its heads.

    Args:
        stored: Records of one profile, by which costs are judged, each row at the scale that tells
            most of it.
    """
    pages = {name: set(rows_of_records(page)) for name, page in PAGES.items() if page.rows}
    table = [HEADS]
    for row in recipe_names():
        shown = ", ".join(name for name, rows in pages.items() if row in rows)
        place = (row, paper_of(row).name, part_of(row), task_of(row))
        table.append((*place, *_cost(row, stored), shown or NOTHING))
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    lines = (zip(line, widths, strict=True) for line in table)
    return ["  ".join(f"{cell:<{width}}" for cell, width in line).rstrip() for line in lines]


def _cost(row: str, stored: Sequence[StoredRecord]) -> tuple[str, str]:
    """What one run may take, and by which runs it is judged."""
    kin = list(KIN)
    scales = sorted({run.record.scale for run in stored})
    found = [(scale, estimate(row, 0, scale, stored)) for scale in scales]
    judged = [(kin.index(one.kin), scale, one) for scale, one in found if one.seconds is not None]
    if not judged:
        return NOTHING, NOTHING
    _, scale, best = min(judged, key=lambda item: item[:2])
    return duration(best.seconds), f"{scale}, {best.kin}"
