"""What a batch may take: which records a run is judged by, and the sums."""

import itertools

import pytest
from synthetic_records import write_run

from book.companion.reproduction.estimates import Estimate, batch_seconds, estimate, plan_lines
from dreal_lib.records import find_records
from dreal_lib.runtime.environment import Hardware

SE, SRM = "table_1/se_resnet50_reinforced", "table_1/srm_resnet50_reinforced"
RETRIEVAL = "table_2/resnet50_attention"
GPU = Hardware(device="cuda:0", device_name="Test GPU", cpu_name="Test CPU", cpu_count=8)


@pytest.fixture
def stored(tmp_path):
    """Function from (origin, recipe, seed, seconds, changes) tuples to stored records."""
    folders = itertools.count()

    def make(*runs):
        found = []
        for origin, recipe, seed, seconds, changes in runs:
            root = tmp_path / str(next(folders))
            write_run(root, recipe, seed=seed, wall_seconds=seconds, **changes)
            found += find_records(root, origin=origin)
        return found

    return make


def test_runs_of_the_row_come_first_then_of_the_network_then_of_the_task(stored):
    runs = stored(
        ("re-run", SE, 5, 100.0, {}),
        ("re-run", SE, 6, 300.0, {}),
        ("recorded", SE, 0, 1000.0, {}),
        ("recorded", SRM, 0, 7.0, {}),
        ("recorded", SRM, 1, 8.0, {}),
        ("recorded", SRM, 2, 30.0, {}),
    )
    here = estimate(SE, 9, "smoke", runs)
    assert (here.seconds, here.kin) == (200.0, "row")
    assert here.source == "median of 2 re-run runs of this row; Test CPU, 2 cores"

    committed = estimate(SRM, 9, "smoke", runs)  # its own, though others were made here
    assert (committed.seconds, committed.kin) == (8.0, "row")
    assert committed.source == "median of 3 recorded runs of this row; Test CPU, 2 cores"

    other = estimate("table_3/srm_resnet101_layer1_reinforced", 0, "smoke", runs)
    assert (other.seconds, other.kin) == (200.0, "task")
    assert other.source == (
        "median of 2 re-run runs of classification, none of this network; Test CPU, 2 cores"
    )
    plain = estimate("table_1/se_resnet50_baseline", 0, "smoke", runs[2:])
    assert (plain.seconds, plain.kin) == (19.0, "task")  # of 7, 8, 30, 1000
    changed = estimate("ablations/se_resnet50_gamma_2_reinforced", 0, "smoke", runs)
    assert (changed.seconds, changed.kin) == (200.0, "network")
    assert changed.source == (
        "median of 2 re-run runs of se_resnet50, reinforced, none of this row; Test CPU, 2 cores"
    )
    changed = estimate("ablations/se_resnet50_gamma_2_reinforced", 0, "smoke", runs[2:])
    assert changed.seconds == 1000.0


def test_another_scale_another_task_and_stopped_runs_do_not_count(stored):
    runs = stored(
        ("re-run", SE, 0, 5.0, {"complete": False}),
        ("re-run", SE, 1, 6.0, {"profile": "desktop", "variant": "two_cores"}),
        ("recorded", SE, 2, 70.0, {"hardware": GPU}),
    )
    found = estimate(SE, 3, "smoke", runs)
    assert found.seconds == 70.0
    assert found.source == "one recorded run of this row; Test GPU with Test CPU, 8 cores"
    assert estimate(SE, 3, "desktop+two_cores", runs).seconds == 6.0
    for nothing in (estimate(RETRIEVAL, 3, "smoke", runs), estimate(SE, 3, "desktop", runs)):
        assert nothing.seconds is None
        assert nothing.source == "no record to estimate from"


def test_the_sum_is_shared_by_the_jobs_but_no_run_is_cut(stored):
    runs = stored(("re-run", SE, 0, 60.0, {}), ("re-run", SRM, 0, 600.0, {}))
    rows = zip((SE, SRM), runs, strict=True)
    short, long = (Estimate(row, 1, "row", (run,)) for row, run in rows)
    unknown = Estimate(RETRIEVAL, 1, "task", ())
    assert batch_seconds([short, long, unknown], 1) == 660.0
    assert batch_seconds([short] * 10, 2) == 300.0
    assert batch_seconds([short, long], 2) == 600.0
    assert batch_seconds([unknown], 2) == batch_seconds([], 2) == 0.0


def test_what_a_dry_run_says(stored):
    runs = stored(
        ("recorded", SE, 0, 90.0, {}),
        ("recorded", SRM, 0, 3720.0, {"hardware": GPU}),
    )
    estimates = [estimate(row, 4, "smoke", runs) for row in (SE, SE, SRM, RETRIEVAL)]
    assert plan_lines(estimates, 2) == [
        "4 runs would be trained:",
        f"  {SE} seed 4: about 1 min 30 s (one recorded run of this row; Test CPU, 2 cores)",
        f"  {SE} seed 4: about 1 min 30 s (one recorded run of this row; Test CPU, 2 cores)",
        f"  {SRM} seed 4: about 1 h 02 min (one recorded run of this row; "
        "Test GPU with Test CPU, 8 cores)",
        f"  {RETRIEVAL} seed 4: (no record to estimate from)",
        "training in all: about 1 h 05 min; with --jobs 2: about 1 h 02 min, if no run is slowed "
        "by the others",
        "not counted: 1 run without an estimate",
        "an estimate from runs on Test CPU, 2 cores and on Test GPU with Test CPU, 8 cores, of "
        "training alone: rendering, notebooks and book are not counted; a run that was begun takes "
        "less",
    ]
    one = plan_lines(estimates[:1], 1)
    assert one[0] == "1 run would be trained:"
    assert one[2] == "training in all: about 1 min 30 s"


def test_a_dry_run_without_runs_or_without_records():
    assert plan_lines([], 2) == ["no run would be trained"]
    unknown = [estimate(SE, 0, "smoke", [])]
    assert plan_lines(unknown, 2) == [
        "1 run would be trained:",
        f"  {SE} seed 0: (no record to estimate from)",
        "no total: no run at this scale is on record",
    ]
