"""Statements that need training: verdicts follow from made-up runs, at the paper's scale alone."""

import math

import pytest
from synthetic_board import BY_ID, IMAGENET, judged, write_pairs, write_steps
from synthetic_records import write_run

from book.companion.claims import render
from book.companion.claims.judged import at_paper_scale, observe
from book.companion.claims.measured import Measured
from book.companion.claims.row_sums import printed_sum, terms_of
from book.companion.claims.rules import RULES, all_of, holds_size, marginal, prediction_half_width
from book.companion.claims.sources import Scale, measure_part
from book.companion.claims.statements import NOT_REPRODUCED, REPRODUCED, UNTRIED
from book.companion.papers import dreal
from dreal_lib import records
from dreal_lib.comparison.paired import paired_difference
from dreal_lib.errors import UserError
from dreal_lib.recipes import load_recipe

# The rule for what was trained


def difference(*values):
    return paired_difference(dict.fromkeys(range(len(values)), 0.0), dict(enumerate(values)))


@pytest.mark.parametrize(
    ("values", "claimed", "printed", "holds"),
    [
        ((-0.5, -0.4, -0.45), "lower", None, True),
        ((-0.5, -0.4, -0.45), "higher", None, False),
        ((-0.5, -0.4, -0.45), "lower", -0.464, True),
        ((-0.5, -0.4, -0.45), "lower", -3.0, False),  # the direction, but not the size
        ((-0.34, -0.46, -0.58), "lower", None, True),
        ((-0.34, -0.46, -0.58), "lower", -0.464, None),  # half-width 0.60: any size would agree
        ((-0.45, -0.46, -0.47), "lower", -0.04, False),
        ((0.34, 0.46, 0.58), "lower", -0.1, False),  # the other direction, however they scatter
        ((-0.5, 0.4, -0.1), "lower", None, None),
        ((-0.5, 0.4, -0.1), "lower", -0.464, None),
        ((-0.05, 0.04, -0.01), "lower", -0.464, False),  # too small to be it, whatever its sign
        ((-0.5,), "lower", -0.464, None),
        ((-0.5, -0.5), "lower", -0.464, None),
    ],
)
def test_holding_of_a_size(values, claimed, printed, holds):
    assert holds_size(difference(*values), claimed, printed) is holds


def test_the_prediction_interval_by_hand():
    # t of 2 degrees of freedom at 97.5 %: 4.302653; s = 1, n = 3: t * s * sqrt(1 + 1/3)
    assert prediction_half_width(difference(-1, 0, 1)) == pytest.approx(4.302653 * math.sqrt(4 / 3))
    assert math.isnan(prediction_half_width(difference(1)))
    assert holds_size(None, "lower", None) is None


def test_all_of_several():
    assert all_of([True, True]) is True
    assert all_of([True, None]) is None
    assert all_of([None, False]) is False
    assert all_of([]) is None


@pytest.mark.parametrize(
    ("rule", "values", "printed", "holds"),
    [
        # t of 2 degrees of freedom, s = 0.1: half-widths 0.25 of the mean, 0.50 of one more run
        ("marginal", (0.0, 0.1, -0.1), 0.5, True),
        ("marginal", (0.0, 0.1, -0.1), 0.2, None),
        ("marginal", (0.5, 0.6, 0.4), 1.0, False),  # no benefit
        ("marginal", (-2.0, -2.1, -1.9), 1.0, False),  # more than a marginal one
        ("not_lower", (0.0, 0.1, -0.1), 0.3, True),
        ("not_lower", (0.0, 0.1, -0.1), 0.2, None),
        ("not_lower", (-0.5, -0.6, -0.4), 0.3, False),
        ("agrees", (0.0, 0.1, -0.1), 0.6, True),
        ("agrees", (0.0, 0.1, -0.1), 0.4, None),
        ("agrees", (0.6, 0.7, 0.5), 0.9, False),
        ("agrees", (0.1,), 0.6, None),
        ("above_zero", (0.1,), None, True),
        ("above_zero", (-0.1, 0.0), None, False),
    ],
)
def test_the_other_rules(rule, values, printed, holds):
    assert RULES[rule](Measured((), difference(*values)), printed, ()) is holds


