"""The actor-critic step: who learns from what, what moves, and what stays as it was.

The draw, errors, networks of one's own and precision: `test_reinforce_use.py`.
"""

import copy

import pytest
import torch
from slow_reference import TRUE_PARAMETERS, slow_critiques, slow_step
from torch import nn

from dreal_lib import create_model, reinforce

NETWORKS = ("se_resnet26", "cbam_resnet26", "srm_resnet26")
LOSSES = ("classification_loss", "quality_loss", "regression_loss")
SETTINGS = (
    {},
    {"loss_reduction": "mean"},
    {"quality_weight": 0.3, "regression_weight": 2.5, "gamma": 0.5},
    {"bypass_unit": "map", "spatial_state": "raw"},
    {"spatial_state": "raw", "critic_input_norm": "layer", "loss_reduction": "mean"},
)


def groups(agent) -> dict[str, dict[str, nn.Parameter]]:
    """W, theta and phi, by name of the parameter."""
    actor = dict(agent.actor.named_parameters())
    theta = {name: p for name, p in actor.items() if ".attention." in name}
    return {
        "W": {name: p for name, p in actor.items() if name not in theta},
        "theta": theta,
        "phi": dict(agent.critics.named_parameters()),
    }


def phi_of(agent) -> dict[tuple[str, str], list[torch.Tensor]]:
    """By (stage, kind), the four tensors of a critic, as the slow reference takes them."""
    return {
        tuple(key.rsplit("_", 1)): [
            critic.lstm.weight_ih_l0,
            critic.lstm.weight_hh_l0,
            critic.lstm.bias_ih_l0,
            critic.lstm.bias_hh_l0,
        ]
        for key, critic in agent.critics.items()
    }


