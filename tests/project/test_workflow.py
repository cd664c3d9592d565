"""`dreal reproduce`: the graph that the Snakefile makes of it, and bad input."""

import re

import pytest

from dreal_lib.errors import UserError
from dreal_lib.parameters import PAGES
from dreal_lib.recipes import recipe_names
from dreal_lib.workflow import reproduce

DEFAULTS = {
    "profile": "smoke",
    "variant": None,
    "rows": "pair",
    "seeds": "0",
    "data": None,
    "jobs": 1,
    "dry_run": True,
}


def planned(capfd, **changed) -> dict[str, int]:
    """Number of jobs by rule that a fresh run would have, in any state of build/."""
    assert reproduce(**DEFAULTS | changed) == 0
    printed = capfd.readouterr()
    return {
        rule: int(count)
        for rule, count in re.findall(r"^(\w+) +(\d+)$", printed.out + printed.err, re.MULTILINE)
    }


def test_every_row_and_notebook_is_planned_for_a_new_seed(capfd):
    # Seeds that nobody has run: all their training has to be planned.
    jobs = planned(capfd, seeds="98765,98766")
    assert jobs["train"] == 8  # a pair for each task and seed
    assert jobs["notebook"] == len(PAGES)
    assert jobs["book"] == 1


def test_all_rows(capfd):
    jobs = planned(capfd, rows="all", seeds="98765")
    assert jobs["train"] == len(recipe_names())


def test_a_table_alone(capfd):
    jobs = planned(capfd, rows="table_3", seeds="98765")
    assert jobs["train"] == sum(name.startswith("table_3/") for name in recipe_names()) == 4


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"rows": "table_4"}, "unknown table or row 'table_4'"),
        ({"profile": "smok"}, "did you mean 'smoke'"),
        ({"variant": "two_core"}, "did you mean 'two_cores'"),
        ({"seeds": "0;1"}, "try 0,1,2"),
        ({"profile": "desktop"}, "needs images"),
    ],
)
def test_bad_input_is_refused_before_anything_runs(changed, message):
    with pytest.raises(UserError, match=message):
        reproduce(**DEFAULTS | changed)