def test_rules_on_what_has_no_interval():
    small, large = (Measured((), difference(x, 2 * x)) for x in (-1.0, 3.0))
    assert RULES["largest"](large, None, (small, large))
    assert not RULES["largest"](small, None, (small, large))
    assert RULES["every"](Measured((), count=(4, 4)), None, ())
    assert not RULES["every"](Measured((), count=(3, 4)), None, ())
    assert RULES["whole"](Measured((), ends=(0.5, 1.0)), None, ())
    assert not RULES["whole"](Measured((), ends=(1.0, 0.99)), None, ())
    assert marginal(None, 1.0) is None


# Sums of rows, and sources


def test_a_sum_of_rows_in_print_by_hand():
    few, many = dreal.TABLE_1["se_resnet50"], dreal.TABLE_1["se_resnet101"]
    fell, fell_more = (
        row.reinforced.top1.value - row.self_implemented.top1.value for row in (few, many)
    )
    gain = "table_1/se_resnet50_reinforced - table_1/se_resnet50_baseline"
    assert printed_sum(gain, "top1_error_pct") == pytest.approx(fell)
    deeper = "table_1/se_resnet101_reinforced - table_1/se_resnet101_baseline"
    both = f"{deeper} - table_1/se_resnet50_reinforced + table_1/se_resnet50_baseline"
    assert printed_sum(both, "top1_error_pct") == pytest.approx(fell_more - fell)
    ahead = "table_2/resnet50_reinforced - †table_2/named"
    assert printed_sum(ahead, "rank1_pct", "market1501") == pytest.approx(96.1 - 95.58)
    assert terms_of("a - b + †c") == [(1, "a"), (-1, "b"), (1, "†c")]


@pytest.mark.parametrize("rows", ["a b", "a -", "a * b"])
def test_what_is_no_sum_is_refused(rows):
    with pytest.raises(UserError, match="a sum of rows is written"):
        terms_of(rows)


def test_what_no_paper_prints_is_refused():
    with pytest.raises(UserError, match="no paper prints top5_error_pct of table_3/"):
        printed_sum("table_3/srm_resnet101_layer1_reinforced", "top5_error_pct")


def test_a_part_that_cannot_be_measured_is_refused():
    scale = Scale((), "smoke", None)
    with pytest.raises(UserError, match="guess"):
        measure_part(scale, "guess", {})
    with pytest.raises(UserError, match="source 'rows': missing a required"):
        measure_part(scale, "rows", {"rows": "a"})


SE = "SE-ResNet-14, width 16 (row SE-ResNet-50)"  # what made-up runs have trained


def test_runs_at_the_papers_scale_decide(tmp_path):
    write_pairs(tmp_path, "se_resnet50", (0.44, 0.47, 0.48), (0.37, 0.40, 0.39))
    entry = judged(tmp_path, "se-resnet-50")
    assert entry.verdict == REPRODUCED
    assert (entry.scales, entry.wanted) == ("paper", "")
    assert len(entry.runs) == 6
    assert str(entry.result).startswith(f"paper: {SE}: top-1 \N{MINUS SIGN}0.46 ± 0.02")


def test_the_same_runs_elsewhere_decide_nothing(tmp_path):
    write_pairs(tmp_path, "se_resnet50", (0.44, 0.47, 0.48), (0.37, 0.40, 0.39), "desktop")
    assert judged(tmp_path, "se-resnet-50", ("desktop", None)).verdict == UNTRIED


@pytest.mark.parametrize(
    "changes", [{"data": IMAGENET | {"classes": 20}}, {"overrides": {"epochs": 4}}]
)
def test_the_papers_profile_alone_is_not_its_scale(tmp_path, changes):
    write_pairs(tmp_path, "se_resnet50", (0.44, 0.47, 0.48), (0.37, 0.40, 0.39), **changes)
    assert judged(tmp_path, "se-resnet-50").verdict == UNTRIED
    assert not at_paper_scale(records.find_records(tmp_path))


