"""Each committed notebook is its py:percent source, executed without error, and on a page."""

import json
from pathlib import Path

import pytest
import yaml

jupytext = pytest.importorskip("jupytext")

ROOT = Path(__file__).resolve().parents[2]
BOOK = ROOT / "book"
SOURCES = sorted((BOOK / "notebooks").glob("*.py"))
NOTEBOOKS = sorted((BOOK / "notebooks").glob("*.ipynb"))


def cells(path: Path) -> list[tuple[str, str, list[str]]]:
    """(type, source, tags) of each cell."""
    return [
        (cell.cell_type, cell.source.strip(), sorted(cell.metadata.get("tags", [])))
        for cell in jupytext.read(path).cells
    ]


def problems(notebook: dict) -> list[str]:
    """What keeps a notebook (as JSON) from being a committed page, one line each."""
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    lines = []
    for number, cell in enumerate(code, start=1):
        if cell.get("execution_count") is None:
            lines.append(f"code cell {number} was never executed")
        if any(output["output_type"] == "error" for output in cell["outputs"]):
            lines.append(f"code cell {number} ended in an error")
        if any(output.get("name") == "stderr" for output in cell["outputs"]):
            lines.append(f"code cell {number} wrote to stderr: a warning or a progress bar")
        shown = [output.get("data", {}) for output in cell["outputs"]]
        if any("image/svg+xml" in data and "text/csv" not in data for data in shown):
            lines.append(f"code cell {number} shows a figure without the numbers drawn (text/csv)")
    tagged = [cell["metadata"].get("tags", []) for cell in code]
    if sum("parameters" in tags for tags in tagged) != 1:
        lines.append("there must be exactly one cell tagged 'parameters'")
    if any("injected-parameters" in tags for tags in tagged):
        lines.append("executed with parameters of its own; the committed one runs as it stands")
    return lines


def toc_files() -> list[str]:
    toc = yaml.safe_load((BOOK / "_toc.yml").read_text())
    chapters = [chapter for part in toc["parts"] for chapter in part["chapters"]]
    return [toc["root"], *(chapter["file"] for chapter in chapters)]


def test_every_page_of_the_contents_exists():
    missing = [
        name
        for name in toc_files()
        if not any((BOOK / f"{name}{suffix}").is_file() for suffix in (".md", ".ipynb"))
    ]
    assert not missing, f"book/_toc.yml names pages that do not exist: {missing}"


def test_every_notebook_has_a_source_and_a_place_in_the_contents():
    names = [path.stem for path in NOTEBOOKS]
    assert names, "book/notebooks holds no notebook"
    assert names == [path.stem for path in SOURCES]
    assert {f"notebooks/{name}" for name in names} <= set(toc_files())


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
def test_notebook_is_its_source(source: Path):
    assert cells(source.with_suffix(".ipynb")) == cells(source), "run `make notebooks`"


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_was_executed_without_error(notebook: Path):
    lines = problems(json.loads(notebook.read_text()))
    assert not lines, "\n".join(lines)


def code_cell(count: int | None = 1, tags: tuple[str, ...] = (), output: dict | None = None):
    return {
        "cell_type": "code",
        "execution_count": count,
        "metadata": {"tags": list(tags)},
        "outputs": [output] if output else [],
    }


FIGURE = {"output_type": "display_data", "data": {"image/svg+xml": "<svg/>"}}


@pytest.mark.parametrize(
    ("bad_cells", "line"),
    [
        ([code_cell(count=None)], "code cell 2 was never executed"),
        ([code_cell(output={"output_type": "error"})], "code cell 2 ended in an error"),
        ([code_cell(output={"output_type": "stream", "name": "stderr"})], "cell 2 wrote to stderr"),
        ([code_cell(output=FIGURE)], "cell 2 shows a figure without the numbers drawn"),
        ([code_cell(tags=("parameters",))], "exactly one cell tagged 'parameters'"),
        ([code_cell(tags=("injected-parameters",))], "executed with parameters of its own"),
    ],
)
def test_the_rules_find_what_breaks_them(bad_cells: list[dict], line: str):
    good = code_cell(tags=("parameters",))
    assert not problems({"cells": [good]})
    (found,) = problems({"cells": [good, *bad_cells]})
    assert line in found