def values_of(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


def attributes(model: nn.Module) -> list[tuple]:
    """What hooks and attributes the modules have on themselves."""
    hooks = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks")
    return [
        (sorted(vars(module)), *(len(getattr(module, hook)) for hook in hooks))
        for module in model.modules()
    ]


def reached(loss: torch.Tensor, parameters: dict[str, nn.Parameter]) -> set[str]:
    """Names of the parameters that get a gradient other than 0 from `loss`."""
    gradients = torch.autograd.grad(
        loss, list(parameters.values()), allow_unused=True, retain_graph=True
    )
    pairs = zip(parameters, gradients, strict=True)
    return {name for name, gradient in pairs if gradient is not None and gradient.any()}


# --- losses and gradients against the slow reference --------------------------------------------


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize(
    "settings", SETTINGS, ids=lambda s: "-".join(map(str, s.values())) or "default"
)
def test_one_backward_gives_the_gradients_of_three_losses_apart(make_agent, network, settings):
    agent, architecture, images, labels = make_agent(network, **settings)
    weights, blocks = values_of(agent.actor), architecture.blocks[1::2]
    expected = slow_step(weights, phi_of(agent), architecture, images, labels, blocks, settings)
    step = agent.training_step(images, labels, blocks=blocks)
    for name in LOSSES:
        torch.testing.assert_close(getattr(step, name).detach(), getattr(expected, name))
    torch.testing.assert_close(step.rewards, expected.rewards, rtol=0, atol=1e-10)
    torch.testing.assert_close(step.critiques, expected.critiques)
    step.loss.backward()
    for name, parameter in agent.actor.named_parameters():
        torch.testing.assert_close(
            parameter.grad, expected.actor_gradients[name], rtol=1e-6, atol=1e-9,
            msg=lambda text, name=name: f"{name}: {text}",
        )  # fmt: skip
    for key, tensors in phi_of(agent).items():
        for tensor, gradient in zip(tensors, expected.critic_gradients[key], strict=True):
            torch.testing.assert_close(tensor.grad, gradient, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("network", NETWORKS)
def test_each_loss_reaches_its_own_group_alone(make_agent, network):
    agent, architecture, images, labels = make_agent(network)
    step = agent.training_step(images, labels, blocks=architecture.blocks)
    everything = {name: set(group) for name, group in groups(agent).items()}
    got = {
        loss: {name: reached(getattr(step, loss), group) for name, group in groups(agent).items()}
        for loss in LOSSES
    }
    # The bias before a BN shifts nothing, but no such bias exists here; all of W is reached.
    assert got["classification_loss"] == {**everything, "phi": set()}
    assert got["quality_loss"] == {"W": set(), "theta": everything["theta"], "phi": set()}
    assert got["regression_loss"] == {"W": set(), "theta": set(), "phi": everything["phi"]}


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("weights", [(1.0, 1.0), (0.25, 3.0), (0.0, 0.0)])
def test_the_loss_is_the_weighted_sum(make_agent, network, weights):
    quality, regression = weights
    agent, _, images, labels = make_agent(
        network, quality_weight=quality, regression_weight=regression
    )
    step = agent.training_step(images, labels)
    total = step.classification_loss + quality * step.quality_loss
    torch.testing.assert_close(step.loss, total + regression * step.regression_loss)
    torch.testing.assert_close(
        step.classification_loss, nn.functional.cross_entropy(step.logits, labels)
    )


def test_a_later_block_reaches_earlier_maps_of_its_stage_only(make_agent):
    """Through h and c. L_q without the recurrence has other gradients; other stages have none."""
    agent, _, images, labels = make_agent("se_resnet26")
    step = agent.training_step(images, labels)
    theta = groups(agent)["theta"]
    names = [name for name in theta if name.startswith("layer2.0")]
    got = torch.autograd.grad(step.quality_loss, [theta[n] for n in names], retain_graph=True)

    actor = agent.actor.layer2[0].attention
    descriptors, actors = {}, {}
    for block in ("layer2.0", "layer2.1"):
        actors[block] = agent.actor.get_submodule(block).attention
        actors[block].register_forward_pre_hook(
            lambda module, inputs, block=block: descriptors.__setitem__(
                block, inputs[0].mean((2, 3))
            )
        )
    with torch.no_grad():
        agent.actor(images)
    phi = [tensor.detach() for tensor in phi_of(agent)["layer2", "channel"]]
    maps = [actors[block].attend(descriptors[block]) for block in descriptors]
    first, second = slow_critiques(list(descriptors.values()), maps, phi)
    own = torch.autograd.grad(-first.mean(), list(actor.parameters()), retain_graph=True)
    later = torch.autograd.grad(-second.mean(), list(actor.parameters()))
    assert all(gradient.abs().max() > 1e-6 for gradient in later)
    for total, a, b in zip(got, own, later, strict=True):
        torch.testing.assert_close(total, a + b)


@pytest.mark.parametrize("network", NETWORKS)
def test_the_state_carries_no_gradient(make_agent, network):
    """A critic that looks at F~ alone teaches nothing, not even the actors of blocks before."""
    agent, _, images, labels = make_agent(network)
    with torch.no_grad():
        for critic in agent.critics.values():
            half = critic.lstm.input_size // 2
            critic.lstm.weight_ih_l0[:, half:] = 0
    step = agent.training_step(images, labels)
    assert step.quality_loss.abs() > 1e-3
    assert reached(step.quality_loss, dict(agent.actor.named_parameters())) == set()


def test_a_critic_whose_stage_is_not_evaluated_learns_nothing(make_agent):
    agent, _, images, labels = make_agent("se_resnet26")
    step = agent.training_step(images, labels, blocks=["layer2.1"])
    phi = groups(agent)["phi"]
    assert reached(step.regression_loss, phi) == {n for n in phi if n.startswith("layer2_channel")}
    assert len(step.critiques) == 8
    assert len(step.sensitivities) == 8


def test_no_block_evaluated_is_no_regression(make_agent):
    agent, _, images, labels = make_agent("se_resnet26")
    step = agent.training_step(images, labels, blocks=[])
    assert step.rewards == {}
    assert step.regression_loss == 0
    step.loss.backward()
    assert all(p.grad is None or not p.grad.any() for p in agent.critics.parameters())


def test_critics_can_be_trained_again_after_a_step(make_agent):
    agent, _, images, labels = make_agent("cbam_resnet26")
    agent.training_step(images, labels)
    assert all(parameter.requires_grad for parameter in agent.critics.parameters())


# --- running statistics -------------------------------------------------------------------------


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("statistics", ["batch", "running"])
def test_running_statistics_are_those_after_a_plain_forward_pass(make_agent, network, statistics):
    agent, architecture, images, labels = make_agent(network, reward_statistics=statistics)
    plain = copy.deepcopy(agent.actor)
    plain(images)
    agent.training_step(images, labels, blocks=architecture.blocks)
    torch.testing.assert_close(dict(agent.actor.named_buffers()), dict(plain.named_buffers()))
    counts = [v for n, v in agent.actor.named_buffers() if n.endswith("num_batches_tracked")]
    assert all(count == 1 for count in counts)


@pytest.mark.parametrize(("network", "share"), [("cbam_resnet26", 0.01), ("srm_resnet26", 0.1)])
def test_the_norms_inside_attention_move_once(make_agent, network, share):
    """A second ordinary call of `attend` would move SRM's by 0.19 and CBAM's by 0.0199."""
    agent, architecture, images, labels = make_agent(network)
    bn = agent.actor.layer3[1].attention
    bn = bn.spatial.bn if network.startswith("cbam") else bn.bn
    seen, before = [], bn.running_mean.clone()
    handle = bn.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].detach()))
    agent.training_step(images, labels, blocks=architecture.blocks)
    handle.remove()
    axes = (0, 2, 3) if seen[0].dim() == 4 else (0,)
    expected = (1 - share) * before + share * seen[0].mean(axes)  # seen[0]: the main pass
    torch.testing.assert_close(bn.running_mean, expected)
    assert len(seen) > 2  # counterfactuals and the critic's side called it too
    assert bn.num_batches_tracked == 1


