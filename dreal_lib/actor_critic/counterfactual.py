"""Counterfactual predictions: what the network says when attention maps are bypassed.

The main pass is observed once: the feature map F, the descriptor and the map A of every actor, and
the shortcut of every block. A counterfactual then
runs for the images it is needed for only, and from the bypassed map on: what came before is put out
again (`dreal_lib.actor_critic.replay`). In a network that can `resume` (as
`dreal_lib.networks.backbones.ResNet` does) the counterfactuals of several stages share one walk
through the network: each joins, along the batch, those from earlier blocks. That is exact, as no
image depends on its neighbours.

Letters: B images of the main pass, N of them predicted right and evaluated, K classes.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from dreal_lib.actor_critic.blocks import AttentionMap, intercepted, makers
from dreal_lib.actor_critic.chance import States, kept, put_back
from dreal_lib.actor_critic.found_gate import FoundGate
from dreal_lib.actor_critic.module_calls import changes
from dreal_lib.actor_critic.replay import Replay
from dreal_lib.actor_critic.reward import logits_of, mean_map
from dreal_lib.errors import UserError
from dreal_lib.runtime.modes import is_compiled, uncompiled


@dataclass
class Trace:
    """What a forward pass made: each actor's F, descriptor and map, and each block's shortcut.

    A found gate's descriptor is what its module was called with (`gate_passes.Call`).

    Attributes:
        replay: What modules put out, where a counterfactual can begin in the middle.
        chance: The random states before the pass, if it drew at random.
    """

    features: dict[nn.Module, Tensor] = field(default_factory=dict)
    descriptors: dict[nn.Module, Tensor] = field(default_factory=dict)
    maps: dict[nn.Module, Tensor] = field(default_factory=dict)
    shortcuts: dict[str, Tensor] = field(default_factory=dict)
    replay: Replay | None = None
    chance: States | None = None


def can_resume(model: nn.Module, maps: Sequence[AttentionMap]) -> bool:
    """Whether the network can run from a block's feature map on.

    Args:
        model: The network.
        maps: Those that are reinforced; found gates lie in no block that it knows.
    """
    if any(isinstance(item.actor, FoundGate) for item in maps):
        return False
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

    def keep(actor: nn.Module, **kept: object) -> None:
        if not torch.compiler.is_compiling():  # where nothing is written in place
            tensors = ((n, t) for n, t in kept.items() if isinstance(t, Tensor))
            made.extend((actor, n, t, changes(t)) for n, t in tensors)

    def on_extract(actor: nn.Module, features: Tensor, descriptor: Tensor) -> None:
        if actor in trace.features:
            name = type(actor).__name__
            if isinstance(actor, FoundGate):
                name = f"{actor.class_name} at {actor.path!r}"
            raise UserError(
                f"an attention module ({name}) is used twice in one forward pass, "
                f"so its map is not one; give each place a module of its own"
            )
        trace.features[actor], trace.descriptors[actor] = features, descriptor
        keep(actor, features=features, descriptor=descriptor)

    def on_attend(actor: nn.Module, _: Tensor, attention: Tensor) -> None:
        trace.maps[actor] = attention
        keep(actor, map=attention)
        if trace.replay:
            trace.replay.met(actor)

    def keep_shortcut(block: str):
        return lambda module, inputs, output: trace.shortcuts.__setitem__(block, output)

    known = {item.block for item in maps}
    blocks = known if bypassed is None else known & set(bypassed)
    with ExitStack() as stack:
        if can_resume(model, maps):
            for block in blocks:
                hook = model.shortcut_module(block).register_forward_hook(keep_shortcut(block))
                stack.callback(hook.remove)
        actors = makers(model, maps)
        gates = [actor.module for actor in actors if isinstance(actor, FoundGate)]
        stack.enter_context(uncompiled(model, gates))
        waiting = [item.actor for item in maps if item.block in blocks]
        replays = gates or not any(is_compiled(module) for module in model.modules())
        if waiting and replays and not can_resume(model, maps):
            trace.replay = stack.enter_context(Replay(model, waiting, chance=bool(gates)))
        stack.enter_context(intercepted(actors, extract=on_extract, attend=on_attend))
        yield trace
        _refuse_written(model, made)


def _refuse_written(model: nn.Module, made: Sequence[tuple[nn.Module, str, Tensor, int]]) -> None:
    """Refuses what was kept of a pass and then written to: critics would see something else."""
    for actor, what, tensor, before in made:
        if changes(tensor) != before:
            name = next((n for n, module in model.named_modules() if module is actor), "")
            kind = type(actor).__name__
            if isinstance(actor, FoundGate):
                name, kind = actor.path, actor.class_name
            raise UserError(
                f"the attention {name!r} ({kind}) or what follows it writes to its "
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
    read: Callable[[Any], Any] = logits_of

    def whole(self, unit: str) -> Any:
        """Logits by a forward pass from the unit's first map on, (N, K)."""
        if self.trace.chance:
            put_back(self.trace.chance)
        gates = [a.module for a in self.trace.maps if isinstance(a, FoundGate)]
        with (
            uncompiled(self.model, gates),
            self._replacing(self._held() | self._means(unit)),
            self._until(unit),
        ):
            return self.read(self.model(self._chosen(self.images)))

    def _until(self, unit: str) -> AbstractContextManager[None]:
        replay, first = self.trace.replay, self.units[unit][0].actor
        return replay.until(first, self.subset) if replay else nullcontext()

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
    read: Callable[[Any], Any] = logits_of,
) -> dict[str, Any]:
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
        read: What is read of the network's output: its logits, or another function's value.

    Returns:
        By unit, logits (N, K), or (B, K), or what `read` returns.
    """
    # By chance the whole batch draws, each image what it drew in the main pass.
    together = None if trace.chance else subset
    without = _Counterfactuals(model, images, trace, maps, units, together, how, read)
    if not can_resume(model, maps) or read is not logits_of:
        with kept(images) if trace.chance else nullcontext():
            found = {unit: without.whole(unit) for unit in units}
        chosen = subset if trace.chance else None
        return {unit: chosen_of(made, chosen) for unit, made in found.items()}
    found: dict[str, Tensor] = {}
    for together in _walks(units):
        found |= without.walk(together)
    return {unit: found[unit] for unit in units}


def chosen_of(values: Any, indices: Tensor | None) -> Any:
    """Some images of tensors (B, ...), alone or within tuples, lists and dicts.

    Args:
        values: Of a whole batch.
        indices: (N,); None for all.
    """
    if indices is None:
        return values
    return tree_map(lambda one: one[indices] if isinstance(one, Tensor) else one, values)


def _walks(units: Mapping[str, Sequence[AttentionMap]]) -> list[list[str]]:
    """The units that share a walk: at most one of each stage, which bounds the memory.

    A later stage's feature maps have half the entries, and its batch is one unit larger: no stage
    holds more than the first.
    """
    stages: dict[str, list[str]] = {}
    for unit, maps in units.items():
        stages.setdefault(maps[0].stage, []).append(unit)
    return [[unit for unit in group if unit] for group in zip_longest(*stages.values())]


def units_of(
    maps: Sequence[AttentionMap], unit: str = "block"
) -> dict[str, tuple[AttentionMap, ...]]:
    """What is bypassed together: every block's maps ("block"), or each map alone ("map")."""
    units: dict[str, tuple[AttentionMap, ...]] = {}
    for item in maps:
        name = item.block if unit == "block" else item.name
        units[name] = (*units.get(name, ()), item)
    return units
