"""Figures of attention maps: what is drawn is what was given, and what lacks is said."""

import xml.etree.ElementTree as ElementTree

import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import PolyCollection
from synthetic_attention import BLOCKS_OF_50, THIN, attention, statistics

from book.companion import drawing
from book.companion.attention_maps import loaded
from book.companion.attention_maps.figures import (
    attention_by_block,
    channel_distributions,
    rewards_by_block,
    spatial_deviations,
    spatial_means,
)
from book.companion.attention_maps.loaded import MapStatistics
from dreal_lib.errors import UserError

SPATIAL = [f"{name}.spatial" for name in THIN]


def rising(name, seed):
    """Means and variances that are easy to find again."""
    mean = np.linspace(0.2, 0.6, 5) + 0.01 * seed
    return MapStatistics(mean, np.full(5, 0.01), np.full(5, 0.002))


def spatial_attention_maps():
    def leaning(name, seed):
        return statistics(0.3, shape=(3, 5))

    return attention(SPATIAL, kind="spatial", baseline=leaning, reinforced=leaning)


def pairs(figure):
    """Panels by the title of their block: baseline, reinforced."""
    names = [a.get_title("left") for a in figure.axes]
    columns = [i for i, name in enumerate(names) if name]
    width = len(columns)  # one row of pairs
    return {names[i]: (figure.axes[i], figure.axes[i + width]) for i in columns}


def test_each_panel_shows_mean_and_shade():
    shown = loaded.last_blocks(attention(reinforced=rising), "variance", 1)
    panels = pairs(channel_distributions(shown))
    assert list(panels) == ["conv2_0", "conv3_0", "conv4_0", "conv5_0"]
    _, axis = panels["conv4_0"]
    (line,) = axis.lines
    assert line.get_color() == drawing.PALETTE["reinforced"]
    np.testing.assert_allclose(line.get_ydata(), np.linspace(0.21, 0.61, 5))
    np.testing.assert_array_equal(line.get_xdata(), range(5))
    (shade,) = [c for c in axis.collections if isinstance(c, PolyCollection)]
    drawn = shade.get_paths()[0].vertices[:, 1]
    assert (drawn.min(), drawn.max()) == pytest.approx((0.21 - 0.03, 0.61 + 0.03))


def test_a_pair_shares_its_range_and_no_shade_leaves_0_to_1():
    wide = attention(reinforced=lambda name, seed: statistics(0.4, deviation=0.5))
    shown = loaded.last_blocks(wide, "deviation")
    for above, below in pairs(channel_distributions(shown)).values():
        assert above.get_ylim() == below.get_ylim() == pytest.approx((-0.05, 1.05))
        assert above.get_ylabel() in ("baseline", "")
        for axis in (above, below):
            for shade in axis.collections:
                heights = shade.get_paths()[0].vertices[:, 1]
                assert 0 <= heights.min() <= heights.max() <= 1


def test_fig_3_has_a_panel_for_every_block_and_method():
    shown = loaded.all_blocks(attention(BLOCKS_OF_50, seeds=(0,)))
    figure = channel_distributions(shown)
    assert sum(bool(axis.get_title("left")) for axis in figure.axes) == 16
    assert sum(bool(axis.lines) for axis in figure.axes) == 32
    named = {text.get_text() for axis in figure.axes for text in axis.texts}
    assert {"layer2.3", "layer4.2"} <= named


@pytest.mark.parametrize("kind", ["channel", "spatial"])
def test_a_missing_map_leaves_a_box_that_says_so(kind):
    found = spatial_attention_maps() if kind == "spatial" else attention()
    missing = found.maps[1]
    del found.found["reinforced"][0][missing]
    draw = {
        "channel": channel_distributions,
        "spatial": spatial_means,
    }[kind]
    shown = loaded.all_blocks(found)
    above, below = pairs(draw(shown))["conv3_0"]
    assert "missing" in [text.get_text() for text in below.texts]
    assert "missing" not in [text.get_text() for text in above.texts]


def test_many_channels_become_an_image():
    big = attention(seeds=(0,), baseline=lambda name, seed: statistics(shape=(2000,)))
    svg = drawing.to_svg(channel_distributions(loaded.last_blocks(big)))
    assert "<image" in svg
    small = loaded.last_blocks(attention())
    assert "<image" not in drawing.to_svg(channel_distributions(small))


def test_heat_maps_share_one_scale():
    shown = loaded.all_blocks(spatial_attention_maps())
    panels = pairs(spatial_means(shown))
    item = statistics(0.3, shape=(3, 5))
    above, below = panels["conv2_0"]
    np.testing.assert_allclose(above.images[0].get_array(), item.mean - item.mean.mean())
    assert above.get_xlabel() == "0.480 (0.200\N{EN DASH}0.800)"
    limits = {image.get_clim() for pair in panels.values() for a in pair for image in a.images}
    assert len(limits) == 1
    low, high = limits.pop()
    assert low == -high
    assert high == pytest.approx(0.32)  # 0.8 less the level of 0.48
    above, _ = pairs(spatial_deviations(shown))["conv2_0"]
    np.testing.assert_allclose(above.images[0].get_array(), 0.2)
    assert below.images


def test_a_dot_for_each_seed_and_a_line_through_their_means():
    figure = attention_by_block(
        attention(reinforced=lambda name, seed: statistics(0.1 + 0.1 * seed))
    )
    spread, _, share = figure.axes
    line, dots = [one for one in spread.lines if one.get_color() == drawing.PALETTE["reinforced"]]
    np.testing.assert_allclose(line.get_ydata(), 0.2)
    assert sorted(dots.get_ydata()) == pytest.approx([0.1] * 4 + [0.2] * 4 + [0.3] * 4)
    assert spread.get_ylim()[0] == 0
    assert spread.get_ylim()[1] > 0.3
    assert 0.02 in [one.get_ydata()[0] for one in share.lines]  # by chance


def drawn_from_rewards():
    rows = [
        {"method": method, "seed": 0, "map": name, "reward": -0.1, "helped": 0.4, "hurt": 0.6}
        for method in ("baseline", "reinforced")
        for name in THIN
    ]
    return pd.DataFrame(rows)


DRAWN = {
    "channel": lambda: channel_distributions(loaded.all_blocks(attention(seeds=(0,)))),
    "means": lambda: spatial_means(loaded.all_blocks(spatial_attention_maps())),
    "flat": lambda: spatial_deviations(
        loaded.all_blocks(
            attention(SPATIAL, kind="spatial", **dict.fromkeys(("baseline", "reinforced"), flat))
        )
    ),
    "by block": lambda: attention_by_block(attention(seeds=(0,))),
    "rewards": lambda: rewards_by_block(drawn_from_rewards()),
}


def flat(name, seed):
    return statistics(0, deviation=0, shape=(2, 2))


@pytest.mark.parametrize("name", DRAWN)
def test_every_figure_is_svg_and_repeats_to_the_byte(name):
    svg = drawing.to_svg(DRAWN[name]())
    assert svg == drawing.to_svg(DRAWN[name]())
    assert ElementTree.fromstring(svg.encode()).tag.endswith("svg")


def test_nothing_to_draw_is_refused():
    empty = loaded.Shown(attention(), (), 0, "variance")
    for draw in (channel_distributions, spatial_means):
        with pytest.raises(UserError, match="no attention map to draw"):
            draw(empty)
