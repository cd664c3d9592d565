"""What Snakemake says of the runs it would train; with Snakemake itself: test_workflow.py."""

import logging

import pytest

from book.companion.reproduction.planned_runs import PlannedRuns, read_planned
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


def test_a_snakefile_that_tells_nothing(tmp_path):
    with pytest.raises(UserError, match="did not tell which runs it would make"):
        read_planned(tmp_path / "runs")
