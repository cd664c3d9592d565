"""Statistics worked by hand, the rows of Table 1, and the sentences that they allow."""

import re
from dataclasses import replace

import pytest
from synthetic_records import Costs, write_run

from book.companion.papers import dreal
from book.companion.results import network_costs, table_1
from book.companion.text import differences, runs, tables
from dreal_lib import records
from dreal_lib.comparison import paired
from dreal_lib.comparison.paired import Difference
from dreal_lib.comparison.rows import is_paper_scale
from dreal_lib.errors import UserError


def write_pair(root, network, seed, baseline, reinforced, **facts):
    write_run(root, f"table_1/{network}_baseline", seed=seed, top1=(baseline, baseline), **facts)
    write_run(
        root, f"table_1/{network}_reinforced", seed=seed, top1=(reinforced, reinforced), **facts
    )


def minus(text):
    """The text with true minus signs before its numbers."""
    return re.sub(r"-(?=\d)", tables.MINUS, text)


def cells(row):
    """The row as a page shows it, with ordinary spaces."""
    return [str(cell).replace("\N{NO-BREAK SPACE}", " ") for cell in row]


SE = "SE-ResNet-14, width 16 (row SE-ResNet-50)"  # what made-up runs have trained


def smoke(root):
    return table_1.compare_networks(records.find_records(root), "smoke", None)


def test_a_summary_by_hand():
    # mean 4, deviations -2, 0, 2: variance (4 + 0 + 4) / 2 = 4, spread 2.
    assert paired.summarise([2.0, 4.0, 6.0]) == paired.Summary(4.0, 2.0, 3)
    assert paired.summarise([7.5]) == paired.Summary(7.5, None, 1)
    assert paired.summarise([]) is None


def test_a_paired_interval_by_hand():
    # Differences -1, -2, -3: mean -2, spread 1; t(0.975; 2) = 4.302653, over sqrt(3) = 2.484138.
    found = paired.paired_difference(
        {0: 50.0, 1: 40.0, 2: 30.0, 9: 1.0}, {2: 27.0, 1: 38.0, 0: 49.0, 7: 2.0}
    )
    assert (found.mean, found.n) == (-2.0, 3)
    assert found.spread == pytest.approx(1.0)
    assert found.low == pytest.approx(-4.484138, abs=1e-5)
    assert found.high == pytest.approx(0.484138, abs=1e-5)
    assert found.verdict == "undecided"


def test_pairing_matters():
    # Seeds differ by far more than methods: unpaired nothing shows, paired it does.
    baseline = {0: 40.0, 1: 50.0, 2: 60.0}
    reinforced = {0: 39.0, 1: 48.9, 2: 59.1}
    found = paired.paired_difference(baseline, reinforced)
    # Differences -1, -1.1, -0.9: spread 0.1, half width 0.2484138.
    assert found.low == pytest.approx(-1.2484138, abs=1e-5)
    assert found.high == pytest.approx(-0.7515862, abs=1e-5)
    assert found.verdict == "lower"
    assert paired.paired_difference(reinforced, baseline).verdict == "higher"


def test_two_seeds_need_a_large_and_steady_difference():
    # t(0.975; 1) = 12.7062; differences -1 and -1.2: spread 0.141421, half width 1.27062.
    found = paired.paired_difference({0: 10.0, 1: 10.0}, {0: 9.0, 1: 8.8})
    assert found.high == pytest.approx(-1.1 + 1.27062, abs=1e-5)
    assert found.verdict == "undecided"


def test_one_seed_allows_no_claim():
    found = paired.paired_difference({0: 50.0}, {0: 10.0})
    assert found == Difference(-40.0, None, 1, None, None)
    assert found.verdict == "untried"


def test_equal_differences_allow_no_claim():
    found = paired.paired_difference({0: 50.0, 1: 40.0}, {0: 49.0, 1: 39.0})
    assert found.spread == 0
    assert found.verdict == "untried"


def test_no_common_seed_is_no_difference():
    assert paired.paired_difference({0: 1.0}, {1: 1.0}) is None


# t(0.975; n) as tables print it: Abramowitz and Stegun, table 26.10.
PRINTED_T = {1: 12.706, 2: 4.303, 3: 3.182, 4: 2.776, 5: 2.571, 9: 2.262, 30: 2.042, 120: 1.980}


