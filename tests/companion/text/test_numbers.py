"""The numbers behind figures: every value where its row says, and nothing that is not drawn."""

import numpy as np
import pytest

from book.companion.attended import chosen, ranked_lists
from book.companion.attended.chosen import Grid
from book.companion.attended.chosen import Shown as Image
from book.companion.attended.ranked_lists import Panel, Strip
from book.companion.attended.ranked_lists import Shown as Query
from book.companion.attention_maps import measures
from book.companion.attention_maps.loaded import Attention, MapStatistics, Shown
from book.companion.schematic import text
from book.companion.schematic.plan import describe
from book.companion.text.tables import NOTHING, ranges_text
from dreal_lib.diagnosis.cells import Cells

CELLS = Cells((0, 4), (1, 5), (8, 8))


def statistics(shape, shift):
    values = shift + np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    return MapStatistics(values, values / 100, values / 200)


def maps(shape, missing=()):
    found = {
        method: {
            seed: {
                name: statistics(shape, 1000 * seed + shift)
                for name in ("layer1.0", "layer2.0")
                if (method, name) not in missing
            }
            for seed in (3, 4)
        }
        for method, shift in (("baseline", 0), ("reinforced", 100))
    }
    kind = "channel" if len(shape) == 1 else "spatial"
    attention = Attention("se_resnet50", "recorded", "smoke", kind, 10, 0.1, found)
    return Shown(attention, ("layer1.0", "layer2.0"), 4, "variance")


def test_a_channel_map_has_a_row_a_channel():
    table = measures.of_maps(maps((5,)))
    assert list(table) == ["map", "method", "seed", "channel", "mean", "variance"]
    assert len(table) == 2 * 2 * 5
    assert set(table["seed"]) == {4}
    row = table[(table["map"] == "layer2.0") & (table["method"] == "reinforced")].iloc[3]
    assert (row["channel"], row["mean"]) == (3, 4103)
    assert row["variance"] == pytest.approx(41.03)


def test_a_spatial_map_has_a_row_a_place():
    table = measures.of_maps(maps((2, 3), missing={("baseline", "layer2.0")}))
    assert list(table) == ["map", "method", "seed", "row", "column", "mean", "variance"]
    assert len(table) == 3 * 6  # a map that a run lacks has no rows
    of_one = table[(table["map"] == "layer1.0") & (table["method"] == "baseline")]
    assert of_one.set_index(["row", "column"])["mean"].loc[(1, 2)] == 4005
    assert of_one.set_index(["row", "column"])["mean"].loc[(0, 1)] == 4001


def test_heat_maps_have_a_row_a_cell_and_no_pixels():
    heat = np.array([[0.0, 0.25], [0.5, 1.0]], dtype=np.float32)
    pixels = np.zeros((8, 8, 3), dtype=np.uint8)
    groups = {
        "fixed": (Image(7, "tench", heat, heat.T, (1, 2, 3, 4), pixels),),
        "broken": (Image(9, "eel", heat, heat, None, pixels),),
        "none": (),
    }
    table = chosen.of_grid(Grid(groups, CELLS, "rule", "source"))
    assert list(table) == [
        "group", "image", "title", "x_min", "y_min", "x_max", "y_max", "row", "column", "y", "x",
        "baseline", "reinforced",
    ]  # fmt: skip
    assert table[["group", "image"]].drop_duplicates().values.tolist() == [
        ["fixed", 7],
        ["broken", 9],
    ]
    cell = table.iloc[1]
    assert (cell["y"], cell["x"]) == (0, 5)
    assert (cell["row"], cell["column"], cell["baseline"], cell["reinforced"]) == (0, 1, 0.25, 0.5)
    assert table.iloc[0][["x_min", "y_min", "x_max", "y_max"]].tolist() == [1, 2, 3, 4]
    assert set(table.iloc[4:]["x_max"]) == {""}


def test_a_query_has_a_row_an_image_of_each_list():
    heat = np.zeros((2, 2))

    def strip(method, *right):
        top = tuple(
            Panel(heat, CELLS, None, -1, 0.9 - rank / 10, answer)
            for rank, answer in enumerate(right)
        )
        return Strip(method, Panel(heat, CELLS, None, -1), top, 1, 0.5)

    strips = (strip("attention", False, True), strip("reinforced", True, True))
    table = ranked_lists.of_query(Query("wrong, then right", 5, -1, 3, (2, 2), strips))
    assert table["method"].tolist() == ["attention"] * 2 + ["reinforced"] * 2
    assert table["rank"].tolist() == [1, 2, 1, 2]
    assert table["similarity"].tolist() == pytest.approx([0.9, 0.8, 0.9, 0.8])
    assert table["right"].tolist() == [False, True, True, True]
    assert set(table["query"]) == {5}
    assert set(table["camera"]) == {""}


def test_the_schematic_has_a_row_a_map():
    table = text.of_schematic(describe("cbam_resnet50", 224)).set_index("map")
    assert len(table) == 32
    assert table.loc["layer1.0.channel", "state"] == "256x56x56"
    assert table.loc["layer4.2.spatial", "action"] == "1x7x7"
    assert table.loc["layer4.2.channel", "action"] == "2048"
    # A critic reads F~ and A, which are of one size (section 3.3).
    assert table.loc["layer4.2.channel", "input_size"] == 2 * 2048
    assert table.loc["layer4.2.spatial", "critic"] != table.loc["layer4.2.channel", "critic"]


def test_ranges_are_told_by_method_where_there_are_several():
    table = measures.of_maps(maps((5,), missing={("baseline", "layer2.0")}))
    said = ranges_text(table, {"mean": "Mean", "variance": "variance"})
    assert said == (
        " Mean baseline 4000.00 to 4004.00, reinforced 4100.00 to 4104.00; "
        "variance baseline 40.00 to 40.04, reinforced 41.00 to 41.04."
    )
    assert ranges_text(table.drop(columns="method"), {"mean": "Mean"}).endswith(
        " 4000.00 to 4104.00."
    )
    undefined = table.assign(mean=np.nan)
    assert ranges_text(undefined, {"mean": "Mean"}).count(NOTHING) == 4
