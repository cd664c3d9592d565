"""`dreal reproduce` piece by piece: what Snakemake is asked for, in which order, until when."""

import json
import re
import time
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import pytest

from book.companion.reproduction import workflow
from book.companion.reproduction.workflow import reproduce
from dreal_lib.runtime.deadline import EX_TEMPFAIL, LONGEST_LEAD_SECONDS, VARIABLE

DEFAULTS = {"profile": "smoke", "variant": None, "rows": "pair", "data": None}
DEFAULTS |= {"jobs": 1, "dry_run": False}
SEEDS = {"seeds": "98765"}  # nobody has run it
LOCK = object()


@pytest.fixture
def asked(monkeypatch):
    """Stands in for Snakemake: a list of (record files asked for, deadline); statuses to give."""
    asked = SimpleNamespace(calls=[], commands=[], configurations=[], statuses=[], takes=0.0)
    now = [time.time()]

    def run(command, env, stdin, check):
        assert stdin is LOCK  # else processes of a killed batch would not be waited for
        files = [word for word in command if re.search(r"seed\d+\.json$", word)]
        asked.calls.append((files, env.get(VARIABLE)))
        asked.commands.append(command)
        given = Path(command[command.index("--configfile") + 1])
        asked.configurations.append(json.loads(given.read_text()))
        now[0] += asked.takes
        return SimpleNamespace(returncode=asked.statuses.pop(0) if asked.statuses else 0)

    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.setattr(workflow.subprocess, "run", run)
    monkeypatch.setattr(workflow.time, "time", lambda: now[0])
    monkeypatch.setattr(workflow, "only_one", lambda folder, deadline: nullcontext(LOCK))
    return asked


def test_without_a_budget_everything_is_asked_for_at_once(asked):
    assert reproduce(**DEFAULTS, **SEEDS) == 0
    assert asked.calls == [([], None)]


@pytest.mark.parametrize(
    ("gpu", "jobs", "cores", "threads"),
    [(False, 0, 6, 1), (False, 2, 2, 1), (True, 0, 6, 6), (True, 2, 6, 3), (True, 9, 9, 1)],
)
def test_runs_share_a_gpu_one_by_one(asked, monkeypatch, gpu, jobs, cores, threads):
    monkeypatch.setattr(workflow, "_has_gpu", lambda: gpu)
    monkeypatch.setattr(workflow.os, "cpu_count", lambda: 6)
    assert reproduce(**DEFAULTS | {"jobs": jobs}, **SEEDS) == 0
    (command,) = asked.commands
    assert command[command.index("--cores") + 1] == str(cores)
    assert asked.configurations[0]["train_threads"] == str(threads)


def test_with_a_budget_the_runs_come_before_the_book(asked):
    began = time.time()
    assert reproduce(**DEFAULTS, **SEEDS, max_minutes=10) == 0
    (runs, deadline), (everything, same) = asked.calls
    assert runs[0] == "build/records/smoke/table_1/se_resnet50_baseline/seed98765.json"
    assert len(runs) == 4
    assert everything == []
    assert deadline == same
    assert began + 599 < float(deadline) < time.time() + 601


def test_time_that_runs_out_is_told_from_failure(asked):
    asked.statuses, asked.takes = [1], 10.0
    assert reproduce(**DEFAULTS, **SEEDS, max_minutes=10) == 1
    asked.statuses, asked.takes = [1], 600 - LONGEST_LEAD_SECONDS + 1
    assert reproduce(**DEFAULTS, **SEEDS, max_minutes=10) == EX_TEMPFAIL
    assert len(asked.calls) == 2  # no book in either case


def test_missing_rows_are_trained_in_order_until_the_time_is_up(asked):
    asked.takes = 240.0
    missing = {"only_missing": True, "jobs": 2}
    assert reproduce(**{**DEFAULTS, **missing}, **SEEDS, max_minutes=10) == EX_TEMPFAIL
    assert [len(files) for files, _ in asked.calls] == [2, 2, 2]
    files = [file for files, _ in asked.calls[:2] for file in files]
    assert [file.split("/")[-2] for file in files] == [
        f"{network}_resnet50_{method}"
        for network in ("se", "srm")
        for method in ("baseline", "reinforced")
    ]


def test_a_page_alone_and_a_seed_given_twice(asked):
    arguments = DEFAULTS | {"rows": "fig_6", "seeds": "98765,98765"}
    assert reproduce(**arguments, max_minutes=10) == 0
    (runs, _), (everything, _) = asked.calls
    assert runs == ["build/records/smoke/table_1/se_resnet50_reinforced/seed98765.json"]
    assert everything == []  # the whole book, as ever


def test_a_failing_row_ends_the_batch(asked):
    asked.statuses = [0, 1]
    assert reproduce(**DEFAULTS, **SEEDS, only_missing=True) == 1
    assert len(asked.calls) == 2
