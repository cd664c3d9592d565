"""The second paper's open points: defaults, choices and refusals."""

from dataclasses import fields
from typing import get_args, get_type_hints

import pytest

from dreal_lib.errors import UserError
from dreal_lib.settings.rga import CifarSettings, FullyConnectedSettings, RGASettings

CHOICES = [
    (group, field.name, get_args(get_type_hints(group)[field.name]))
    for group in (RGASettings, FullyConnectedSettings, CifarSettings)
    for field in fields(group)
    if get_args(get_type_hints(group)[field.name])
]


@pytest.mark.parametrize(("group", "name", "choices"), CHOICES)
def test_the_first_choice_is_the_default_and_no_other_word_is_taken(group, name, choices):
    assert len(choices) > 1
    assert getattr(group(), name) == choices[0]
    for choice in choices:
        assert getattr(group(**{name: choice}), name) == choice
    with pytest.raises(UserError, match=f"unknown {name} 'other'; choices: {choices[0]}"):
        group(**{name: "other"})


@pytest.mark.parametrize("ratio", [0, 1.5, True])
def test_a_ratio_is_a_whole_number(ratio):
    with pytest.raises(UserError, match="densenet_ratio must be a whole number of at least 1"):
        CifarSettings(densenet_ratio=ratio)
