"""The numbers and sentences of Fig. 6, worked by hand."""

import numpy as np
import pandas as pd
import pytest
from synthetic_records import block_curves, write_run

from book.companion.critics import curves
from book.companion.critics.text import (
    curve_sentences,
    recurrence_of_runs,
    recurrence_text,
    silence_of_runs,
)
from book.companion.papers.names import blocks_of_stages
from book.companion.text.tables import MINUS
from dreal_lib.records import find_records


def two_maps():
    """Three epochs; the first map's critic is stuck, the second's follows exactly."""
    right = [0.0, 0.5, 0.8]
    rows = []
    for epoch, share in enumerate(right, start=1):
        gain = np.nan if share == 0 else 0.1 * epoch
        reward = -(1 - share) + (0 if share == 0 else share * gain)
        for name, critique in (("layer1.0", 0.0), ("layer4.2", reward / 2)):
            rows.append(
                {
                    "epoch": epoch,
                    "map": name,
                    "images": 50,
                    "critique_mean": critique,
                    "reward_mean": reward,
                    "right_share": share,
                    "reward_right_mean": gain,
                    "critique_rmse": 0.4 if name == "layer1.0" else 0.3,
                    "correlation": np.nan if name == "layer1.0" else 0.25,
                    "saturated_share": 0.9 if name == "layer1.0" else 0.0,
                }
            )
    return pd.DataFrame(rows)


def opposite_runs():
    """Three runs of one module; the critique follows in one and runs against it in two.

    The mean critique over the runs, (-0.3, 0.1, 0.5), rises with the reward all the same.
    """
    critiques = {0: [-1.3, 0.3, 1.7], 1: [0.2, 0.0, -0.1], 2: [0.2, 0.0, -0.1]}
    reward = [-0.8, -0.4, 0.0]
    return pd.concat(
        [
            two_maps()
            .query("map == 'layer4.2'")
            .assign(seed=seed, critique_mean=critique, reward_mean=reward)
            for seed, critique in critiques.items()
        ],
        ignore_index=True,
    )


def sentences(blocks):
    found = curve_sentences(curves.summarise_curves(blocks))
    return [sentence.replace(MINUS, "-") for sentence in found]


def test_a_summary_by_hand():
    stuck, follows = curves.summarise_curves(two_maps()).itertuples()
    # Last epoch: 0.8 * 0.3 - 0.2 = 0.04; accuracy alone: -1 at first, -0.2 at last.
    assert (follows.first_reward, follows.last_reward) == pytest.approx((-1.0, 0.04))
    assert (follows.first_accuracy, follows.last_accuracy) == pytest.approx((-1.0, -0.2))
    assert follows.follows == pytest.approx(1.0)
    assert (follows.rmse, stuck.rmse) == (0.3, 0.4)
    assert np.isnan(stuck.follows)
    assert (follows.seed, follows.stage) == (0, "layer4")


def test_correlation_by_hand():
    # Deviations (-1, 0, 1) and (-1, 1, 0): 1 / (sqrt 2 * sqrt 2).
    assert curves.correlation(np.array([1.0, 2, 3]), np.array([0.0, 2, 1])) == pytest.approx(0.5)
    assert curves.correlation(np.array([1.0, 2, 3]), np.array([3.0, 2, 1])) == pytest.approx(-1.0)
    assert np.isnan(curves.correlation(np.array([1.0, 2]), np.array([0.0, 2])))
    # Two values always correlate perfectly, and so does rounding noise with anything.
    noise = 0.3 + np.array([0.0, 1e-17, 0.0])
    assert np.isnan(curves.correlation(noise, np.array([1.0, 2, 3])))


def test_each_run_is_correlated_by_itself():
    blocks = opposite_runs()
    means = blocks.groupby("epoch")[["critique_mean", "reward_mean"]].mean()
    # What no run has: the mean of the runs follows the reward.
    assert curves.correlation(*means.to_numpy().T) == pytest.approx(1.0)
    found = curves.summarise_curves(blocks)
    assert found["seed"].tolist() == [0, 1, 2]
    # Deviations (-46, 2, 44)/30 and (5, -1, -4)/30 against (-1, 0, 1): 90 / sqrt(2 * 4056) and
    # -9 / sqrt(2 * 42).
    against = -9 / np.sqrt(84)
    expected = [90 / np.sqrt(8112), against, against]
    assert found["follows"].tolist() == pytest.approx(expected)
    table = curves.curve_table(found, "re-run", "smoke")
    assert [row[1] for row in table.rows] == ["0", "1", "2"]
    assert [row[5].replace(MINUS, "-") for row in table.rows] == ["+1.00", "-0.98", "-0.98"]


def test_the_sentences_say_the_numbers():
    parts, saturated, silent, errors, recurrence = sentences(two_maps())
    assert "changes by +1.04 (seed 0): +0.80 by accuracy alone, +0.24 by the gain" in parts
    assert "1 of 2 module-runs (2 modules, 1 run)" in saturated
    assert saturated.endswith(": conv2_0 in 1 of 1 run.")
    assert silent == "*Silent critics:* 1 of 2: conv2_0 in 1 of 1 run."
    assert errors.endswith("by run: conv2_x 0.40; conv5_x 0.30.")
    assert "nothing tests the recurrence of Eq. 2" in recurrence


