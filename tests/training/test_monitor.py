"""What is watched during an epoch, against numpy over all images at once."""

import math

import numpy as np
import pytest
import torch

from dreal_lib.actor_critic.agent import Step
from dreal_lib.training.monitor import SATURATED_BELOW, EpochMonitor

GAMMA = 0.7
UNITS = {"layer1.0": "layer1.0", "layer2.0.channel": "layer2.0", "layer2.0.spatial": "layer2.0"}


def make_step(generator, count, classes=5, rewarded=("layer1.0", "layer2.0"), zero=0.0):
    """A step whose rewards are -gamma exactly where the logits are wrong, and its labels."""
    logits = torch.randn(count, classes, generator=generator)
    labels = torch.randint(classes, (count,), generator=generator)
    labels = torch.where(torch.rand(count, generator=generator) < 0.5, logits.argmax(1), labels)
    wrong = logits.argmax(1) != labels
    losses = torch.rand(3, generator=generator)
    rewards = {
        name: torch.where(wrong, -GAMMA, torch.rand(count, generator=generator))
        for name in rewarded
    }
    step = Step(
        losses.sum(),
        logits,
        *losses,
        rewards=rewards,
        critiques={name: torch.randn(count, generator=generator) + zero for name in UNITS},
        sensitivities={n: torch.rand(count, generator=generator) * 0.03 for n in UNITS},
        right=~wrong,
    )
    return step, labels


@pytest.fixture
def epoch():
    """Four steps of uneven size, of which one rewards layer1.0 alone, and the filled monitor."""
    generator = torch.Generator().manual_seed(0)
    monitor, steps = EpochMonitor(UNITS, "cpu"), []
    for count, rewarded in (
        (4, ("layer1.0",)),
        (7, tuple(set(UNITS.values()))),
        (3, ()),
        (6, ("layer2.0",)),
    ):
        steps.append(make_step(generator, count, rewarded=rewarded))
        monitor.add(*steps[-1])
    return monitor, steps


def test_losses_are_means_over_images_and_errors_per_cent(epoch):
    monitor, steps = epoch
    row = monitor.loss_row()
    weights = [len(labels) for _, labels in steps]
    for name in ("classification_loss", "quality_loss", "regression_loss"):
        values = [float(getattr(step, name)) for step, _ in steps]
        assert row[name] == pytest.approx(np.average(values, weights=weights))
    wrong = torch.cat([step.logits.argmax(1) != labels for step, labels in steps]).numpy()
    assert row["train_top1_error_pct"] == pytest.approx(100 * wrong.mean())
    assert 0 < row["train_top1_error_pct"] < 100


@pytest.mark.parametrize("name", UNITS)
def test_block_rows_are_numpys_over_the_images_that_were_rewarded(epoch, name):
    monitor, steps = epoch
    unit = UNITS[name]
    used = [(step, labels) for step, labels in steps if unit in step.rewards]
    q = torch.cat([step.critiques[name] for step, _ in used]).double().numpy()
    r = torch.cat([step.rewards[unit] for step, _ in used]).double().numpy()
    right = torch.cat([step.logits.argmax(1) == labels for step, labels in used]).numpy()
    sensitivity = torch.cat([step.sensitivities[name] for step, _ in used]).numpy()
    (row,) = [row for row in monitor.block_rows() if row["map"] == name]
    assert row.pop("map") == name
    assert row == pytest.approx(
        {
            "images": len(q),
            "critique_mean": q.mean(),
            "reward_mean": r.mean(),
            "right_share": right.mean(),
            "reward_right_mean": r[right].mean(),
            "critique_rmse": np.sqrt(((q - r) ** 2).mean()),
            "correlation": np.corrcoef(q, r)[0, 1],
            "saturated_share": (sensitivity < SATURATED_BELOW).mean(),
        },
        rel=1e-9,
    )
    assert 0 < row["saturated_share"] < 1


def test_the_reward_is_made_of_its_two_parts(epoch):
    for row in epoch[0].block_rows():
        share = row["right_share"]
        parts = share * row["reward_right_mean"] - GAMMA * (1 - share)
        assert row["reward_mean"] == pytest.approx(parts, rel=1e-6)  # rewards are float32


def test_maps_of_a_block_share_its_reward(epoch):
    rows = {row["map"]: row for row in epoch[0].block_rows()}
    channel, spatial = rows["layer2.0.channel"], rows["layer2.0.spatial"]
    assert channel["reward_mean"] == spatial["reward_mean"]
    assert channel["critique_mean"] != spatial["critique_mean"]


def test_a_map_that_was_never_rewarded_has_no_row():
    monitor = EpochMonitor(UNITS, "cpu")
    monitor.add(*make_step(torch.Generator().manual_seed(0), 4, rewarded=("layer2.0",)))
    assert [row["map"] for row in monitor.block_rows()] == ["layer2.0.channel", "layer2.0.spatial"]


def test_a_baselines_step_has_losses_and_no_rows():
    logits, labels = torch.tensor([[2.0, 1.0], [0.0, 1.0]]), torch.tensor([0, 0])
    loss, zero = torch.tensor(0.5), torch.tensor(0.0)
    monitor = EpochMonitor({}, "cpu")
    monitor.add(Step(loss, logits, loss, zero, zero, rewards={}, critiques={}), labels)
    assert monitor.block_rows() == []
    assert monitor.loss_row() == {
        "classification_loss": 0.5,
        "quality_loss": 0.0,
        "regression_loss": 0.0,
        "train_top1_error_pct": 50.0,
    }


