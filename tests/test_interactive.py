"""What the curves to pick from hold: means and spreads worked by hand, and nothing that breaks."""

import json
import re

import pandas as pd
import pytest

from dreal_lib.errors import UserError
from dreal_lib.interactive import CurveExplorer, curve_data

NAN = float("nan")


def blocks(rows: list[tuple]) -> pd.DataFrame:
    """Block curves of (seed, epoch, map, critique, reward)."""
    columns = ["seed", "epoch", "map", "critique_mean", "reward_mean"]
    return pd.DataFrame(rows, columns=columns)


def embedded(explorer: CurveExplorer) -> dict:
    (text,) = re.findall(
        r'<script type="application/json">(.*?)</script>', explorer._repr_html_(), re.S
    )
    return json.loads(text, parse_constant=pytest.fail)  # NaN is no JSON


def test_means_and_spreads_are_those_worked_by_hand():
    data = curve_data(
        blocks(
            [
                (0, 2, "layer1.0", 0.1, -0.4),
                (0, 1, "layer1.0", 0.0, -0.8),
                (1, 1, "layer1.0", 0.2, -0.8),
                (1, 2, "layer1.0", 0.4, 0.0),
            ]
        )
    )
    (one,) = data["maps"]
    assert data["seeds"] == 2
    assert one["epochs"] == [1, 2]
    assert one["label"] == "conv2_0 (layer1.0)"
    assert one["critique"] == {"mean": [0.1, 0.25], "spread": [0.1414, 0.2121]}
    assert one["reward"] == {"mean": [-0.8, -0.2], "spread": [0.0, 0.2828]}


def test_one_seed_has_no_spread_and_the_undefined_is_null():
    data = embedded(
        CurveExplorer(blocks([(0, 1, "layer2.1", NAN, -0.00001), (0, 2, "layer2.1", 1.0, 0.5)]))
    )
    (one,) = data["maps"]
    assert data["seeds"] == 1
    assert one["critique"] == {"mean": [None, 1.0], "spread": [None, None]}
    assert str(one["reward"]["mean"][0]) == "0.0"  # no negative zero


def test_maps_keep_the_order_of_the_network_and_epochs_of_their_own():
    rows = [(0, 1, "layer1.0", 0, 0), (0, 1, "layer3.1", 0, 0), (0, 2, "layer3.1", 0, 0)]
    maps = curve_data(blocks(rows).drop(columns="seed"))["maps"]
    assert [one["name"] for one in maps] == ["layer1.0", "layer3.1"]
    assert [one["epochs"] for one in maps] == [[1], [1, 2]]


def test_the_same_curves_give_the_same_bytes():
    curves = blocks([(0, 1, "layer1.0", 1 / 3, -2 / 3)])
    nearly = curves.assign(critique_mean=curves["critique_mean"] + 1e-9)
    assert CurveExplorer(curves)._repr_html_() == CurveExplorer(nearly)._repr_html_()


def test_a_name_cannot_end_the_script():
    explorer = CurveExplorer(blocks([(0, 1, "layer1.0.</script><b>", 0.0, 0.0)]))
    with pytest.raises(UserError, match="is no block"):
        explorer._repr_html_()


def test_without_runs_a_sentence_stands_there():
    empty = CurveExplorer(pd.DataFrame())
    assert empty._repr_html_() == "<p>No run, no curve to pick.</p>"
    assert "0 attention maps" in repr(empty)
    with pytest.raises(UserError, match="run a reinforced recipe first"):
        curve_data(pd.DataFrame())
