"""The book's table of instance recognition's open points is the settings' own."""

import re
from dataclasses import fields
from pathlib import Path
from typing import get_args, get_type_hints

import pytest

from book.companion.papers import dreal
from dreal_lib.settings.retrieval import RetrievalSettings

TEXT = (Path(__file__).resolve().parents[2] / "book" / "open_points.md").read_text()
SECTION = re.search(r"^## Instance recognition\n(.*?)(?=^## )", TEXT, re.M | re.S)[1]
ROWS = {
    cells[0].strip("`"): cells[1:]
    for line in SECTION.splitlines()
    if line.startswith("| `")
    for cells in [[cell.strip() for cell in line.strip("|").split("|")]]
}


def test_every_setting_and_no_other_is_listed_in_order():
    assert list(ROWS) == [field.name for field in fields(RetrievalSettings)]


@pytest.mark.parametrize("field", fields(RetrievalSettings), ids=lambda field: field.name)
def test_default_and_choices_are_those_of_the_code(field):
    default, choices, why = ROWS[field.name]
    assert default == f"`{field.default}`"
    named = get_args(get_type_hints(RetrievalSettings)[field.name])
    if named:
        assert choices == ", ".join(f"`{choice}`" for choice in named)
    else:
        assert re.search("number|share", choices)
    assert why


def test_the_contradiction_is_listed_with_its_numbers():
    (line,) = [line for line in TEXT.splitlines() if "over + attention the mAP" in line]
    said = [dreal.SECTION_4_2_MARGINS[data].mean_ap.printed for data in ("market", "duke")]
    before, after = (dreal.TABLE_2[method] for method in ("attention", "reinforced"))
    table = [
        f"{after[data].mean_ap.value - before[data].mean_ap.value:.1f}"
        for data in ("market", "duke")
    ]
    assert re.findall(r"\d\.\d", line.replace("section 4.2", "")) == said + table
