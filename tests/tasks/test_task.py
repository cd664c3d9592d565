"""A third task is a declaration and a module: nothing else of the library or the book names it."""

import dataclasses
from types import SimpleNamespace

import pytest
import torch
import toy_task
from typer.testing import CliRunner

from book.companion.reproduction.backlog import tasks_of
from dreal_lib.cli import app
from dreal_lib.comparison.rows import row_of
from dreal_lib.errors import UserError
from dreal_lib.recipes import TASKS, metric, task_facts
from dreal_lib.recipes.task_facts import Metric, declare
from dreal_lib.records import find_records, record_type
from dreal_lib.training import display, runs

CPU = torch.device("cpu")


@pytest.fixture
def toy():
    with toy_task.declared():
        yield toy_task.TOY


@pytest.fixture
def trained(toy, tmp_path):
    """A recorded run of two epochs, and its folder."""
    (tmp_path / "corners.txt").touch()
    runs.run(toy_task.recipe(), tmp_path, tmp_path / "run", tmp_path / "records", device=CPU)
    (stored,) = find_records(tmp_path / "records")
    return SimpleNamespace(stored=stored, folder=tmp_path)


def test_a_third_task_trains_and_its_record_is_read_back(trained, toy):
    record, history = trained.stored.record, trained.stored.history()
    assert record.task == "corners"
    assert record.data.corners == 4
    assert tuple(history) == toy.history_columns
    assert history["nearness_loss"][-1] < history["nearness_loss"][0]
    found = dict(zip(history["epoch"], history["corners_found_pct"], strict=True))
    assert record.metric("corners_found_pct") == pytest.approx(found[2])
    assert record.best.corners_found_pct == pytest.approx(max(found.values()))  # higher is better
    assert trained.stored.figure_data()["corners/weights"].shape == (4, 12)
    row = row_of([trained.stored], "smoke", "own-abababab", "own/corners")
    assert row.summary("corners_found_pct").mean == record.last.corners_found_pct


def test_a_third_task_is_evaluated_by_the_command_line(trained):
    weights = trained.folder / "run" / runs.WEIGHTS
    arguments = ["evaluate", str(weights), "--data", str(trained.folder), "--device", "cpu"]
    done = CliRunner().invoke(app, arguments)
    stated = trained.stored.record.last.corners_found_pct
    assert done.output.strip() == f"corners found {stated:.2f} %"


def test_a_third_task_s_rules_hold_where_its_facts_are_used(toy, trained, tmp_path):
    row = {name: values[0] for name, values in trained.stored.history().items()}
    assert f"corners found {row['corners_found_pct']:.2f} %" in display._line(
        toy_task.recipe(), row
    )
    assert tasks_of(trained.folder) == ("corners",)
    assert "corners" in tasks_of(None)
    with pytest.raises(UserError, match=r"unknown metric of corners 'top1_error_pct'"):
        trained.stored.record.metric("top1_error_pct")
    with pytest.raises(UserError, match=r"holds no corners\.txt"):
        runs.run(toy_task.recipe(), tmp_path / "no", tmp_path / "r", tmp_path / "s", device=CPU)


def test_without_its_declaration_a_task_is_refused(trained):
    with pytest.MonkeyPatch.context() as patch:
        patch.delitem(TASKS, "corners")
        with pytest.raises(UserError, match="unknown task 'corners'; choices: classification"):
            find_records(trained.folder / "records")


def test_a_metric_s_name_means_one_thing(toy):
    other = dataclasses.replace(
        toy, metrics=(Metric("rank1_pct", "rank", better="lower"),), best="rank1_pct"
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.delitem(TASKS, "corners")
        with pytest.raises(UserError, match="'rank1_pct' of corners is 'rank', and another task"):
            declare(other)
        with pytest.raises(UserError, match="unknown metric of corners 'rank1_pct'"):
            declare(dataclasses.replace(toy, best="rank1_pct"))
    with pytest.raises(UserError, match="there is a task 'corners' already"):
        declare(toy)


@pytest.mark.parametrize("task", TASKS)
def test_what_a_task_declares_fits_together(task):
    facts = task_facts(task)
    assert facts.metric(facts.best).shown
    names = facts.history_columns
    assert len(set(names)) == len(names)
    assert set(facts.result.model_fields) == {"epoch", *facts.metric_names}
    assert record_type(task) is record_type(task)
    assert all(metric(name).title for name in facts.metric_names)
    first, *others = (
        facts.result(epoch=e, **dict.fromkeys(facts.metric_names, 50.0)) for e in (1, 2)
    )
    assert facts.best_of([first, *others]) is first  # of equal ones
    better = 49.0 if facts.metric(facts.best).better == "lower" else 51.0
    second = others[0].model_copy(update={facts.best: better})
    assert facts.best_of([first, second]) is second
