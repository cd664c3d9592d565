"""What a finite step of one map does to its reward and to log p: a check on gradients.

Letters: B batch, K classes.
"""

import torch
from torch import Tensor, nn

from dreal_lib.actor_critic.agent import Agent
from dreal_lib.actor_critic.blocks import AttentionMap, intercepted, makers
from dreal_lib.actor_critic.counterfactual import Trace, can_resume
from dreal_lib.actor_critic.reward import log_probabilities, logits_of, mean_map, relative_gain

DIRECTIONS = ("critic", "random", "true")


@torch.no_grad()
def finite_steps(
    agent: Agent,
    images: Tensor,
    labels: Tensor,
    trace: Trace,
    item: AttentionMap,
    gradients: tuple[Tensor, Tensor],
    step: float,
    generator: torch.Generator,
) -> tuple[Tensor, Tensor]:
    """Change of R and of log p, each (3, B), by a step of one map in each of `DIRECTIONS`.

    Args:
        agent: In evaluation mode.
        images, labels: (B, 3, H, W) and (B,).
        trace: Of a forward pass of them.
        item: The map that is moved.
        gradients: dQ/dA and dR/dA, each in the map's shape (B, ...).
        step: Length of the step, as a share of the map's norm.
        generator: Draws the random direction.

    Returns:
        NaN where there is no direction, as a gradient is 0.
    """
    attention, (push, true) = trace.maps[item.actor], gradients
    drawn = torch.randn(attention.shape, generator=generator, dtype=attention.dtype)
    before = _signals(agent, images, labels, trace, item, attention)
    shape, changes = (-1,) + (1,) * (attention.dim() - 1), []
    for direction in (push, drawn.to(attention.device), true):
        scale = step * attention.flatten(1).norm(dim=1) / direction.flatten(1).norm(dim=1)
        known = scale.isfinite()
        moved = attention + torch.where(known, scale, 0.0).reshape(shape) * direction
        after = _signals(agent, images, labels, trace, item, moved)
        pairs = zip(after, before, strict=True)
        changes.append([torch.where(known, a - b, torch.nan) for a, b in pairs])
    reward, log_p = (torch.stack(one) for one in zip(*changes, strict=True))
    return reward, log_p


def _signals(
    agent: Agent, images: Tensor, labels: Tensor, trace: Trace, item: AttentionMap, moved: Tensor
) -> tuple[Tensor, Tensor]:
    """R as if every image were right, and log p, each (B,), with another map in one place."""
    members = next(members for members in agent.units.values() if item in members)
    held = dict(trace.maps) if agent.settings.later_maps == "held" else {}
    full, made = _logits(agent, images, trace, item.block, held | {item.actor: moved})
    maps = {member.actor: made.get(member.actor, moved) for member in members}
    maps |= {actor: held[actor] for actor in maps if actor in held and actor is not item.actor}
    means = {a: mean_map(attention, agent.settings.bypass_mean) for a, attention in maps.items()}
    without, _ = _logits(agent, images, trace, item.block, held | means)
    log_p = log_probabilities(full).gather(1, labels[:, None]).squeeze(1)
    return relative_gain(full, without, labels), log_p


def _logits(
    agent: Agent, images: Tensor, trace: Trace, block: str, replace: dict[nn.Module, Tensor]
) -> tuple[Tensor, dict[nn.Module, Tensor]]:
    """Logits (B, K) with some maps replaced, and the maps that the others made on the way."""
    model, made = agent.actor, {}

    def keep(actor: nn.Module, _: Tensor, attention: Tensor) -> None:
        made[actor] = attention

    with intercepted(makers(model, agent.maps), attend=keep, replace=replace):
        if not can_resume(model, agent.maps):
            return logits_of(model(images)), made
        first = next(item.actor for item in agent.maps if item.block == block)
        output = model.resume(block, trace.features[first], trace.shortcuts[block])
        return logits_of(model.onward(output, block)), made
