"""A book of hostile records, built as every book is: in the browser none of their texts is live."""

import csv
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hostile import MARK, TEXTS, Live, fields
from synthetic_records import write_run

from book.companion.pages.execute import execute_notebook

ROOT = Path(__file__).resolve().parents[2]
NAMES = ("fig_6", "table_1")
TOC = "format: jb-book\nroot: intro\nchapters:\n"

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def hostile_book(browser, tmp_path_factory) -> Path:
    """The folder of the built pages; each text is that of a seed."""
    folder = tmp_path_factory.mktemp("hostile")
    source = folder / "source"
    for kept in ("_style", "_vendor"):
        shutil.copytree(ROOT / "book" / kept, source / kept)
    shutil.copy(ROOT / "book" / "references.bib", source)
    for seed, text in enumerate(TEXTS.values()):
        for method in ("baseline", "reinforced"):
            row = f"table_1/se_resnet50_{method}"
            write_run(folder / "records", row, seed=seed, **fields(text))
    (source / "notebooks").mkdir()
    given = {"profile": "smoke", "records_root": str(folder / "records")}
    for name in NAMES:
        out = source / "notebooks" / f"{name}.ipynb"
        execute_notebook(ROOT / "book" / "notebooks" / f"{name}.py", out, given)
    (source / "intro.md").write_text("# A book\n")
    (source / "_toc.yml").write_text(TOC + "".join(f"  - file: notebooks/{n}\n" for n in NAMES))
    # Not with warnings as errors: its pages refer to pages that it has not.
    built = subprocess.run(
        [Path(sys.executable).with_name("jupyter-book"), "build", source,
         "--config", ROOT / "_config.yml", "--path-output", folder],
        cwd=ROOT, capture_output=True, text=True,
    )  # fmt: skip
    assert not built.returncode, built.stderr[-2000:]
    return folder / "_build" / "html"


@pytest.mark.parametrize("name", NAMES)
def test_nothing_of_a_record_is_live(name: str, hostile_book: Path, visitor):
    path = hostile_book / "notebooks" / f"{name}.html"
    page = visitor.open(path.as_uri())
    assert page.evaluate(f"typeof window.{MARK}") == "undefined"
    assert not visitor.problems, "\n".join(visitor.problems)
    assert not Live(path.read_text(encoding="utf-8")).found
    shown = page.locator(".bd-article").inner_text()
    for text in TEXTS.values():
        assert " ".join(text.split()) in " ".join(shown.split())


def test_no_table_that_is_taken_away_has_a_formula(hostile_book: Path):
    tables = sorted((hostile_book / "_downloads").rglob("*.csv"))
    assert tables
    for table in tables:
        with table.open(newline="", encoding="utf-8") as file:
            cells = [cell for row in csv.reader(file) for cell in row]
        assert not [cell for cell in cells if cell.startswith(("=", "@", "+h", "-h"))]
