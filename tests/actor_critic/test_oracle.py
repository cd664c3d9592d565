"""The controls: true gradients of R and log p, shuffled rewards, critics that learn nothing.

True gradients are compared with those of the slow reference's reward, by whole forward passes, and
with the identity dR/dA = (p_b / p) (d log p / dA - c 1).
"""

import copy

import pytest
import torch
from slow_reference import HandNorm, forward, probabilities
from torch import nn

from dreal_lib import create_model, reinforce
from dreal_lib.actor_critic.baseline import Baseline
from dreal_lib.actor_critic.counterfactual import Bypass, observed
from dreal_lib.actor_critic.normalization import MainPassStatistics
from dreal_lib.actor_critic.oracle import oracle_gradients
from dreal_lib.runtime.seeding import derived_seed

NETWORKS = ("se_resnet26", "cbam_resnet26", "srm_resnet26")
ORACLES = ("oracle_reward", "oracle_log_p")
HOWS = (
    {},
    {"bypass_unit": "map"},
    {"later_maps": "held"},
    {"bypass_unit": "map", "later_maps": "held"},
)


def true_gradients(agent, images, labels, signal, blocks=None):
    """`oracle_gradients` of one main pass, for the units of the given blocks (None: all)."""
    units = {n: m for n, m in agent.units.items() if blocks is None or m[0].block in blocks}
    how = Bypass(agent.settings.bypass_mean, agent.settings.later_maps)
    with MainPassStatistics(agent.actor) as statistics:
        with observed(agent.actor, agent.maps) as trace:
            logits = agent.actor(images)
        with statistics.reused():
            return oracle_gradients(
                agent.actor, images, labels, logits.detach(), trace, agent.maps, units, 1.0, how,
                signal=signal,
            )  # fmt: skip


