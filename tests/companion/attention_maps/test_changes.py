"""Attention measures, claims and bypass rewards: worked by hand, or by slow independent loops."""

import itertools

import numpy as np
import pandas as pd
import pytest
from synthetic_attention import BLOCKS_OF_50, THIN, attention, statistics
from synthetic_records import write_run

from book.companion.attention_maps import changes, loaded, measures
from book.companion.attention_maps.spatial import (
    load_rewards,
    reward_sentences,
    reward_table,
    summarise_rewards,
)
from book.companion.papers import names
from book.companion.text import differences
from book.companion.text.tables import MINUS, NOTHING
from dreal_lib import records
from dreal_lib.errors import UserError


def figure_arrays(maps=THIN, shape=(4,), rewards=None, right=None):
    item = statistics(shape=shape)
    arrays = {"labels": np.array([0, 0, 1, 1, 2], dtype=np.int16)}
    for name in maps:
        arrays[f"attention/{name}/mean"] = item.mean.astype(np.float32)
        arrays[f"attention/{name}/variance"] = item.variance.astype(np.float32)
        arrays[f"attention/{name}/between_class_variance"] = item.between.astype(np.float32)
    if rewards is not None:
        arrays["rewards"] = np.array(rewards, dtype=np.float16)
        arrays["reward_blocks"] = np.array(THIN[: arrays["rewards"].shape[1]])
        arrays["right"] = np.array(right)
    return arrays


def stored(root, method, arrays, seed=0):
    """A run with these figure data; None: with none."""
    recipe = f"table_1/se_resnet50_{method}"
    record = write_run(root, recipe, seed=seed)
    path = records.record_path(root, "smoke", None, recipe, seed)
    file = arrays and records.write_figure_data(records.companion_path(path, "figure_data"), arrays)
    files = record.files.model_copy(update={"figure_data": file})
    record = record.model_copy(update={"files": files})
    records.write_record(record, path)
    return records.StoredRecord(record, path)


def pair(root, arrays, seeds=(0,)):
    return tuple(
        [stored(root, method, arrays, seed) for seed in seeds]
        for method in ("baseline", "reinforced")
    )


# Measures


def test_measures_by_hand():
    mean = np.array([0.2, 0.4, 0.6, 0.8])  # variance (0.09 + 0.01) / 2
    assert measures.spread(mean) == pytest.approx(0.05**0.5)
    assert measures.spread(np.full(7, 0.3)) == pytest.approx(0)
    assert measures.spread(np.array([0.0, 1.0])) == pytest.approx(0.5)  # the most there can be
    assert measures.relative_spread(mean) == pytest.approx(2 * 0.05**0.5)
    assert np.isnan(measures.relative_spread(np.zeros(3)))
    assert measures.fluctuation(np.array([0.01, 0.04, 0.0])) == pytest.approx(0.1)
    assert measures.inside_share(np.array([0.0, 0.05, 0.5, 0.94, 0.95])) == pytest.approx(0.4)
    assert measures.class_share(np.array([0.01, 0.0]), np.array([0.03, 0.01])) == 0.25
    assert np.isnan(measures.class_share(np.zeros(2), np.zeros(2)))


def test_the_bounds_are_where_the_slope_falls_to_a_fifth():
    slopes = [bound * (1 - bound) / 0.25 for bound in measures.BOUNDS]
    assert slopes == pytest.approx([0.19, 0.19])


def eta_squared(values, labels):
    """Sums of squares over images, one by one: between classes, and in all."""
    overall = values.mean(0)
    between = total = 0.0
    for value, label in zip(values, labels, strict=True):
        members = [v for v, other in zip(values, labels, strict=True) if other == label]
        between += ((np.mean(members, axis=0) - overall) ** 2).sum()
        total += ((value - overall) ** 2).sum()
    return between / total