def test_the_quantile_is_the_printed_one():
    found = {n: round(paired._t_quantile(n), 3) for n in PRINTED_T}
    assert found == PRINTED_T


def test_the_quantile_is_scipy_s():
    t = pytest.importorskip("scipy.stats").t
    for degrees in [*range(1, 60), 101, 200, 999]:
        expected = float(t.ppf((1 + paired.CONFIDENCE) / 2, degrees))
        assert paired._t_quantile(degrees) == pytest.approx(expected, rel=1e-11), degrees


@pytest.mark.parametrize(
    ("difference", "said"),
    [
        (None, "not run"),
        (Difference(-0.4, None, 1, None, None), "-0.40 ± — points (n = 1: one seed, no interval)"),
        (
            Difference(-0.4, 1.2, 3, -3.38, 2.58),
            "-0.40 ± 1.20 points (95 % interval -3.38 to +2.58, n = 3), not significant",
        ),
        (
            Difference(-0.4, 0.1, 3, -0.65, -0.15),
            "-0.40 ± 0.10 points (95 % interval -0.65 to -0.15, n = 3), significantly better",
        ),
        (
            Difference(0.4, 0.1, 3, 0.15, 0.65),
            "+0.40 ± 0.10 points (95 % interval +0.15 to +0.65, n = 3), significantly worse",
        ),
        (
            Difference(-1.0, 0.0, 2, None, None),
            "-1.00 ± 0.00 points (n = 2: no spread, no interval)",
        ),
    ],
)
def test_a_difference_says_what_the_rule_allows(difference, said):
    text = differences.effect_text(difference, " points", better="lower")
    assert text == minus(said)


def test_a_p_value_is_cut_at_a_thousandth():
    assert differences.p_text(0.00099) == "< 0.001"
    assert differences.p_text(0.001) == "0.001"
    assert differences.p_text(float("nan")) == tables.NOTHING


@pytest.mark.parametrize(
    ("value", "text"), [(0.4, "+0.40"), (-1.25, "-1.25"), (-0.001, "0.00"), (0.0, "0.00")]
)
def test_signs(value, text):
    assert tables.signed(value) == minus(text)


def test_rows_of_a_scale(tmp_path):
    for seed, (baseline, reinforced) in enumerate([(40.0, 39.0), (50.0, 48.9), (60.0, 59.1)]):
        write_pair(tmp_path, "se_resnet50", seed, baseline, reinforced)
    write_pair(tmp_path, "srm_resnet50", 0, 30.0, 32.0)
    write_pair(tmp_path, "se_resnet101", 0, 1.0, 2.0, profile="desktop")
    comparison = smoke(tmp_path)
    assert [network.network for network in comparison.networks] == list(dreal.TABLE_1)
    se = comparison.networks[0]
    assert se.baseline.summary("top1_error_pct") == paired.Summary(50.0, 10.0, 3)
    assert se.difference("top1_error_pct").mean == pytest.approx(-1.0)
    assert comparison.networks[1].difference("top1_error_pct") is None
    assert se.differences("top1_error_pct") == pytest.approx({0: -1.0, 1: -1.1, 2: -0.9})


def test_a_network_of_fewer_seeds_costs_the_others_none(tmp_path):
    for seed, (baseline, reinforced) in enumerate([(40.0, 39.0), (50.0, 48.9), (60.0, 59.1)]):
        write_pair(tmp_path, "se_resnet50", seed, baseline, reinforced)
        write_pair(tmp_path, "cbam_resnet50", seed, 40.0, 43.0)
    write_pair(tmp_path, "srm_resnet50", 0, 30.0, 32.0)
    comparison = smoke(tmp_path)
    found = comparison.difference("top1_error_pct")
    assert (found.mean, found.spread, found.n) == pytest.approx((1.0, 0.05, 3))
    said = table_1.mean_sentence(comparison)
    assert f"mean of {SE}; {SE.replace('SE-', 'CBAM-')}: +1.00 ± 0.05 points" in said
    write_pair(tmp_path, "srm_resnet50", 1, 30.0, 32.0)
    write_pair(tmp_path, "srm_resnet50", 2, 30.0, 32.0)
    # ((-1 + 3 + 2), (-1.1 + 3 + 2), (-0.9 + 3 + 2)) / 3
    assert smoke(tmp_path).difference("top1_error_pct").mean == pytest.approx(4 / 3)


