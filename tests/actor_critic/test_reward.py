"""The reward: Eq. 1 by hand, and the library's counterfactuals against full forward passes."""

import itertools
import math

import pytest
import torch
from slow_reference import HandNorm, eq_1, forward, slow_rewards

from dreal_lib import create_model, reinforce
from dreal_lib.actor_critic.reward import (
    log_probabilities,
    mean_map,
    predicted_right,
    relative_gain,
)
from dreal_lib.attention.se import SqueezeExcitation
from dreal_lib.errors import UserError

NETWORKS = ("se_resnet26", "cbam_resnet26", "srm_resnet26")
CHOICES = {
    "bypass_mean": ("entries", "batch"),
    "later_maps": ("recomputed", "held"),
    "bypass_unit": ("block", "map"),
    "reward_statistics": ("batch", "running"),
}
GRID = [dict(zip(CHOICES, values, strict=True)) for values in itertools.product(*CHOICES.values())]


def spelled(settings: dict) -> str:
    return "-".join(settings.values())


def values_of(agent) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in agent.actor.state_dict().items()}


# --- the pure functions -------------------------------------------------------------------------


def test_relative_gain_by_hand():
    # p = (0.8, 0.2), bypassed p = (0.5, 0.5): 1 - 0.5/0.8 = 0.375; the other way 1 - 0.9/0.6.
    logits = torch.tensor([[0.8, 0.2], [0.4, 0.6]], dtype=torch.float64).log()
    bypassed = torch.tensor([[0.5, 0.5], [0.1, 0.9]], dtype=torch.float64).log()
    gain = relative_gain(logits, bypassed, torch.tensor([0, 1]))
    torch.testing.assert_close(gain, torch.tensor([0.375, -0.5], dtype=torch.float64))


def test_reward_lies_between_1_minus_the_number_of_classes_and_1():
    classes = 5
    even, sure = torch.zeros(1, classes), torch.full((1, classes), -80.0)
    sure[0, 2] = 80.0
    label = torch.tensor([2])
    assert relative_gain(even, sure, label).item() == pytest.approx(1 - classes)
    assert relative_gain(sure, -sure, label).item() == pytest.approx(1)
    assert relative_gain(sure, sure, label).item() == 0


def test_relative_gain_keeps_small_differences():
    logits = torch.tensor([[0.3, -0.2, 0.1]], dtype=torch.float64)
    shifted = logits + torch.tensor([[1e-12, 0, 0]], dtype=torch.float64)
    p = torch.softmax(logits, 1)[0, 0].item()
    gain = relative_gain(logits, shifted, torch.tensor([0])).item()
    assert gain == pytest.approx(-1e-12 * (1 - p), rel=1e-3)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_probabilities_are_float32_or_better(dtype):
    logits = torch.randn(3, 4, generator=torch.Generator().manual_seed(0)).to(dtype)
    assert log_probabilities(logits).dtype == torch.float32
    assert relative_gain(logits, logits.flip(1), torch.tensor([0, 1, 2])).dtype == torch.float32
    assert log_probabilities(logits.double()).dtype == torch.float64


def test_ties_count_as_right():
    logits = torch.tensor([[1.0, 1.0, 0.0], [1.0, 1.0, 0.0], [0.0, 1.0, 1.0]])
    assert predicted_right(logits, torch.tensor([0, 1, 0])).tolist() == [True, True, False]


def test_a_prediction_that_is_no_number_is_not_right():
    assert not predicted_right(torch.full((1, 3), math.nan), torch.tensor([0])).item()


def test_mean_map_by_hand():
    attention = torch.tensor([[0.0, 1.0, 2.0], [3.0, 4.0, 8.0]])
    assert mean_map(attention).tolist() == [[1.0] * 3, [5.0] * 3]
    assert mean_map(attention, "batch").tolist() == [[1.5, 2.5, 5.0]] * 2


def test_mean_of_a_spatial_map_is_over_positions():
    attention = torch.arange(8.0).reshape(2, 1, 2, 2)
    assert mean_map(attention)[:, 0].tolist() == [[[1.5, 1.5]] * 2, [[5.5, 5.5]] * 2]
    assert mean_map(attention, "batch")[1, 0].tolist() == [[2.0, 3.0], [4.0, 5.0]]


# --- through a training step --------------------------------------------------------------------


def representative(network: str) -> list[dict]:
    """Every setting for CBAM, whose blocks have two maps; where one is, each pair of choices."""
    if network.startswith("cbam"):
        return GRID
    return [
        settings
        for settings in GRID
        if settings["bypass_unit"] == "block"
        and sum(value == CHOICES[name][0] for name, value in settings.items()) % 2 == 0
    ]


