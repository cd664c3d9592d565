"""Table 2: what is printed, rows from records, and the sentences that they allow."""

import numpy as np
import pytest
from synthetic_retrieval import DATA, figure_arrays, scores, write_retrieval

from book.companion.pages.catalogue import check_parameters
from book.companion.papers import dreal
from book.companion.results import retrieval_rows, table_2
from book.companion.text.runs import missing_runs
from book.companion.text.tables import MINUS
from dreal_lib import records
from dreal_lib.errors import UserError
from dreal_lib.recipes import load_recipe, recipe_names, variant_names


def compared(root, profile="smoke", variant=None, every=True):
    return retrieval_rows.compare_sets(records.find_records(root), profile, variant, every)


def texts(row):
    return [str(cell).replace("\N{NO-BREAK SPACE}", " ").replace(MINUS, "-") for cell in row]


def test_there_is_a_recipe_for_each_row_and_a_variant_for_each_set():
    rows = [retrieval_rows.recipe_of(method) for method in retrieval_rows.METHODS]
    assert sorted(rows) == [name for name in recipe_names() if name.startswith("table_2/")]
    named = {v for sets in retrieval_rows.SETS.values() for v in sets if v}
    assert named <= set(variant_names())


@pytest.mark.parametrize("data", dreal.TABLE_2_HALVES)
def test_printed_numbers_stand_beside_the_recipes_data_set(data):
    variant = {"market1501": None, "dukemtmc": "dukemtmc"}[data]
    assert load_recipe("table_2/resnet50_baseline", "paper", variant).dataset == data


def test_the_published_table_as_printed():
    rows = [texts(row) for row in table_2.published_results().rows]
    assert len(rows) == 13
    assert sum(row[5] != "—" for row in rows[:10]) == 8
    first = dreal.TABLE_2_COMPARED[0]
    assert rows[0] == [
        "IDEAL", "BMVC 2017", "GoogLeNet/Inception", first.market.rank1.printed,
        first.market.mean_ap.printed, "—", "—",
    ]  # fmt: skip
    backbones = {row[0]: row[2] for row in rows}
    assert backbones["DuATM"] == "DenseNet-121"
    assert backbones["HA-CNN"] == "of its own"
    assert set(backbones.values()) == {
        "GoogLeNet/Inception", "DenseNet-121", "of its own", "ResNet-50",
    }  # fmt: skip
    assert [row[0] for row in rows[-3:]] == ["baseline", "+ attention", "+ reinforce"]
    assert rows[-1][3] == dreal.TABLE_2["reinforced"]["market"].rank1.printed


def test_the_papers_contradiction():
    rows = [texts(row) for row in table_2.published_gains().rows]
    assert rows == [  # by hand from the printed rows and section 4.2
        ["Market-1501", "Rank-1", "+1.4", "+1.4", "yes"],
        ["Market-1501", "mAP", "+3.7", "+0.7", "no"],
        ["DukeMTMC-reID", "Rank-1", "+3.2", "+3.2", "yes"],
        ["DukeMTMC-reID", "mAP", "+3.6", "+2.6", "no"],
    ]
    said = table_2.contradiction()
    assert "+0.7 on Market-1501, where Table 2 gives +3.7; and +2.6 on DukeMTMC-reID" in said


def test_our_table_by_hand(tmp_path):
    for seed, rank1 in enumerate((50.0, 52.0, 54.0)):
        write_retrieval(tmp_path, "attention", seed=seed, rank1=rank1, mean_ap=rank1 - 10)
    comparison = compared(tmp_path)
    last, best = (table_2.our_results(comparison, epoch) for epoch in ("last", "best"))
    assert [texts(row) for row in last.rows] == [
        ["rendered figures", "baseline", *["not run"] * 4, "0"],
        [
            "", "+ attention ●", "52.00 ± 2.00", "42.00 ± 2.00", "41.00 ± 2.00", "21.00 ± 1.00",
            "3",
        ],
        ["", "+ reinforce", *["not run"] * 4, "0"],
    ]  # fmt: skip
    assert texts(best.rows[1])[2:4] == ["53.00 ± 2.00", "43.00 ± 2.00"]
    assert last.legend() == "● recorded (smoke)"


