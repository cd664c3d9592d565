"""Relation-Aware Global Attention, RGA (Zhang et al., arXiv 1904.02998v1, section 3).

A node's attention is inferred from the node and from its relations with all nodes. Nodes are the
positions (RGA-S) or the channels (RGA-C); the maps multiply, and no residual is added. Needs the
size of the features; `dreal_lib.attention.relations` makes the maps.

As DREAL's actors, these modules extract nothing: the descriptor is the features themselves, and
every convolution belongs to the attention's parameters.

State dicts of the authors' release (github.com/microsoft/Relation-Aware-Global-Attention-Networks,
code of April 2020: RGA-S, RGA-C and RGA-SC) are loaded and written here. Its names, with `spatial`
or `channel` behind them, are

| release | ours | |
|---|---|---|
| `gx` | `psi` | the node itself, embedded |
| `theta`, `phi` | `relations.theta`, `relations.phi` | both sides of an affinity |
| `gg` | `relations.varphi` | the relations, embedded |
| `W` | `w1`, `bn1`, `w2`, `bn2` | Eq. 3 |
"""

from collections.abc import Mapping
from functools import partial
from typing import ClassVar

import torch
from torch import Tensor, nn

from dreal_lib.attention.actor import Actor
from dreal_lib.attention.non_local import NonLocal
from dreal_lib.attention.recomputed import recomputed
from dreal_lib.attention.relations import (
    AS_PUBLISHED,
    ChannelGraph,
    Form,
    RelationGraph,
    SpatialGraph,
)
from dreal_lib.errors import UserError
from dreal_lib.settings.rga import RGASettings

# Place in the release's sequence (convolution 0, BN 1, ReLU 2, ...) and the module of ours.
_EMBEDDING = {"0": "conv", "1": "bn"}
_NAMES = {
    **{f"gx.{i}": f"psi.{name}" for i, name in _EMBEDDING.items()},
    **{f"theta.{i}": f"relations.theta.{name}" for i, name in _EMBEDDING.items()},
    **{f"phi.{i}": f"relations.phi.{name}" for i, name in _EMBEDDING.items()},
    **{f"gg.{i}": f"relations.varphi.{name}" for i, name in _EMBEDDING.items()},
    **{"W.0": "w1", "W.1": "bn1", "W.3": "w2", "W.4": "bn2"},
}
_OPTIONAL = "num_batches_tracked"  # torch 0.4.0 and older do not write it


class RelationAttention(nn.Module):
    """Base of the modules: each of its `parts` is made with the same arguments.

    Args:
        channels, size, s1, s2, relations, visual, form, settings: See `RelationGraph`.
    """

    own_initialisation = True
    parts: ClassVar[dict[str, type[nn.Module]]]

    def __init__(
        self,
        channels: int,
        size: tuple[int, int],
        *,
        s1: int = 8,
        s2: int = 8,
        relations: bool = True,
        visual: bool = True,
        form: Form = "cheaper",
        settings: RGASettings = AS_PUBLISHED,
    ):
        super().__init__()
        for name, part in self.parts.items():
            made = part(
                channels,
                size,
                s1=s1,
                s2=s2,
                relations=relations,
                visual=visual,
                form=form,
                settings=settings,
            )
            self.add_module(name, made)
        self.build(channels, settings)

    def build(self, channels: int, settings: RGASettings) -> None:
        """Adds what a form needs beside its parts; most need nothing."""


class SpatialRelationAttention(RelationAttention, Actor):
    """RGA-S: a spatial map, (B, 1, H, W)."""

    kind = "spatial"
    parts: ClassVar = {"graph": SpatialGraph}

    def extract(self, features: Tensor) -> Tensor:
        return features

    def attend(self, descriptor: Tensor) -> Tensor:
        return self.graph(descriptor)


class ChannelRelationAttention(SpatialRelationAttention):
    """RGA-C: a channel map, (B, C)."""

    kind = "channel"
    parts: ClassVar = {"graph": ChannelGraph}


class SpatialThenChannel(RelationAttention):
    """RGA-SC: the channel map is made from what the spatial map has modulated (section 3.4)."""

    parts: ClassVar = {"spatial": SpatialRelationAttention, "channel": ChannelRelationAttention}

    def forward(self, features: Tensor) -> Tensor:
        return _one_then_other(self.spatial, self.channel, features)


class ChannelThenSpatial(RelationAttention):
    """RGA-CS."""

    parts: ClassVar = {"channel": ChannelRelationAttention, "spatial": SpatialRelationAttention}

    def forward(self, features: Tensor) -> Tensor:
        return _one_then_other(self.channel, self.spatial, features)


def _one_then_other(first: Actor, second: Actor, features: Tensor) -> Tensor:
    """second(first(features)), of which the features between are not kept in memory."""
    attention = first.attend(first.extract(features))
    between = first.recalibrate(features, attention)
    again = partial(first.recalibrate, features.detach(), attention.detach())
    with recomputed(between, again):
        return second(between)


