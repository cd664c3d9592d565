"""Text that the project did not write is shown as it is, and nothing of it is live."""

import csv
import io

import pandas as pd
import pytest
from docutils.core import publish_string
from hostile import FORMULA, HTML, MARK, TEXTS, Live, fields
from myst_parser.docutils_ import Parser
from synthetic_records import write_run

from book.companion.text import foreign
from book.companion.text.tables import Table

SETTINGS = {  # as _config.yml has them
    "myst_enable_extensions": ["amsmath", "colon_fence", "deflist", "dollarmath", "tasklist"],
    "report_level": 5,
    "halt_level": 5,
    "input_encoding": "unicode",
    "output_encoding": "unicode",
}


def rendered(markdown: str) -> Live:
    return Live(
        publish_string(markdown, parser=Parser(), writer_name="html", settings_overrides=SETTINGS)
    )


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_markdown_shows_a_text_and_makes_nothing_of_it(text):
    table = Table(("Name", "n"), ((foreign.plain(text), "1"),)).to_markdown()
    places = (
        f"{foreign.plain(text)}\n",
        f"before {foreign.plain(text)} after\n",
        f"- {foreign.plain(text)}\n- second\n",
        f"- Made by: {foreign.code(text)}\n",
        foreign.block([text, text]),
        f":::{{table}} {foreign.plain(text)}\n:name: x\n\n{table}\n\n:::\n",
    )
    for markdown in places:
        found = rendered(markdown + "\n\nend")
        assert not found.found
        assert text in found.text
        assert found.text.rstrip().endswith("end")


def test_the_judge_sees_what_is_live():
    for text in (TEXTS["html"], "[x](https://hostile.example)"):
        assert rendered(text).found


@pytest.mark.parametrize("page", ["fig_6", "table_1", "fig_2", "fig_4"])
@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_no_text_of_a_record_is_live_on_a_page(page, text, tmp_path, shown, run_page):
    for method in ("baseline", "reinforced"):
        write_run(tmp_path, f"table_1/se_resnet50_{method}", **fields(text))
    given = {"profile": "smoke", "records_root": str(tmp_path)}
    if page in ("fig_2", "fig_4"):  # made-up runs keep no maps: their pages' footers are tried
        from book.companion.pages import page as pages

        pages.start(page, given).footer()
    else:
        run_page(page, **given)
    markdown = "\n\n".join(bundle.get("text/markdown", "") for bundle, _ in shown)
    found = rendered(markdown)
    assert MARK in found.text
    assert not found.found


def test_a_spreadsheet_finds_no_formula():
    texts = [FORMULA, "+1+cmd|' /C calc'!A0", "-2+3|x", "@SUM(1)", "\t=1", HTML, "fine"]
    table = pd.DataFrame({FORMULA: texts, "n": range(len(texts))})
    head, *rows = csv.reader(io.StringIO(foreign.as_csv(table, 6)))
    assert head == ["'" + FORMULA, "n"]
    for (written, _), text in zip(rows, texts, strict=True):
        assert not written.startswith(("=", "+", "-", "@", "\t"))
        assert written in (text, "'" + text)


@pytest.mark.parametrize(
    "text",
    [
        "-0.5",
        "-0.54, -0.54",
        "+1",
        "-1e-05",
        "-3.25%",
        "+0.40 ± 0.10",
        "-0.05 to +0.80",
        "—",
        "12",
        "-inf",
    ],
)
def test_numbers_stay_numbers(text):
    assert foreign.harmless(text) == text
    table = pd.DataFrame({"x": [-0.25, float("nan")]})
    assert foreign.as_csv(table, 6) == table.to_csv(index=False, float_format="%.6g")