def test_best_epochs_are_told_where_they_differ_alone(tmp_path):
    same = scores(60.0, 40.0, 4)
    write_retrieval(tmp_path, "baseline", last=same, best=same)
    (said,) = table_2.best_epochs(compared(tmp_path))
    assert said.endswith("has the scores of the last one.")
    write_retrieval(tmp_path, "attention", rank1=50.0, mean_ap=40.0)  # its best has a point more
    first, row = table_2.best_epochs(compared(tmp_path))
    assert "and so flattered" in first
    assert row == (
        "rendered figures, + attention, best epoch: Rank-1 51.00, mAP (step sum) 41.00, mAP "
        "(trapezoid) 40.00, mINP 20.50."
    )
    assert table_2.best_epochs(compared(tmp_path / "none")) == []


def three_rows(root, gains=(10.0, 11.0, 12.0), **options):
    """Attention gains these points over the baseline, reinforcement nothing on average."""
    for seed, gain in enumerate(gains):
        start = 40.0 + 5 * seed
        write_retrieval(root, "baseline", seed=seed, rank1=start, mean_ap=start, **options)
        attention, reinforced = start + gain, start + gain + (1, -1, 0)[seed]
        write_retrieval(root, "attention", seed=seed, rank1=attention, mean_ap=attention, **options)
        write_retrieval(
            root, "reinforced", seed=seed, rank1=reinforced, mean_ap=reinforced, **options
        )


def test_differences_are_paired_by_seed(tmp_path):
    three_rows(tmp_path)
    rows = [texts(row) for row in table_2.our_differences(compared(tmp_path)).rows]
    # 10, 11, 12: mean 11, spread 1, half width 4.302653 / sqrt(3) = 2.484.
    assert rows[0] == [
        "rendered figures", "attention less baseline ●", "+11.00 ± 1.00", "+8.52 to +13.48",
        "+11.00 ± 1.00", "+8.52 to +13.48", "+11.00 ± 1.00", "+5.50 ± 0.50", "3",
    ]  # fmt: skip
    assert rows[1][1:4] == ["reinforce less attention ●", "0.00 ± 1.00", "-2.48 to +2.48"]


def test_sentences_say_what_the_rule_allows(tmp_path):
    three_rows(tmp_path)
    said = [text.replace(MINUS, "-") for text in table_2.sentences(compared(tmp_path))]
    assert said[0].startswith(
        "rendered figures, + attention against baseline: Rank-1 +11.00 ± 1.00 points "
        "(95 % interval +8.52 to +13.48, n = 3), significantly better; mAP (step sum) +11.00"
    )
    assert "not significant; mAP" in said[1]
    assert table_2.sentences(compared(tmp_path / "none")) == [
        "No pair of runs at scale smoke: nothing can be said yet."
    ]


def test_a_step_that_loses_is_said_to_lose(tmp_path):
    three_rows(tmp_path, (-10.0, -11.0, -12.0))
    attention, reinforced = table_2.sentences(compared(tmp_path))
    assert attention.endswith("Attention itself loses here, in Rank-1 and mAP (step sum).")
    assert "loses" not in reinforced


def test_the_training_error_left_is_told(tmp_path):
    write_retrieval(tmp_path, "baseline")
    (said,) = retrieval_rows.facts(compared(tmp_path))
    assert "wrong in the last epoch, as they are augmented: baseline 1.0 %." in said


def test_one_seed_allows_no_claim(tmp_path):
    write_retrieval(tmp_path, "attention", rank1=40.0)
    write_retrieval(tmp_path, "reinforced", rank1=90.0)
    (said,) = table_2.sentences(compared(tmp_path))
    assert "Rank-1 +50.00 ± — points (n = 1: one seed, no interval)" in said


def test_every_data_set_of_the_profile_has_rows(tmp_path):
    for variant in ("omniglot", "two_cores", "custom-12", None):
        write_retrieval(tmp_path, "baseline", profile="desktop", variant=variant)
    parts = compared(tmp_path, "desktop").parts
    assert [part.variant for part in parts] == [
        "omniglot_long",
        "omniglot",
        "grocery",
        None,
        "two_cores",
    ]
    labels = [retrieval_rows.label_of(part) for part in parts]
    assert labels == [
        "Omniglot, 1,920 steps",
        "Omniglot, 270 steps",
        "Grocery Store",
        "made-up",
        "made-up",
    ]
    one = compared(tmp_path, "desktop", "omniglot", every=False)
    assert [run.record.variant for run in one.runs] == ["omniglot"]
    commands = [command for part in parts for command in missing_runs(part, None, "D")]
    assert sum("--variant grocery " in command for command in commands) == 3
    assert (
        "dreal train table_2/resnet50_attention --profile desktop --variant omniglot --seed 0 "
        "--threads 1 --data D"
    ) in commands
    assert not any("baseline" in c and "omniglot " in c for c in commands)


