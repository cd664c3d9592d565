"""The three losses of a step, section 3.4, and whom each teaches.

L_c is the task's own. L_q (Eq. 8) reaches the actors' parameters theta alone, as it sees detached
features and frozen critics; L_r (Eq. 9) the critics' parameters phi alone, as it sees detached
features and detached maps.

Letters: B batch, K classes, L blocks of a stage, S size of a map.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from dreal_lib.actor_critic.blocks import AttentionMap
from dreal_lib.actor_critic.chance import kept, put_back
from dreal_lib.actor_critic.counterfactual import Trace
from dreal_lib.actor_critic.critics import Critics
from dreal_lib.actor_critic.found_gate import FoundGate
from dreal_lib.actor_critic.gate_passes import attend_again
from dreal_lib.actor_critic.normalization import running_statistics_untouched
from dreal_lib.actor_critic.oracle import MapGradients
from dreal_lib.actor_critic.reward import mean_square
from dreal_lib.errors import UserError
from dreal_lib.runtime.modes import frozen

# L_c from what the network returned and labels (B,); a dict holds its parts by name.
Loss = Callable[[Any, Tensor], Tensor | dict[str, Tensor]]


def summed(loss: Tensor | dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
    """L_c and its parts, from what a loss function returned.

    Raises:
        UserError: It is not one number.
    """
    parts = loss if isinstance(loss, dict) else {}
    total = sum(parts.values()) if parts else loss
    if not isinstance(total, Tensor) or total.numel() != 1:
        got = tuple(total.shape) if isinstance(total, Tensor) else type(total).__name__
        raise UserError(
            f"classification_loss must return one number for the batch, or a dict of such numbers; "
            f"got {got}; try reduction='mean'"
        )
    return total, parts


def learning_maps(trace: Trace, items: Sequence[AttentionMap]) -> dict[nn.Module, Tensor]:
    """Maps made again of descriptors without gradient, (B, ...): they lead to theta alone.

    Args:
        trace: Of a forward pass.
        items: The maps wanted.
    """
    actors = [item.actor for item in items]
    with running_statistics_untouched([m for actor in actors for m in actor.modules()]):
        gates = [actor for actor in actors if isinstance(actor, FoundGate)]
        made = _of_gates(trace, gates)
        actors = [actor for actor in actors if actor not in made]
        return made | {a: a.attend(_detached_descriptor(trace, a)) for a in actors}


def _of_gates(trace: Trace, gates: Sequence[FoundGate]) -> dict[FoundGate, Tensor]:
    """The maps of found gates, all those of a module by one call of its forward."""
    by_module: dict[nn.Module, list[FoundGate]] = {}
    for gate in gates:
        by_module.setdefault(gate.module, []).append(gate)
    made: dict[FoundGate, Tensor] = {}
    for members in by_module.values():
        call = trace.descriptors[members[0]]
        with kept(*call.args) if trace.chance else nullcontext():
            if trace.chance:
                put_back(call.chance)
            made |= attend_again(members, call, reused=not trace.chance)
    return made


def _detached_descriptor(trace: Trace, actor: nn.Module) -> Tensor:
    dtype = next(actor.parameters(), trace.descriptors[actor]).dtype
    return trace.descriptors[actor].detach().to(dtype)


def quality_loss(
    critics: Critics, trace: Trace, states: Mapping[AttentionMap, Tensor], reduction: str
) -> Tensor:
    """L_q, Eq. 8: only the actors' own parameters get a gradient.

    Args:
        critics: Not changed; their parameters get no gradient.
        trace: Of the main pass.
        states: F~ of every map, each (B, S).
        reduction: "sum" or "mean", over blocks and maps.
    """
    maps = learning_maps(trace, critics.maps)
    with frozen(critics):
        losses = [-judged.mean(1) for _, _, judged in critics.judged(states, maps)]  # Eq. 8, (L,)
    return _reduced(torch.cat(losses), reduction)


def oracle_loss(
    critics: Critics, trace: Trace, oracle: MapGradients, counts: Tensor | None, reduction: str
) -> Tensor:
    """L_q with the true signal in place of the critique; only theta gets a gradient.

    A map's part is minus the signal's mean over the images (0 where predicted wrong); its
    gradient on the map is the signal's own. Maps of blocks not drawn are estimated by those
    drawn in their stage, so that the sum over the maps is unbiased over draws.

    Args:
        critics: They take no part; their maps do.
        trace: Of the main pass.
        oracle: The signal and its gradient, of the maps of the drawn blocks.
        counts: How much each image counts, (B,); None if all count alike.
        reduction: "sum" or "mean", over blocks and maps.
    """
    items = [item for item in critics.maps if item in oracle.gradients]
    maps, losses = learning_maps(trace, items), []
    for item in items:
        gradient, value = oracle.gradients[item].flatten(1), oracle.values[item]
        pushed = (gradient * maps[item.actor].flatten(1).to(gradient.dtype)).sum(1)  # (B,)
        quality = value + pushed - pushed.detach()
        if counts is not None:
            quality = quality * counts.to(quality.dtype)
        same = [m for m in critics.maps if (m.stage, m.kind) == (item.stage, item.kind)]
        share = sum(m in oracle.gradients for m in same) / len(same)
        losses.append(-quality.mean() / share)
    total = sum(losses, start=next(critics.parameters()).new_zeros(()))
    return total if reduction == "sum" else total / len(critics.maps)


def regression_loss(
    critics: Critics,
    trace: Trace,
    states: Mapping[AttentionMap, Tensor],
    rewards: Mapping[AttentionMap, Tensor],
    counts: Tensor | None,
    reduction: str,
) -> tuple[Tensor, dict[str, Tensor], dict[str, Tensor]]:
    """L_r, Eq. 9: only the critics get a gradient.

    Args:
        critics: They learn.
        trace: Of the main pass.
        states: F~ of every map, each (B, S).
        rewards: What the critic of each evaluated map is to predict, (B,).
        counts: How much each image counts, (B,); None if all count alike.
        reduction: "sum" or "mean", over blocks and maps.

    Returns:
        The loss, and by map name the critiques and their sensitivities, each (B,).
    """
    maps = {actor: attention.detach() for actor, attention in trace.maps.items()}
    losses, critiques, sensitivities = [], {}, {}
    for key, inputs, judged in critics.judged(states, maps):
        movable = critics[key].gate_sensitivity(*inputs, judged.detach())
        for item, critique, sensitivity in zip(critics.groups[key], judged, movable, strict=True):
            critiques[item.name] = critique.detach()
            sensitivities[item.name] = sensitivity
            if item in rewards:
                losses.append(mean_square(critique, rewards[item], counts))
    zero = next(critics.parameters()).new_zeros(1)
    return _reduced(torch.stack(losses) if losses else zero, reduction), critiques, sensitivities


def _reduced(losses: Tensor, reduction: str) -> Tensor:
    return losses.sum() if reduction == "sum" else losses.mean()
