"""All critics of a network, one for each stage and kind of map, and what they read of a pass.

Letters: B batch, L blocks of a stage, S size of a map.
"""

from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor, nn

from dreal_lib.actor_critic.blocks import AttentionMap
from dreal_lib.actor_critic.counterfactual import Trace
from dreal_lib.actor_critic.critic import RecurrentCritic
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
        self.groups: dict[str, list[AttentionMap]] = {}
        for item in self.maps:
            key = f"{item.stage}_{item.kind}".replace(".", "_")  # no dots in names of modules
            # Stages "a.b" and "a_b" have a critic each.
            while key in self.groups and self.groups[key][0].stage != item.stage:
                key += "_"
            self.groups.setdefault(key, []).append(item)
        made_as = settings.critic_init, settings.critic_input_norm, settings.critic_hidden
        for key, group in self.groups.items():
            self[key] = RecurrentCritic(group[0].size, *made_as)
        if settings.reward_control == "random_critic":  # nor does weight decay move them, then
            self.requires_grad_(False)

    def state(self, trace: Trace, item: AttentionMap) -> Tensor:
        """F~ of a map, (B, ...) in the map's shape, without gradient."""
        actor, attention = item.actor, trace.maps[item.actor]
        if item.kind == "spatial" and self.raw_spatial_state:
            first = next(m.actor for m in self.maps if m.block == item.block)
            return reduce_to_map(trace.features[first].detach(), attention)
        features, descriptor = trace.features[actor].detach(), trace.descriptors[actor].detach()
        return reduced_state(actor, features, descriptor, attention)

    def states(self, trace: Trace) -> dict[AttentionMap, Tensor]:
        """F~ of every map, each (B, S); both losses see the same."""
        return {item: self.state(trace, item).flatten(1) for item in self.maps}

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
        reduced = torch.stack([states[item] for item in group])
        attention = torch.stack([maps[item.actor].flatten(1) for item in group])
        return reduced.to(dtype), attention.to(dtype)

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