def answering(by_map, seed=0):
    """Curves whose mean critique ends at the given values, after a first epoch far from 0."""
    blocks = two_maps().query("map == 'layer4.2'")
    last = blocks["epoch"] == 3
    return pd.concat(
        [
            blocks.assign(map=name, seed=seed, critique_mean=np.where(last, critique, -0.5))
            for name, critique in by_map.items()
        ]
    )


def by_critic(blocks):
    found = curves.summarise_curves(blocks).drop_duplicates("critic")
    return dict(zip(found["critic"], found["silent"], strict=True))


def test_a_critic_is_silent_if_it_ends_within_a_hundredth_of_zero_for_all_it_judges():
    blocks = pd.concat(
        [
            answering({"layer1.0": 0.01, "layer2.0": -0.0101, "layer3.0": -0.009}),
            # One critic judges both modules of layer3, another of the same stage spatial maps.
            answering({"layer3.0": 0.0, "layer3.1": -0.6, "layer4.0": 0.0, "layer4.1": 0.0}, 1),
        ]
    )
    found = by_critic(blocks)
    assert found == {
        (0, "layer1", ""): True,
        (0, "layer2", ""): False,
        (0, "layer3", ""): True,
        (1, "layer3", ""): False,
        (1, "layer4", ""): True,
    }
    kinds = answering({"layer1.0.channel": 0.0, "layer1.0.spatial": -0.4, "layer1.1.channel": 0.0})
    found = by_critic(kinds)
    assert found == {(0, "layer1", "channel"): True, (0, "layer1", "spatial"): False}


SE = "SE-ResNet-14, width 16 (row SE-ResNet-50)"  # what made-up runs have trained


def test_silent_critics_of_runs_are_counted_network_by_network(tmp_path):
    """The made-up critic of layer1.0 answers 0, and no other."""
    for seed in (0, 1):
        write_run(tmp_path, seed=seed)
        write_run(tmp_path, "table_1/se_resnet50_baseline", seed=seed)
    maps = ("layer1.0.channel", "layer1.0.spatial", "layer2.0.channel", "layer2.0.spatial")
    write_run(tmp_path, "table_1/cbam_resnet50_reinforced", maps=maps)
    runs = find_records(tmp_path)
    said = silence_of_runs(runs)
    # Of SE four stages twice, of CBAM two stages with two critics each.
    assert said.startswith("4 of 12 critics are silent")
    assert said.endswith(f": CBAM-ResNet-14, width 16 (row CBAM-ResNet-50) 2 of 4, {SE} 2 of 8.")
    assert silence_of_runs([]) == recurrence_of_runs([]) == ""


def test_steps_of_a_critic_are_the_blocks_of_its_stage():
    maps = ["layer3.10", "layer1.0.channel", "layer1.0.spatial", "layer3.2", "layer3.10"]
    assert blocks_of_stages(maps) == {"layer1": 1, "layer3": 2}
    assert "±0.76" in recurrence_text(["layer1.0", "layer2.0"])  # tanh 1 = 0.7616
    several = recurrence_text(maps)
    assert "(1 in conv2_x, 2 in conv4_x): critics take up to 2 steps" in several
    assert "±0.96" in several


def test_which_networks_test_the_recurrence(tmp_path):
    write_run(tmp_path)  # two blocks in two of its stages
    write_run(tmp_path, "table_1/srm_resnet50_reinforced", maps=("layer1.0", "layer2.0"))
    write_run(tmp_path, "table_1/cbam_resnet50_baseline", maps=("layer1.0",))
    said = recurrence_of_runs(find_records(tmp_path))
    assert said.endswith(f"(Eq. 2): {SE} 2, {SE.replace('SE-', 'SRM-')} 1.")


def test_maps_stand_in_the_order_of_depth_and_runs_by_seed():
    names = ["layer3.10", "layer3.9", "layer1.0", "layer3.2"]
    summaries = curves.summarise_curves(block_curves(names))
    assert summaries["map"].tolist() == ["layer1.0", "layer3.2", "layer3.9", "layer3.10"]
    both = pd.concat([block_curves(names[:2]).assign(seed=seed) for seed in (7, 3)])
    found = curves.summarise_curves(both)
    order = list(zip(found["map"], found["seed"], strict=True))
    assert order == [("layer3.9", 3), ("layer3.9", 7), ("layer3.10", 3), ("layer3.10", 7)]


def test_the_table_shows_what_is_undefined():
    table = curves.curve_table(curves.summarise_curves(two_maps()), "re-run", "smoke")
    shown = [str(cell).replace(MINUS, "-") for cell in table.rows[0]]
    first = [text.replace("\N{NO-BREAK SPACE}", " ") for text in shown]
    ends = ["0.00, 0.00", "-1.00, +0.04"]
    assert first == ["conv2_0 ▲", "0", *ends, "+0.30", "—", "—", "0.40", "0.90"]
    assert table.legend() == "▲ re-run (smoke)"


def test_no_curves_say_nothing():
    empty = two_maps().iloc[:0]
    assert sentences(empty) == []
