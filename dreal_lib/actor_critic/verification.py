"""Whether rewards of a network are exact: each map is put back, and nothing may change.

What makes a counterfactual differ by more than its map (norms over the batch, state that moves,
modules that remember) mostly cannot be told by a module's class. This tries it.

Letters: B images.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from dreal_lib.actor_critic import chance
from dreal_lib.actor_critic.counterfactual import Bypass, bypassed_logits, chosen_of, observed
from dreal_lib.actor_critic.losses import learning_maps
from dreal_lib.actor_critic.normalization import MainPassStatistics
from dreal_lib.errors import UserError

if TYPE_CHECKING:
    from dreal_lib.actor_critic.agent import Agent

TOLERANCES = {torch.float64: 1e-9, torch.float32: 1e-3}  # of the largest output; else:
COARSE = 5e-2


@torch.no_grad()
def verify(agent: "Agent", images: Tensor) -> float:
    """See `Agent.verify`."""
    model, subset = agent.actor, torch.arange(0, len(images), 2, device=images.device)
    with _unmoved(model), chance.kept(images):
        before = chance.states_of(images)
        with MainPassStatistics(model) as statistics:
            with observed(model, agent.maps) as trace:
                output = model(images)
            if chance.drawn_since(before, (images,)):
                trace.chance = before
            with statistics.reused():
                how = Bypass("none", agent.settings.later_maps)
                given = (model, images, trace, agent.maps, agent.units, subset, how)
                again = bypassed_logits(*given, read=lambda made: made)
        made = learning_maps(trace, agent.maps)
    expected, worst = chosen_of(output, subset), 0.0
    for unit, other in again.items():
        error = _largest_difference(expected, other)
        worst = max(worst, error)
        _refuse(agent, unit, error, expected, "every other image of a batch is predicted otherwise")
    for item in agent.maps:
        attention = trace.maps[item.actor]
        error = _largest_difference(attention, made[item.actor])
        worst = max(worst, error)
        _refuse(agent, item.name, error, attention, "its map comes out otherwise once more")
    return worst


def _largest_difference(first: object, second: object) -> float:
    """Over all tensors, as a share of the largest entry of the first."""
    pairs = zip(tree_leaves(first), tree_leaves(second), strict=True)
    found = [
        float((a.double() - b.double()).abs().max() / a.double().abs().max().clamp(min=1e-12))
        for a, b in pairs
        if isinstance(a, Tensor) and a.is_floating_point()
    ]
    return max(found, default=0.0)


def _refuse(agent: "Agent", unit: str, error: float, like: object, seen: str) -> None:
    (dtype, *_) = [one.dtype for one in tree_leaves(like) if isinstance(one, Tensor)]
    if error > TOLERANCES.get(dtype, COARSE):
        item = next(one for one in agent.maps if unit in (one.block, one.name))
        name = getattr(item.actor, "class_name", type(item.actor).__name__)
        raise UserError(
            f"with the map of {unit!r} ({name}) put back, {seen} (by {error:.1e} of the largest "
            f"entry), so rewards are not the map's alone: something in the network depends on "
            f"the batch or on earlier passes; try reward_statistics='running'"
        )


@contextmanager
def _unmoved(model: nn.Module) -> Iterator[None]:
    """Every buffer gets its values back."""
    kept = [(buffer, buffer.clone()) for buffer in model.buffers()]
    try:
        yield
    finally:
        for buffer, values in kept:
            buffer.copy_(values)
