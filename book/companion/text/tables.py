"""Tables as text, and the mark that says where a number comes from.

Published, computed here, recorded (committed with the project) or re-run (made on this machine):
the mark stands at the head of the column or of the row that it holds for, and below each table a
line explains the marks in use.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

import numpy as np
import pandas as pd

Origin = Literal["published", "computed", "recorded", "re-run"]

MARKS: dict[Origin, str] = {"published": "†", "computed": "○", "recorded": "●", "re-run": "▲"}
NOTHING = "—"
MINUS = "\N{MINUS SIGN}"


@dataclass(frozen=True)
class Marked:
    """A text with an origin; `scale` tells recorded and re-run ones apart further.

    `also` is another origin, of a text whose numbers do not all come from one.
    """

    text: str
    origin: Origin
    scale: str = ""
    also: Origin | None = None

    @property
    def origins(self) -> tuple[Origin, ...]:
        return (self.origin,) if self.also is None else (self.origin, self.also)

    def __str__(self) -> str:
        marks = "".join(MARKS[origin] for origin in self.origins)
        return f"{self.text}\N{NO-BREAK SPACE}{marks}"


class FromSomewhere(Protocol):
    """What has an origin, such as a stored record."""

    @property
    def origin(self) -> Origin: ...


def marked_by(text: str, runs: Iterable[FromSomewhere], scale: str = "") -> "Cell":
    """A text with the marks of all runs that it rests on; unmarked without any."""
    found = sorted({run.origin for run in runs}, key=list(MARKS).index)
    return Marked(text, found[0], scale, *found[1:]) if found else text


Cell = str | Marked


@dataclass(frozen=True)
class Table:
    """A table as text; the columns (by number) in `numeric` are set to the right, unbroken."""

    columns: tuple[Cell, ...]
    rows: tuple[tuple[Cell, ...], ...]
    numeric: frozenset[int] = field(default_factory=frozenset)

    @classmethod
    def of(
        cls,
        columns: Sequence[Cell],
        rows: Iterable[Sequence[Cell]],
        words: int = 1,
        instead: str = "",
    ) -> "Table":
        """A table whose first columns are words and whose others are numbers.

        Args:
            columns: Their heads.
            rows: Cells.
            words: How many columns of words there are.
            instead: What the one line of a table without rows says; empty for no line.
        """
        lines = tuple(tuple(row) for row in rows)
        if instead and not lines:
            lines = ((instead, *[NOTHING] * (len(columns) - 1)),)
        return cls(tuple(columns), lines, frozenset(range(words, len(columns))))

    def to_markdown(self) -> str:
        """A pipe table as Markdown extensions read it."""
        from tabulate import tabulate  # not at the top: a machine that only trains lacks it

        def text(column: int, cell: Cell) -> str:
            escaped = str(cell).replace("|", r"\|")
            return escaped.replace(" ", "\N{NO-BREAK SPACE}") if column in self.numeric else escaped

        return tabulate(
            [[text(i, cell) for i, cell in enumerate(row)] for row in self.rows],
            headers=[str(name) for name in self.columns],
            tablefmt="pipe",
            colalign=["right" if i in self.numeric else "left" for i in range(len(self.columns))],
            disable_numparse=True,
        )

    def legend(self) -> str:
        """One line that explains the marks used, e.g. "† published; ● recorded (smoke)"."""
        meanings = {
            (origin, cell.scale): f"{MARKS[origin]} {origin}"
            + (f" ({cell.scale})" if cell.scale else "")
            for row in (self.columns, *self.rows)
            for cell in row
            if isinstance(cell, Marked)
            for origin in cell.origins
        }
        order = list(MARKS)
        keys = sorted(meanings, key=lambda key: (order.index(key[0]), key[1]))
        return "; ".join(meanings[key] for key in keys)


def signed(value: float, decimals: int = 2) -> str:
    """A number with its sign, a true minus, and no negative zero: "+0.40", "0.00"."""
    text = f"{abs(value):.{decimals}f}"
    if float(text) == 0:
        return text
    return ("+" if value > 0 else MINUS) + text


def defined(value: float, with_sign: bool = False, decimals: int = 2) -> str:
    """A number, or a dash where it is undefined (NaN); a negative one always has its sign."""
    if math.isnan(value):
        return NOTHING
    return signed(value, decimals) if with_sign or value < 0 else f"{value:.{decimals}f}"


def ranges_text(numbers: pd.DataFrame, columns: Mapping[str, str]) -> str:
    """What the columns of a figure's numbers reach from and to, for who does not see the figure.

    Args:
        numbers: As the figure's CSV has them; by method, if there is a column of that name.
        columns: What each is called.
    """
    methods = numbers["method"] if "method" in numbers else pd.Series("", numbers.index)
    texts = []
    for column, name in columns.items():
        ends = numbers.groupby(methods, sort=False)[column].agg(["min", "max"])
        told = (
            f"{m} {defined(low)} to {defined(high)}".strip() for m, low, high in ends.itertuples()
        )
        texts.append(f"{name} {', '.join(told)}")
    return f" {'; '.join(texts)}." if texts else ""


def counted(number: int, what: str) -> str:
    """A number of things: "1 run", "2 runs"."""
    return f"{number} {what}{'' if number == 1 else 's'}"


def seeds_text(seeds: Iterable[int]) -> str:
    """Seeds by number: "seed 0", "seeds 0, 1"."""
    known = sorted(set(seeds))
    return f"seed{'' if len(known) == 1 else 's'} {', '.join(map(str, known))}"


def spread_text(spread: float | None, decimals: int = 2) -> str:
    """A standard deviation, or a dash where one seed has none."""
    return NOTHING if spread is None else f"{spread:.{decimals}f}"


AXES = {1: ("channel",), 2: ("row", "column")}


def entries_of(**arrays: np.ndarray) -> pd.DataFrame:
    """Arrays of one shape, a row an entry, with its place."""
    shape = next(iter(arrays.values())).shape
    places = dict(zip(AXES[len(shape)], np.indices(shape).reshape(len(shape), -1), strict=True))
    return pd.DataFrame(places | {name: array.ravel() for name, array in arrays.items()})


def columns_first(table: pd.DataFrame, *columns: str) -> pd.DataFrame:
    return table[[*columns, *(name for name in table.columns if name not in columns)]]
