"""Networks of other people, as they are: their gates are found, and rewards are exact.

The reference is a slow second pass for each block, with the map hooked by hand (`slow_gates`).
"""

import copy

import pytest
import torch
from foreign_networks import CASES, SE, Public
from slow_gates import moved, slow_rewards
from torch import nn

from dreal_lib import Gate, reinforce
from dreal_lib.actor_critic.gate_passes import gates_intercepted
from dreal_lib.errors import UserError

REINFORCED = [name for name, case in CASES.items() if not case.refused]
REFUSED = [name for name, case in CASES.items() if case.refused]


def made(name: str) -> tuple[nn.Module, torch.Tensor]:
    if name.startswith("timm"):
        pytest.importorskip("timm")
    torch.manual_seed(0)
    case = CASES[name]
    images = torch.randn(4, 3, case.size, case.size, dtype=torch.float64)
    return moved(case.make()), images


def half_right(model: nn.Module, images: torch.Tensor) -> torch.Tensor:
    """Labels with which every other image is predicted right."""
    torch.manual_seed(1)
    with torch.no_grad():
        logits = copy.deepcopy(model)(images)
    return (logits.argmax(1) + torch.arange(len(images)) % 2) % logits.shape[1]


def attributes(model: nn.Module) -> list[tuple]:
    hooks = ("_forward_hooks", "_forward_pre_hooks", "_forward_hooks_always_called")
    return [
        (sorted(vars(m)), m.training, *(len(getattr(m, hook)) for hook in hooks))
        for m in model.modules()
    ]


def map_makers(agent, case, block: str) -> list[str]:
    members = dict.fromkeys(item.actor.path for item in agent.units[block])
    return [f"{path}.{case.map_maker}" for path in members]


@pytest.mark.parametrize("name", REINFORCED)
def test_rewards_are_those_of_slow_second_passes_and_maps_put_back_change_nothing(name):
    case, (model, images) = CASES[name], made(name)
    model_before, labels = attributes(model), half_right(model, images)
    agent = reinforce(model, example=images[:1])
    blocks = list(agent.units)
    assert len({item.stage for item in agent.maps}) == case.stages
    assert attributes(model) == model_before
    chosen = [blocks[0], blocks[-1]]
    known = chosen if case.map_maker else []
    makers = {block: map_makers(agent, case, block) for block in known}
    torch.manual_seed(1)  # some drop paths at random
    logits, expected = slow_rewards(model, images, labels, makers)
    plain = copy.deepcopy(model)
    plain(images)
    state = torch.get_rng_state()
    torch.manual_seed(1)
    step = agent.training_step(images, labels, blocks=chosen)
    assert torch.equal(step.logits, logits)
    assert torch.equal(torch.get_rng_state(), state)
    for block in known:
        torch.testing.assert_close(step.rewards[block], expected[block], rtol=0, atol=1e-10)
        assert step.rewards[block][::2].abs().max() > 1e-9, "a map that does nothing tests nothing"
    torch.testing.assert_close(dict(model.named_buffers()), dict(plain.named_buffers()))
    assert attributes(model) == model_before
    step.loss.backward()
    assert attributes(model) == model_before
    put_back(model.eval(), [item.actor for item in agent.maps], images)


def put_back(model: nn.Module, gates: list, images: torch.Tensor) -> None:
    """Seen or put back, maps leave the output what it is, to the last bit."""
    maps = {}
    with torch.no_grad():
        expected = model(images)
        with gates_intercepted(gates, see=lambda gate, f, a: maps.__setitem__(gate, a)):
            assert torch.equal(model(images), expected)
        with gates_intercepted(gates, replace=maps):
            assert torch.equal(model(images), expected)
    assert len(maps) == len(gates)
    assert all(maps[gate].shape[1:] == gate.map for gate in gates)


@pytest.mark.parametrize("name", REFUSED)
def test_a_network_without_a_map_to_learn_is_refused_in_one_sentence(name):
    model, images = made(name)
    before = attributes(model)
    with pytest.raises(UserError, match=CASES[name].refused) as caught:
        reinforce(model.float(), example=images.float())
    assert "\n" not in str(caught.value)
    assert attributes(model) == before


def test_the_attention_of_a_vision_transformer_can_be_declared():
    model, images = made("timm vit_tiny")
    weights = Gate("blocks.*.attn", map="attn_drop")
    with pytest.raises(UserError, match=r"'blocks\.0\.attn' \(Attention\) was not made.*fused"):
        reinforce(model, example=images, gates=[weights])
    for block in model.blocks:
        block.attn.fused_attn = False
    labels = half_right(model, images)
    units = {f"blocks.{i}.attn": [f"blocks.{i}.attn.attn_drop"] for i in (0, 1)}
    agent = reinforce(model, example=images, gates=[weights])
    _, expected = slow_rewards(model, images, labels, units)
    step = agent.training_step(images, labels, list(units))
    torch.testing.assert_close(step.rewards, expected, rtol=0, atol=1e-10)


def test_images_of_one_channel():
    torch.manual_seed(0)
    model = moved(Public(SE, channels=1))
    images = torch.randn(4, 1, 16, 16, dtype=torch.float64)
    labels = half_right(model, images)
    agent, block = reinforce(model, example=images), "layer1.1.attention"
    _, expected = slow_rewards(model, images, labels, {block: [f"{block}.fc"]})
    step = agent.training_step(images, labels, blocks=[block])
    torch.testing.assert_close(step.rewards, expected, rtol=0, atol=1e-10)