def test_class_share_of_what_evaluation_streams():
    from dreal_lib.diagnosis.evaluation import ClassMeans, StreamingMoments

    torch = pytest.importorskip("torch")
    generator = np.random.default_rng(0)
    labels = np.array([0, 0, 0, 1, 2, 2])
    values = generator.random((6, 3)) + labels[:, None] * [0.0, 0.2, 0.5]
    moments, means = StreamingMoments(), ClassMeans.empty(4, 3, torch.device("cpu"))
    for part in (slice(0, 2), slice(2, 6)):
        moments.add(torch.tensor(values[part]))
        means.add(torch.tensor(values[part]), torch.tensor(labels[part]))
    share = measures.class_share(means.between_class_variance().numpy(), moments.variance.numpy())
    assert share == pytest.approx(eta_squared(values, labels))


def test_class_share_by_chance_is_the_mean_over_all_labellings():
    values, labels = np.random.default_rng(1).random((5, 2)), [0, 0, 1, 1, 2]
    shares = [eta_squared(values, dealt) for dealt in itertools.permutations(labels)]
    assert loaded.chance_share(np.array(labels)) == pytest.approx(np.mean(shares))
    assert np.isnan(loaded.chance_share(np.array([0])))


def test_every_map_of_every_run_is_measured():
    frame = measures.measure(attention(reinforced=lambda name, seed: statistics(0.1 * seed)))
    assert len(frame) == 2 * 3 * 4
    row = frame.query("method == 'reinforced' and seed == 2 and map == 'layer3.0'").iloc[0]
    assert row["spread"] == pytest.approx(0.2)
    assert row["relative_spread"] == pytest.approx(0.4)
    assert (row["lowest"], row["highest"]) == pytest.approx((0.3, 0.7))
    assert (row["fluctuation"], row["class_share"]) == pytest.approx((0.2, 0.25))
    assert (row["level"], row["inside"]) == pytest.approx((0.5, 1.0))


# Loading


def test_maps_come_back_by_seed_and_from_shallow_to_deep(tmp_path):
    maps = ["layer3.10", "layer1.0", "layer3.2"]
    found = loaded.load(*pair(tmp_path, figure_arrays(maps), seeds=(3, 1)))
    assert found.maps == ("layer1.0", "layer3.2", "layer3.10")
    assert found.seeds == (1, 3)
    assert (found.network, found.scale, found.origin) == ("se_resnet50", "smoke", "recorded")
    assert found.images == 100
    assert found.chance == pytest.approx(2 / 4)
    item = found.found["reinforced"][3]["layer3.2"]
    np.testing.assert_allclose(item.mean, [0.4, 0.6, 0.4, 0.6], rtol=1e-6)
    assert item.mean.dtype == np.float64


def test_the_kind_of_map_is_chosen(tmp_path):
    spatial = figure_arrays(["layer1.0.spatial"], shape=(2, 3))
    runs = pair(tmp_path, figure_arrays(["layer1.0.channel"]) | spatial)
    assert loaded.load(*runs).maps == ("layer1.0.channel",)
    assert loaded.load(*runs, kind="spatial").maps == ("layer1.0.spatial",)


def test_without_runs_nothing_is_loaded():
    assert loaded.load([], []) is None
    assert load_rewards([], []).empty


def without(key):
    return {name: array for name, array in figure_arrays().items() if name != key}


@pytest.mark.parametrize(
    ("arrays", "kind", "message"),
    [
        (None, "channel", "has no figure data; run its recipe again"),
        ({"labels": np.zeros(3, dtype=np.int16)}, "channel", "holds no attention map"),
        (figure_arrays(), "spatial", "holds no spatial attention map.*e.g. cbam_resnet50"),
        (
            without("attention/layer2.0/variance"),
            "channel",
            "layer2.0/variance .*is missing",
        ),
        (without("attention/layer2.0/mean"), "channel", "layer2.0/mean .*is missing"),
        (
            figure_arrays() | {"attention/layer3.0/variance": np.ones(3, np.float32)},
            "channel",
            "layer3.0/variance has another shape",
        ),
        (
            figure_arrays() | {"attention/layer3.0/mean": np.float32([1, 2, np.nan, 3])},
            "channel",
            "layer3.0/mean holds a value that is no number",
        ),
    ],
)
def test_a_record_that_cannot_be_drawn_is_one_line(tmp_path, arrays, kind, message):
    with pytest.raises(UserError, match=message) as caught:
        loaded.load(*pair(tmp_path, arrays), kind=kind)
    assert "\n" not in str(caught.value)
    assert "seed0" in str(caught.value)


