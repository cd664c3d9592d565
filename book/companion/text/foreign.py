"""Text that the project did not write, on its way into a page or a table.

Names of data sets, classes, processors and folders come from records, manifests and the reader's
own command. Here alone they become Markdown, code or the cell of a CSV, and none of it is live:
no tag, no link, no role or directive of MyST, no formula of a spreadsheet.
"""

import re
from collections.abc import Iterable

import pandas as pd

# Of ASCII punctuation these mean nothing within a line; all others may begin something.
_SPECIAL = re.compile(r"^[!-/:-@\[-`{-~]|[!-~](?<![\w.,()/-])|_")
_BACKTICKS = re.compile(r"`+")
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\N{MINUS SIGN}")
# A number, alone or as our tables write several: "+0.40 ± 0.10", "-0.05 to +0.80".
_ONE = r"[+\-\N{MINUS SIGN}]?(\d[\d.,]*(e[+-]?\d+)?|\.\d+|inf|nan)%?"
_NUMBER = re.compile(rf"{_ONE}([, ]+{_ONE})*( (±|to|\().*)?")  # or several, as "-0.54, +0.12"


def plain(text: object) -> str:
    """A text as Markdown that shows it as it is, on one line."""
    line = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in one_line(text))
    # A bar would end the cell of a table, escaped or not.
    return _SPECIAL.sub(lambda found: "&#124;" if found[0] == "|" else "\\" + found[0], line)


def code(text: object) -> str:
    """A text as a code span, backticks and all."""
    line = one_line(text)
    fence = _longer(line, 1)
    pad = " " if line.startswith("`") or line.endswith("`") else ""
    return f"{fence}{pad}{line}{pad}{fence}"


def block(lines: Iterable[str], language: str = "bash") -> str:
    """Lines as a block of code that none of them can end."""
    text = "\n".join(one_line(line) for line in lines)
    fence = _longer(text, 3)
    return f"{fence}{language}\n{text}\n{fence}"


def harmless(text: str) -> str:
    """The text of a CSV's cell: a spreadsheet takes none for a formula; numbers stay numbers."""
    if text.startswith(_FORMULA) and not _NUMBER.fullmatch(text):
        return "'" + text
    return text


def as_csv(table: pd.DataFrame, digits: int) -> str:
    """A table as CSV with harmless texts.

    Args:
        table: Of numbers and texts.
        digits: Of the numbers.
    """
    columns = {
        name: table[name].map(lambda value: harmless(value) if isinstance(value, str) else value)
        for name in table.columns
        if not pd.api.types.is_numeric_dtype(table[name])
    }
    table = table.assign(**columns).rename(columns=lambda name: harmless(str(name)))
    return table.to_csv(index=False, float_format=f"%.{digits}g")


def one_line(text: object) -> str:
    """A text with a space for each tab, end of a line and the like."""
    return re.sub(r"\s", " ", str(text))


def _longer(text: str, least: int) -> str:
    return "`" * max(least, 1 + max(map(len, _BACKTICKS.findall(text)), default=0))
