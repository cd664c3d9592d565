"""What the papers print of a row, and how a statement writes a sum of rows.

"table_1/se_resnet50_reinforced - table_1/se_resnet50_baseline" is a sum of rows; a name that begins
with † stands for what the paper prints of the row, and "@market1501" behind it names the data set.
"table_2/named" is the best of the methods that section 4.2 names; "table_1/se_resnet50_official" is
what Table 1 calls official.
"""

from collections.abc import Callable

from book.companion.papers import dreal
from book.companion.papers.published import Published
from dreal_lib.comparison.rows import METHODS
from dreal_lib.errors import UserError

SCORES = {
    "top1_error_pct": "top1",
    "top5_error_pct": "top5",
    "rank1_pct": "rank1",
    "map_step_pct": "mean_ap",
}


def terms_of(rows: str) -> list[tuple[int, str]]:
    """The rows of a sum with their signs, from "A - B + C".

    Raises:
        UserError: It is no such sum.
    """
    words = ["+", *rows.split()]
    signs, names = words[::2], words[1::2]
    if len(signs) != len(names) or not set(signs) <= {"+", "-"}:
        raise UserError(f"a sum of rows is written 'ROW - ROW + ROW'; got {rows!r}")
    return [(1 if sign == "+" else -1, name) for sign, name in zip(signs, names, strict=True)]


def printed_sum(rows: str, metric: str, data: str = "") -> float:
    """What a sum of rows is in print."""
    return sum(sign * printed_of(name, metric, data).value for sign, name in terms_of(rows))


def printed_of(row: str, metric: str, data: str = "") -> Published:
    """What the paper prints of a row; `data` names the set where the paper has several.

    Raises:
        UserError: It prints no such number.
    """
    named, _, own = row.removeprefix("†").partition("@")
    table, _, name = named.partition("/")
    half = dreal.TABLE_2_HALVES.get(own or data, own or data)
    try:
        return PRINTED[table](name, SCORES[metric], half)
    except (KeyError, AttributeError):
        where = f" on {data}" if data else ""
        raise UserError(
            f"no paper prints {metric} of {row}{where}; choose a row of {', '.join(PRINTED)}"
        ) from None


def _table_1(name: str, score: str, _: str) -> Published:
    network, _, method = name.rpartition("_")
    kinds = dict(zip(METHODS, ("self_implemented", "reinforced"), strict=True))
    kinds["official"] = "official"
    return getattr(getattr(dreal.TABLE_1[network], kinds[method]), score)


def _table_2(name: str, score: str, half: str) -> Published:
    if name == "named":
        named = [m for m in dreal.TABLE_2_COMPARED if m.name in dreal.SECTION_4_2_NAMED]
        found = [getattr(method, half) for method in named]
        return max((getattr(one, score) for one in found if one), key=lambda p: p.value)
    return getattr(dreal.TABLE_2[name.removeprefix("resnet50_")][half], score)


def _table_3(name: str, score: str, _: str) -> Published:
    if score != "top1":
        raise KeyError(score)
    return dreal.TABLE_3[name.split("_")[2]]


def _section_4_2(_: str, score: str, half: str) -> Published:
    return getattr(dreal.SECTION_4_2_MARGINS[half], score)


# By the folder of the recipe, which tells "Table 1" of one paper from that of another.
PRINTED: dict[str, Callable[[str, str, str], Published]] = {
    "table_1": _table_1,
    "table_2": _table_2,
    "table_3": _table_3,
    "section_4_2": _section_4_2,
}
