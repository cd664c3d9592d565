"""Whether two builds of the book differ in nothing but what tells of the runs that made them.

    python tests/same_builds.py FIRST/_build/html SECOND/_build/html

What a run is marked with is left out: the lines "Commit" and "Training time" of a page's end, and
the columns Time, Images/s and MiB of its table of runs. Prints each file that differs otherwise,
and its first differing line; the exit status is 0 if there is none. `make reproduce` twice, each
time from an empty build/, has to pass on one machine.
"""

import re
import sys
from itertools import zip_longest
from pathlib import Path

TEXTS = {".html", ".ipynb", ".csv", ".js", ".md", ".svg", ".txt", ".css", ".py"}
MARKED = "(of the run)"
# Each with what stands before it: in a page, in the notebook behind it, in the search's index.
RULES = (
    (re.compile(r"((?:Commit|Training time): )[^\n]*?(?=</p>|\\n|\n|$)"), rf"\1{MARKED}"),
    (
        re.compile(r"(<td[^>]*><p>[0-9a-f]{8}</p></td>)(?:\s*<td[^>]*><p>[^<]*</p></td>){3}"),
        rf"\1{MARKED}",
    ),
    (re.compile(r"(\|\s*[0-9a-f]{8}\s*)(?:\|[^|\n]*){3}\|"), rf"\1{MARKED}|"),
)
# Words of numbers and of commits, and the pages that they stand on.
INDEXED = re.compile(r'"?\b[0-9a-f]*[0-9][0-9a-f]*\b"?:\s*(?:\[[0-9, ]*\]|[0-9]+),?\s*')
PADDING = re.compile(r"([ \N{NO-BREAK SPACE}-])[ \N{NO-BREAK SPACE}-]+")


def unmarked(path: Path, text: str) -> str:
    """A file's text without what is marked as of the run.

    Args:
        path: Of the file.
        text: What it holds.
    """
    if path.name == "searchindex.js":
        return INDEXED.sub("", text)
    for pattern, replacement in RULES:
        text = pattern.sub(replacement, text)
    # A table's columns are as wide as their widest cell.
    return PADDING.sub(r"\1", text) if path.suffix == ".ipynb" else text


def differences(first: Path, second: Path) -> list[str]:
    """A line for each file that only one build has, or that differs.

    Args:
        first, second: Folders of built pages.
    """
    files = [
        {path.relative_to(site) for path in site.rglob("*") if path.is_file()}
        for site in (first, second)
    ]
    lines = [f"only in one of them: {path}" for path in sorted(files[0] ^ files[1])]
    for name in sorted(files[0] & files[1]):
        one, two = (site / name for site in (first, second))
        if one.read_bytes() == two.read_bytes():
            continue
        if name.suffix not in TEXTS:
            lines.append(f"{name}: differs")
            continue
        texts = [unmarked(path, path.read_text(encoding="utf-8")) for path in (one, two)]
        if texts[0] != texts[1]:
            pairs = zip_longest(*(text.splitlines() for text in texts))
            a, b = next(pair for pair in pairs if pair[0] != pair[1])
            lines.append(f"{name}:\n  {str(a)[:300]}\n  {str(b)[:300]}")
    return lines


def main() -> int:
    """The exit status."""
    first, second = map(Path, sys.argv[1:3])
    found = differences(first, second)
    print(*found or [f"{first} and {second} are the same but for what is marked"], sep="\n")
    return bool(found)


if __name__ == "__main__":
    sys.exit(main())