@pytest.mark.parametrize(
    ("network", "settings"),
    [(network, settings) for network in NETWORKS for settings in representative(network)],
    ids=lambda given: given if isinstance(given, str) else spelled(given),
)
def test_rewards_are_those_of_full_forward_passes(make_agent, network, settings):
    agent, architecture, images, labels = make_agent(network, gamma=0.7, **settings)
    before = values_of(agent)
    step = agent.training_step(images, labels, blocks=architecture.blocks)
    # "running" means the statistics after the main pass has moved them.
    weights = before if settings["reward_statistics"] == "batch" else values_of(agent)
    expected = slow_rewards(
        weights, architecture, images, labels, architecture.blocks, {**settings, "gamma": 0.7}
    )
    assert step.rewards.keys() == expected.keys()
    for unit, reward in expected.items():
        assert not reward.requires_grad
        torch.testing.assert_close(step.rewards[unit], reward, rtol=0, atol=1e-10)
    right = torch.stack(list(expected.values())) != -0.7
    assert right.any(), "no image is predicted right: this test compares nothing"


@pytest.mark.parametrize("network", NETWORKS)
def test_every_choice_moves_the_rewards(make_agent, network):
    """Guards the test above: the slow reference itself must tell the choices apart."""
    agent, architecture, images, labels = make_agent(network)
    weights, blocks = values_of(agent), architecture.blocks[:2]

    def first_reward(**settings):
        rewards = slow_rewards(weights, architecture, images, labels, blocks, settings)
        return next(iter(rewards.values()))

    default = first_reward()
    for name, (_, other) in CHOICES.items():
        if name == "bypass_unit" and network != "cbam_resnet26":
            continue
        assert (first_reward(**{name: other}) - default).abs().max() > 1e-6, name