def test_runs_must_be_pairs(tmp_path):
    baseline = [stored(tmp_path, "baseline", figure_arrays(), 0)]
    reinforced = [stored(tmp_path, "reinforced", figure_arrays(), 1)]
    with pytest.raises(UserError, match=r"baseline has seeds \[0\], reinforced \[1\]"):
        loaded.load(baseline, reinforced)


# What is shown


def test_fig_2_shows_the_last_block_of_each_stage():
    shown = loaded.last_blocks(attention(BLOCKS_OF_50, seeds=(4, 2)))
    assert shown.maps == ("layer1.2", "layer2.3", "layer3.5", "layer4.2")
    assert shown.seed == 2
    assert len(loaded.all_blocks(attention(BLOCKS_OF_50)).maps) == 16
    many = [f"layer3.{index}" for index in range(23)]
    assert names.last_of_stages(many) == ("layer3.22",)


def test_the_shade_is_three_variances_or_three_deviations():
    item = statistics(deviation=0.2)
    for shade, half in (("variance", 0.12), ("deviation", 0.6)):
        shown = loaded.last_blocks(attention(), shade, "1")
        assert shown.seed == 1
        np.testing.assert_allclose(shown.half_width(item), half)


def test_bad_choices_list_the_good_ones():
    with pytest.raises(UserError, match=r"shade 'varience'; did you mean 'variance'"):
        loaded.last_blocks(None, "varience")  # also where nothing was run
    with pytest.raises(UserError, match="shown_seed 7; choices: first, 0, 1, 2"):
        loaded.all_blocks(attention(), "variance", 7)


# Claims


def test_an_interval_is_cut_where_the_measure_ends():
    found = changes.change(frame_of({"inside": (-0.9, -0.1, -0.5)}), "a", "inside")
    # Student's t alone: -0.5 -+ 4.303 * 0.4 / sqrt 3 = -1.494 to +0.494
    assert (found.mean, found.low, found.high) == pytest.approx((-0.5, -1.0, 0.494), abs=1e-3)
    deviations = changes.change(frame_of({"spread": (0.4, 0.1, 0.0)}), "a", "spread")
    assert (deviations.low, deviations.high) == pytest.approx((-0.350, 0.5), abs=1e-3)
    rewards = changes.change(frame_of({"reward": (-0.9, -0.1, -0.5)}), "a", "reward")
    assert rewards.low == pytest.approx(-1.494, abs=1e-3)  # a reward has no lower bound of 1


def frame_of(by_seed):
    """A frame of one map whose measure changes so by seed."""
    ((quantity, values),) = by_seed.items()
    rows = [
        {"method": method, "seed": seed, "map": "a", quantity: value * (method == "reinforced")}
        for method in ("baseline", "reinforced")
        for seed, value in enumerate(values)
    ]
    return pd.DataFrame(rows)


def test_depth_averages_the_blocks_of_a_stage():
    def reinforced(name, seed):
        # conv5_x: blocks change by 0.1, 0.2, 0.3, so 0.2 on average, and a bit by seed.
        change = 0.1 * (int(name[-1]) + 1) + 0.001 * seed if name.startswith("layer4") else 0
        return statistics(0.1 + change, share=0.5)

    found = attention(BLOCKS_OF_50, reinforced=reinforced)
    deepest = changes.change(changes.by_stage(measures.measure(found)), "layer4", "spread")
    assert deepest.mean == pytest.approx(0.201)
    classes = changes.class_sentence(found)
    assert "conv2_x 0.250 to 0.500" in classes
    assert classes.endswith("By chance: 0.020.")