def test_last_and_best_are_kept_apart(tmp_path):
    write_run(tmp_path, "table_1/se_resnet50_baseline", top1=(50.0, 45.0), top5=(20.0, 15.0))
    row = smoke(tmp_path).networks[0].baseline
    assert row.values("top1_error_pct") == {0: 50.0}
    assert row.values("top1_error_pct", "best") == {0: 45.0}
    assert row.values("top5_error_pct", "best") == {0: 15.0}


def test_a_stopped_run_counts_in_no_number(tmp_path):
    write_run(tmp_path, "table_1/se_resnet50_baseline", complete=False)
    row = smoke(tmp_path).networks[0].baseline
    assert (row.runs, len(row.stopped)) == ((), 1)
    assert row.summary("top1_error_pct") is None


@pytest.mark.parametrize(
    "change",
    [
        {"settings": {"depths": {"50": 26}, "epochs": 4}},
        {
            "data": {
                "name": "made-up",
                "fingerprint": "e" * 64,
                "train_images": 400,
                "val_images": 100,
                "classes": 10,
            }
        },
    ],
)
def test_seeds_of_one_row_must_be_alike(tmp_path, change):
    write_run(tmp_path, "table_1/se_resnet50_baseline", seed=0)
    write_run(tmp_path, "table_1/se_resnet50_baseline", seed=1, **change)
    with pytest.raises(UserError, match=r"seed0\.json.*seed1\.json.*differ in"):
        smoke(tmp_path)


def test_methods_on_different_data_are_not_paired(tmp_path):
    write_run(tmp_path, "table_1/se_resnet50_baseline")
    other = {"name": "x", "fingerprint": "9", "train_images": 1, "val_images": 1, "classes": 2}
    write_run(tmp_path, "table_1/se_resnet50_reinforced", data=other)
    network = smoke(tmp_path).networks[0]
    assert network.baseline.runs
    assert network.reinforced.runs
    assert network.difference("top1_error_pct") is None


def test_a_recorded_run_is_not_paired_with_a_rerun(tmp_path):
    write_run(tmp_path / "a", "table_1/se_resnet50_baseline")
    write_run(tmp_path / "b", "table_1/se_resnet50_reinforced")
    stored = records.find_records(tmp_path / "a")
    stored += records.find_records(tmp_path / "b", origin="re-run")
    network = table_1.compare_networks(stored, "smoke", None).networks[0]
    assert network.difference("top1_error_pct") is None


def test_published_errors_are_marked_and_complete():
    table = table_1.published_errors()
    assert [row[0] for row in table.rows] == [row.label for row in dreal.TABLE_1.values()]
    se = dreal.TABLE_1["se_resnet50"]
    assert table.rows[0][3] == f"{se.reinforced.top1.printed} / {se.reinforced.top5.printed}"
    assert table.rows[0][4] == minus("-0.464 / -0.390")
    assert [str(name)[-1] for name in table.columns[1:]] == ["†", "†", "†", "○"]
    assert table.legend() == "† published; ○ computed"


def test_costs_stand_printed_conventional_and_true(monkeypatch):
    monkeypatch.setattr(network_costs, "table_1_costs", lambda network: Costs())
    table = network_costs.cost_table()
    baseline, reinforced = table.rows[4], table.rows[5]
    printed = dreal.TABLE_1["cbam_resnet50"]
    assert baseline == (
        "CBAM-ResNet-50",
        printed.cost.parameters.printed,
        "1.4000",
        "1.5000",
        "—",
        "2.5000",
        "2.5000",
    )
    assert reinforced == (
        "+ critics",
        printed.reinforced_cost.parameters.printed,
        "1.4001",
        "1.5001",
        printed.reinforced_cost.gflops.printed,
        "2.7000",
        "2.6000",
    )


def test_our_errors_show_what_is_there_and_what_is_not(tmp_path):
    for seed, error in enumerate([40.0, 50.0]):
        write_run(tmp_path, "table_1/se_resnet50_baseline", seed=seed, top1=(error, error))
    write_run(tmp_path, "table_1/se_resnet101_baseline", seed=0)
    table = table_1.our_errors(smoke(tmp_path))
    assert cells(table.rows[0])[:3] == [f"{SE} ●", "45.00 ± 7.07", "45.00 ± 7.07"]
    assert cells(table.rows[1]) == ["+ reinforced", *["not run"] * 4, "0"]
    assert cells(table.rows[2])[:2] == ["SE-ResNet-26, width 16 (row SE-ResNet-101) ●", "50.00 ± —"]
    assert table.legend() == "● recorded (smoke)"


