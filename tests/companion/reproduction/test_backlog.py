"""What the names that a batch is given stand for: rows, tables, pages of the book."""

import pytest

from book.companion.pages.catalogue import PAGES, check_parameters
from book.companion.pages.page import Page
from book.companion.reproduction.backlog import rows_of, rows_of_page
from dreal_lib.errors import UserError
from dreal_lib.recipes import planned_names, recipe_names, task_of

SE, CBAM = "table_1/se_resnet50", "table_1/cbam_resnet50"
PAIR_PAGES = ("fig_2", "fig_3", "fig_4", "fig_5")
TABLE_2 = [f"table_2/resnet50_{method}" for method in ("attention", "baseline", "reinforced")]


@pytest.mark.parametrize("page", PAIR_PAGES)
def test_a_page_about_one_network_needs_its_pair(page):
    assert rows_of(page, None) == [f"{SE}_baseline", f"{SE}_reinforced"]


def test_other_pages():
    assert rows_of("spatial_maps", None) == [f"{CBAM}_baseline", f"{CBAM}_reinforced"]
    assert rows_of("fig_6", None) == [f"{SE}_reinforced"]
    assert rows_of("retrieval", None) == TABLE_2
    of_tables = [row for row in recipe_names() if row not in planned_names()]
    assert rows_of("scoreboard", None) == rows_of("all", None) == of_tables
    assert rows_of("evidence", None) == planned_names() != []
    for table in ("table_1", "table_2", "table_3", "ablations"):
        assert rows_of(table, None) == [r for r in recipe_names() if r.startswith(f"{table}/")]


def test_every_page_is_a_name_or_is_refused():
    without = {page for page in PAGES if not PAGES[page].rows}
    assert without == {"fig_1", "cost", "reruns"}
    for page in PAGES:
        if page in without:
            with pytest.raises(UserError, match=f"enters the page {page}; `make book`.*{page}.py"):
                rows_of(f"table_3,{page}", None)
        else:
            assert rows_of(page, None)


def test_a_page_says_the_same_of_itself():
    """A page without a run asks for the runs of the rows that are trained for it."""
    for page in (name for name in PAGES if PAGES[name].about_one_network):
        needed = Page(PAGES[page], check_parameters(page, {}), ()).rows
        assert [row.recipe for row in needed] == rows_of_page(page)


def test_names_are_joined_and_each_row_counts_once():
    assert rows_of(f"fig_6, {CBAM}_baseline,fig_2,fig_6", None) == [
        f"{CBAM}_baseline",
        f"{SE}_baseline",
        f"{SE}_reinforced",
    ]


def test_a_page_is_cut_to_what_the_data_serve(tmp_path):
    assert {task_of(row) for row in rows_of("scoreboard", tmp_path)} == {"classification"}
    (tmp_path / "index.csv").touch()
    assert rows_of("scoreboard", tmp_path) == TABLE_2
    with pytest.raises(UserError, match="for retrieval, and fig_6 is not"):
        rows_of("fig_6", tmp_path)


@pytest.mark.parametrize("names", ["", " ", "table_1,", ",fig_6", "table_1,,fig_6"])
def test_an_empty_name_is_refused(names):
    with pytest.raises(UserError, match="one of them is empty; try table_3"):
        rows_of(names, None)


def test_an_unknown_name_lists_all_choices():
    with pytest.raises(UserError) as caught:
        rows_of("fig_66", None)
    said = str(caught.value)
    assert said.startswith("unknown table, row or page 'fig_66'; did you mean 'fig_6'?")
    assert {*PAGES, *recipe_names()} <= set(said.split("choices: ")[1].split(", "))


def test_unknown_pages_and_networks():
    with pytest.raises(UserError, match="unknown page 'fig_7'"):
        rows_of_page("fig_7")
    with pytest.raises(UserError, match="unknown network 'resnet18'"):
        rows_of_page("fig_6", "resnet18")