def test_another_network_in_its_place_decides_nothing(tmp_path):
    write_pairs(tmp_path, "se_resnet101", (0.74, 0.77, 0.76), (0.37, 0.37, 0.38))
    scale = Scale(records.find_records(tmp_path), "paper", None)
    found = observe(scale, BY_ID["se-resnet-50"], network="se_resnet101")
    assert found.holds
    assert not found.decides
    assert render.full(found).startswith(
        "SE-ResNet-26, width 16 (row SE-ResNet-101): top-1 \N{MINUS SIGN}0.76"
    )


def test_one_seed_decides_nothing(tmp_path):
    write_pairs(tmp_path, "se_resnet50", (0.46,))
    entry = judged(tmp_path, "se-resnet-50")
    assert entry.verdict == UNTRIED
    assert "n = 1" in str(entry.result)
    assert "`table_1/se_resnet50_baseline`" in entry.wanted


def test_what_does_not_hold_is_said(tmp_path):
    write_pairs(tmp_path, "se_resnet50", (-0.44, -0.47, -0.48))
    assert judged(tmp_path, "se-resnet-50").verdict == NOT_REPRODUCED


def test_a_part_of_what_is_spoken_of_decides_nothing(tmp_path):
    write_pairs(tmp_path, "se_resnet50", (0.44, 0.47, 0.48))
    entry = judged(tmp_path, "consistent")
    assert entry.verdict == UNTRIED
    assert "mean of SE-ResNet-50)" in entry.said


NETWORKS = tuple(f"{kind}_resnet{depth}" for kind in ("se", "cbam", "srm") for depth in (50, 101))


@pytest.mark.parametrize(
    ("last", "verdict"),
    [
        ((0.5, 0.6, 0.7), REPRODUCED),
        ((-0.5, -0.6, -0.7), NOT_REPRODUCED),  # the mean still falls
        ((-0.5, 0.6, 0.1), UNTRIED),
    ],
)
def test_consistent_is_every_network_and_not_the_mean(tmp_path, last, verdict):
    for network in NETWORKS[:-1]:
        write_pairs(tmp_path, network, (2.0, 2.1, 2.2))
    write_pairs(tmp_path, NETWORKS[-1], last)
    entry = judged(tmp_path, "consistent")
    assert entry.verdict == verdict
    assert "mean \N{MINUS SIGN}1" in str(entry.result)


@pytest.mark.parametrize(
    ("gains", "holds"),
    [
        ((0.01, -0.01, 0.02), True),
        ((-0.5, -0.6, -0.55), True),  # errs more
        ((0.5, 0.6, 0.55), False),  # errs less than with 1
        ((-0.5, 0.6, 0.1), None),  # a gain as Table 1's could hide in the scatter
        ((0.5,), None),
    ],
)
def test_no_gamma_may_be_better(tmp_path, gains, holds):
    others = [name for name in BY_ID["gamma"].recipes if "gamma" in name]
    for seed, gain in enumerate(gains):
        for recipe, less in (("table_1/se_resnet50_reinforced", 0), *((r, gain) for r in others)):
            settings = load_recipe(recipe, "smoke").model_dump(mode="json")
            facts = {"settings": settings, "network": "se_resnet50"}
            write_run(tmp_path, recipe, seed=seed, top1=(22.0 - less, 20.0), **facts)
    scale = Scale(records.find_records(tmp_path), "smoke", None)
    assert observe(scale, BY_ID["gamma"]).holds is holds


def test_three_kinds_of_attention_that_trained_show_nothing_yet(tmp_path):
    for network in ("se_resnet50", "cbam_resnet50", "srm_resnet50"):
        write_pairs(tmp_path, network, (0.4, -0.5, 0.1))
    entry = judged(tmp_path, "plug-and-play")
    assert entry.verdict == UNTRIED
    assert "settings of the method the same in all" in entry.said


