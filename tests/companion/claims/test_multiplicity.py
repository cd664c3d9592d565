"""Holm's correction by hand, p values, and how many intervals the scoreboard holds."""

import re
import subprocess
from pathlib import Path

import pytest

from book.companion.claims import board as scoreboard
from book.companion.claims import multiplicity
from book.companion.claims.multiplicity import Trial, after_holm, holm
from book.companion.claims.statements import statements
from dreal_lib import records
from dreal_lib.comparison.paired import CONFIDENCE, p_value, paired_difference

ROOT = Path(__file__).parents[3]


def test_holm_by_hand():
    # 3 x 0.01 = 0.03; 2 x 0.04 = 0.08; 1 x 0.03 comes before it: 2 x 0.03 = 0.06, then 0.06.
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


def test_p_is_that_of_students_t():
    # t = 2 / (1 / sqrt(3)) = 3.4641 with 2 degrees of freedom: 1 - t / sqrt(t^2 + 2) = 0.0742.
    found = paired_difference({0: 0.0, 1: 0.0, 2: 0.0}, {0: 1.0, 1: 2.0, 2: 3.0})
    assert p_value(found) == pytest.approx(1 - 3.4641016 / (12 + 2) ** 0.5, abs=1e-6)
    edge = paired_difference({0: 0.0, 1: 0.0}, {0: 12.7062 + 1, 1: 12.7062 - 1})
    assert (p_value(edge) < 1 - CONFIDENCE) == (edge.verdict == "higher")


def test_each_group_is_a_family():
    some = paired_difference({0: 0.0, 1: 0.0, 2: 0.0}, {0: 1.0, 1: 1.1, 2: 0.9})
    p = p_value(some)
    trials = [Trial("errors", "a", some), Trial("errors", "b", some), Trial("critics", "c", some)]
    assert after_holm(trials) == pytest.approx({"a": 2 * p, "b": 2 * p, "c": p})


def test_the_scoreboard_says_how_many_intervals_it_holds_and_how_many_chance_would_bring():
    stored = records.find_records(ROOT / "book/records")
    board = scoreboard.judge(stored, "desktop", "two_cores")
    trials = multiplicity.trials_of(board)
    count, corrected = multiplicity.sentences(board)
    beyond = sum(t.difference.low > 0 or t.difference.high < 0 for t in trials)
    assert count.startswith(f"{len(trials)} intervals of 95 %")
    assert f"{beyond} leave out zero" in count
    assert f"about {0.05 * len(trials):.1f} would by chance" in count
    left = sum(p < 0.05 for p in after_holm(trials).values())
    assert f"Corrected by Holm within each group, {left} remain" in corrected
    assert left <= beyond


TRAINED = [statement for statement in statements() if statement.recipes]


@pytest.fixture(scope="module")
def first_records():
    """When the first record of each row was committed, in seconds; from git."""

    def git(*arguments):
        found = subprocess.run(["git", "-C", str(ROOT), *arguments], capture_output=True, text=True)
        if found.returncode:
            pytest.skip("needs the history of the project")
        return found.stdout

    if git("rev-parse", "--is-shallow-repository").strip() != "false":
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
