"""Figures: what is drawn is what was given, the same bytes each time, readable on both grounds."""

import xml.etree.ElementTree as ElementTree

import numpy as np
import pandas as pd
import pytest
from synthetic_records import MAPS, block_curves

from book.companion import drawing
from book.companion.critics.figures import (
    THIN,
    _over_maps,
    critique_and_reward,
    critique_quality,
    reward_parts,
)
from dreal_lib.errors import UserError

DRAWN = (
    critique_and_reward,
    reward_parts,
    critique_quality,
)


def titled(figure):
    """Panels by their bold title on the left."""
    return {axis.get_title("left"): axis for axis in figure.axes if axis.get_title("left")}


def line_of(axis, colour):
    (line,) = [line for line in axis.lines if line.get_color() == colour]
    return line


def relative_luminance(colour):
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(first, second):
    light, dark = sorted((relative_luminance(first), relative_luminance(second)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def test_contrast_by_hand():
    assert contrast("#ffffff", "#000000") == pytest.approx(21)


def test_every_colour_reads_on_a_light_and_a_dark_page():
    for name, colour in drawing.PALETTE.items():
        assert contrast(colour, "#ffffff") >= 3, name
        assert contrast(colour, drawing.DARK_PAGE) >= 3, name
    assert contrast(drawing.INK, "#ffffff") >= 4.5
    assert contrast(drawing.INK_ON_DARK, drawing.DARK_PAGE) >= 4.5
    assert contrast(drawing.INK, drawing.DARK_PAGE) >= 3  # where the ink cannot follow the page
    assert len(set(drawing.PALETTE.values())) == len(drawing.PALETTE)


def test_fig_6_draws_the_curves_it_is_given():
    blocks = block_curves()
    panels = titled(critique_and_reward(blocks))
    assert list(panels) == ["conv2_0", "conv3_0", "conv3_1", "conv4_0", "conv4_1", "conv5_0"]
    curve = blocks[blocks["map"] == "layer3.1"]
    for quantity in ("critique", "reward"):
        line = line_of(panels["conv4_1"], drawing.PALETTE[quantity])
        np.testing.assert_array_equal(line.get_xdata(), curve["epoch"])
        np.testing.assert_allclose(line.get_ydata(), curve[f"{quantity}_mean"])
    assert panels["conv4_1"].get_title("right") == "layer3.1"


def test_a_stage_begins_a_new_row():
    figure = critique_and_reward(block_curves())
    figure.canvas.draw()
    tops = {name: round(axis.get_position().y1, 2) for name, axis in titled(figure).items()}
    assert tops["conv3_0"] == tops["conv3_1"]
    assert tops["conv2_0"] > tops["conv3_0"] > tops["conv4_0"] > tops["conv5_0"]


def test_a_long_stage_takes_several_rows():
    maps = [f"layer3.{index}" for index in range(23)]
    assert [len(row) for row in drawing.block_grid(maps)] == [6, 6, 6, 5]
    panels = titled(critique_and_reward(block_curves(maps, epochs=2)))
    assert len(panels) == 23


def test_stages_of_one_block_share_a_row():
    maps = [f"layer{stage}.0" for stage in range(1, 5)]
    assert drawing.block_grid(maps) == [maps]


def three_runs():
    """Of layer4.0 the critics of two runs answer 0; a map's rows stand in no order."""
    runs = [block_curves(seed=seed).assign(seed=seed) for seed in (2, 0, 1)]
    blocks = pd.concat(runs).sample(frac=1, random_state=0).sort_values("map", kind="stable")
    silent = (blocks["map"] == "layer4.0") & (blocks["seed"] > 0)
    return blocks.assign(critique_mean=blocks["critique_mean"].mask(silent, 0.0))


def test_each_seed_is_a_line_and_nothing_is_averaged():
    blocks = three_runs()
    figure = critique_and_reward(blocks)
    panel = titled(figure)["conv5_0"]
    for quantity in ("critique", "reward"):
        colour = drawing.PALETTE[quantity]
        drawn = [line for line in panel.lines if line.get_color() == colour]
        expected = [
            blocks.query("map == 'layer4.0' and seed == @seed").sort_values("epoch")
            for seed in (0, 1, 2)
        ]
        assert len(drawn) == 3
        for line, curve in zip(drawn, expected, strict=True):
            np.testing.assert_array_equal(line.get_xdata(), [1, 2, 3, 4])
            np.testing.assert_array_equal(line.get_ydata(), curve[f"{quantity}_mean"])
            assert line.get_linewidth() == THIN
    assert not any(panel.collections for panel in titled(figure).values())  # no band
    (legend,) = figure.legends
    said = [text.get_text() for text in legend.get_texts()]
    assert said == ["critique Q", "reward R", "a line a seed (3)"]


def test_one_run_needs_no_word_on_seeds():
    figure = critique_and_reward(block_curves())
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["critique Q", "reward R"]
    line = line_of(titled(figure)["conv5_0"], drawing.PALETTE["reward"])
    assert line.get_linewidth() > THIN


def test_the_parts_of_each_seed_are_drawn():
    blocks = three_runs()
    panels = titled(reward_parts(blocks))
    shares = [line.get_ydata()[-1] for line in panels["predicted right"].lines]
    np.testing.assert_allclose(shares, [0.7, 0.7, 0.7])
    gains = [line for line in panels["conv3_x"].lines if len(line.get_xdata()) == 4]
    last = blocks[(blocks["epoch"] == 4) & blocks["map"].str.startswith("layer2")]
    ends = sorted(line.get_ydata()[-1] for line in gains)
    np.testing.assert_allclose(ends, sorted(last["reward_right_mean"]))
    # Two blocks are told apart, by the highest of their ends; one alone has nothing to be told by.
    labels = {text.get_text(): text.xy[1] for text in panels["conv3_x"].texts}
    highest = last.groupby("map")["reward_right_mean"].max()
    assert labels["0"] == pytest.approx(highest["layer2.0"])
    assert set(labels) == {"0", "1"}
    assert not panels["conv2_x"].texts


def test_the_parts_are_the_share_and_the_gain():
    blocks = block_curves()
    panels = titled(reward_parts(blocks))
    assert list(panels) == ["predicted right", "conv2_x", "conv3_x", "conv4_x", "conv5_x"]
    share = line_of(panels["predicted right"], drawing.PALETTE["right_share"])
    np.testing.assert_allclose(share.get_ydata(), [0.325, 0.45, 0.575, 0.7])
    gains = [line for line in panels["conv3_x"].lines if len(line.get_xdata()) == 4]
    drawn = sorted(line.get_ydata()[-1] for line in gains)
    last = blocks[(blocks["epoch"] == 4) & blocks["map"].str.startswith("layer2")]
    np.testing.assert_allclose(drawn, sorted(last["reward_right_mean"]))


def test_the_share_right_weighs_blocks_by_their_images():
    rows = {"epoch": 1, "map": ["layer1.0", "layer2.0"], "images": [300, 100]}
    blocks = pd.DataFrame(rows | {"right_share": [0.2, 0.6]})
    assert _over_maps(blocks)["right_share"].tolist() == pytest.approx([0.3])


def test_quality_shows_undefined_cells_as_undefined():
    figure = critique_quality(block_curves())
    correlation = titled(figure)["correlation with R"].images[0].get_array()
    assert correlation.shape == (len(MAPS), 4)
    assert correlation.mask[0].all()  # layer1.0's critic is stuck
    assert not correlation.mask[1:].any()


def test_quality_has_a_row_of_cells_a_seed():
    blocks = three_runs()
    saturated = np.where((blocks["map"] == "layer2.0") & (blocks["seed"] == 2), 1.0, 0.0)
    figure = critique_quality(blocks.assign(saturated_share=saturated))
    cells = titled(figure)["share saturated"].images[0].get_array()
    assert cells.shape == (3 * len(MAPS), 4)
    assert (cells == 1).all(axis=1).nonzero()[0].tolist() == [5]  # the second map's last run
    axis = titled(figure)["correlation with R"]
    assert axis.get_yticks().tolist() == [1, 4, 7, 10, 13, 16]
    assert [label.get_text() for label in axis.get_yticklabels()][:2] == ["conv2_0", "conv3_0"]


@pytest.mark.parametrize("draw", DRAWN)
def test_every_figure_is_svg_and_repeats_to_the_byte(draw):
    blocks = block_curves(("layer1.0", "layer3.1"))
    svg = drawing.to_svg(draw(blocks))
    assert svg == drawing.to_svg(draw(blocks))
    assert ElementTree.fromstring(svg.encode()).tag.endswith("svg")
    assert "prefers-color-scheme: dark" in svg
    assert f"fill: {drawing.INK_ON_DARK}" in svg
    assert "dc:date" not in svg


@pytest.mark.parametrize("draw", DRAWN)
@pytest.mark.parametrize(
    "blocks",
    [
        block_curves(("layer1.0.channel", "layer1.0.spatial")),
        block_curves(("layer1.0", "layer3.1"), epochs=1),
        block_curves(("layer1.0", "layer3.1")).query("epoch != 2 or map != 'layer3.1'"),
        block_curves(("layer2.0",)).assign(reward_right_mean=np.nan, correlation=np.nan),
    ],
    ids=["two maps a block", "one epoch", "a gap", "undefined"],
)
def test_odd_curves_can_be_drawn(draw, blocks):
    assert ElementTree.fromstring(drawing.to_svg(draw(blocks)).encode()).tag.endswith("svg")


@pytest.mark.parametrize("draw", DRAWN)
def test_nothing_to_draw_is_refused(draw):
    with pytest.raises(UserError, match="no block curves to draw"):
        draw(block_curves().iloc[:0])


def test_a_readers_matplotlibrc_does_not_show(monkeypatch):
    blocks = block_curves(MAPS[:2])
    expected = drawing.to_svg(critique_and_reward(blocks))
    own = {"axes.grid": True, "text.usetex": True, "lines.linewidth": 9, "savefig.dpi": 7}
    own |= {"axes.prop_cycle": "cycler('color', ['r'])", "font.family": "serif"}
    for name, value in own.items():
        monkeypatch.setitem(drawing.mpl.rcParams, name, value)
    assert drawing.to_svg(critique_and_reward(blocks)) == expected