def test_our_differences_are_marked_where_there_is_a_pair(tmp_path):
    for seed, (baseline, reinforced) in enumerate([(40.0, 39.0), (50.0, 48.9), (60.0, 59.1)]):
        write_pair(tmp_path, "se_resnet50", seed, baseline, reinforced)
    table = table_1.our_differences(smoke(tmp_path))
    first = cells(table.rows[0])
    texts = ("Top|1 last", "-1.00, -1.10, -0.90", "-1.00 ± 0.10", "-1.25 to -0.75")
    assert first == [f"{SE} ●", *(minus(text).replace("|", "-") for text in texts)]
    assert [str(row[1]) for row in table.rows[:3]] == ["Top-1 last", "Top-1 best", "Top-5 last"]
    assert table.rows[3] == ("SE-ResNet-101", *["—"] * 4)


def test_the_overview_shows_what_was_run(tmp_path):
    write_pair(tmp_path, "srm_resnet50", 0, 30.0, 32.0)
    write_run(tmp_path, "table_1/se_resnet50_baseline")
    rows = table_1.overview([smoke(tmp_path)]).rows
    assert [cells(row) for row in rows] == [
        ["smoke ●", SE, "50.00 ± —", "not run", "—", "—", "0"],
        ["smoke ●", SE.replace("SE-", "SRM-"), "30.00 ± —", "32.00 ± —", "+2.00 ± —", "—", "1"],
    ]


def test_other_scales_never_stand_beside_the_papers_numbers(tmp_path):
    write_run(tmp_path, "table_1/se_resnet50_baseline")
    assert not is_paper_scale(smoke(tmp_path))
    text = table_1.our_errors(smoke(tmp_path)).to_markdown()
    assert "†" not in text
    imagenet = {
        "name": "imagenet",
        "fingerprint": "1",
        "train_images": 1281167,
        "val_images": 50000,
        "classes": 1000,
    }
    root = tmp_path / "full"
    write_run(root, "table_1/se_resnet50_baseline", profile="paper", data=imagenet)
    full = table_1.compare_networks(records.find_records(root), "paper", None)
    printed = dreal.TABLE_1["se_resnet50"].self_implemented.top1.printed
    assert printed in table_1.our_errors(full).to_markdown()
    root = tmp_path / "shortened"
    write_run(
        root,
        "table_1/se_resnet50_baseline",
        profile="paper",
        data=imagenet,
        overrides={"epochs": 2},
    )
    shortened = table_1.compare_networks(records.find_records(root), "paper", None)
    assert printed not in table_1.our_errors(shortened).to_markdown()


def test_an_empty_scale_is_said_to_be_empty(tmp_path):
    comparison = smoke(tmp_path)
    assert table_1.mean_sentence(comparison).startswith("Scale smoke: No pair")
    assert runs.scale_caption(comparison) == "Scale smoke: no run yet."
    missing = runs.missing_runs(comparison)
    assert len(missing) == 12
    row = "table_1/se_resnet50_baseline"
    assert missing[0] == f"dreal train {row} --profile smoke --seed 0 --threads 1 --data DATA"


def test_missing_runs_are_the_seeds_that_were_asked_for(tmp_path):
    for network in dreal.TABLE_1:
        write_pair(tmp_path, network, 1, 50.0, 49.0)
    comparison = smoke(tmp_path)
    assert runs.missing_runs(comparison) == []
    missing = runs.missing_runs(comparison, [0, 1], data_root="my data")
    assert len(missing) == 12
    row = "table_1/srm_resnet101_reinforced"
    assert missing[-1].startswith(f"dreal train {row} --profile smoke --seed 0 --threads 1 ")
    assert missing[-1].endswith(" --data 'my data'")


def test_the_caption_says_what_was_trained_on_what(tmp_path):
    write_pair(tmp_path, "se_resnet50", 0, 50.0, 49.0)
    caption = runs.scale_facts(smoke(tmp_path))
    assert caption.startswith(
        "Scale smoke: made-up (10 classes, 400 training and 100 validation images) at 48 px; "
        f"4 epochs; trained: {SE}."
    )