# --- the network stays what it is ---------------------------------------------------------------


@pytest.mark.parametrize("network", NETWORKS)
def test_the_actor_is_the_plain_network(make_network, make_batch, network):
    model, _ = make_network(network)
    images, labels = make_batch(model)
    keys, seen = list(model.state_dict()), attributes(model)
    with torch.no_grad():
        expected = model.eval()(images)
    agent = reinforce(model, 16)
    assert agent.actor is model
    with torch.no_grad():
        assert torch.equal(agent.actor(images), expected)
        assert torch.equal(agent(images), expected)
    agent.train().training_step(images, labels).loss.backward()
    assert list(agent.actor.state_dict()) == keys
    assert attributes(model) == seen
    assert not any("critic" in name for name, _ in model.named_modules())
    # Trained or not, the network alone gives the output of one loaded from its state dict.
    twin, _ = make_network(network, seed=9)
    twin.load_state_dict(model.state_dict())
    with torch.no_grad():
        assert torch.equal(agent.actor.eval()(images), twin.eval()(images))


@pytest.mark.parametrize("statistics", ["batch", "running"])
@pytest.mark.parametrize("moment", ["main pass", "counterfactual", "critic's side"])
def test_an_exception_leaves_nothing_behind(make_agent, statistics, moment):
    agent, _, images, labels = make_agent("srm_resnet26", reward_statistics=statistics)
    model, calls = agent.actor, []
    seen, modes = attributes(model), [module.training for module in model.modules()]
    momenta = [m.momentum for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
    last = {"main pass": 1, "counterfactual": 2, "critic's side": None}[moment]

    def explode(module, inputs):
        calls.append(torch.is_grad_enabled())
        side = last is None and calls.count(True) == 2
        if side or len(calls) == last:
            raise ZeroDivisionError

    handle = model.layer4[1].attention.bn.register_forward_pre_hook(explode)
    with pytest.raises(ZeroDivisionError):
        agent.training_step(images, labels, blocks=["layer2.0"])
    handle.remove()
    assert attributes(model) == seen
    assert [module.training for module in model.modules()] == modes
    assert [m.momentum for m in model.modules() if isinstance(m, nn.BatchNorm2d)] == momenta
    assert all(m.track_running_stats for m in model.modules() if isinstance(m, nn.BatchNorm2d))
    assert all(parameter.requires_grad for parameter in agent.parameters())
    assert agent.training_step(images, labels).loss.isfinite()


@pytest.mark.parametrize("name", TRUE_PARAMETERS)
def test_parameters_with_critics(name):
    with torch.device("meta"):
        model = create_model(name)
    agent = reinforce(model, image_size=224)
    assert sum(parameter.numel() for parameter in agent.parameters()) == TRUE_PARAMETERS[name][1]
