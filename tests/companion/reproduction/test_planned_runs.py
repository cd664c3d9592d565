"""What Snakemake says of the runs it would train; with Snakemake itself: test_workflow.py."""

import logging

import pytest

from book.companion.reproduction.planned_runs import (
    FailedRules,
    PlannedRuns,
    failure_lines,
    read_planned,
)
from dreal_lib.errors import UserError


def say(handler, **extra):
    record = logging.LogRecord("snakemake", logging.INFO, "", 0, None, None, None)
    record.__dict__.update(extra)
    handler.handle(record)


def job(handler, rule, **wildcards):
    say(handler, event="job_info", rule_name=rule, wildcards=wildcards)


def test_runs_are_kept_once_and_in_order(tmp_path):
    handler = PlannedRuns(tmp_path / "runs")
    assert read_planned(tmp_path / "runs") == []
    job(handler, "train", row="table_3/b", seed="10")
    job(handler, "notebook", name="fig_6")
    say(handler)
    say(handler, event="run_info", stats={})
    job(handler, "train", row="table_3/a", seed="2")
    job(handler, "train", row="table_3/b", seed="10")
    assert read_planned(tmp_path / "runs") == [("table_3/b", 10), ("table_3/a", 2)]


def test_the_event_is_called_as_snakemake_calls_it():
    common = pytest.importorskip("snakemake_interface_logger_plugins.common")
    assert common.LogEvent.JOB_INFO == "job_info"
    assert common.LogEvent.JOB_ERROR == "job_error"


def test_a_rule_that_failed_says_why(tmp_path):
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "a.log").write_text("epoch 1\n\ndreal: the reason\n\n")
    handler = FailedRules(tmp_path / "failed")
    assert failure_lines(tmp_path / "failed", tmp_path) == []
    say(handler, event="job_info", rule_name="train", log=["logs/a.log"])
    for _ in range(2):  # Snakemake says it again at the end
        say(handler, event="job_error", rule_name="train", log=["logs/a.log"])
    say(handler, event="job_error", rule_name="book", log=["logs/none.log"])
    assert failure_lines(tmp_path / "failed", tmp_path) == [
        "rule train failed: dreal: the reason (all of it: logs/a.log)",
        "rule book failed: it said nothing (all of it: logs/none.log)",
    ]


def test_the_reason_is_found_before_what_a_program_says_as_it_ends(tmp_path):
    log = tmp_path / "book.log"
    log.write_text("\x1b[91mintro.md:3: WARNING: undefined label: 'x'\x1b[0m\ndone\n====\n")
    handler = FailedRules(tmp_path / "failed")
    say(handler, event="job_error", rule_name="book", log=["book.log"])
    (line,) = failure_lines(tmp_path / "failed", tmp_path)
    assert line.startswith("rule book failed: intro.md:3: WARNING: undefined label: 'x' (all")


def test_a_snakefile_that_tells_nothing(tmp_path):
    with pytest.raises(UserError, match="did not tell which runs it would make"):
        read_planned(tmp_path / "runs")
