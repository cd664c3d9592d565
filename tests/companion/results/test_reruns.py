"""Re-runs beside records: what is paired, what is expected, and what differs in more."""

import json

import pytest
from synthetic_records import write_run

from book.companion.results import reruns
from dreal_lib.errors import UserError

ROW = "table_1/se_resnet50_baseline"
SPREAD = reruns.Spread(2, {"top1_error_pct": 4.0}, "made up")


def repeats_of(root, again=(50.0, 50.0), **changes):
    write_run(root / "book" / "records", ROW, top1=(50.0, 49.0))
    write_run(root / "book" / "records", ROW, seed=1)  # not run again
    write_run(root / "build" / "records", ROW, top1=again, threads=1, **changes)
    write_run(root / "build" / "records", ROW, seed=5)  # not on record
    return reruns.find_repeats(root=root)


@pytest.mark.parametrize(
    ("error", "said"), [(50.0, "equal"), (46.0, "within"), (54.5, "beyond"), (54.0, "within")]
)
def test_each_rerun_stands_beside_the_record_of_its_seed(tmp_path, error, said):
    (repeat,) = repeats_of(tmp_path, (error, error))
    assert (repeat.again.origin, repeat.recorded.origin) == ("re-run", "recorded")
    first = [str(cell) for cell in reruns.table([repeat], SPREAD).rows[0]]
    assert first[1:6] == ["smoke", "0", "top-1 error", "50.00", f"{error:.2f}"]
    assert first[7:] == ["± 4.00", "not kept / 1", said]
    assert "1 of 1 re-runs" in reruns.sentences([repeat], SPREAD)[0]


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"settings": {"learning_rate": 0.5}}, "other settings"),
        ({"complete": False}, "stopped early"),
    ],
)
def test_runs_that_had_other_things_to_do_are_not_judged(tmp_path, changes, why):
    (repeat,) = repeats_of(tmp_path, (90.0, 90.0), **changes)
    assert why in reruns.table([repeat], SPREAD).rows[0][-1]
    assert reruns.sentences([repeat], SPREAD)[0].startswith("0 of 1")


def test_without_a_rerun_the_page_says_how_to_get_one(tmp_path):
    assert "make reproduce" in reruns.sentences(reruns.find_repeats(root=tmp_path), SPREAD)[-1]
    assert reruns.find_repeats("recorded", tmp_path) == []


def test_the_committed_spread_is_that_of_threads_alone():
    """Two runs of one commit on one processor, of which nothing but the threads differs."""
    pairs = json.loads((reruns.BENCHMARKS / reruns.THREADS).read_text())["pairs"]
    for pair in pairs:
        assert len(set(pair["threads"])) == 2
        assert None not in pair["threads"]
        for alike in ("commits", "cpus", "torch"):
            assert len(set(pair[alike])) == 1
        first, second = (scores["top1_error_pct"] for scores in pair["scores"])
        assert pair["changes"]["top1_error_pct"] == pytest.approx(second - first)
    found = [abs(pair["changes"]["top1_error_pct"]) for pair in pairs]
    assert reruns.read_spread().largest["top1_error_pct"] == max(found) > 0


def test_what_is_no_measurement_is_refused(tmp_path):
    with pytest.raises(UserError, match="no measurement of threads"):
        reruns.read_spread(tmp_path)
