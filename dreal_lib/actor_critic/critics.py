"""All critics of a network, one for each stage and kind of map, and what they read of a pass.

Maps of a stage may differ in size: then a critic reads zeros behind the smaller ones. A map over
channels and positions (C, H, W) may be large: then it reads its means over positions (C) and over
channels (H, W). Both are settings (`unequal_maps`, `full_maps`). A map between tokens (heads, N, N)
and its features (N, C) are both read as means along each of their axes.

Letters: B batch, L blocks of a stage, S what a critic reads of a map: its size, if all are alike.
"""

from collections.abc import Iterator, Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dreal_lib.actor_critic.blocks import AttentionMap
from dreal_lib.actor_critic.counterfactual import Trace
from dreal_lib.actor_critic.critic import RecurrentCritic
from dreal_lib.actor_critic.found_gate import FoundGate
from dreal_lib.attention.actor import reduce_to_map, reduced_state
from dreal_lib.errors import UserError
from dreal_lib.settings.dreal import Settings


class Critics(nn.ModuleDict):
    """The critics by "STAGE_KIND", e.g. "layer3_channel".

    Args:
        maps: The reinforced attention maps, in network order.
        settings: The choices that the paper leaves open.

    Attributes:
        groups: By the same names, the maps that a critic judges, in network order.
    """

    def __init__(self, maps: Sequence[AttentionMap], settings: Settings):
        super().__init__()
        self.maps, self.raw_spatial_state = tuple(maps), settings.spatial_state == "raw"
        self.full_maps = settings.full_maps
        self.groups: dict[str, list[AttentionMap]] = {}
        for item in self.maps:
            key = f"{item.stage}_{item.kind}".replace(".", "_")  # no dots in names of modules
            if settings.unequal_maps == "apart" and isinstance(item.actor, FoundGate):
                key += f"_{self.read(item, torch.empty(1, *item.shape)).shape[1]}"
            # Stages "a.b" and "a_b" have a critic each.
            while key in self.groups and self.groups[key][0].stage != item.stage:
                key += "_"
            self.groups.setdefault(key, []).append(item)
        made_as = settings.critic_init, settings.critic_input_norm, settings.critic_hidden
        self.widths = {key: self._width(group) for key, group in self.groups.items()}
        for key, width in self.widths.items():
            self[key] = RecurrentCritic(width, *made_as)
        if settings.reward_control == "random_critic":  # nor does weight decay move them, then
            self.requires_grad_(False)

    def _width(self, group: Sequence[AttentionMap]) -> int:
        """S of a critic: of the largest of its maps, and of features that are no larger."""
        read = [self.read(item, torch.empty(1, *item.shape)).shape[1] for item in group]
        of_tokens = [item.actor.features for item in group if item.kind == "matrix"]
        return max([*read, *(sum(features) for features in of_tokens)])

    def read(self, item: AttentionMap, values: Tensor) -> Tensor:
        """What a critic reads of a map, or of F~: (B, ...) in the map's shape to (B, S).

        Args:
            item: The map.
            values: Itself, or features in its shape.
        """
        if item.kind == "matrix":
            return _axis_means(values)
        found = isinstance(item.actor, FoundGate)
        by_means = self.full_maps == "means" or (self.full_maps == "auto" and found)
        if item.kind != "full" or not by_means:
            return values.flatten(1)
        over_positions, over_channels = values.flatten(2).mean(2), values.mean(1)
        return torch.cat((over_positions, over_channels.flatten(1)), dim=1)

    def state(self, trace: Trace, item: AttentionMap) -> Tensor:
        """F~ of a map, (B, ...) in the map's shape, without gradient."""
        actor, attention = item.actor, trace.maps[item.actor]
        if item.kind == "matrix":
            return trace.features[actor].detach()
        if item.kind == "spatial" and self.raw_spatial_state:
            first = next(m.actor for m in self.maps if m.block == item.block)
            return reduce_to_map(trace.features[first].detach(), attention)
        features, descriptor = trace.features[actor].detach(), trace.descriptors[actor].detach()
        return reduced_state(actor, features, descriptor, attention)

    def states(self, trace: Trace) -> dict[AttentionMap, Tensor]:
        """F~ of every map, each (B, S); both losses see the same."""
        return {item: self.read(item, self.state(trace, item)) for item in self.maps}

    def inputs(
        self, key: str, states: Mapping[AttentionMap, Tensor], maps: Mapping[nn.Module, Tensor]
    ) -> tuple[Tensor, Tensor]:
        """What one critic reads: states and maps of its blocks, (L, B, S), in its own precision.

        Args:
            key: The critic's name.
            states: From `states`.
            maps: A by attention module, (B, ...).

        Raises:
            UserError: A map whose shape is not the one that the critic was made for.
        """
        dtype, group = next(self.parameters()).dtype, self.groups[key]
        for item in group:
            made = tuple(maps[item.actor].shape[1:])
            if made != item.shape:
                raise UserError(
                    f"the critics were made for another image_size: the map {item.name!r} has the "
                    f"shape {made} instead of {item.shape}; give `reinforce` the images' own size"
                )
        width = self.widths[key]
        reduced = torch.stack([_padded(states[item], width) for item in group])
        attention = [_padded(self.read(item, maps[item.actor]), width) for item in group]
        return reduced.to(dtype), torch.stack(attention).to(dtype)

    def judged(
        self, states: Mapping[AttentionMap, Tensor], maps: Mapping[nn.Module, Tensor]
    ) -> Iterator[tuple[str, tuple[Tensor, Tensor], Tensor]]:
        """Each critic's name, what it reads, and Q of its blocks, (L, B): Eq. 2.

        Args:
            states: From `states`.
            maps: By attention module, the maps to judge: those of the pass, or others.
        """
        for key in self.groups:
            inputs = self.inputs(key, states, maps)
            yield key, inputs, self[key](*inputs)

    def critiques(
        self, trace: Trace, maps: Mapping[nn.Module, Tensor]
    ) -> dict[AttentionMap, Tensor]:
        """Q of every reinforced map, (B,), and with it a gradient to the maps that are given.

        Args:
            trace: Of a forward pass; its features are the state, without gradient.
            maps: As for `judged`.
        """
        found = {}
        for key, _, judged in self.judged(self.states(trace), maps):
            found |= dict(zip(self.groups[key], judged, strict=True))
        return found

    @torch.no_grad()
    def sensitivities(self, trace: Trace) -> dict[AttentionMap, Tensor]:
        """How far each critique can still move, (B,): `RecurrentCritic.gate_sensitivity`.

        Args:
            trace: Of a forward pass.
        """
        found = {}
        for key, inputs, judged in self.judged(self.states(trace), trace.maps):
            movable = self[key].gate_sensitivity(*inputs, judged)
            found |= dict(zip(self.groups[key], movable, strict=True))
        return found


def _axis_means(values: Tensor) -> Tensor:
    """Means along each axis over all others, one behind the other: (B, P, Q) to (B, P + Q)."""
    axes = range(1, values.dim())
    return torch.cat([values.mean([a for a in axes if a != axis]) for axis in axes], dim=1)


def _padded(values: Tensor, width: int) -> Tensor:
    """Zeros behind, (B, S) to (B, width)."""
    missing = width - values.shape[1]
    return F.pad(values, (0, missing)) if missing else values
