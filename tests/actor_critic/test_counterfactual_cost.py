"""What a reinforced step costs: shared walks and samples, and that neither changes the truth."""

import math

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from dreal_lib import create_model, reinforce
from dreal_lib.actor_critic.baseline import Baseline
from dreal_lib.actor_critic.blocks import find_maps
from dreal_lib.actor_critic.counterfactual import Bypass, bypassed_logits, observed, units_of
from dreal_lib.actor_critic.reward import mean_square, sample_weights
from dreal_lib.networks.backbones import STAGES
from dreal_lib.training.monitor import EpochMonitor

NETWORKS = ("se_resnet26", "cbam_resnet26", "srm_resnet26")
DRAW = ("layer1.1", "layer2.0", "layer3.1", "layer4.0")


# --- shared walks -------------------------------------------------------------------------------


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("later_maps", ["recomputed", "held"])
@pytest.mark.parametrize("unit", ["block", "map"])
def test_a_shared_walk_gives_what_each_counterfactual_gives_alone(
    make_network, make_batch, network, later_maps, unit
):
    model, _ = make_network(network)
    images, _ = make_batch(model)
    model.eval()
    maps, how = find_maps(model, STAGES, 16), Bypass("entries", later_maps)
    with torch.no_grad(), observed(model, maps) as trace:
        model(images)
    units, subset = units_of(maps, unit), torch.tensor([0, 3, 4])
    together = bypassed_logits(model, images, trace, maps, units, subset, how)
    assert list(together) == list(units)
    for name, members in units.items():
        alone = bypassed_logits(model, images, trace, maps, {name: members}, None, how)
        torch.testing.assert_close(together[name], alone[name][subset], rtol=0, atol=1e-12)


@pytest.mark.parametrize("network", NETWORKS)
def test_rewards_in_single_precision_are_those_of_double(make_agent, network):
    agent, _, images, labels = make_agent(network)
    agent.generator.manual_seed(3)
    exact = agent.training_step(images, labels, blocks=DRAW).rewards
    single = agent.float().training_step(images.float(), labels, blocks=DRAW).rewards
    for block, reward in exact.items():
        torch.testing.assert_close(single[block].double(), reward, rtol=0, atol=2e-5)


def test_each_block_runs_once_for_all_counterfactuals(make_agent):
    agent, architecture, images, labels = make_agent("se_resnet26")
    labels = agent.training_step(images, labels).logits.argmax(1)  # all right
    calls = {name: [] for name in architecture.blocks}
    for name in calls:
        agent.actor.get_submodule(name).register_forward_hook(
            lambda module, inputs, output, name=name: calls[name].append(len(output))
        )
    agent.training_step(images, labels, blocks=DRAW)
    count = len(images)
    main, *rest = zip(*calls.values(), strict=False)
    assert main == (count,) * 8
    assert not rest, "layer1 has no counterfactual, so not every block is called twice"
    behind = {name: made[1:] for name, made in calls.items()}
    assert behind == {
        "layer1.0": [], "layer1.1": [],
        "layer2.0": [count], "layer2.1": [2 * count],
        "layer3.0": [2 * count], "layer3.1": [2 * count],
        "layer4.0": [3 * count], "layer4.1": [4 * count],
    }  # fmt: skip


def test_only_shortcuts_that_will_be_used_are_kept(make_network, make_batch):
    model, _ = make_network("se_resnet26")
    images, _ = make_batch(model)
    maps = find_maps(model, STAGES)
    for bypassed, kept in ((None, 8), (DRAW, 4), ((), 0)):
        with torch.no_grad(), observed(model, maps, bypassed) as trace:
            model(images)
        assert len(trace.shortcuts) == kept


def flops(learner, images, labels, *blocks) -> int:
    """Of a step, forward and backward."""
    with FlopCounterMode(display=False) as counter:
        learner.training_step(images, labels, *blocks).loss.backward()
    return counter.get_total_flops()


def test_operations_of_a_step_over_the_baselines():
    """At 64 px, with the average draw's blocks; `tests/benchmarks/step.py` counts at 224 px."""
    torch.manual_seed(0)
    model = create_model("se_resnet50", 10)
    images, blocks = torch.randn(2, 3, 64, 64), ["layer1.1", "layer2.1", "layer3.3", "layer4.1"]
    agent = reinforce(model)
    right = agent.training_step(images, torch.zeros(2, dtype=torch.int64), []).logits.argmax(1)
    baseline = flops(Baseline(model), images, right)
    for wrong, least, most in (([0, 0], 1.5, 1.65), ([0, 1], 1.2, 1.35), ([1, 1], 1.0, 1.05)):
        ratio = flops(agent, images, (right + torch.tensor(wrong)) % 10, blocks) / baseline
        assert least < ratio <= most, wrong


# --- sampled rewards ----------------------------------------------------------------------------


def draws(right, fraction, count=1000):
    generator = torch.Generator().manual_seed(0)
    return torch.stack([sample_weights(right, fraction, generator) for _ in range(count)])


@pytest.mark.parametrize(("fraction", "drawn"), [(0.25, 2), (0.5, 4), (0.1, 1), (1.0, 7)])
def test_weights_of_a_sample(fraction, drawn):
    right = torch.tensor([True] * 7 + [False] * 3)
    weights = draws(right, fraction, 50)
    assert (weights[:, ~right] == 1).all()
    assert ((weights[:, right] > 0).sum(1) == drawn).all()
    torch.testing.assert_close(weights.sum(1), torch.full((50,), 10.0, dtype=torch.float64))


def test_a_share_that_rounding_lifts_is_not_taken_up():
    assert 0.07 * 100 > 7  # so a plain ceil would give one too many
    weights = sample_weights(torch.ones(100, dtype=torch.bool), 0.07, torch.Generator())
    assert (weights > 0).sum() == 7


