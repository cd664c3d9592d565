"""What the curves to pick from hold: the values of each run, and nothing that breaks."""

import json
import re

import pandas as pd
import pytest

from book.companion.critics.explorer import CurveExplorer, curve_data
from dreal_lib.errors import UserError

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


def test_every_run_keeps_its_own_values():
    data = curve_data(
        blocks(
            [
                (4, 2, "layer1.0", 0.1, -0.4),
                (4, 1, "layer1.0", 0.0, -0.8),
                (1, 1, "layer1.0", 0.2, -0.8),
                (1, 2, "layer1.0", 0.4, 0.0),
            ]
        )
    )
    (one,) = data["maps"]
    assert data["seeds"] == [1, 4]
    assert one["epochs"] == [1, 2]
    assert one["label"] == "conv2_0 (layer1.0)"
    assert one["critique"] == [[0.2, 0.4], [0.0, 0.1]]
    assert one["reward"] == [[-0.8, 0.0], [-0.8, -0.4]]


def test_the_undefined_and_what_a_run_lacks_is_null():
    rows = [(0, 1, "layer2.1", NAN, -0.00001), (0, 2, "layer2.1", 1.0, 0.5)]
    data = embedded(CurveExplorer(blocks([*rows, (1, 2, "layer2.1", 0.25, 0.5)])))
    (one,) = data["maps"]
    assert one["critique"] == [[None, 1.0], [None, 0.25]]
    assert str(one["reward"][0][0]) == "0.0"  # no negative zero
    # A map that one of the runs lacks altogether keeps a place for it.
    more = blocks([(0, 1, "layer1.0", 0.5, 0.5), (1, 1, "layer2.0", 0.5, 0.5)])
    first, second = curve_data(more)["maps"]
    assert first["critique"] == [[0.5], [None]]
    assert second["critique"] == [[None], [0.5]]


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
