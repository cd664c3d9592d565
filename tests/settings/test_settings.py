"""Settings: the defaults of the protocol, and errors that name the choices."""

import dataclasses
import inspect
import math

import pytest

from dreal_lib.actor_critic.reinforcement import reinforce
from dreal_lib.errors import UserError
from dreal_lib.settings.dreal import Settings

CHOICES = {
    "bypass_draw": ("step", "epoch"),
    "bypass_unit": ("block", "map"),
    "bypass_mean": ("entries", "batch"),
    "later_maps": ("recomputed", "held"),
    "reward_statistics": ("batch", "running"),
    "loss_reduction": ("sum", "mean"),
    "spatial_state": ("refined", "raw"),
    "critic_init": ("pytorch", "fan_in"),
    "critic_input_norm": ("off", "layer"),
    "reward_control": ("none", "shuffled", "random_critic"),
    "quality_signal": ("critic", "oracle_reward", "oracle_log_p"),
    "full_maps": ("auto", "means", "entries"),
    "unequal_maps": ("padded", "apart"),
}
NUMBERS = {"gamma": 1.0, "quality_weight": 1.0, "regression_weight": 1.0, "critic_lr": None}
NUMBERS |= {"critic_hidden": 1, "reward_fraction": 1.0}


def test_the_first_choice_is_the_default():
    expected = {name: choices[0] for name, choices in CHOICES.items()} | NUMBERS
    assert Settings().as_dict() == expected


@pytest.mark.parametrize("name", CHOICES)
def test_every_choice_is_taken_and_any_other_refused(name):
    for choice in CHOICES[name]:
        assert getattr(Settings(**{name: choice}), name) == choice
    with pytest.raises(UserError, match=f"choices: {', '.join(CHOICES[name])}") as caught:
        Settings(**{name: "nonsense"})
    assert name in str(caught.value)
    assert "'nonsense'" in str(caught.value)


def test_the_nearest_choice_is_named():
    with pytest.raises(UserError, match="did you mean 'recomputed'"):
        Settings(later_maps="recompute")


@pytest.mark.parametrize("name", ["gamma", "quality_weight", "regression_weight"])
@pytest.mark.parametrize("value", [-1e-9, math.nan, math.inf, -math.inf, 1e300])
def test_numbers_that_cannot_be_are_refused(name, value):
    with pytest.raises(UserError, match=name):
        Settings(**{name: value})


@pytest.mark.parametrize("value", [0.0, -0.1, math.nan, math.inf, 1e300])
def test_a_learning_rate_that_cannot_be_is_refused(value):
    with pytest.raises(UserError, match="critic_lr must be"):
        Settings(critic_lr=value)


@pytest.mark.parametrize("value", [0.0, -0.5, 1.0001, math.nan, math.inf])
def test_a_fraction_that_cannot_be_is_refused(value):
    with pytest.raises(UserError, match="reward_fraction must be above 0 and at most 1; got"):
        Settings(reward_fraction=value)


def test_zero_weights_are_fine():
    assert Settings(gamma=0, quality_weight=0, regression_weight=0, critic_lr=1e-3).gamma == 0


def test_settings_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Settings().gamma = 2.0


def test_an_unknown_setting_is_refused():
    with pytest.raises(TypeError, match="bypas_mean"):
        Settings(bypas_mean="batch")
    with pytest.raises(TypeError, match="bypas_mean"):
        reinforce(None, bypas_mean="batch")


def test_reinforce_takes_every_setting_with_the_same_default():
    parameters = inspect.signature(reinforce).parameters
    for item in dataclasses.fields(Settings):
        assert parameters[item.name].default == item.default, item.name
    assert parameters["stages"].default == "auto"


def test_a_wrong_setting_is_refused_before_the_network_is_looked_at():
    with pytest.raises(UserError, match="bypass_mean"):
        reinforce(None, bypass_mean="vector")
