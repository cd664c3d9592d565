"""Groups as Holm's families, how many intervals the scoreboard holds, and dates of criteria."""

import re
import subprocess
from pathlib import Path

import pytest

from book.companion.claims import board as scoreboard
from book.companion.claims.multiplicity import Trial, after_holm
from book.companion.claims.statements import statements
from dreal_lib.comparison.contrasts import difference_p, p_of
from dreal_lib.comparison.paired import paired_difference

ROOT = Path(__file__).parents[3]


def test_each_group_is_a_family():
    some = paired_difference({0: 0.0, 1: 0.0, 2: 0.0}, {0: 1.0, 1: 1.1, 2: 0.9})
    p = p_of(some)
    assert p == pytest.approx(difference_p([1.0, 1.1, 0.9]))
    trials = [Trial("errors", "a", some), Trial("errors", "b", some), Trial("critics", "c", some)]
    assert after_holm(trials) == pytest.approx({"a": 2 * p, "b": 2 * p, "c": p})


TRAINED = [statement for statement in statements() if statement.recipes]


@pytest.fixture(scope="module")
def first_records():
    """When the first record of each row was committed, in seconds; from git."""

    def git(*arguments):
        return subprocess.run(
            ["git", "-C", str(ROOT), *arguments], capture_output=True, text=True
        ).stdout.strip()

    if git("rev-parse", "--is-shallow-repository") != "false":  # "" without git
        pytest.skip("needs the whole history of the project")
    form = ["--reverse", "--format=commit %ct", "--name-only", "--diff-filter=A", "--no-renames"]
    found, when = {}, 0
    for line in git("log", *form, "--", "book/records").splitlines():
        if line.startswith("commit "):
            when = int(line.split()[1])
        elif line.endswith(".json"):
            found.setdefault("/".join(line.split("/")[-3:-1]), when)
    return found, git


@pytest.mark.parametrize("statement", TRAINED, ids=lambda statement: statement.id)
def test_every_criterion_says_whether_it_was_fixed_before_its_runs(statement, first_records):
    when, commit = statement.fixed.split()
    found, git = first_records
    fixed = int(git("show", "-s", "--format=%ct", commit))
    runs = [found[row] for row in statement.recipes if row in found]
    assert when == ("before" if fixed < min(runs, default=float("inf")) else "after")
    assert re.search(rf"Fixed {when} .* `{commit}`", scoreboard.criterion_text(statement))