def test_a_markdown_table_is_well_formed():
    table = tables.Table(
        ("A", tables.Marked("B", "computed")),
        ((tables.Marked("x|y", "re-run", "smoke"), "1 ± 2"),),
        frozenset({1}),
    )
    lines = table.to_markdown().splitlines()
    assert len(lines) == 3
    assert "x\\|y\N{NO-BREAK SPACE}▲" in lines[2]
    assert "1\N{NO-BREAK SPACE}±\N{NO-BREAK SPACE}2" in lines[2]
    assert lines[1].endswith(":|")
    assert table.legend() == "○ computed; ▲ re-run (smoke)"


def a_pair(root, **of_second):
    """Two runs of a seed, alike but for what is given of the second."""
    write_run(root, "table_1/se_resnet50_baseline", threads=1)
    write_run(root, "table_1/se_resnet50_reinforced", **{"threads": 1, **of_second})
    return smoke(root).networks[0]


def test_runs_of_different_numbers_of_threads_are_no_pair(tmp_path):
    assert a_pair(tmp_path / "same").seeds == [0]
    for name, other in (("two", 2), ("unknown", None)):
        pair = a_pair(tmp_path / name, threads=other)
        assert (pair.seeds, pair.difference("top1_error_pct")) == ([], None)
        assert "different numbers of threads" in pair.unpaired


def test_older_records_that_kept_no_threads_are_pairs_among_themselves(tmp_path):
    for method in ("baseline", "reinforced"):
        write_run(tmp_path, f"table_1/se_resnet50_{method}", threads=None)
    pair = smoke(tmp_path).networks[0]
    assert (pair.seeds, pair.unpaired) == ([0], "")


def test_threads_do_not_matter_where_a_gpu_computed(tmp_path):
    gpu = {"device": "cuda:0", "device_name": "GPU", "cpu_name": "Test CPU", "cpu_count": 2}
    write_run(tmp_path, "table_1/se_resnet50_baseline", threads=1, hardware=gpu)
    write_run(tmp_path, "table_1/se_resnet50_reinforced", threads=8, hardware=gpu)
    assert smoke(tmp_path).networks[0].seeds == [0]


@pytest.mark.parametrize(
    ("change", "why"),
    [({"seed": 1}, "no seed in common"), ({"threads": 2}, "numbers of threads")],
)
def test_a_difference_of_no_pairs_is_explained(tmp_path, change, why):
    (said,) = differences.unpaired_sentences([a_pair(tmp_path, **change)])
    assert why in said
    assert differences.unpaired_sentences(smoke(tmp_path / "none").networks) == []


def test_a_number_of_recorded_and_rerun_runs_has_both_marks(tmp_path):
    pair = a_pair(tmp_path)
    again = replace(pair.reinforced.runs[0], origin="re-run")
    cell = tables.marked_by("text", [*pair.baseline.runs, again], "smoke")
    assert cells([cell]) == ["text ●▲"]
    assert tables.Table(("A",), ((cell,),)).legend() == "● recorded (smoke); ▲ re-run (smoke)"
    assert tables.marked_by("text", []) == "text"


def test_what_was_trained_stands_beside_its_row(tmp_path, tmp_path_factory):
    assert runs.pair_name(a_pair(tmp_path)) == SE
    (row, *_) = (cells(row) for row in table_1.our_errors(smoke(tmp_path)).rows)
    assert row[0] == f"{SE} ●"
    papers = {"network": "se_resnet50", "depths": {"50": 50}, "width": 64}
    other = tmp_path_factory.mktemp("paper")
    write_run(other, "table_1/se_resnet50_baseline", settings=papers)
    assert runs.pair_name(smoke(other).networks[0]) == "SE-ResNet-50"
    write_run(tmp_path, "table_1/cbam_resnet101_baseline")
    found = [run.record for run in records.find_records(tmp_path)]
    assert runs.trained_summary(found) == "networks of 14 layers for 50, 26 for 101, width 16"


def test_a_missing_runs_command_names_its_threads(tmp_path):
    for command in runs.missing_runs(smoke(tmp_path)):
        assert "--threads 1 --data" in command