@pytest.mark.parametrize("right", [torch.zeros(4, dtype=torch.bool), torch.tensor([False, True])])
def test_none_or_one_right(right):
    assert (sample_weights(right, 0.25, torch.Generator()) == 1).all()


def test_every_image_predicted_right_is_drawn_equally_often():
    right = torch.tensor([True, False, True, True, True, True, False])
    share = (draws(right, 0.4, 4000)[:, right] > 0).double().mean(0)  # 2 of 5
    assert (share - 0.4).abs().max() < 4 * math.sqrt(0.4 * 0.6 / 4000)


def test_the_sampled_loss_and_its_gradient_are_unbiased():
    generator = torch.Generator().manual_seed(1)
    right = torch.rand(12, generator=generator) < 0.7
    reward = torch.where(right, torch.rand(12, generator=generator), -1.0).double()
    critique = torch.randn(12, generator=generator).double().requires_grad_()

    def loss_and_gradient(weights):
        known = reward if weights is None else torch.where(weights > 0, reward, math.nan)
        loss = mean_square(critique, known, weights)
        return torch.cat((loss[None], *torch.autograd.grad(loss, critique))).detach()

    exact = loss_and_gradient(None)
    estimates = torch.stack([loss_and_gradient(w) for w in draws(right, 0.3, 3000)])
    spread = estimates.std(0) / math.sqrt(len(estimates))
    assert ((estimates.mean(0) - exact).abs() <= 4 * spread + 1e-12).all()
    assert spread[0] > 1e-3, "every draw gives the same: this test compares nothing"


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("statistics", ["batch", "running"])
def test_a_sampled_step_knows_some_of_the_exact_rewards(make_agent, network, statistics):
    settings = {"reward_statistics": statistics}
    agent, _, images, labels = make_agent(network, reward_fraction=0.5, **settings)
    other, *_ = make_agent(network, **settings)
    logits = other.training_step(images, labels, blocks=DRAW).logits
    labels = (logits if statistics == "batch" else other.actor.eval()(images)).argmax(1)
    labels[0] = (labels[0] + 1) % 4
    other, *_ = make_agent(network, **settings)
    exact = other.training_step(images, labels, blocks=DRAW)
    step = agent.training_step(images, labels, blocks=DRAW)
    known = step.reward_weights > 0
    assert exact.reward_weights is None
    assert 0 < known.sum() < len(images)
    for unit, reward in exact.rewards.items():
        torch.testing.assert_close(step.rewards[unit][known], reward[known], rtol=0, atol=1e-12)
        assert step.rewards[unit][~known].isnan().all()
    terms = [
        (step.critiques[item.name] - exact.rewards[unit])[known] ** 2 * step.reward_weights[known]
        for unit in exact.rewards
        for item in agent.units[unit]
    ]
    by_hand = sum(term.sum() / len(images) for term in terms)
    torch.testing.assert_close(step.regression_loss.detach(), by_hand)
    step.loss.backward()
    assert all(p.grad.isfinite().all() for p in agent.parameters() if p.grad is not None)
    torch.testing.assert_close(step.quality_loss, exact.quality_loss)


def test_the_sample_comes_from_the_agents_generator_alone(make_agent):
    agent, _, images, labels = make_agent("se_resnet14", reward_fraction=0.5)
    steps = []
    for noise in (5, 6):
        torch.manual_seed(noise)
        agent.generator.manual_seed(7)
        steps.append(agent.training_step(images, labels))
    torch.testing.assert_close(steps[0].rewards, steps[1].rewards, equal_nan=True, rtol=0, atol=0)


@pytest.mark.parametrize(("fraction", "numbers"), [(1.0, 0), (0.5, 1)])
def test_how_many_numbers_a_step_draws_depends_on_no_prediction(make_agent, fraction, numbers):
    agent, _, images, labels = make_agent("se_resnet14", reward_fraction=fraction)
    right = agent.training_step(images, labels, blocks=DRAW[1::2]).logits.argmax(1)
    for given in (right, (right + 1) % 4, labels):
        agent.generator.manual_seed(1)
        expected = torch.Generator().manual_seed(1)
        for _ in range(numbers):
            torch.randint(2**62, (), generator=expected)
        agent.training_step(images, given, blocks=DRAW[1::2])
        assert torch.equal(agent.generator.get_state(), expected.get_state())


def test_the_monitor_leaves_out_what_is_not_known(make_agent):
    """Averaged over all samples of one of the images, its rows are those of the exact rewards."""
    agent, architecture, images, labels = make_agent("se_resnet14")
    blocks = architecture.blocks
    labels = agent.training_step(images, labels, blocks=blocks).logits.argmax(1)
    labels[0] = (labels[0] + 1) % 4
    exact = agent.training_step(images, labels, blocks=blocks)
    names = {block: block for block in blocks}
    expected = EpochMonitor(names, "cpu")
    monitor = EpochMonitor(names, "cpu")
    for kept in range(1, 6):
        expected.add(exact, labels)
        weights = torch.tensor([1.0] + [0.0] * 5, dtype=torch.float64)
        weights[kept] = 5.0  # as `sample_weights` gives for one of five
        rewards = {n: torch.where(weights > 0, r, math.nan) for n, r in exact.rewards.items()}
        step = type(exact)(**{**vars(exact), "rewards": rewards, "reward_weights": weights})
        monitor.add(step, labels)
    for row, other in zip(monitor.block_rows(), expected.block_rows(), strict=True):
        assert row == pytest.approx(other, nan_ok=True)
        assert row["images"] == 30
