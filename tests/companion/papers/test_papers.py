"""Published numbers: transcribed once, and consistent with what their sources say about them."""

import re
from pathlib import Path

import pytest

from book.companion.papers import dreal, names
from dreal_lib.errors import UserError

ROOT = Path(__file__).parents[3]


def test_the_six_networks_stand_in_the_papers_order():
    assert list(dreal.TABLE_1) == [
        "se_resnet50",
        "se_resnet101",
        "cbam_resnet50",
        "cbam_resnet101",
        "srm_resnet50",
        "srm_resnet101",
    ]
    assert dreal.TABLE_1["se_resnet50"].label == "SE-ResNet-50"


def test_own_errors_are_whole_numbers_of_the_50_000_images():
    # One image is 0.002 per cent: a digit transcribed wrong is caught half of the time.
    for row in dreal.TABLE_1.values():
        for errors in (row.self_implemented, row.reinforced):
            for number in (errors.top1, errors.top5):
                images = number.value * 500
                assert images == pytest.approx(round(images), abs=1e-6), (row.label, number)
    for number in dreal.TABLE_3.values():
        assert number.value * 500 == pytest.approx(round(number.value * 500), abs=1e-6)


def test_errors_are_ordered_as_the_paper_says():
    for row in dreal.TABLE_1.values():
        for errors in (row.official, row.self_implemented, row.reinforced):
            assert errors.top5.value < errors.top1.value
        assert row.reinforced.top1.value < row.self_implemented.top1.value
        assert row.reinforced.top5.value < row.self_implemented.top5.value
    # "conv2_x ... conv5_x": Table 3 falls with depth and lies between none and all.
    table_3 = [dreal.TABLE_3[k].value for k in ("none", "layer1", "layer2", "layer3", "layer4")]
    assert [*table_3, dreal.TABLE_3["all"].value] == sorted(
        [*table_3, dreal.TABLE_3["all"].value], reverse=True
    )


def test_added_parameters_are_the_percentages_of_section_4_1():
    for network, per_cent in (("se_resnet50", 0.11), ("se_resnet101", 0.06)):
        row = dreal.TABLE_1[network]
        added = row.reinforced_cost.parameters.value / row.cost.parameters.value - 1
        assert 100 * added == pytest.approx(per_cent, abs=0.006)


def test_table_2_against_the_prose():
    sona = dreal.TABLE_2_COMPARED[-1]
    ours = dreal.TABLE_2["reinforced"]["market"]
    assert sona.name == "SONA"
    assert ours.rank1.value - sona.market.rank1.value == pytest.approx(0.5, abs=0.05)
    assert ours.mean_ap.value - sona.market.mean_ap.value == pytest.approx(0.8, abs=0.05)
    for data, margins in dreal.SECTION_4_2_MARGINS.items():
        with_reward, without = (dreal.TABLE_2[row][data] for row in ("reinforced", "attention"))
        assert with_reward.rank1.value - without.rank1.value == pytest.approx(margins.rank1.value)
        # The contradiction that the book reports: the mAP margins of the prose are not the table's.
        gap = with_reward.mean_ap.value - without.mean_ap.value
        assert abs(gap - margins.mean_ap.value) > 0.9
    assert sum(method.duke is None for method in dreal.TABLE_2_COMPARED) == 2


def test_missing_costs_are_missing():
    assert dreal.TABLE_1["cbam_resnet50"].cost.gflops is None
    assert dreal.TABLE_1["srm_resnet101"].cost.gflops is None
    printed = [row.cost.gflops for row in dreal.TABLE_1.values()]
    assert sum(number is not None for number in printed) == 4
    assert all(row.reinforced_cost.gflops is not None for row in dreal.TABLE_1.values())


def test_tolerance_follows_the_printed_digits():
    row = dreal.TABLE_1["se_resnet101"]
    assert row.official.top1.tolerance == pytest.approx(0.005)
    assert row.reinforced.top1.tolerance == pytest.approx(0.0005)
    # 49,326,872 true parameters are printed 49.326: cut off, not rounded.
    printed = row.cost.parameters
    assert abs(49.326872 - printed.value) < printed.tolerance
    assert abs(49.326872 - printed.value) > 0.5 * 10**-printed.decimals
    assert dreal.TABLE_1["cbam_resnet101"].cost.parameters.printed == "49.330"


def test_a_published_error_stands_once():
    """No other source file repeats a three-digit error; costs may coincide with computed ones."""
    errors = {
        number.printed
        for row in dreal.TABLE_1.values()
        for pair in (row.self_implemented, row.reinforced)
        for number in (pair.top1, pair.top5)
    } | {number.printed for number in dreal.TABLE_3.values()}
    assert len(errors) == 26  # 24 of Table 1, of which two stand twice, and 4 of Table 3
    others = [
        path
        for folder in ("dreal_lib", "book", "tests")
        for path in (ROOT / folder).rglob("*.py")
        if path.parent.name != "papers"
    ]
    for path in others:
        repeated = errors & set(re.findall(r"\b\d{1,2}\.\d{3}\b", path.read_text()))
        assert not repeated, (
            f"{path} repeats {repeated}; read them from book.companion.papers.dreal"
        )


@pytest.mark.parametrize(
    ("block", "name"),
    [
        ("layer2.3", "conv3_3"),
        ("layer4.2", "conv5_2"),
        ("layer3.5", "conv4_5"),
        ("layer3.22", "conv4_22"),
        ("layer1.0.spatial", "conv2_0 spatial"),
        ("layer1.0.channel", "conv2_0 channel"),
    ],
)
def test_blocks_have_the_papers_names(block, name):
    assert names.paper_block_name(block) == name


@pytest.mark.parametrize("block", ["layer5.0", "layer1", "conv3_3", "layer1.0.style", ""])
def test_what_is_no_block_is_refused(block):
    with pytest.raises(UserError, match="layer2"):
        names.paper_block_name(block)
