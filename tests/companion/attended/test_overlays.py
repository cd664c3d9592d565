"""Heat maps: colours of known values, frames in place, a figure that is the same every time."""

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.patches import Rectangle

from book.companion import drawing
from book.companion.attended import overlays
from book.companion.attended.chosen import Grid, Shown
from dreal_lib.diagnosis.cells import Cells, spread
from dreal_lib.errors import UserError

CELLS = Cells((0, 16, 32), (0, 16, 32), (48, 48))
TWO = spread((2, 2), (48, 48))
LOW, HIGH = (np.round(np.array(mpl.colormaps[overlays.MAP](v)[:3]) * 255) for v in (0.0, 1.0))


def shown(index=0, pixels=None, box=(12, 0, 24, 48), title="tench, Tinca tinca"):
    first = np.zeros((3, 3), dtype=np.float32)
    first[0, 2] = 1
    return Shown(index, title, first, first.T, box, pixels)


def grid(**groups):
    return Grid(groups, CELLS, "rule", "source")


def test_a_bare_map_has_the_colours_of_its_values():
    colours = overlays.heat(shown().baseline, CELLS, None, 90)
    assert colours.shape == (90, 90, 3)
    assert np.array_equal(colours[0, -1], HIGH)  # row 0, column 2: above and to the right
    assert np.array_equal(colours[-1, 0], LOW)


def test_a_cell_is_drawn_at_its_centre():
    """The middle of 3 x 3 cells of a padded network lies at pixel 16 of 48, not in the middle."""
    middle = np.zeros((3, 3), dtype=np.float32)
    middle[1, 1] = 1
    drawn = overlays.heat(middle, CELLS, None, 48).astype(int).sum(-1)
    assert np.argwhere(drawn == drawn.max()).tolist() == [[16, 16]]
    twice = overlays.heat(middle, CELLS, None, 96).astype(int).sum(-1)
    assert np.argwhere(twice == twice.max()).mean(0).tolist() == [32.5, 32.5]


def test_a_map_of_zeros_is_low_everywhere():
    assert np.all(overlays.heat(np.zeros((2, 2)), TWO, None) == LOW)


def test_the_image_shows_through_and_most_where_the_map_is_low():
    white, black = (np.full((48, 48, 3), v, dtype=np.uint8) for v in (255, 0))
    light, dark = (
        overlays.heat(shown().baseline, CELLS, p, 90).astype(int) for p in (white, black)
    )
    through = (light - dark)[..., 0] / 255
    assert through[0, -1] == pytest.approx(1 - overlays.HEAT_SHARE, abs=0.01)
    assert through[-1, 0] == pytest.approx(1 - overlays.HEAT_SHARE / 2, abs=0.01)


def test_all_colour_is_the_maps():
    coloured = np.zeros((48, 48, 3), dtype=np.uint8)
    coloured[:24], coloured[24:] = (200, 30, 10), (10, 60, 220)
    flat = np.round(coloured @ (0.299, 0.587, 0.114)).astype(np.uint8)  # luminance, ITU-R BT.601
    grey = np.repeat(flat[..., None], 3, axis=2)
    maps = np.full((2, 2), 0.5, dtype=np.float32)
    of_colour, of_grey = (overlays.heat(maps, TWO, p, 48).astype(int) for p in (coloured, grey))
    assert np.abs(of_colour - of_grey).max() <= 1
    assert np.ptp(of_colour[[0, -1], 0], axis=0).max() > 0  # yet the halves differ in lightness


def test_baseline_stands_above_reinforced_with_the_class_below():
    figure = overlays.draw_grid(grid(fixed=(shown(), shown(1)), broken=(shown(2),), none=()))
    bands = figure.subfigs[:-1]
    assert [band.get_suptitle() for band in bands] == ["fixed", "broken"]
    above, _, below, _ = bands[0].axes
    assert (above.get_ylabel(), below.get_ylabel()) == ("baseline", "reinforced")
    assert below.get_xlabel() == "tench"
    image = above.images[0].get_array()
    assert np.array_equal(image[0, -1], HIGH)
    assert np.array_equal(below.images[0].get_array()[-1, 0], HIGH)
    assert above.yaxis.label.get_color() == drawing.PALETTE["baseline"]


def test_the_frame_is_the_box():
    figure = overlays.draw_grid(grid(fixed=(shown(), shown(1, box=None))))
    with_box, without, *_ = figure.subfigs[0].axes
    frame = next(patch for patch in with_box.patches if isinstance(patch, Rectangle))
    quarter = overlays.SIDE / 4
    assert frame.get_bbox().bounds == (quarter - 0.5, -0.5, quarter, overlays.SIDE)
    assert not without.patches


def test_the_same_grid_gives_the_same_picture():
    pixels = np.random.default_rng(0).integers(0, 256, (48, 48, 3)).astype(np.uint8)
    first, second = (
        drawing.to_svg(overlays.draw_grid(grid(a=(shown(pixels=pixels),)))) for _ in range(2)
    )
    assert first == second


def test_nothing_to_draw_is_an_empty_grid_and_refused():
    assert len(grid(fixed=(), broken=())) == 0
    assert len(grid(fixed=(shown(),), broken=())) == 1
    with pytest.raises(UserError, match="nothing to draw"):
        overlays.draw_grid(grid(fixed=(), broken=()))
