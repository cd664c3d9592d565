"""`dreal reproduce` as typed: options that say nothing, too much or what cannot be."""

import sys

import pytest

from book.companion import commands
from book.companion.reproduction import workflow


@pytest.fixture
def typed(monkeypatch, capfd):
    """Function that runs the command: (status, stderr, what the workflow was asked for)."""

    def call(*words):
        asked = []
        reproduce = workflow.reproduce

        def noted(**arguments):
            asked.append(arguments)
            return reproduce(**arguments)

        monkeypatch.setattr(workflow, "reproduce", noted)
        monkeypatch.setattr(workflow, "_plan", lambda batch, only_missing: 0)
        monkeypatch.setattr(sys, "argv", ["dreal", "reproduce", "--dry-run", *words])
        with pytest.raises(SystemExit) as stopped:
            commands.main()
        return stopped.value.code or 0, capfd.readouterr().err, asked

    return call


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--only", ""), "one of them is empty; try table_3"),
        (("--only", "table_1,"), "one of them is empty; try table_3"),
        (("--only", "cost"), "no run of its own enters the page cost"),
        (("--only", "fig6"), "did you mean 'fig_6'?"),
        (("--all", "--only", "fig_6"), "leave one of the two out"),
        (("--seeds", ""), "seeds are whole numbers with commas between; got ''"),
        (("--seeds", "0,"), "seeds are whole numbers with commas between; got '0,'"),
        (("--jobs", "-1"), "got -1; try 2, or 0 for all"),
    ],
)
def test_bad_options_are_one_line(typed, words, said):
    status, err, _ = typed(*words)
    assert status == 2
    assert err.startswith("dreal: ")
    assert err.count("\n") == 1
    assert said in err


@pytest.mark.parametrize(
    ("words", "rows"),
    [((), "pair"), (("--all",), "all"), (("--only", "fig_6,table_3"), "fig_6,table_3")],
)
def test_which_rows_are_meant(typed, words, rows):
    status, err, (asked,) = typed(*words)
    assert (status, err, asked["rows"]) == (0, "", rows)


def test_a_readers_snakemake_profile_does_not_reach_a_batch(monkeypatch):
    monkeypatch.setenv("SNAKEMAKE_PROFILE", "/no/such/profile")
    monkeypatch.setenv("HOME", "/proc/none")
    environment = workflow._environment()
    assert "SNAKEMAKE_PROFILE" not in environment
    assert environment["XDG_CACHE_HOME"].startswith(str(workflow.PROJECT_ROOT))


@pytest.mark.parametrize("missing", ["jupytext", "papermill", "ipykernel"])
def test_without_the_extra_execute_is_one_line(monkeypatch, capsys, missing):
    found = commands.find_spec
    monkeypatch.setattr(commands, "find_spec", lambda n: None if n == missing else found(n))
    monkeypatch.setattr("sys.argv", ["dreal", "execute", "n.py", "n.ipynb"])
    with pytest.raises(SystemExit) as ended:
        commands.main()
    line = capsys.readouterr().err.strip()
    assert ended.value.code == 2
    assert missing in line
    assert len(line.splitlines()) == 1