def test_a_map_that_one_run_lacks_is_left_out_of_its_numbers():
    lacking = attention(reinforced=lambda name, seed: statistics(0.2 + 0.01 * seed))
    for seed in (0, 1):
        del lacking.found["reinforced"][seed]["layer2.0"]
    table = changes.measure_table(lacking, ["spread"])
    rows = {str(row[1]).split("\N{NO-BREAK SPACE}")[0]: row for row in table.rows}
    assert rows["conv3_0"][3:] == ("0.220", "+0.120", NOTHING, "1")
    assert rows["conv4_0"][3:5] == ("0.210 ± 0.010", "+0.110")
    del lacking.found["reinforced"][2]["layer2.0"]
    assert changes.change(measures.measure(lacking), "layer2.0", "spread") is None


def test_the_table_counts_measures_and_blocks():
    table = changes.last_block_table(attention(BLOCKS_OF_50))
    assert len(table.rows) == 3 * 4
    assert table.legend() == "● recorded (smoke)"
    only = changes.measure_table(attention(), ["class_share"])
    assert [row[0] for row in only.rows] == ["class share"] * 4


def test_without_runs_the_page_says_so():
    assert changes.class_sentence(None) == differences.NO_RUNS
    assert changes.last_block_table(None).rows[0][0] == "no pair of runs"
    assert changes.spread_sentence(None) == differences.NO_RUNS
    nothing = load_rewards([], [])
    assert reward_sentences(nothing) == [differences.NO_RUNS]
    assert reward_table(nothing, "recorded", "smoke").rows[0][0] == "no pair of runs"


# Spatial maps and rewards


def test_rewards_by_hand():
    found = summarise_rewards(np.array([0.5, -0.25, 0.0, 0.75], np.float16))
    assert found == {"reward": 0.25, "helped": 0.5, "hurt": 0.25}
    assert np.isnan(summarise_rewards(np.array([]))["reward"])


def test_only_images_predicted_right_count(tmp_path):
    rewards = [[0.5, -0.5], [-1, -1], [0.25, 0.25], [-1, -1]]
    runs = pair(tmp_path, figure_arrays(rewards=rewards, right=[True, False, True, False]))
    found = load_rewards(*runs)
    assert found["map"].unique().tolist() == ["layer1.0", "layer2.0"]
    second = found.query("method == 'baseline' and map == 'layer2.0'").iloc[0]
    assert second[["right", "reward", "helped", "hurt"]].tolist() == [0.5, -0.125, 0.5, 0.5]
    row = reward_table(found, "recorded", "smoke").rows[1]
    assert row[1:] == (f"{MINUS}0.125, {MINUS}0.125", "0.000", NOTHING, "1", *["0.50, 0.50"] * 2)
    baseline, _, change = reward_sentences(found)
    assert "50 % of the images predicted right: the attention of conv2_0" in baseline
    assert "loses 38 % of its probability" in baseline
    assert "conv3_0 hurt most often, on 50 %" in baseline
    assert f"conv3_0 0.000 ± {NOTHING} (n = 1: one seed, no interval)" in change


def test_a_network_that_is_never_right_has_no_rewards(tmp_path):
    runs = pair(tmp_path, figure_arrays(rewards=[[-1.0, -1.0]], right=[False]))
    found = load_rewards(*runs)
    assert reward_table(found, "recorded", "smoke").rows[0][1] == f"{NOTHING}, {NOTHING}"
    assert "no block has a reward" in reward_sentences(found)[0]


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        (figure_arrays(), "lacks rewards, reward_blocks, right"),
        (figure_arrays(rewards=[[1.0, 1.0]], right=[True, True]), r"shape \(1, 2\), not 2 images"),
    ],
)
def test_rewards_that_cannot_be_read_are_one_line(tmp_path, arrays, message):
    with pytest.raises(UserError, match=message) as caught:
        load_rewards(*pair(tmp_path, arrays))
    assert "\n" not in str(caught.value)
