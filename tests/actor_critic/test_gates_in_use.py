"""Found gates in the ways in which people train: each is a plain step, or nearly."""

import copy

import pytest
import torch
from foreign_networks import CBAM, CLASSES, SE, Public
from slow_gates import moved
from torch import nn
from torch.utils.checkpoint import checkpoint

from dreal_lib import Gate, reinforce
from dreal_lib.networks.backbones import STAGES

SIZE = 16
BLOCKS = ["layer1.1.attention", "layer2.0.attention"]


def made(attention=CBAM, dtype=torch.float64):
    torch.manual_seed(0)
    model = moved(Public(attention)).to(dtype)
    images = torch.randn(6, 3, SIZE, SIZE, dtype=dtype)
    with torch.no_grad():
        right = copy.deepcopy(model)(images).argmax(1)
    return model, images, (right + torch.arange(6) % 2) % CLASSES


def agent_of(model, images, **options):
    torch.manual_seed(1)
    return reinforce(model, example=images[:1], **options)


def gradients(agent) -> dict[str, torch.Tensor]:
    return {n: p.grad.clone() for n, p in agent.named_parameters() if p.grad is not None}


@pytest.fixture
def plain():
    """Step and gradients of the plain use, to compare with."""
    model, images, labels = made()
    agent = agent_of(model, images)
    step = agent(images, labels, BLOCKS)
    step.loss.backward()
    return step, gradients(agent)


def test_channels_last(plain):
    model, images, labels = made()
    agent = agent_of(model.to(memory_format=torch.channels_last), images)
    step = agent(images.to(memory_format=torch.channels_last), labels, BLOCKS)
    torch.testing.assert_close(step.rewards, plain[0].rewards, rtol=0, atol=1e-10)
    torch.testing.assert_close(step.loss, plain[0].loss)


def test_autocast():
    model, images, labels = made(dtype=torch.float32)
    agent = agent_of(model, images)
    exact = copy.deepcopy(agent)(images, labels, BLOCKS)
    with torch.autocast("cpu", torch.bfloat16):
        step = agent(images, labels, BLOCKS)
    step.loss.backward()
    assert step.logits.dtype == torch.bfloat16
    assert {r.dtype for r in step.rewards.values()} == {torch.float32}
    assert all(p.grad.isfinite().all() for p in agent.parameters() if p.grad is not None)
    torch.testing.assert_close(step.quality_loss, exact.quality_loss, rtol=0.1, atol=0.1)
    # A map that is put back makes no difference within the same precision.
    with torch.autocast("cpu", torch.bfloat16):
        assert agent.verify(images) < 5e-2


def test_gradients_add_up_over_several_steps(plain):
    model, images, labels = made()
    agent = agent_of(model, images)
    for _ in range(2):
        agent(images, labels, BLOCKS).loss.backward()
    for name, gradient in gradients(agent).items():
        torch.testing.assert_close(gradient, 2 * plain[1][name])


class Checkpointed(Public):
    """Its first stage is run once more in the backward pass."""

    def forward(self, x):
        x = checkpoint(self.layer1, self.conv1(x), use_reentrant=False)
        return self.fc(self.layer2(x).mean((2, 3)))


def test_gradient_checkpointing(plain):
    model, images, labels = made()
    model.__class__ = Checkpointed
    agent = agent_of(model, images)
    step = agent(images, labels, BLOCKS)
    step.loss.backward()
    torch.testing.assert_close(step.rewards, plain[0].rewards, rtol=0, atol=1e-10)
    torch.testing.assert_close(gradients(agent), plain[1])


def test_frozen_parts():
    model, images, labels = made(SE)
    for module in (model.conv1, model.layer1):
        module.requires_grad_(False)
    for module in model.layer1.modules():
        module.eval()  # its norms, too
    agent = agent_of(model, images)
    step = agent(images, labels, BLOCKS)
    step.loss.backward()
    assert set(step.rewards) == set(BLOCKS)
    assert all(p.grad is None for p in model.layer1.parameters())
    assert all(p.grad.any() for n, p in model.layer2.named_parameters() if ".fc." in n)


def test_a_moving_average_of_the_network():
    model, images, labels = made()
    agent = agent_of(model, images)
    average = torch.optim.swa_utils.AveragedModel(
        agent.actor, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.9)
    )
    optimizer = torch.optim.SGD(agent.parameters(), lr=0.1)
    for _ in range(2):
        optimizer.zero_grad()
        agent(images, labels).loss.backward()
        optimizer.step()
        average.update_parameters(agent.actor)
    assert average(images).isfinite().all()
    assert not any("critic" in name for name in average.state_dict())


def test_the_actor_is_exported_as_it_always_was():
    model, images, labels = made(SE, torch.float32)
    agent = agent_of(model, images)
    agent(images, labels).loss.backward()
    model.eval()
    with torch.no_grad():
        exported = torch.export.export(agent.actor, (images,)).module()
        torch.testing.assert_close(exported(images), agent.actor(images), rtol=1e-5, atol=1e-5)


def test_additive_context_of_timm_is_declared():
    timm = pytest.importorskip("timm")
    torch.manual_seed(0)
    options = {"layers": (1, 1, 1, 1), "channels": (8, 16, 24, 32), "num_classes": CLASSES}
    model = timm.create_model("resnet26", **options, block_args={"attn_layer": "gca"})
    images, labels = torch.randn(4, 3, 32, 32), torch.arange(4)
    agent = agent_of(model, images, gates=[Gate("layer*.*.se", map="mlp_add")])
    assert [item.kind for item in agent.maps] == ["channel"] * 4
    assert agent.verify(images) < 1e-3
    agent(images, labels).loss.backward()
    assert isinstance(agent.actor.layer1[0].se, nn.Module)


@pytest.mark.parametrize("name", ["se_resnet14", "srm_resnet14", "cbam_resnet14"])
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"later_maps": "held", "bypass_mean": "batch"},
        {"reward_statistics": "running", "bypass_unit": "map"},
        {"quality_signal": "oracle_reward"},
        {"reward_fraction": 0.5},
    ],
    ids=lambda settings: "-".join(map(str, settings.values())) or "default",
)
def test_our_own_networks_are_rewarded_alike_by_what_they_declare_and_by_what_is_found(
    make_network, make_batch, name, settings
):
    """Two ways: from a block on, several at once; and from a gate on, by replay."""
    model, _ = make_network(name)
    images, labels = make_batch(model)
    twin = copy.deepcopy(model)
    steps = []
    for network, how in ((model, {}), (twin, {"gates": ".*", "stages": STAGES})):
        torch.manual_seed(1)
        generator = torch.Generator().manual_seed(2)
        agent = reinforce(network, example=images, generator=generator, **how, **settings)
        steps.append(agent(images, labels))
    declared, found = steps
    assert len(found.rewards) == len(declared.rewards)
    pairs = zip(declared.rewards.values(), found.rewards.values(), strict=True)
    for expected, reward in pairs:
        torch.testing.assert_close(reward, expected, rtol=0, atol=1e-10, equal_nan=True)
    for part in ("loss", "quality_loss", "regression_loss"):
        torch.testing.assert_close(getattr(found, part), getattr(declared, part))
    declared.loss.backward()
    found.loss.backward()
    for one, other in zip(model.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(other.grad, one.grad, rtol=1e-6, atol=1e-9)
