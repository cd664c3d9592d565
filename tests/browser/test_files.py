"""The built pages need nothing but themselves, and what they hand out is what they show.

Needs a built book (`DREAL_BOOK`), as `make browser` gives it, and no browser.
"""

import csv
import re
from pathlib import Path

import pandas as pd
import pytest

from dreal_lib.records import find_records

ROOT = Path(__file__).resolve().parents[2]
# What a browser fetches without being asked; a link in the text is not among it.
LOADING = re.compile(
    r"""<(?:script|img|iframe|source)\b[^>]*?\bsrc\s*=\s*["']((?:https?:)?//[^"']+)"""
    r"""|<link\b(?=[^>]*\brel\s*=\s*["'](?:stylesheet|preload|icon))[^>]*?"""
    r"""\bhref\s*=\s*["']((?:https?:)?//[^"']+)""",
    re.I,
)


def off_machine_loads(html: str) -> list[str]:
    """Addresses on other machines that opening the page would fetch."""
    return [script or sheet for script, sheet in LOADING.findall(html)]


def html_pages(site: Path) -> list[Path]:
    """The pages, without the theme's own templates, which lie among its static files."""
    return [path for path in sorted(site.rglob("*.html")) if "_static" not in path.parts]


def test_pages_load_nothing_from_elsewhere(site: Path):
    pages = {path: path.read_text() for path in html_pages(site)}
    assert (site / "index.html") in pages
    loads = {path.name: off_machine_loads(html) for path, html in pages.items()}
    assert not {name: found for name, found in loads.items() if found}
    assert not [path.name for path, html in pages.items() if "thebe" in html.lower()]
    assert (site / "_static" / "mathjax" / "tex-svg-full.js").is_file()


@pytest.mark.parametrize(
    "html",
    [
        '<script async src="https://cdn.example/mathjax.js"></script>',
        "<img alt='x' src='//cdn.example/x.png'>",
        '<link href="http://cdn.example/x.css" rel="stylesheet" />',
    ],
)
def test_a_load_from_elsewhere_is_found(html: str):
    assert len(off_machine_loads(html)) == 1


def test_a_link_is_no_load():
    assert not off_machine_loads('<a href="https://arxiv.org/abs/2007.06156">the paper</a>')


def test_every_figure_and_table_can_be_taken_away(site: Path):
    captions = re.compile(r"<(figcaption|caption)>.*?</\1>", re.S)
    links = re.compile(r'<a class="reference download internal" download="" href="([^"]+)"')
    for page in sorted((site / "notebooks").glob("*.html")):
        html = page.read_text(encoding="utf-8")
        for found in captions.finditer(html):
            kinds = {Path(target).suffix for target in links.findall(found[0])}
            wanted = ".svg" if found[1] == "figcaption" else ".csv"
            assert wanted in kinds, f"{page.name}: {found[0]}"
        targets = [page.parent / target for target in links.findall(html)]
        assert {f"{page.stem}.ipynb", f"{page.stem}.py"} <= {target.name for target in targets}
        assert all(target.stat().st_size > 0 for target in targets)


def test_what_is_taken_away_is_what_was_recorded(site: Path):
    """The numbers behind Fig. 6, from the book, are those of the records, digit by digit."""
    if site != ROOT / "build/published/_build/html":
        pytest.skip("another book than the committed one")
    taken = pd.read_csv(site / "_downloads" / "fig_6" / "fig-critique-and-reward.csv")
    runs = [
        run
        for run in find_records(ROOT / "book" / "records", profile="desktop", variant="two_cores")
        if run.record.recipe == "table_1/se_resnet50_reinforced"
    ]
    recorded = pd.concat([pd.DataFrame(run.blocks()).assign(seed=run.record.seed) for run in runs])
    assert len(taken) == len(recorded) > 0
    keys = ["seed", "map", "epoch"]
    pd.testing.assert_frame_equal(
        taken.sort_values(keys).reset_index(drop=True),
        recorded[list(taken.columns)].sort_values(keys).reset_index(drop=True),
        rtol=1e-5,
        check_dtype=False,
    )


def test_a_table_is_taken_away_as_it_is_read(site: Path):
    html = (site / "notebooks" / "fig_6.html").read_text(encoding="utf-8")
    shown = re.search(r'<table[^>]*id="tab-curves".*?</table>', html, re.S)[0]
    cells = [re.sub(r"<[^>]+>", "", cell) for cell in re.findall(r"<t[dh].*?</t[dh]>", shown, re.S)]
    with open(site / "_downloads" / "fig_6" / "tab-curves.csv", newline="") as file:
        taken = [cell for row in csv.reader(file) for cell in row]
    assert len(taken) > 16
    for_the_eye = str.maketrans({"\u2212": "-", "\xa0": " "})
    assert taken == [cell.translate(for_the_eye).strip() for cell in cells]