def values_of(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


class SlowSignal:
    """R and log p of a unit as functions of its maps, by whole forward passes of the reference."""

    def __init__(self, agent, architecture, images, labels):
        self.weights, self.architecture = values_of(agent.actor), architecture
        self.images, self.labels, self.settings = images, labels, agent.settings
        self.norm = HandNorm(self.weights, "measured")
        self.main = forward(self.weights, architecture, images, self.norm)
        self.right = self.main.logits.argmax(1) == labels

    def mean(self, attention: torch.Tensor) -> torch.Tensor:
        return torch.stack([own * 0 + own.sum() / own.numel() for own in attention])

    def __call__(self, members: list[str], moved: dict[str, torch.Tensor]) -> dict:
        """Both signals, (B,), with some maps of a unit moved."""
        again = HandNorm(self.weights, "kept", self.norm.kept)
        held = self.main.maps if self.settings.later_maps == "held" else {}
        full = forward(self.weights, self.architecture, self.images, again, {**held, **moved})
        means = {m: self.mean(full.maps[m]) for m in members}
        without = forward(self.weights, self.architecture, self.images, again, {**held, **means})
        p, p_b = (probabilities(x.logits) for x in (full, without))
        c = torch.arange(len(self.labels)), self.labels
        reward = torch.where(self.right, 1 - p_b[c] / p[c], 0.0)
        return {"oracle_reward": reward, "oracle_log_p": torch.where(self.right, p[c].log(), 0.0)}


@pytest.mark.parametrize("settings", HOWS, ids=lambda s: "-".join(s.values()) or "default")
@pytest.mark.parametrize("network", NETWORKS)
def test_true_gradients_are_those_of_the_slow_reference(make_agent, network, settings):
    agent, architecture, images, labels = make_agent(network, **settings)
    found = {signal: true_gradients(agent, images, labels, signal) for signal in ORACLES}
    slow = SlowSignal(agent, architecture, images, labels)
    assert 0 < slow.right.sum() < len(labels)
    for unit in list(agent.units)[1::3]:
        members = [item.name for item in agent.units[unit]]
        for item in agent.units[unit]:
            leaf = slow.main.maps[item.name].clone().requires_grad_()
            values = slow(members, {item.name: leaf})
            for signal, value in values.items():
                made = found[signal].gradients[item]
                torch.testing.assert_close(found[signal].values[item], value.detach())
                assert not made[~slow.right].any()
                (expected,) = torch.autograd.grad(value.sum(), leaf, retain_graph=True)
                torch.testing.assert_close(made, expected, rtol=1e-8, atol=1e-11)


@pytest.mark.parametrize("network", ["se_resnet26", "srm_resnet26"])
def test_the_identity(make_agent, network):
    """dR/dA = (p_b / p) (d log p / dA - c 1): the bypass sees A through its mean alone."""
    agent, _, images, labels = make_agent(network)
    reward = true_gradients(agent, images, labels, "oracle_reward")
    log_p = true_gradients(agent, images, labels, "oracle_log_p")
    for item in agent.maps:
        value = reward.values[item]
        right = value != 0
        ratio = (1 - value)[right][:, None]
        rest = reward.gradients[item][right] / ratio - log_p.gradients[item][right]  # -c, (N, C)
        assert float((rest - rest.mean(1, keepdim=True)).abs().max()) < 1e-10
        assert rest.abs().max() > 1e-6


def test_the_first_map_of_cbam_has_one_more_term(make_agent):
    """- c_s d mean(A_s) / dA_c, which is not the same for all channels; A_s itself has none."""
    agent, _, images, labels = make_agent("cbam_resnet26")
    reward = true_gradients(agent, images, labels, "oracle_reward")
    log_p = true_gradients(agent, images, labels, "oracle_log_p")
    for item in agent.maps:
        value = reward.values[item]
        right = value != 0
        ratio = (1 - value)[right][:, None]
        made, of_p = (g.gradients[item].flatten(1)[right] for g in (reward, log_p))
        rest = made / ratio - of_p
        varies = float((rest - rest.mean(1, keepdim=True)).abs().max())
        assert varies < 1e-10 if item.kind == "spatial" else varies > 1e-7


@pytest.mark.parametrize("signal", ORACLES)
@pytest.mark.parametrize("network", NETWORKS)
def test_only_theta_learns_from_it_by_the_gradient_of_its_own_maps(make_agent, network, signal):
    """W's gradient is that of L_c; theta's the chain rule by hand; running statistics move once."""
    agent, architecture, images, labels = make_agent(network, quality_signal=signal)
    plain = copy.deepcopy(agent)
    before = values_of(agent.actor)
    blocks = architecture.blocks[1::2]
    step = agent.training_step(images, labels, blocks=blocks)
    theta = {n: p for n, p in agent.actor.named_parameters() if ".attention." in n}
    others = [p for n, p in agent.actor.named_parameters() if n not in theta]
    reached = torch.autograd.grad(step.quality_loss, others, allow_unused=True, retain_graph=True)
    assert all(gradient is None for gradient in reached)
    got = torch.autograd.grad(
        step.quality_loss, list(theta.values()), allow_unused=True, retain_graph=True
    )

    found = true_gradients(plain, images, labels, signal, blocks)
    by_hand, value = 0.0, 0.0
    with observed(plain.actor, plain.maps) as trace:
        plain.actor(images)
    for item in plain.maps:
        if item in found.gradients:
            made = item.actor.attend(trace.descriptors[item.actor].detach())
            by_hand = by_hand - 2 * (found.gradients[item] * made).sum() / len(labels)
            value = value - 2 * found.values[item].mean()  # one of two blocks a stage is drawn
    own = dict(plain.actor.named_parameters())
    expected = torch.autograd.grad(by_hand, [own[n] for n in theta], allow_unused=True)
    for name, gradient, wanted in zip(theta, got, expected, strict=True):
        assert (gradient is None) == (wanted is None), name
        if wanted is not None:
            torch.testing.assert_close(gradient, wanted, rtol=1e-6, atol=1e-10)
    torch.testing.assert_close(step.quality_loss.detach(), value)

    twin = copy.deepcopy(agent.actor)
    twin.load_state_dict(before)
    twin(images)
    for name, buffer in twin.named_buffers():
        torch.testing.assert_close(dict(agent.actor.named_buffers())[name], buffer)


@pytest.mark.parametrize("signal", ORACLES)
@pytest.mark.parametrize(
    "settings",
    [{"reward_statistics": "running"}, {"reward_fraction": 0.5}, {"bypass_mean": "batch"}],
    ids=lambda s: "-".join(map(str, s.values())),
)
def test_other_settings_go_with_it(make_agent, signal, settings):
    agent, _, images, labels = make_agent("cbam_resnet26", quality_signal=signal, **settings)
    plain, _, _, _ = make_agent("cbam_resnet26", **settings)
    step, usual = agent.training_step(images, labels), plain.training_step(images, labels)
    if settings.get("reward_fraction") is None:
        torch.testing.assert_close(dict(step.rewards), dict(usual.rewards))
    step.loss.backward()
    assert all(torch.isfinite(p.grad).all() for p in agent.actor.parameters())


def test_averaged_it_is_divided_by_the_number_of_maps(make_agent):
    losses = {}
    for reduction in ("sum", "mean"):
        agent, architecture, images, labels = make_agent(
            "cbam_resnet26", quality_signal="oracle_reward", loss_reduction=reduction
        )
        losses[reduction] = agent.training_step(images, labels, architecture.blocks).quality_loss
    torch.testing.assert_close(losses["mean"] * 16, losses["sum"])


def test_its_sum_is_unbiased_over_the_draws(make_agent):
    """The mean over both choices of each stage's block is the value for all blocks at once."""
    agent, architecture, images, labels = make_agent("se_resnet26", quality_signal="oracle_reward")
    everything = agent.training_step(images, labels, architecture.blocks).quality_loss
    halves = [
        agent.training_step(images, labels, architecture.blocks[k::2]).quality_loss for k in (0, 1)
    ]
    torch.testing.assert_close(sum(halves) / 2, everything)


# --- controls ------------------------------------------------------------------------------------


def steps(learner, images, labels, count=4):
    """`count` steps of SGD with momentum and decay, drawn as the trainer draws."""
    trained = [p for p in learner.parameters() if p.requires_grad]
    optimizer = torch.optim.SGD(trained, 0.05, momentum=0.9, weight_decay=5e-4)
    for number in range(count):
        if hasattr(learner, "generator"):
            learner.generator.manual_seed(derived_seed(0, "bypass", 0, number))
        optimizer.zero_grad(set_to_none=True)
        learner.training_step(images, labels).loss.backward()
        optimizer.step()
    return learner


@pytest.mark.parametrize("network", NETWORKS)
def test_without_l_q_the_network_is_the_baseline_bit_for_bit(network):
    torch.manual_seed(0)
    model = create_model(network, 4, width=4, stem="cifar")
    images, labels = torch.randn(8, 3, 16, 16), torch.randint(4, (8,))
    alone = steps(Baseline(copy.deepcopy(model)), images, labels)
    agent = steps(reinforce(copy.deepcopy(model), 16, quality_weight=0.0), images, labels)
    before = dict(model.named_parameters())
    for name, parameter in alone.actor.named_parameters():
        assert torch.equal(parameter, dict(agent.actor.named_parameters())[name]), name
        assert not torch.equal(parameter, before[name]), name


def test_shuffled_rewards_are_those_of_other_images(make_agent):
    """One order for all blocks; the step reports each image's own."""
    agent, _, images, labels = make_agent("se_resnet26", reward_control="shuffled")
    plain, _, _, _ = make_agent("se_resnet26")
    found, given = [], []
    for learner in (agent, plain):
        learner.generator.manual_seed(5)
        own = learner._controlled
        learner._controlled = lambda *a, own=own: (given.append(own(*a)), given[-1])[1]
        found.append(learner.training_step(images, labels))
    (shuffled, _), (usual, _) = given
    assert found[0].rewards.keys() == found[1].rewards.keys()  # the same blocks are drawn
    torch.testing.assert_close(found[0].rewards, found[1].rewards, rtol=0, atol=0)
    orders = []
    for unit, reward in usual.items():
        assert torch.equal(reward.sort().values, shuffled[unit].sort().values)
        assert not torch.equal(reward, shuffled[unit])
        orders.append(shuffled[unit][0])
    assert found[0].regression_loss != found[1].regression_loss
    assert torch.equal(found[0].quality_loss, found[1].quality_loss)


def test_the_order_is_the_generators_and_changes_from_step_to_step(make_agent):
    agent, *_ = make_agent("se_resnet26", reward_control="shuffled")

    def order(seed):
        agent.generator.manual_seed(seed)
        rewards = {"layer1.0": torch.arange(50.0), "layer2.0": torch.arange(50.0)}
        given, _ = agent._controlled(rewards, None)
        assert torch.equal(given["layer1.0"], given["layer2.0"])
        return given["layer1.0"].tolist()

    assert order(1) == order(1) != order(2)
    assert sorted(order(1)) == list(range(50))


def test_random_critics_stay_as_they_began(make_agent):
    agent, _, images, labels = make_agent("se_resnet26", reward_control="random_critic")
    actor, critics = values_of(agent.actor), values_of(agent.critics)
    optimizer = torch.optim.SGD(agent.parameters(), 0.1, momentum=0.9, weight_decay=0.1)
    for _ in range(3):
        optimizer.zero_grad()
        step = agent.training_step(images, labels)
        step.loss.backward()
        optimizer.step()
    assert step.regression_loss > 0
    assert not step.regression_loss.requires_grad
    assert step.quality_loss.requires_grad
    assert all(
        torch.equal(value, critics[name]) for name, value in values_of(agent.critics).items()
    )
    moved = {n for n, value in values_of(agent.actor).items() if not torch.equal(value, actor[n])}
    assert moved >= {n for n, _ in agent.actor.named_parameters()}
