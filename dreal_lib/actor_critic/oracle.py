"""What a perfect critic would say: the exact gradient of R, or of log p, with respect to a map A.

The reward is differentiable where the prediction is right. With p the probability of the true
class, p_b that with the map bypassed, and R = 1 - p_b / p (Eq. 1),

    dR/dA = (p_b / p) (d log p / dA - d log p_b / dA).

With `bypass_mean="entries"` the bypass sees a map through its mean alone, so that for SE and SRM
d log p_b / dA is one number c, the same for each entry: dR/dA = (p_b / p) (d log p / dA - c 1). A
block with two maps (CBAM) has one more term for the first, on which the second depends.
Where the prediction is wrong, R = -gamma is constant and its gradient 0; that of log p is set to 0
there, too, so that the two signals differ in nothing but their direction.

Both terms are taken as the reward takes them: batch statistics of the main pass are constants, so
each image's gradient is its own, and later maps react or are held (`later_maps`). A derivative by
a map is that of all that follows it, its block's later map included. No parameter gets a gradient,
and no running statistics move.

Letters: B batch, N images predicted right and evaluated, K classes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from dreal_lib.actor_critic.blocks import AttentionMap, intercepted, makers
from dreal_lib.actor_critic.bypass_rewards import bypass_rewards, evaluated_images, rewards_from
from dreal_lib.actor_critic.counterfactual import (
    AS_DEFAULT,
    Bypass,
    Trace,
    bypassed_logits,
    can_resume,
)
from dreal_lib.actor_critic.reward import log_probabilities, logits_of
from dreal_lib.errors import unknown_choice

SIGNALS = ("oracle_reward", "oracle_log_p")


@dataclass(frozen=True)
class MapGradients:
    """The signal and its gradient, for each map of the units that were asked for.

    Attributes:
        gradients: d signal / dA of each image, in the map's shape (B, ...); 0 for images predicted
            wrong or not evaluated.
        values: The signal, R or log p, (B,); 0 for the same images.
        rewards: R of each unit as `bypass_rewards` gives it.
    """

    gradients: dict[AttentionMap, Tensor]
    values: dict[AttentionMap, Tensor]
    rewards: dict[str, Tensor]


def oracle_gradients(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    logits: Tensor,
    trace: Trace,
    maps: Sequence[AttentionMap],
    units: Mapping[str, Sequence[AttentionMap]],
    gamma: float,
    how: Bypass = AS_DEFAULT,
    weights: Tensor | None = None,
    *,
    signal: str = "oracle_reward",
) -> MapGradients:
    """The true gradient of each unit's reward, or of log p, by each of its maps.

    Args:
        model, images, labels, logits, trace, maps, units, gamma, how, weights: As for
            `dreal_lib.actor_critic.bypass_rewards.bypass_rewards`.
        signal: "oracle_reward" (R of the map's unit) or "oracle_log_p".

    Raises:
        UserError: Another signal.
    """
    if signal not in SIGNALS:
        raise unknown_choice("signal", signal, SIGNALS)
    given = (model, images, trace, maps, units)
    indices = evaluated_images(logits, labels, weights)
    chosen = [item for members in units.values() for item in members]
    gradients = {item: torch.zeros_like(trace.maps[item.actor]) for item in chosen}
    values = {item: torch.zeros_like(_precise(logits[:, 0])) for item in chosen}
    without: dict[str, Tensor] = {}
    if len(indices):
        full, of_full = _log_p_gradients(*given, labels, indices, how)
        if signal == "oracle_reward":
            without, of_bypassed = _bypassed_gradients(*given, labels, indices, how, full)
    if signal == "oracle_reward":
        rewards = rewards_from(logits, labels, without, units, gamma, weights)
    else:
        rewards = bypass_rewards(
            model, images, labels, logits, trace, maps, units, gamma, how, weights
        )
    for unit, members in units.items() if len(indices) else ():
        for item in members:
            made = of_full[item]
            values[item][indices] = full
            if signal == "oracle_reward":
                reward = rewards[unit][indices]
                values[item][indices] = reward
                ratio = (1 - reward).to(made.dtype)  # p_b / p
                shape = (-1,) + (1,) * (made.dim() - 1)
                made = ratio.reshape(shape) * made - of_bypassed[item]
            gradients[item][indices] = made.to(gradients[item].dtype)
    return MapGradients(gradients, values, rewards)


def _precise(tensor: Tensor) -> Tensor:
    return tensor if tensor.dtype == torch.float64 else tensor.float()


def _detached(trace: Trace) -> Trace:
    """The trace without its graph: nothing before a map may get a gradient."""

    def cut(tensors: dict) -> dict:
        return {key: tensor.detach() for key, tensor in tensors.items()}

    parts = (trace.features, trace.descriptors, trace.maps, trace.shortcuts)
    return Trace(*(cut(tensors) for tensors in parts))


@torch.enable_grad()
def _log_p_gradients(
    model: nn.Module,
    images: Tensor,
    trace: Trace,
    maps: Sequence[AttentionMap],
    units: Mapping[str, Sequence[AttentionMap]],
    labels: Tensor,
    indices: Tensor,
    how: Bypass,
) -> tuple[Tensor, dict[AttentionMap, Tensor]]:
    """log p, (N,), and its gradient by each map of the units, from one pass behind the first."""
    trace = _detached(trace)
    first = next(iter(units.values()))[0]
    held = list(trace.maps) if how.later_maps == "held" else []
    leaves = {a: trace.maps[a][indices].requires_grad_() for a in {*held, first.actor}}
    reached = dict(leaves)  # and, as the pass makes them, those of later blocks

    def keep(actor: nn.Module, _: Tensor, attention: Tensor) -> None:
        reached[actor] = attention

    with intercepted(makers(model, maps), attend=keep, replace=leaves):
        if can_resume(model, maps):
            opening = next(item.actor for item in maps if item.block == first.block)
            starts = trace.features[opening][indices], trace.shortcuts[first.block][indices]
            output = model.onward(model.resume(first.block, *starts), first.block)
        else:
            output = model(images[indices])
    log_p = _true_class(output, labels[indices])
    chosen = [item for members in units.values() for item in members]
    made = torch.autograd.grad(log_p.sum(), [reached[item.actor] for item in chosen])
    return log_p.detach(), dict(zip(chosen, made, strict=True))


@torch.enable_grad()
def _bypassed_gradients(
    model: nn.Module,
    images: Tensor,
    trace: Trace,
    maps: Sequence[AttentionMap],
    units: Mapping[str, Sequence[AttentionMap]],
    labels: Tensor,
    indices: Tensor,
    how: Bypass,
    full: Tensor,
) -> tuple[dict[str, Tensor], dict[AttentionMap, Tensor]]:
    """Logits (N, K) without a unit's maps, by unit, and d(p_b / p)/dA at constant p, by map."""
    trace, subset = _detached(trace), None if len(indices) == len(images) else indices
    without: dict[str, Tensor] = {}
    made: dict[AttentionMap, Tensor] = {}
    # Where maps are held, those of one unit stand in the counterfactuals of the others, too.
    apart = how.later_maps == "held"
    for group in [{u: m} for u, m in units.items()] if apart else [units]:
        own: dict[nn.Module, Tensor] = {}
        for members in group.values():
            own |= _dependent(model, images, trace, maps, members, how)
        bypassed = replace(trace, maps=trace.maps | own)
        logits = bypassed_logits(model, images, bypassed, maps, group, subset, how)
        ratios = [(_true_class(w, labels[indices]) - full).exp().sum() for w in logits.values()]
        chosen = [item for members in group.values() for item in members]
        found = torch.autograd.grad(sum(ratios), [own[item.actor] for item in chosen])
        made |= {item: of_batch[indices] for item, of_batch in zip(chosen, found, strict=True)}
        without |= {unit: of_unit.detach() for unit, of_unit in logits.items()}
    return without, made


def _dependent(
    model: nn.Module,
    images: Tensor,
    trace: Trace,
    maps: Sequence[AttentionMap],
    members: Sequence[AttentionMap],
    how: Bypass,
) -> dict[nn.Module, Tensor]:
    """A unit's maps, (B, ...): its first one a leaf, the others as they depend on it, or leaves."""
    first, *others = members
    if not others or how.later_maps == "held":
        return {item.actor: trace.maps[item.actor].detach().requires_grad_() for item in members}
    found = {first.actor: trace.maps[first.actor].detach().requires_grad_()}

    def keep(actor: nn.Module, _: Tensor, attention: Tensor) -> None:
        found[actor] = attention

    with intercepted([item.actor for item in members], attend=keep, replace=dict(found)):
        if can_resume(model, maps):
            opening = next(item.actor for item in maps if item.block == first.block)
            model.resume(first.block, trace.features[opening], trace.shortcuts[first.block])
        else:
            model(images)
    return found


def _true_class(output: object, labels: Tensor) -> Tensor:
    """log p_c, (N,)."""
    return log_probabilities(logits_of(output)).gather(1, labels[:, None]).squeeze(1)
