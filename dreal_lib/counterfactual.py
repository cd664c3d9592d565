"""Counterfactual predictions: what the network says when attention maps are bypassed.

The main pass is observed once: the feature map F, the descriptor and the map A of every actor, and
the shortcut of every block. A counterfactual then runs for the images it is needed for only, and,
where the network can `resume` (as `dreal_lib.backbones.ResNet` does), from the bypassed block on.

Letters: B images of the main pass, K classes.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from dreal_lib.attention import is_actor
from dreal_lib.blocks import AttentionMap, intercepted
from dreal_lib.errors import UserError
from dreal_lib.reward import logits_of, mean_map, predicted_right, relative_gain


@dataclass
class Trace:
    """What a forward pass made: each actor's F, descriptor and map, and each block's shortcut."""

    features: dict[nn.Module, Tensor] = field(default_factory=dict)
    descriptors: dict[nn.Module, Tensor] = field(default_factory=dict)
    maps: dict[nn.Module, Tensor] = field(default_factory=dict)
    shortcuts: dict[str, Tensor] = field(default_factory=dict)


def can_resume(model: nn.Module) -> bool:
    """Whether the network can run from a block's feature map on."""
    return hasattr(model, "resume") and hasattr(model, "shortcut_module")


@contextmanager
def observed(model: nn.Module, maps: Sequence[AttentionMap]) -> Iterator[Trace]:
    """Fills a `Trace` with what `model` makes within the context.

    Every actor is observed, as those outside the reinforced stages may have to be held, too.

    Raises:
        UserError: An actor is called a second time.
    """
    trace = Trace()

    def on_extract(actor: nn.Module, features: Tensor, descriptor: Tensor) -> None:
        if actor in trace.features:
            raise UserError(
                f"an attention module ({type(actor).__name__}) is used twice in one forward pass, "
                f"so its map is not one; give each place a module of its own"
            )
        trace.features[actor], trace.descriptors[actor] = features, descriptor

    def on_attend(actor: nn.Module, _: Tensor, attention: Tensor) -> None:
        trace.maps[actor] = attention

    def keep_shortcut(block: str):
        return lambda module, inputs, output: trace.shortcuts.__setitem__(block, output)

    blocks = {item.block for item in maps} if can_resume(model) else set()
    hooks = [model.shortcut_module(b).register_forward_hook(keep_shortcut(b)) for b in blocks]
    try:
        actors = [module for module in model.modules() if is_actor(module)]
        with intercepted(actors, extract=on_extract, attend=on_attend):
            yield trace
    finally:
        for hook in hooks:
            hook.remove()


@dataclass(frozen=True)
class Bypass:
    """How maps are bypassed: two of the settings (`dreal_lib.settings`)."""

    mean: str = "entries"
    later_maps: str = "recomputed"


AS_DEFAULT = Bypass()


@torch.no_grad()
def bypassed_logits(
    model: nn.Module,
    images: Tensor,
    trace: Trace,
    maps: Sequence[AttentionMap],
    bypassed: Sequence[AttentionMap],
    subset: Tensor | None = None,
    how: Bypass = AS_DEFAULT,
) -> Tensor:
    """Predictions with some maps of one block replaced by their means in the main pass.

    Args:
        model: The network.
        images: Of the main pass, (B, 3, H, W).
        trace: Of the main pass.
        maps: All maps of the network that were observed.
        bypassed: The maps to bypass, all of one block.
        subset: Indices of the images wanted, (N,); None for all.
        how: Which mean, and what becomes of later maps.

    Returns:
        Logits, (N, K), or (B, K).
    """

    def chosen(tensor: Tensor) -> Tensor:
        return tensor if subset is None else tensor[subset]

    replace = {item.actor: chosen(mean_map(trace.maps[item.actor], how.mean)) for item in bypassed}
    if how.later_maps == "held":
        for actor, attention in trace.maps.items():
            replace.setdefault(actor, chosen(attention))
    with intercepted(replace, replace=replace):
        if not can_resume(model):
            return logits_of(model(chosen(images)))
        block = bypassed[0].block
        first = next(item.actor for item in maps if item.block == block)
        features, shortcut = chosen(trace.features[first]), chosen(trace.shortcuts[block])
        return logits_of(model.resume(block, features, shortcut))


@torch.no_grad()
def bypass_rewards(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    logits: Tensor,
    trace: Trace,
    maps: Sequence[AttentionMap],
    units: Mapping[str, Sequence[AttentionMap]],
    gamma: float,
    how: Bypass = AS_DEFAULT,
) -> dict[str, Tensor]:
    """Eq. 1 for each unit. Images predicted wrong need no counterfactual: their reward is -gamma.

    Args:
        model: The network, in the mode in which counterfactuals are to be computed.
        images: (B, 3, H, W).
        labels: (B,).
        logits: Of the main pass, (B, K).
        trace: Of the main pass.
        maps: All maps of the network that were observed.
        units: By name, the maps that are bypassed together, all of one block.
        gamma: Penalty for an image predicted wrong.
        how: Which mean, and what becomes of later maps.

    Returns:
        By unit, (B,), float32 or better.
    """
    right = predicted_right(logits, labels)
    indices = right.nonzero().squeeze(1)
    subset = None if len(indices) == len(images) else indices
    rewards = {}
    for name, bypassed in units.items():
        dtype = torch.float64 if logits.dtype == torch.float64 else torch.float32
        reward = torch.full(labels.shape, -gamma, dtype=dtype, device=logits.device)
        if len(indices):
            without = bypassed_logits(model, images, trace, maps, bypassed, subset, how)
            reward[indices] = relative_gain(logits[indices], without, labels[indices])
        rewards[name] = reward
    return rewards


def units_of(
    maps: Sequence[AttentionMap], unit: str = "block"
) -> dict[str, tuple[AttentionMap, ...]]:
    """What is bypassed together: every block's maps ("block"), or each map alone ("map")."""
    units: dict[str, tuple[AttentionMap, ...]] = {}
    for item in maps:
        name = item.block if unit == "block" else item.name
        units[name] = (*units.get(name, ()), item)
    return units