def test_deeper_networks_are_compared_gap_by_gap(tmp_path):
    for kind, few, many in (("se", 0.46, 0.76), ("cbam", 0.58, 0.84), ("srm", 0.35, 0.93)):
        write_pairs(tmp_path, f"{kind}_resnet50", (few, few + 0.01, few - 0.01))
        write_pairs(tmp_path, f"{kind}_resnet101", (many + 0.01, many + 0.01, many - 0.03))
    entry = judged(tmp_path, "deeper-top-1")
    assert entry.verdict == REPRODUCED
    assert "SE \N{MINUS SIGN}0.30" in str(entry.result)


def test_baselines_are_set_beside_the_papers_at_its_scale_alone(tmp_path):
    write_pairs(tmp_path, "se_resnet50", (0.4, 0.4, 0.4), profile="desktop")
    assert str(judged(tmp_path, "baselines", ("desktop", None)).result) == "not run"
    write_pairs(tmp_path, "se_resnet50", (0.4, 0.5, 0.4))
    assert "SE-ResNet-50" in str(judged(tmp_path, "baselines").result)


def test_critiques_and_rewards_over_epochs(tmp_path):
    """The made-up curves rise with the accuracy; the critic of layer1.0 is stuck in both runs."""
    write_pairs(tmp_path, "se_resnet50", (0.4, 0.5))
    follows, rises = judged(tmp_path, "critique-follows"), judged(tmp_path, "both-rise")
    assert follows.verdict == rises.verdict == NOT_REPRODUCED
    assert "in 10 of 12 module-runs" in str(follows.result)
    assert "reward rises in 12 of 12 module-runs, critique rises in 10 of 12" in str(rises.result)


def test_other_scales_stand_in_only_where_the_own_has_no_run(tmp_path):
    scales = (("desktop", "two_cores"), ("smoke", None))
    write_pairs(tmp_path, "se_resnet50", (0.4, 0.5), profile="smoke")
    assert str(judged(tmp_path, "se-resnet-50", *scales).result).startswith("smoke: ")
    write_pairs(tmp_path, "se_resnet50", (0.2, 0.3), profile="desktop", variant="two_cores")
    entry = judged(tmp_path, "se-resnet-50", *scales)
    assert entry.scales == "desktop+two_cores"
    assert str(entry.result).startswith(f"{SE}: top-1")


def test_retrieval_on_the_papers_set_decides(tmp_path):
    write_steps(tmp_path, "market1501")
    entry = judged(tmp_path, "reinforced-market")
    assert entry.verdict == REPRODUCED
    assert "Rank-1 +1.40 ± 0.10" in str(entry.result)


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("omniglot", {}),
        ("dukemtmc", {}),  # of the paper, but not this statement's
        ("market1501", {"overrides": {"epochs": 3}}),
    ],
)
def test_retrieval_on_another_set_decides_nothing_of_this_one(tmp_path, name, changes):
    write_steps(tmp_path, name, **changes)
    entry = judged(tmp_path, "reinforced-market")
    assert entry.verdict == UNTRIED
    assert "Rank-1 +1.40" in str(entry.result)


def test_other_sets_are_shown_once(tmp_path):
    write_steps(tmp_path, "omniglot")
    assert "Rank-1" in str(judged(tmp_path, "reinforced-market").result)
    assert judged(tmp_path, "reinforced-duke").result == "not run"


def test_both_sets_are_needed_to_be_ahead_of_all(tmp_path):
    write_steps(tmp_path, "market1501", ((7.0, 11.0), (7.1, 11.1)))
    half = judged(tmp_path, "state-of-the-art")
    assert (half.verdict, half.runs[0].record.data.name) == (UNTRIED, "market1501")
    duke = {"variant": "dukemtmc", "overrides": {"dataset": "dukemtmc"}}
    write_steps(tmp_path, "dukemtmc", ((7.0, 11.0), (7.1, 11.1)), **duke)
    assert judged(tmp_path, "state-of-the-art").verdict == REPRODUCED
