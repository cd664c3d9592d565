"""The open points of retrieval: defaults, choices, and numbers that cannot be."""

import dataclasses
import math

import pytest

from dreal_lib.errors import UserError
from dreal_lib.settings.retrieval import BEFORE, RetrievalSettings

CHOICES = {
    "smoothing_over": ("all", "others"),
    "triplet_feature": ("before_neck", "after_neck"),
    "triplet_distance": ("euclidean", "normalised"),
    "inference_feature": ("after_neck", "before_neck"),
    "metric": ("cosine", "euclidean"),
    "neck_bias": ("frozen", "learned"),
    "classifier_bias": ("off", "on"),
    "crop": ("pad", "enlarge"),
    "crop_fill": ("black", "mean"),
    "erasing_fill": ("mean_as_number", "mean"),
    "draw": ("exhaustive", "once"),
    "mirrored": ("mean", "off"),
}
# The paper's margin, smoothing and flips; the rest as the peers' public code has it.
NUMBERS = {
    "margin": 0.5,
    "smoothing": 0.1,
    "crop_padding": 10,
    "flip_probability": 0.5,
    "erasing_probability": 0.5,
    "erasing_smallest_area": 0.02,
    "erasing_largest_area": 0.4,
    "erasing_aspect": 0.3,
}


def test_what_recipes_of_before_did_not_name_is_written_where_it_differs_alone():
    assert {"crop_fill", "erasing_fill"} <= set(RetrievalSettings().recorded())
    before = RetrievalSettings(**BEFORE)
    assert before.as_dict() == {**before.recorded(), **BEFORE}
    assert not BEFORE.keys() & before.recorded().keys()


def test_the_first_choice_is_the_default():
    expected = {name: choices[0] for name, choices in CHOICES.items()} | NUMBERS
    assert RetrievalSettings().as_dict() == expected


@pytest.mark.parametrize("name", CHOICES)
def test_every_choice_is_taken_and_any_other_refused(name):
    for choice in CHOICES[name]:
        assert getattr(RetrievalSettings(**{name: choice}), name) == choice
    with pytest.raises(UserError, match=f"choices: {', '.join(CHOICES[name])}") as caught:
        RetrievalSettings(**{name: "nonsense"})
    assert name in str(caught.value)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"smoothing": -0.1}, "smoothing must lie from 0 to 1; got -0.1"),
        ({"smoothing": 1.1}, "smoothing must lie"),
        ({"flip_probability": math.nan}, "flip_probability must lie"),
        ({"erasing_probability": 2}, "erasing_probability must lie"),
        ({"margin": -0.5}, "margin must be at least 0"),
        ({"margin": math.inf}, "margin must be at least 0 and finite"),
        ({"margin": math.nan}, "margin must be"),
        ({"erasing_smallest_area": 0.0}, "shares of the image"),
        ({"erasing_largest_area": 1.0}, "shares of the image"),
        ({"erasing_smallest_area": 0.5}, "the smallest first; got 0.5 and 0.4"),
        ({"erasing_aspect": 0.0}, "erasing_aspect must be above 0, to 1"),
        ({"erasing_aspect": 1.1}, "erasing_aspect must be above 0, to 1; got 1.1"),
        ({"crop_padding": -1}, "crop_padding is a whole number of pixels; got -1"),
        ({"crop_padding": 2.5}, "crop_padding is a whole number of pixels; got 2.5"),
        ({"crop_padding": True}, "crop_padding is a whole number of pixels; got True"),
    ],
)
def test_numbers_that_cannot_be_are_refused_in_one_line(values, message):
    with pytest.raises(UserError, match=message) as caught:
        RetrievalSettings(**values)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "values",
    [
        {"margin": 0, "smoothing": 0, "flip_probability": 0, "erasing_probability": 0},
        {"smoothing": 1, "flip_probability": 1, "erasing_probability": 1, "erasing_aspect": 1},
        {"erasing_smallest_area": 0.4, "crop_padding": 0},
    ],
)
def test_the_bounds_themselves_are_fine(values):
    assert RetrievalSettings(**values).as_dict().items() >= values.items()


def test_settings_cannot_be_changed_and_unknown_ones_are_refused():
    with pytest.raises(dataclasses.FrozenInstanceError):
        RetrievalSettings().margin = 2.0
    with pytest.raises(TypeError, match="margn"):
        RetrievalSettings(margn=0.5)
