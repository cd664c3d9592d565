"""The page on cost reads committed benchmarks, and says so where a limit is missed."""

import json

import pytest
import torch

from book.companion.results import costs
from dreal_lib.errors import UserError
from dreal_lib.recipes import load_recipe
from dreal_lib.runtime.environment import PROJECT_ROOT

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
        {"what": "critics", "kind": "time", "bar": 0.02, "over_baseline": 0.005},
        {"what": "peak memory", "kind": "memory", "bar": 1.25, "over_baseline": 1.08},
    ],
}


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "step.json").write_text(json.dumps(STEP))
    return tmp_path


def test_a_missed_limit_is_named_and_a_ratio_without_one_is_not_judged(folder):
    text = " ".join(costs.sentences(costs.read_costs(folder)))
    assert "3 of 4 ratios are within the limit of our test; not: operations, every image " in text


def test_operations_time_and_memory_of_a_case_stand_in_one_line(folder):
    table = costs.step_table(costs.read_costs(folder))
    assert [
        [str(cell).removesuffix("\N{NO-BREAK SPACE}●") for cell in row] for row in table.rows
    ] == [
        ["every image right", "1.700 (≤ 1.65)", "1.500 (≤ 1.90)", "1.080 (≤ 1.25)"],
        ["four whole passes", "2.350", "—", "—"],
        ["critics alone (share of a baseline step)", "—", "0.005 (≤ 0.02)", "—"],
    ]


def test_hours_of_the_papers_run(folder):
    rows = {row[0]: row for row in costs.paper_table(costs.read_costs(folder)).rows}
    # 1,281,167 images x 100 epochs / 10 a second = 3,559 hours; 1.5 times the time, as measured.
    assert rows["this cpu CPU, 1 thread"][1:3] == ("3,559", "5,338")
    # 24.55 x 10^9 operations an image at 15.6 x 10^12 a second: 635 images a second, 56 hours;
    # 1.7 times the operations, as counted.
    assert rows["A100 (80 GB)"][1:3] == ("56", "95")
    assert "10% of 156 TFLOP/s (TF32)" in rows["A100 (80 GB)"][3]


def test_the_peak_is_that_of_the_precision_in_use():
    assert load_recipe("table_1/se_resnet50_reinforced", "paper").precision == "fp32"
    assert torch.backends.cudnn.allow_tf32  # of torch's own: nothing here sets it
    assert not [
        p for p in (PROJECT_ROOT / "dreal_lib").glob("*.py") if "allow_tf32 =" in p.read_text()
    ]


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
    assert {row.what for row in found.rows} <= set(costs.CASES)  # each has words of its own
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
