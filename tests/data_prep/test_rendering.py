"""The drawing: distances, areas, patterns and light against values worked out by hand."""

import math

import numpy as np
import pytest

from data_prep.rendering.backgrounds import GROUNDS, noise
from data_prep.rendering.colours import contrasting_pair, luminance
from data_prep.rendering.painting import Light, Sprite, coverage, paint
from data_prep.rendering.shapes import (
    FIELD_EXTENT,
    SHAPES,
    distance_field,
    sample_field,
    signed_distance,
)
from data_prep.rendering.textures import PATTERNS, triangle_wave

GREY = ((0.5, 0.5, 0.5), (0.9, 0.9, 0.9))
OVERHEAD = Light((0.0, 0.0, 1.0), ambient=0.4, tint=(1, 1, 1), shadow=0.5)


def sprite(shape="disc", **changes):
    settings = {"centre": (0.5, 0.5), "radius": 0.25, "angle": 0.0, "squash": 1.0, "gloss": 0.0}
    return Sprite(shape, colours=GREY, **{**settings, **changes})


def test_distance_to_a_square_is_the_hand_worked_one():
    square = [np.array([(-1.0, -1.0), (1.0, -1.0), (1.0, 1.0), (-1.0, 1.0)])]
    x = np.array([0.0, 0.5, 0.0, 2.0, 4.0, 1.0])
    y = np.array([0.0, 0.0, -0.9, 0.0, 5.0, 0.0])
    expected = [1.0, 0.5, 0.1, -1.0, -5.0, 0.0]  # (4, 5) is 3 and 4 away from the corner
    assert np.allclose(np.abs(signed_distance(square, x, y)), np.abs(expected))
    assert (signed_distance(square, x, y)[:5] > 0).tolist() == [True, True, True, False, False]


def test_a_second_contour_cuts_a_hole():
    outer = np.array([(-2.0, -2.0), (2.0, -2.0), (2.0, 2.0), (-2.0, 2.0)])
    found = signed_distance([outer, outer / 2], np.array([0.0, 1.5]), np.array([0.0, 0.0]))
    assert np.allclose(found, [-1.0, 0.5])


def test_every_shape_lies_in_the_unit_circle_and_has_an_inside():
    axis = np.linspace(-FIELD_EXTENT, FIELD_EXTENT, distance_field("disc").shape[0])
    beyond = axis[None, :] ** 2 + axis[:, None] ** 2 > 1.02**2
    for shape in SHAPES:
        inside = distance_field(shape) > 0
        assert inside.any(), shape
        assert not inside[beyond].any(), shape


def test_samples_agree_with_the_exact_distance():
    rng = np.random.default_rng(0)
    u, v = rng.uniform(-1.4, 1.4, (2, 500))
    exact = signed_distance(SHAPES["star"](), u, v)
    found = sample_field(distance_field("star"), u.astype(np.float32), v.astype(np.float32))
    # Distances change by at most the step between grid points, 3.2 / 224.
    assert np.abs(found - exact).max() < 0.0143


@pytest.mark.parametrize("angle", [0.0, 0.7])
def test_coverage_sums_to_the_area(angle):
    disc = 32 * 0.9**2 * math.sin(2 * math.pi / 64)  # area of the regular 64-gon
    for squash in (1.0, 0.8):
        whole = coverage(sprite(angle=angle, squash=squash), 128).sum() / 128**2
        assert whole == pytest.approx(disc * 0.25**2 * squash, rel=0.01)


def test_patterns_are_weights_with_the_stated_ink_and_period():
    axis = (np.arange(400) + 0.5) / 100 - 2
    u, v = np.meshgrid(axis, axis)
    for name, pattern in PATTERNS.items():
        weight = pattern(u, v, 0.5, 0.01)
        assert weight.min() == 0, name
        assert weight.max() == 1, name
        # Dots: two of radius 0.31 cells in each 1 by 1.7 cells.
        ink = 2 * math.pi * 0.31**2 / 1.7 if name == "dotted" else 0.5
        assert weight.mean() == pytest.approx(ink, abs=0.03), name
    stripes = PATTERNS["striped"](u, v, 0.5, 0.01)
    assert np.allclose(stripes[:, :350], stripes[:, 50:])
    assert np.allclose(stripes[0], stripes[-1])
    assert triangle_wave(np.array([0.0, 0.25, 0.5, 1.0])).tolist() == [1.0, 0.5, 0.0, 1.0]


def test_a_flat_top_under_an_overhead_lamp_shows_its_own_colour_times_the_light():
    canvas = np.zeros((64, 64, 3), dtype=np.float32)
    paint(canvas, sprite(), OVERHEAD)
    # The normal points at the lamp: ambient + (1.12 - ambient) * 1.
    assert np.allclose(canvas[32, 32], 0.5 * 1.12, atol=1e-5)
    assert (canvas[32, 20] < canvas[32, 32]).all(), "the rim slopes away"


def test_paint_leaves_far_pixels_alone_and_casts_its_shadow_away_from_the_lamp():
    lamp = Light((-0.8, 0.0, 0.6), ambient=0.4, tint=(1, 1, 1), shadow=0.5)
    canvas = np.full((100, 100, 3), 0.7, dtype=np.float32)
    paint(canvas, sprite(lift=0.2), lamp)
    assert np.all(canvas[:, :10] == np.float32(0.7))
    assert canvas[50, 80, 0] < 0.65  # right of the disc, which ends at 72.5
    assert canvas[50, 22, 0] > 0.68  # left of it, where it starts at 27.5


def test_a_sprite_beyond_the_edge_changes_nothing():
    canvas = np.full((32, 32, 3), 0.3, dtype=np.float32)
    paint(canvas, sprite(centre=(3.0, -2.0)), OVERHEAD)
    assert np.all(canvas == np.float32(0.3))


@pytest.mark.parametrize("ground", sorted(GROUNDS))
def test_grounds_are_cluttered_canvases_that_follow_the_generator(ground):
    first, again, other = (GROUNDS[ground](np.random.default_rng(seed), 48) for seed in (1, 1, 2))
    assert first.shape == (48, 48, 3)
    assert np.isfinite(first).all()
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    assert first.std() > 0.01


def test_noise_is_centred_and_stretched_down_the_picture():
    field = noise(np.random.default_rng(0), 128, 24, octaves=1, stretch=8)
    assert abs(field.mean()) < 0.1
    assert np.abs(np.diff(field, axis=1)).mean() > 3 * np.abs(np.diff(field, axis=0)).mean()


def test_the_colours_of_a_pattern_differ_in_lightness():
    rng = np.random.default_rng(0)
    pairs = [contrasting_pair(rng) for _ in range(200)]
    assert min(abs(luminance(a) - luminance(b)) for a, b in pairs) > 0.2
