"""Counterfactual predictions: what the network says when attention maps are bypassed.

The main pass is observed once: the feature map F, the descriptor and the map A of every actor, and
the shortcut of every block. A counterfactual then runs for the images it is needed for only, and,
where the network can `resume` (as `dreal_lib.networks.backbones.ResNet` does), from the bypassed
block on. There the counterfactuals of several stages share one walk through the network: each
joins, along the batch, those from earlier blocks. That is exact, as no image depends on its
neighbours.

Letters: B images of the main pass, N of them predicted right and evaluated, K classes.
"""

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import zip_longest

import torch
from torch import Tensor, nn

from dreal_lib.actor_critic.blocks import AttentionMap, intercepted
from dreal_lib.actor_critic.reward import logits_of, mean_map, predicted_right, relative_gain
from dreal_lib.attention.actor import makes_map
from dreal_lib.errors import UserError


@dataclass
class Trace:
    """What a forward pass made: each actor's F, descriptor and map, and each block's shortcut."""

    features: dict[nn.Module, Tensor] = field(default_factory=dict)
    descriptors: dict[nn.Module, Tensor] = field(default_factory=dict)
    maps: dict[nn.Module, Tensor] = field(default_factory=dict)
    shortcuts: dict[str, Tensor] = field(default_factory=dict)


def can_resume(model: nn.Module) -> bool:
    """Whether the network can run from a block's feature map on."""
    return all(hasattr(model, name) for name in ("resume", "onward", "shortcut_module"))


@contextmanager
def observed(
    model: nn.Module, maps: Sequence[AttentionMap], bypassed: Collection[str] | None = None
) -> Iterator[Trace]:
    """Fills a `Trace` with what `model` makes within the context.

    Every actor with a map is observed, as those outside the reinforced stages may have to be held.

    Args:
        model: The network.
        maps: Its maps.
        bypassed: Names of the blocks that are going to be bypassed; None for all. The shortcuts
            of the others are not kept, as some of them are needed for nothing else.

    Raises:
        UserError: An actor is called a second time, or what it was given or made is written to in
            place.
    """
    trace, made = Trace(), []

    def keep(actor: nn.Module, **tensors: Tensor) -> None:
        if not torch.compiler.is_compiling():  # where nothing is written in place
            made.extend((actor, n, t, _changes(t)) for n, t in tensors.items())

    def on_extract(actor: nn.Module, features: Tensor, descriptor: Tensor) -> None:
        if actor in trace.features:
            raise UserError(
                f"an attention module ({type(actor).__name__}) is used twice in one forward pass, "
                f"so its map is not one; give each place a module of its own"
            )
        trace.features[actor], trace.descriptors[actor] = features, descriptor
        keep(actor, features=features, descriptor=descriptor)

    def on_attend(actor: nn.Module, _: Tensor, attention: Tensor) -> None:
        trace.maps[actor] = attention
        keep(actor, map=attention)

    def keep_shortcut(block: str):
        return lambda module, inputs, output: trace.shortcuts.__setitem__(block, output)

    known = {item.block for item in maps}
    blocks = (known if bypassed is None else known & set(bypassed)) if can_resume(model) else set()
    hooks = [model.shortcut_module(b).register_forward_hook(keep_shortcut(b)) for b in blocks]
    try:
        actors = [module for module in model.modules() if makes_map(module)]
        with intercepted(actors, extract=on_extract, attend=on_attend):
            yield trace
        _refuse_written(model, made)
    finally:
        for hook in hooks:
            hook.remove()


def _changes(tensor: Tensor) -> int:
    """How often a tensor was written to in place, as far as torch counts."""
    return 0 if tensor.is_inference() else tensor._version


def _refuse_written(model: nn.Module, made: Sequence[tuple[nn.Module, str, Tensor, int]]) -> None:
    """Refuses what was kept of a pass and then written to: critics would see something else."""
    for actor, what, tensor, changes in made:
        if _changes(tensor) != changes:
            name = next((n for n, module in model.named_modules() if module is actor), "")
            raise UserError(
                f"the attention {name!r} ({type(actor).__name__}) or what follows it writes to its "
                f"{what} in place, which critics and rewards still need; make a new tensor there, "
                f"as in features * map instead of features.mul_(map)"
            )


@dataclass(frozen=True)
class Bypass:
    """How maps are bypassed: two of the settings (`dreal_lib.settings.dreal`)."""

    mean: str = "entries"
    later_maps: str = "recomputed"


AS_DEFAULT = Bypass()


