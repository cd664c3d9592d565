"""The page on cost reads committed benchmarks, and says so where a bar is missed."""

import json

import pytest

from dreal_lib import costs
from dreal_lib.errors import UserError

STEP = {
    "network": "se_resnet50",
    "image_size": 224,
    "device": "cpu",
    "precision": "fp32",
    "batch": 8,
    "threads": 1,
    "baseline_images_per_second": 10.0,
    "rows": [
        {"what": "exact, all right", "kind": "operations", "bar": 1.65, "over_baseline": 1.7},
        {"what": "exact, all right", "kind": "time", "bar": 1.9, "over_baseline": 1.5},
        {"what": "plain", "kind": "operations", "bar": None, "over_baseline": 2.35},
    ],
}


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "step.json").write_text(json.dumps(STEP))
    return tmp_path


def test_a_missed_bar_is_named_and_a_ratio_without_a_bar_is_not_judged(folder):
    text = " ".join(costs.sentences(costs.read_costs(folder)))
    assert "1 of 2 bars are met: not exact, all right (operations)." in text


def test_operations_and_time_of_a_case_stand_in_one_line(folder):
    table = costs.step_table(costs.read_costs(folder))
    assert [str(cell).split()[0] for cell in table.rows[0][1:3]] == ["1.700", "1.500"]
    assert [row[0] for row in table.rows] == ["exact, all right", "plain"]


def test_hours_of_the_papers_run(folder):
    rows = {row[0]: row for row in costs.paper_table(costs.read_costs(folder)).rows}
    # 1,281,167 images x 100 epochs / 10 a second = 3,559 hours; 1.5 times that when reinforced.
    assert rows["this cpu CPU, 1 thread"][1:3] == ("3,559", "5,338")
    # 24.55 x 10^9 operations an image at 31.2 x 10^12 a second: 1,271 images a second, 28 hours.
    assert rows["A100 (80 GB)"][1:3] == ("28", "42")
    assert rows["A100 (80 GB)"][3].startswith("estimated")


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"rows": [{"what": 1}]}'])
def test_what_is_no_benchmark_is_refused_in_one_line(tmp_path, content):
    (tmp_path / "step.json").write_text(content)
    with pytest.raises(UserError, match=r"step\.json.*make benchmark") as refused:
        costs.read_costs(tmp_path)
    assert "\n" not in str(refused.value)


def test_the_committed_benchmarks_are_complete():
    found = costs.read_costs()
    assert {"exact, half right", "exact, none right", "critics", "peak memory"} <= {
        row.what for row in found.rows
    }
    assert len(costs.read_ratios()) >= 5


def test_a_path_that_was_not_measured_has_no_line():
    found = {"workers": 2, "waiting_share": {"baseline": 0.031}}
    speeds = {"cached": 14548.2, "streamed": 481.4}
    short = costs.input_table(found | {"images_per_second": speeds})
    whole = costs.input_table(found | {"images_per_second": speeds | {"on_device": 426.6}})
    (added,) = set(whole.rows) - set(short.rows)
    assert "--decode device" in added[0]
    assert str(added[1]).startswith("427")
    assert [row for row in whole.rows if row != added] == list(short.rows)
    assert [str(row[1]).split()[0] for row in short.rows] == ["14,548", "481", "3.1"]