class NonLocalThenSpatial(nn.Module):
    """Non-local + RGA-S of Table 3: the spatial map is made behind a non-local block.

    Args:
        channels, size, s1, s2: See `RelationGraph`.
        reduction: Of the non-local block.
    """

    def __init__(
        self,
        channels: int,
        size: tuple[int, int],
        *,
        s1: int = 8,
        s2: int = 8,
        reduction: int = 2,
    ):
        super().__init__()
        self.non_local = NonLocal(channels, reduction)
        self.spatial = SpatialRelationAttention(channels, size, s1=s1, s2=s2)

    def forward(self, features: Tensor) -> Tensor:
        return self.spatial(self.non_local(features))

    def resume(self, features: Tensor) -> Tensor:
        """From the features that the map multiplies on: where a counterfactual begins."""
        return self.spatial(features)


class ParallelRelationAttention(RelationAttention, Actor):
    """RGA-S//C: both maps are made from the same features, then fused.

    By the settings "product" and "mean" they make one map of full size, (B, C, H, W). By
    "concatenation" there is no such map: the features that each has modulated are brought from 2C
    channels back to C by a 1x1 convolution, and put in the features' place.
    """

    parts: ClassVar = {"spatial": SpatialGraph, "channel": ChannelGraph}

    def build(self, channels: int, settings: RGASettings) -> None:
        self.fused_by = settings.parallel_fusion
        self.kind = "full"
        if self.fused_by == "concatenation":
            self.kind = "features"
            self.fusion = nn.Conv2d(2 * channels, channels, 1, bias=False)

    def extract(self, features: Tensor) -> Tensor:
        return features

    def attend(self, descriptor: Tensor) -> Tensor:
        spatial, channel = self.spatial(descriptor), self.channel(descriptor)[..., None, None]
        if self.fused_by == "product":
            return spatial * channel
        if self.fused_by == "mean":
            return (spatial + channel) / 2
        return self.fusion(torch.cat((descriptor * spatial, descriptor * channel), 1))

    def recalibrate(self, features: Tensor, attention: Tensor) -> Tensor:
        if self.fused_by == "concatenation":
            return attention
        return super().recalibrate(features, attention)


def load_released(module: nn.Module, state_dict: Mapping[str, Tensor], prefix: str = "") -> None:
    """Loads the state of a module of the authors' release.

    Args:
        module: RGA-S, RGA-C or RGA-SC with relations and visual features, of the same channels,
            size and ratios. It is changed only if everything fits.
        state_dict: As the release saves it; a missing `num_batches_tracked` is left as it is.
        prefix: Of the module's names in a whole network's state dict; other names are ignored.

    Raises:
        UserError: The module has no released form; a name is missing or left over; a shape differs.
    """
    given = {k.removeprefix(prefix): v for k, v in state_dict.items() if k.startswith(prefix)}
    targets = _released_tensors(module)
    needed = {name for name in targets if not name.endswith(_OPTIONAL)}
    for what, names in (("lacks", needed - given.keys()), ("has also", given.keys() - targets)):
        if names:
            raise UserError(
                f"the released state dict {what} {min(names)!r} ({len(names)} names in all); this "
                f"module holds RGA's {' and '.join(_graphs(module))} part: try another, or a prefix"
            )
    for name, value in given.items():
        if value.numel() != targets[name].numel() or value.shape[:2] != targets[name].shape[:2]:
            raise UserError(
                f"{name!r} has the shape {tuple(value.shape)} in the released state dict and "
                f"{_released_shape(targets[name])} here; build the module with the same channels, "
                f"size, s1 and s2"
            )
    for name, value in given.items():
        targets[name].data.copy_(value.reshape(targets[name].shape))


def released_state(module: nn.Module) -> dict[str, Tensor]:
    """The state dict that the authors' module would have: names and shapes are the release's.

    Raises:
        UserError: The module has no released form.
    """
    tensors = _released_tensors(module)
    return {name: t.detach().reshape(_released_shape(t)).clone() for name, t in tensors.items()}


def _released_shape(tensor: Tensor) -> tuple[int, ...]:
    # The release's convolutions are two-dimensional.
    return (*tensor.shape, 1) if tensor.dim() == 3 else tuple(tensor.shape)


def _graphs(module: nn.Module) -> dict[str, RelationGraph]:
    graphs = [part for part in module.modules() if isinstance(part, RelationGraph)]
    whole = all(graph.psi is not None and graph.relations is not None for graph in graphs)
    if not graphs or not whole:
        raise UserError(
            f"the release holds RGA with relations and visual features; got a "
            f"{type(module).__name__} without; try create_attention('rga_sc', ...)"
        )
    return {graph.kind: graph for graph in graphs}


def _released_tensors(module: nn.Module) -> dict[str, Tensor]:
    """Our own parameters and buffers by the release's names, in the release's order of layers."""
    found = {}
    for kind, graph in _graphs(module).items():
        for released, ours in _NAMES.items():
            layer, place = released.split(".")
            for name, tensor in graph.get_submodule(ours).state_dict(keep_vars=True).items():
                found[f"{layer}_{kind}.{place}.{name}"] = tensor
    return found