def test_rows_that_differ_in_more_are_refused(tmp_path):
    write_retrieval(tmp_path, "attention")
    write_retrieval(tmp_path, "reinforced", settings={"epochs": 5})
    with pytest.raises(UserError, match="method, network, seed alone, but differ in epochs; run"):
        compared(tmp_path)


def test_the_papers_numbers_stand_beside_its_recipe_alone(tmp_path):
    market = {"data": DATA | {"name": "market1501"}, "profile": "paper"}
    write_retrieval(tmp_path, "baseline", **market)
    table = table_2.our_results(compared(tmp_path, "paper"), "last")
    assert str(table.columns[6]).startswith("Paper")
    printed = dreal.TABLE_2["baseline"]["market"]
    assert table.rows[0][6] == f"{printed.rank1.printed} / {printed.mean_ap.printed}"
    assert table.rows[3][6] == "—"  # Duke was not run
    changed = write_retrieval(tmp_path / "b", "baseline", overrides={"epochs": 4}, **market)
    assert changed.overrides
    assert len(table_2.our_results(compared(tmp_path / "b", "paper"), "last").columns) == 7


def test_average_precision_by_query(tmp_path):
    before, after = figure_arrays(), figure_arrays()
    change = np.float32([0.04, 0.02, -0.02, 0, 0, 0, 0, 0])
    after["queries/average_precision"] = before["queries/average_precision"] + change
    write_retrieval(tmp_path, "attention", arrays=before)
    write_retrieval(tmp_path, "reinforced", arrays=after)
    (row,) = table_2.by_query(compared(tmp_path)).rows
    # 4, 2, -2 and five zeros, two an identity: mean 0.5, sums less their share 5, -3, -1, -1, so
    # se = sqrt(4/3 * 36) / 8 = 0.8660, half 3.182446 * 0.8660 = 2.7561 (as if apart, 1.4821).
    assert texts(row) == [
        "rendered figures", "reinforce less attention ●", "0", "+0.50", "-2.26 to +3.26",
        "2 / 1", "8", "4",
    ]  # fmt: skip


def test_without_identities_queries_have_no_interval(tmp_path):
    for method in ("attention", "reinforced"):
        arrays = figure_arrays()
        del arrays["queries/identity"]
        write_retrieval(tmp_path, method, arrays=arrays)
    (row,) = table_2.by_query(compared(tmp_path)).rows
    assert texts(row)[4:] == ["—", "0 / 0", "8", "—"]


def test_runs_judged_by_other_queries_are_refused(tmp_path):
    other = figure_arrays() | {"queries/place": np.arange(1, 9, dtype=np.int32)}
    write_retrieval(tmp_path, "attention")
    write_retrieval(tmp_path, "reinforced", arrays=other)
    with pytest.raises(UserError, match="judged by other queries"):
        table_2.by_query(compared(tmp_path))


def test_parameters_of_the_pages():
    every = check_parameters("table_2", {})
    assert (every.profile, every.variant, every.every_variant) == ("desktop", None, True)
    assert every.covers("desktop", "omniglot")
    assert not every.covers("smoke", None)
    one = check_parameters("table_2", {"variant": "grocery"})
    assert (one.variant, one.every_variant) == ("grocery", False)
    assert not one.covers("desktop", "omniglot")
    assert check_parameters("retrieval", {}).scale == "smoke"
    assert check_parameters("retrieval", {"profile": "desktop"}).scale == "desktop+omniglot"


def test_the_page_without_a_run_says_how_to_make_each(tmp_path, run_page):
    said = run_page("table_2", records_root=str(tmp_path))
    assert said.count("dreal train table_2/") == 9
    assert "nothing can be said yet" in said
    assert "Records: none at scale desktop" in said


def test_the_page_is_made_from_records_alone(tmp_path, run_page):
    three_rows(tmp_path, profile="desktop", variant="omniglot")
    write_retrieval(tmp_path, "baseline", rank1=12.5)
    said = run_page("table_2", records_root=str(tmp_path), seeds="[0, 1]")
    assert "6 recorded in" in said  # the seeds asked for, of every variant
    assert "12.50" in said  # another scale stands beside
    assert "10 training identities, 4 cameras, 40 training, 8 query and 30 gallery" in said
    assert "-p variant=default" in said
    assert "scale desktop+omniglot): 40 images of 10 identities for training" in said
