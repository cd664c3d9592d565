"""The numbers and sentences of Fig. 6, worked by hand."""

import numpy as np
import pandas as pd
import pytest
from synthetic_records import block_curves

from dreal_lib import curves
from dreal_lib.errors import UserError
from dreal_lib.tables import MINUS


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
                    "critique_rmse": 0.4,
                    "correlation": np.nan if name == "layer1.0" else 0.25,
                    "saturated_share": 0.9 if name == "layer1.0" else 0.0,
                }
            )
    return pd.DataFrame(rows)


def test_a_summary_by_hand():
    stuck, follows = curves.summarise_curves(two_maps())
    # Last epoch: 0.8 * 0.3 - 0.2 = 0.04; accuracy alone: -1 at first, -0.2 at last.
    assert (follows.first_reward, follows.last_reward) == pytest.approx((-1.0, 0.04))
    assert (follows.first_accuracy_part, follows.last_accuracy_part) == pytest.approx((-1.0, -0.2))
    assert follows.follows == pytest.approx(1.0)
    assert follows.gap == pytest.approx(0.02)
    assert np.isnan(stuck.follows)
    assert stuck.gap == pytest.approx(0.04)


def test_correlation_by_hand():
    # Deviations (-1, 0, 1) and (-1, 1, 0): 1 / (sqrt 2 * sqrt 2).
    assert curves.correlation(np.array([1.0, 2, 3]), np.array([0.0, 2, 1])) == pytest.approx(0.5)
    assert curves.correlation(np.array([1.0, 2, 3]), np.array([3.0, 2, 1])) == pytest.approx(-1.0)
    assert np.isnan(curves.correlation(np.array([1.0, 2]), np.array([0.0, 2])))
    # Two values always correlate perfectly, and so does rounding noise with anything.
    noise = 0.3 + np.array([0.0, 1e-17, 0.0])
    assert np.isnan(curves.correlation(noise, np.array([1.0, 2, 3])))


def test_the_sentences_say_the_numbers():
    follow, rise, depth, parts, saturated = (
        sentence.replace(MINUS, "-")
        for sentence in curves.curve_sentences(curves.summarise_curves(two_maps()))
    )
    assert "between +1.00 and +1.00 (median +1.00)" in follow
    assert "between +0.25 and +0.25" in follow
    assert "For 1 attention map the former is undefined" in follow
    assert "rises for 2 of 2 attention maps, the mean critique for 1." in rise
    assert "0.04 in conv2_x, 0.02 in conv5_x" in depth
    assert "changes by +1.04; +0.80 of that is accuracy alone" in parts
    assert "+0.24 the relative gain" in parts
    assert saturated.endswith("1 of 2 attention maps on more than half of the images: conv2_0.")


def test_seeds_are_averaged():
    first = two_maps().assign(seed=0)
    second = first.assign(seed=1, reward_mean=first["reward_mean"] - 0.5)
    summary = curves.summarise_curves(pd.concat([first, second]))[1]
    assert summary.last_reward == pytest.approx(0.04 - 0.25)


def test_maps_stand_in_the_order_of_depth():
    names = ["layer3.10", "layer3.9", "layer1.0", "layer3.2"]
    summaries = curves.summarise_curves(block_curves(names))
    assert [s.map for s in summaries] == ["layer1.0", "layer3.2", "layer3.9", "layer3.10"]


def test_the_table_shows_what_is_undefined():
    table = curves.curve_table(curves.summarise_curves(two_maps()), "re-run", "smoke")
    shown = [str(cell).replace(MINUS, "-") for cell in table.rows[0]]
    first = [text.replace("\N{NO-BREAK SPACE}", " ") for text in shown]
    assert first == ["conv2_0 ▲", "0.00, 0.00", "-1.00, +0.04", "+0.30", "—", "—", "0.40", "0.90"]
    assert table.legend() == "▲ re-run (smoke)"


def test_no_curves_is_an_error_and_no_alt_text():
    empty = two_maps().iloc[:0]
    with pytest.raises(UserError, match="no block curves"):
        curves.summarise_curves(empty)
    assert curves.alt_text(empty) == ""
    assert "2 attention maps" in curves.alt_text(two_maps())
    assert "ending at 0.80" in curves.alt_text_of_parts(two_maps())
    assert "2 attention maps by epochs" in curves.alt_text_of_quality(two_maps())