@dataclass(frozen=True)
class _Counterfactuals:
    """Predictions of one main pass's images, or of a `subset` of them, with maps bypassed."""

    model: nn.Module
    images: Tensor
    trace: Trace
    maps: Sequence[AttentionMap]
    units: Mapping[str, Sequence[AttentionMap]]
    subset: Tensor | None
    how: Bypass

    def whole(self, unit: str) -> Tensor:
        """Logits by a full forward pass, (N, K)."""
        with self._replacing(self._held() | self._means(unit)):
            return logits_of(self.model(self._chosen(self.images)))

    def walk(self, units: Sequence[str]) -> dict[str, Tensor]:
        """Logits of units of successive blocks: each joins the batch when its block is reached."""
        blocks = [self.units[unit][0].block for unit in units]
        batch = self._begun(units[0], blocks[0])
        for count, (block, until) in enumerate(zip_longest(blocks, blocks[1:]), start=1):
            with self._replacing(self._held(count)):
                batch = self.model.onward(batch, block, until)
            if until:
                batch = torch.cat((batch, self._begun(units[count], until)))
        return dict(zip(units, logits_of(batch).chunk(len(units)), strict=True))

    def _begun(self, unit: str, block: str) -> Tensor:
        first = next(item.actor for item in self.maps if item.block == block)
        features, shortcut = self.trace.features[first], self.trace.shortcuts[block]
        with self._replacing(self._held() | self._means(unit)):
            return self.model.resume(block, self._chosen(features), self._chosen(shortcut))

    def _means(self, unit: str) -> dict[nn.Module, Tensor]:
        actors = [item.actor for item in self.units[unit]]
        return {a: self._chosen(mean_map(self.trace.maps[a], self.how.mean)) for a in actors}

    def _held(self, copies: int = 1) -> dict[nn.Module, Tensor]:
        """Maps that do not react, for a batch in which the images stand `copies` times."""
        if self.how.later_maps == "recomputed":
            return {}
        return {a: torch.cat([self._chosen(m)] * copies) for a, m in self.trace.maps.items()}

    def _chosen(self, tensor: Tensor) -> Tensor:
        return tensor if self.subset is None else tensor[self.subset]

    def _replacing(self, maps: dict[nn.Module, Tensor]) -> intercepted:
        return intercepted(maps, replace=maps)


def bypassed_logits(
    model: nn.Module,
    images: Tensor,
    trace: Trace,
    maps: Sequence[AttentionMap],
    units: Mapping[str, Sequence[AttentionMap]],
    subset: Tensor | None = None,
    how: Bypass = AS_DEFAULT,
) -> dict[str, Tensor]:
    """Predictions with a unit's maps replaced by their means in the main pass, for each unit.

    They carry a gradient to what the trace holds; `dreal_lib.oracle` asks for it.

    Args:
        model: The network.
        images: Of the main pass, (B, 3, H, W).
        trace: Of the main pass.
        maps: All maps of the network that were observed.
        units: By name, the maps that are bypassed together, all of one block; in network order.
        subset: Indices of the images wanted, (N,); None for all.
        how: Which mean, and what becomes of later maps.

    Returns:
        By unit, logits (N, K), or (B, K).
    """
    without = _Counterfactuals(model, images, trace, maps, units, subset, how)
    if not can_resume(model):
        return {unit: without.whole(unit) for unit in units}
    found: dict[str, Tensor] = {}
    for together in _walks(units):
        found |= without.walk(together)
    return {unit: found[unit] for unit in units}


def _walks(units: Mapping[str, Sequence[AttentionMap]]) -> list[list[str]]:
    """The units that share a walk: at most one of each stage, which bounds the memory.

    A later stage's feature maps have half the entries, and its batch is one unit larger: no stage
    holds more than the first.
    """
    stages: dict[str, list[str]] = {}
    for unit, maps in units.items():
        stages.setdefault(maps[0].stage, []).append(unit)
    return [[unit for unit in group if unit] for group in zip_longest(*stages.values())]


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
    weights: Tensor | None = None,
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
        weights: From `dreal_lib.actor_critic.reward.sample_weights`; an image of weight 0 is not
        evaluated.
            None for all.

    Returns:
        By unit, (B,), float32 or better; NaN for an image not evaluated.
    """
    indices = evaluated_images(logits, labels, weights)
    subset = None if len(indices) == len(images) else indices
    without: dict[str, Tensor] = {}
    if len(indices):
        without = bypassed_logits(model, images, trace, maps, units, subset, how)
    return rewards_from(logits, labels, without, units, gamma, weights)


def evaluated_images(logits: Tensor, labels: Tensor, weights: Tensor | None = None) -> Tensor:
    """Indices of the images whose reward needs a counterfactual, (N,): right, and not left out.

    Args:
        logits, labels, weights: As for `bypass_rewards`.
    """
    right = predicted_right(logits, labels)
    return (right if weights is None else right & (weights > 0)).nonzero().squeeze(1)


def rewards_from(
    logits: Tensor,
    labels: Tensor,
    without: Mapping[str, Tensor],
    units: Collection[str],
    gamma: float,
    weights: Tensor | None = None,
) -> dict[str, Tensor]:
    """Eq. 1 from counterfactuals that are there already; see `bypass_rewards`.

    Args:
        logits, labels, units, gamma, weights: As there.
        without: By unit, logits (N, K) of the `evaluated_images` without the unit's attention;
            empty if there is no such image.
    """
    indices = evaluated_images(logits, labels, weights)
    dtype = torch.float64 if logits.dtype == torch.float64 else torch.float32
    rewards = {unit: torch.full_like(logits[:, 0], -gamma, dtype=dtype) for unit in units}
    for unit, reward in rewards.items():
        if unit in without:
            reward[indices] = relative_gain(logits[indices], without[unit], labels[indices])
        if weights is not None:
            reward[weights == 0] = math.nan
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