@pytest.mark.parametrize("stem", ["imagenet", "tiny"])
def test_rewards_with_the_other_stems(make_agent, stem):
    agent, architecture, images, labels = make_agent("cbam_resnet14", stem=stem, size=64)
    weights, blocks = values_of(agent), architecture.blocks
    step = agent.training_step(images, labels, blocks=blocks)
    expected = slow_rewards(weights, architecture, images, labels, blocks, {})
    torch.testing.assert_close(step.rewards, expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize("blocks", [["layer3.1"], ["layer4.0", "layer1.1"]])
def test_only_the_named_blocks_are_evaluated(make_agent, blocks):
    agent, architecture, images, labels = make_agent("se_resnet26")
    weights = values_of(agent)
    step = agent.training_step(images, labels, blocks=blocks)
    assert set(step.rewards) == set(blocks)
    expected = slow_rewards(weights, architecture, images, labels, blocks, {})
    torch.testing.assert_close(step.rewards, expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize("settings", GRID[::2], ids=spelled)
def test_images_predicted_wrong_get_minus_gamma_exactly(make_agent, settings):
    agent, architecture, images, labels = make_agent("cbam_resnet26", gamma=0.3, **settings)
    step = agent.training_step(images, labels, blocks=architecture.blocks)
    wrong = step.logits.argmax(1) != labels
    assert wrong.any()
    for reward in step.rewards.values():
        assert (reward[wrong] == torch.tensor(-0.3, dtype=reward.dtype)).all()


@pytest.mark.parametrize("bypass_mean", ["entries", "batch"])
def test_a_reward_does_not_depend_on_which_other_images_are_wrong(make_agent, bypass_mean):
    agent, architecture, images, labels = make_agent("srm_resnet26", bypass_mean=bypass_mean)
    before = values_of(agent)
    mixed = agent.training_step(images, labels, blocks=architecture.blocks)
    predicted = mixed.logits.argmax(1)
    right = predicted == labels
    assert right.any()
    assert not right.all()
    agent.actor.load_state_dict(before)
    all_right = agent.training_step(images, predicted, blocks=architecture.blocks)
    for block, reward in mixed.rewards.items():
        torch.testing.assert_close(
            reward[right], all_right.rewards[block][right], atol=1e-12, rtol=0
        )


def test_a_batch_of_wrong_images_needs_no_counterfactual(make_agent, monkeypatch):
    agent, architecture, images, labels = make_agent("se_resnet26")
    wrong = (agent.training_step(images, labels).logits.argmax(1) + 1) % 4
    calls = []
    monkeypatch.setattr(type(agent.actor), "resume", lambda *given: calls.append(given))
    step = agent.training_step(images, wrong, blocks=architecture.blocks)
    assert not calls
    assert all((reward == -1).all() for reward in step.rewards.values())


def test_a_tie_is_right_and_rewarded(make_agent):
    """Two classes with equal weights tie on every image, and both count as right."""
    agent, architecture, images, _ = make_agent("se_resnet26")
    with torch.no_grad():
        agent.actor.fc.weight[1:] = agent.actor.fc.weight[0]
        agent.actor.fc.bias.zero_()
    weights = values_of(agent)
    labels = torch.tensor([0, 1, 2, 3, 0, 1])
    step = agent.training_step(images, labels, blocks=["layer2.0"])
    # All four classes are always equally probable, so that no attention gains anything.
    torch.testing.assert_close(step.rewards["layer2.0"], torch.zeros(6, dtype=torch.float64))
    expected = slow_rewards(weights, architecture, images, labels, ["layer2.0"], {})
    torch.testing.assert_close(step.rewards, expected, rtol=0, atol=1e-10)


def test_srm_starts_with_rewards_of_zero_on_images_predicted_right(make_batch):
    """Its gates are the constant 0.5 at first, and a constant map is its own mean."""
    torch.manual_seed(0)
    model = create_model("srm_resnet14", 4, width=8, stem="cifar").double()
    images, labels = make_batch(model)
    step = reinforce(model).training_step(images, labels, blocks=["layer1.0", "layer4.0"])
    right = step.logits.argmax(1) == labels
    assert right.any()
    for reward in step.rewards.values():
        torch.testing.assert_close(
            reward[right], torch.zeros_like(reward[right]), atol=1e-9, rtol=0
        )


def test_every_map_is_bypassed_by_its_value_in_the_main_pass(make_agent):
    """The spatial map is replaced by the mean it had before the channel map was bypassed."""
    agent, architecture, images, labels = make_agent("cbam_resnet26")
    weights = values_of(agent)
    full_norm = HandNorm(weights, "measured")
    full = forward(weights, architecture, images, full_norm)
    names = ["layer2.1.channel", "layer2.1.spatial"]
    means = {n: full.maps[n].mean(tuple(range(1, full.maps[n].dim())), True) for n in names}
    means = {n: means[n].expand_as(full.maps[n]) for n in names}
    norm = HandNorm(weights, "kept", full_norm.kept)
    without = forward(weights, architecture, images, norm, means)
    step = agent.training_step(images, labels, blocks=["layer2.1"])
    expected = eq_1(full.logits, without.logits, labels, 1.0)
    torch.testing.assert_close(step.rewards["layer2.1"], expected, rtol=0, atol=1e-10)
    torch.testing.assert_close(step.logits, full.logits, rtol=0, atol=1e-10)


def test_held_maps_are_those_of_the_whole_network(make_agent):
    """`later_maps="held"` holds the maps of stages that are not reinforced, too."""
    agent, architecture, images, labels = make_agent(
        "se_resnet26", later_maps="held", stages=("layer1",)
    )
    weights = values_of(agent)
    step = agent.training_step(images, labels, blocks=["layer1.0"])
    expected = slow_rewards(
        weights, architecture, images, labels, ["layer1.0"], {"later_maps": "held"}
    )
    torch.testing.assert_close(step.rewards, expected, rtol=0, atol=1e-10)


class NeighbourNorm(torch.nn.BatchNorm2d):
    """A BN without running statistics: always the batch at hand."""

    def __init__(self, channels: int):
        super().__init__(channels, track_running_stats=False)


class Untracked(torch.nn.Module):
    """One block, and a BN behind it that keeps no running statistics."""

    def __init__(self):
        super().__init__()
        self.conv = torch.nn.Conv2d(3, 16, 3, padding=1)
        self.stage = torch.nn.Sequential(SqueezeExcitation(16, 4))
        self.bn = NeighbourNorm(16)
        self.fc = torch.nn.Linear(16, 4)

    def forward(self, images):
        x = self.bn(self.stage(self.conv(images)))
        return self.fc(x.relu().mean((2, 3)))


@pytest.mark.parametrize("statistics", ["batch", "running"])
def test_no_neighbours_matter_where_a_bn_keeps_no_running_statistics(make_batch, statistics):
    """Such a BN must be refused, or its main-pass statistics used in the counterfactual."""
    torch.manual_seed(0)
    model = Untracked().double()
    images, labels = make_batch(model)
    try:
        agent = reinforce(model, stages=["stage"], reward_statistics=statistics)
        step = agent.training_step(images, labels)
    except UserError:
        return
    predicted = step.logits.argmax(1)
    right = predicted == labels
    again = agent.training_step(images, predicted)
    reward, other = step.rewards["stage.0"], again.rewards["stage.0"]
    torch.testing.assert_close(reward[right], other[right], atol=1e-12, rtol=0)