def test_parts_of_the_loss_are_means_over_images():
    monitor = EpochMonitor({}, "cpu", ("identity_loss", "triplet_loss"))
    zero = torch.tensor(0.0)
    for count, identity, triplet in ((4, 2.0, 0.5), (12, 1.0, 0.1)):
        parts = {"triplet_loss": torch.tensor(triplet), "identity_loss": torch.tensor(identity)}
        loss, logits = torch.tensor(identity + triplet), torch.tensor([[1.0, 0.0]] * count)
        step = Step(loss, logits, loss, zero, zero, rewards={}, critiques={}, parts=parts)
        monitor.add(step, torch.ones(count, dtype=torch.int64))
    row = monitor.loss_row()
    assert row == pytest.approx(
        {
            "classification_loss": (4 * 2.5 + 12 * 1.1) / 16,
            "quality_loss": 0,
            "regression_loss": 0,
            "identity_loss": (4 * 2 + 12 * 1) / 16,
            "triplet_loss": (4 * 0.5 + 12 * 0.1) / 16,
            "train_top1_error_pct": 100,
        }
    )


def test_sums_kept_in_a_checkpoint_go_on(epoch):
    """An epoch watched by two monitors, the second from the first's sums."""
    whole, steps = epoch
    one, two = EpochMonitor(UNITS, "cpu"), EpochMonitor(UNITS, "cpu")
    for part in steps[:2]:
        one.add(*part)
    two.losses, two.blocks = one.losses.clone(), one.blocks.clone()
    for part in steps[2:]:
        two.add(*part)
    assert two.loss_row() == whole.loss_row()
    assert two.block_rows() == whole.block_rows()


def row_of(critiques, rewards, right=None):
    """The row of one map from its critiques and rewards, (N,) each."""
    count = len(critiques)
    right = torch.ones(count, dtype=torch.bool) if right is None else torch.tensor(right)
    zero = torch.tensor(0.0)
    labels = torch.zeros(count, dtype=torch.int64)
    logits = torch.tensor([[1.0, 0.0]]).expand(count, 2)
    monitor = EpochMonitor({"a": "a"}, "cpu")
    for part in torch.arange(count).split(7):  # as steps of an epoch
        values = {
            "rewards": {"a": torch.as_tensor(rewards)[part]},
            "critiques": {"a": torch.as_tensor(critiques)[part]},
            "sensitivities": {"a": torch.ones(len(part))},
            "right": right[part],
        }
        monitor.add(Step(zero, logits[part], zero, zero, zero, **values), labels[part])
    return monitor.block_rows()[0]


@pytest.mark.parametrize("constant", [0.0, 0.1, -0.76159416, 1 / 3, 1e-6])
@pytest.mark.parametrize("count", [1, 2, 3, 100, 1001])
def test_a_constant_has_no_correlation(constant, count):
    varying = torch.linspace(-1, 0.5, count)
    level = torch.full((count,), constant)
    assert math.isnan(row_of(level, varying)["correlation"])
    assert math.isnan(row_of(varying, level)["correlation"])


def test_a_small_spread_around_a_large_mean_still_counts():
    rewards = torch.linspace(-1, 0.5, 50, dtype=torch.float64)
    assert row_of(0.76 + 1e-4 * rewards, rewards)["correlation"] == pytest.approx(1, abs=1e-3)
    assert row_of(0.76 - 1e-4 * rewards, rewards)["correlation"] == pytest.approx(-1, abs=1e-3)


def test_without_an_image_predicted_right_the_gain_is_undefined():
    row = row_of(torch.tensor([0.1, 0.2]), torch.full((2,), -1.0), right=[False, False])
    assert math.isnan(row["reward_right_mean"])
    assert row["right_share"] == 0
    assert row["reward_mean"] == -1


def test_a_perfect_critic_has_no_error():
    values = torch.tensor([0.1, -0.7, 0.3])
    row = row_of(values, values)
    assert row["critique_rmse"] == pytest.approx(0, abs=1e-8)
    assert row["correlation"] == pytest.approx(1)


@pytest.mark.parametrize("statistics", ["batch", "running"])
def test_parts_are_those_of_the_pass_that_the_rewards_were_taken_from(make_agent, statistics):
    """With running statistics another image may be right than in the main pass."""
    agent, _, images, labels = make_agent(
        "se_resnet26", reward_statistics=statistics, gamma=GAMMA, bypass_unit="map"
    )
    images, labels = torch.cat([images, images.flip(0) * 0.7]), torch.cat([labels, labels.flip(0)])
    step = agent.training_step(images, labels, ["layer2.0"])
    (rewards,) = step.rewards.values()
    right = (rewards != -GAMMA).numpy()  # Eq. 1: -gamma, and nothing else gives just that
    assert 0 < right.sum() < len(right)
    in_main_pass = (step.logits.argmax(1) == labels).numpy()
    assert (in_main_pass == right).all() == (statistics == "batch")
    monitor = EpochMonitor({item.name: item.name for item in agent.maps}, "cpu")
    monitor.add(step, labels)
    (row,) = monitor.block_rows()
    assert row["right_share"] == right.mean()
    assert row["reward_right_mean"] == pytest.approx(rewards.numpy()[right].mean())
    penalty = row["reward_mean"] - row["right_share"] * row["reward_right_mean"]
    assert penalty == pytest.approx(-GAMMA * (1 - right.mean()))
