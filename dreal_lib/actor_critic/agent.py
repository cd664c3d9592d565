"""Deep REinforced Attention Learning: one actor-critic step (Algorithm 1, section 3.4).

The backbone W learns from L_c alone, the attention actors theta from L_c + L_q, the critics phi
from L_r alone, all by one backward pass: L_q sees detached features and frozen critics, L_r
detached features and detached maps.

Letters: B batch, K classes, L blocks of a stage, S size of a map.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dreal_lib.actor_critic.blocks import AttentionMap, find_maps
from dreal_lib.actor_critic.counterfactual import Bypass, Trace, bypass_rewards, observed, units_of
from dreal_lib.actor_critic.critic import RecurrentCritic
from dreal_lib.actor_critic.normalization import (
    MainPassStatistics,
    refuse_untracked_norms,
    refusing_chance,
    running_statistics_untouched,
)
from dreal_lib.actor_critic.oracle import MapGradients, oracle_gradients
from dreal_lib.actor_critic.reward import logits_of, mean_square, predicted_right, sample_weights
from dreal_lib.attention.actor import reduce_to_map, reduced_state
from dreal_lib.errors import UserError, unknown_choice
from dreal_lib.runtime.modes import evaluation_mode, frozen
from dreal_lib.settings.dreal import Settings

DEFAULT_STAGES = ("layer1", "layer2", "layer3", "layer4")
# L_c from what the network returned and labels (B,); a dict holds its parts by name.
Loss = Callable[[Any, Tensor], Tensor | dict[str, Tensor]]


@dataclass(frozen=True)
class Step:
    """What one training step made.

    Attributes:
        loss: L_c + quality_weight * L_q + regression_weight * L_r; call backward on it.
        logits: Of the main pass, (B, K).
        classification_loss: L_c, Eq. 10.
        quality_loss: L_q, Eq. 8.
        regression_loss: L_r, Eq. 9.
        rewards: R of the evaluated units (blocks, or maps with bypass_unit="map"), each (B,), also
            where critics learn them shuffled; NaN for images that a `reward_fraction` below 1 has
            left out.
        critiques: Q of every reinforced map, each (B,): by block, or for blocks with two maps
            "layer3.1.channel" and "layer3.1.spatial".
        sensitivities: How far each critique can still move (`RecurrentCritic.gate_sensitivity`),
            each (B,); near 0 means saturated.
        parts: What L_c is the sum of, by name, if its function says so.
        reward_weights: How much each image's reward counts, (B,), 0 for those left out
            (`dreal_lib.actor_critic.reward.sample_weights`); None if all count alike.
        right: Which case of Eq. 1 each image's rewards are, (B,) bool: whether the pass that they
            were taken from predicts it right. With reward_statistics="running" that pass is not
            the one of `logits`. None without rewards.
    """

    loss: Tensor
    logits: Tensor
    classification_loss: Tensor
    quality_loss: Tensor
    regression_loss: Tensor
    rewards: dict[str, Tensor]
    critiques: dict[str, Tensor]
    sensitivities: dict[str, Tensor] = field(default_factory=dict)
    parts: dict[str, Tensor] = field(default_factory=dict)
    reward_weights: Tensor | None = None
    right: Tensor | None = None


class _Rewarded(NamedTuple):
    """Rewards by unit, how much each image counts (None: all alike), who was right, (B,) bool, and
    the true gradients, if they are the signal."""

    rewards: dict[str, Tensor]
    counts: Tensor | None
    right: Tensor
    oracle: MapGradients | None


class Agent(nn.Module):
    """A network with its critics; made by `reinforce`.

    Attributes:
        actor: The network itself, unchanged; use it alone after training.
        critics: One `RecurrentCritic` for each stage and kind of map.
        settings: The choices that the paper leaves open.
        maps: The reinforced attention maps, in network order.
        units: What is bypassed together, by name.
        generator: Draws the blocks to bypass, and the images if only a fraction is evaluated.
    """

    def __init__(
        self,
        model: nn.Module,
        maps: Sequence[AttentionMap],
        settings: Settings,
        generator: torch.Generator | None = None,
        classification_loss: Loss = F.cross_entropy,
    ):
        super().__init__()
        self.actor, self.maps, self.settings = model, tuple(maps), settings
        self.units = units_of(self.maps, settings.bypass_unit)
        self.classification_loss = classification_loss
        self.generator = generator or torch.Generator()
        self.drawn: list[str] | None = None
        self.groups: dict[str, list[AttentionMap]] = {}
        for item in self.maps:
            key = f"{item.stage}_{item.kind}".replace(".", "_")  # no dots in names of modules
            self.groups.setdefault(key, []).append(item)
        parameter = next(model.parameters())
        self.critics = nn.ModuleDict(
            {
                key: RecurrentCritic(
                    group[0].size,
                    settings.critic_init,
                    settings.critic_input_norm,
                    settings.critic_hidden,
                )
                for key, group in self.groups.items()
            }
        ).to(parameter.device, parameter.dtype)
        if settings.reward_control == "random_critic":  # nor does weight decay move them, then
            self.critics.requires_grad_(False)

    def forward(self, images: Tensor) -> Tensor:
        """The network's own prediction; no critic takes part."""
        return self.actor(images)

    def draw_blocks(self) -> list[str]:
        """One random block of each stage, kept until the next draw (section 4.1)."""
        self.drawn = []
        for stage in dict.fromkeys(item.stage for item in self.maps):
            blocks = list(dict.fromkeys(item.block for item in self.maps if item.stage == stage))
            index = torch.randint(len(blocks), (), generator=self.generator)
            self.drawn.append(blocks[int(index)])
        return self.drawn

    def training_step(
        self, images: Tensor, labels: Tensor, blocks: Sequence[str] | None = None
    ) -> Step:
        """Lines 4 to 9 of Algorithm 1 for a batch.

        Args:
            images: (B, 3, H, W).
            labels: (B,), int64.
            blocks: Names of the blocks to evaluate, instead of the random draw.

        Raises:
            UserError: A block that is not reinforced.
        """
        units = self._units_in(self._choose(blocks))
        if self.settings.reward_statistics == "batch":
            output, trace, found = self._main_pass(images, labels, units)
        else:
            with observed(self.actor, self.maps, bypassed=()) as trace:
                output = self.actor(images)
            found = self._evaluated_rewards(images, labels, units)
        rewards, counts, right, oracle = found
        l_c, parts = summed(self.classification_loss(output, labels))
        with torch.autocast(images.device.type, enabled=False):
            states = self._states(trace)
            if oracle is None:
                l_q = self._quality_loss(trace, states)
            else:
                l_q = self._oracle_loss(trace, oracle, counts)
            learnt = self._controlled(rewards, counts)
            l_r, critiques, sensitivities = self._regression_loss(trace, states, *learnt)
        weights = self.settings
        loss = l_c + weights.quality_weight * l_q + weights.regression_weight * l_r
        made = (rewards, critiques, sensitivities, parts, counts, right)
        return Step(loss, logits_of(output), l_c, l_q, l_r, *made)

    def _choose(self, blocks: Sequence[str] | None) -> list[str]:
        if blocks is None:
            redraw = self.settings.bypass_draw == "step" or self.drawn is None
            return self.draw_blocks() if redraw else self.drawn
        known = list(dict.fromkeys(item.block for item in self.maps))
        for block in blocks:
            if block not in known:
                raise unknown_choice("block", block, known)
        return list(blocks)

    def _units_in(self, blocks: Sequence[str]) -> dict[str, tuple[AttentionMap, ...]]:
        return {n: maps for n, maps in self.units.items() if maps[0].block in blocks}

    def _main_pass(self, images, labels, units) -> tuple[Any, Trace, _Rewarded]:
        """The network's output, and rewards whose counterfactuals share its batch statistics."""
        with MainPassStatistics(self.actor) as statistics:
            with self._observed(units) as trace, refusing_chance(images.device):
                output = self.actor(images)
            with statistics.reused():
                logits = logits_of(output).detach()
                found = self._rewards(images, labels, logits, trace, units)
        return output, trace, found

    @torch.no_grad()
    def _evaluated_rewards(self, images, labels, units) -> _Rewarded:
        """Rewards of the network in evaluation mode (running statistics, no dropout)."""
        refuse_untracked_norms(self.actor)
        with evaluation_mode(self.actor):
            with self._observed(units) as trace:
                logits = logits_of(self.actor(images))
            return self._rewards(images, labels, logits, trace, units)

    def _observed(self, units) -> AbstractContextManager[Trace]:
        return observed(self.actor, self.maps, {maps[0].block for maps in units.values()})

    def _rewards(self, images, labels, logits, trace, units) -> _Rewarded:
        """Eq. 1 from a pass in whatever mode, and what was drawn and found right on the way."""
        how = Bypass(self.settings.bypass_mean, self.settings.later_maps)
        gamma, fraction, counts = self.settings.gamma, self.settings.reward_fraction, None
        right = predicted_right(logits, labels)
        if fraction < 1:
            counts = sample_weights(right, fraction, self.generator)
        given = (self.actor, images, labels, logits, trace, self.maps, units, gamma, how, counts)
        signal = self.settings.quality_signal
        oracle = None if signal == "critic" else oracle_gradients(*given, signal=signal)
        rewards = bypass_rewards(*given) if oracle is None else oracle.rewards
        return _Rewarded(rewards, counts, right, oracle)

    def _states(self, trace: Trace) -> dict[AttentionMap, Tensor]:
        """F~ of every map, each (B, S); both losses see the same."""
        return {item: self._state(trace, item).flatten(1) for item in self.maps}

    def _state(self, trace: Trace, item: AttentionMap) -> Tensor:
        """F~, (B, ...) in the shape of the map, without gradient."""
        actor, attention = item.actor, trace.maps[item.actor]
        if item.kind == "spatial" and self.settings.spatial_state == "raw":
            first = next(m.actor for m in self.maps if m.block == item.block)
            return reduce_to_map(trace.features[first].detach(), attention)
        features, descriptor = trace.features[actor].detach(), trace.descriptors[actor].detach()
        return reduced_state(actor, features, descriptor, attention)

    def _inputs(
        self,
        states: dict[AttentionMap, Tensor],
        group: Sequence[AttentionMap],
        maps: dict[nn.Module, Tensor],
    ) -> tuple[Tensor, Tensor]:
        """States and maps of one critic's blocks, each (L, B, S), in the critic's precision."""
        dtype = next(self.critics.parameters()).dtype
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

    def _quality_loss(self, trace: Trace, states: dict[AttentionMap, Tensor]) -> Tensor:
        """L_q, Eq. 8: only the actors' own parameters get a gradient."""
        maps = self.learning_maps(trace, self.maps)
        losses = []
        with frozen(self.critics):
            for key, group in self.groups.items():
                critiques = self.critics[key](*self._inputs(states, group, maps))  # Eq. 2, (L, B)
                losses.append(-critiques.mean(1))  # Eq. 8, (L,)
        return self._reduce(torch.cat(losses))

    def critiques(self, trace: Trace, maps: dict[nn.Module, Tensor]) -> dict[AttentionMap, Tensor]:
        """Q of every reinforced map, (B,), and with it a gradient to the maps that are given.

        Args:
            trace: Of a forward pass; its features are the state, without gradient.
            maps: By attention module, the maps to judge: those of the pass, or others.
        """
        states, found = self._states(trace), {}
        for key, group in self.groups.items():
            judged = self.critics[key](*self._inputs(states, group, maps))  # Eq. 2, (L, B)
            found |= dict(zip(group, judged, strict=True))
        return found

    def sensitivities(self, trace: Trace) -> dict[AttentionMap, Tensor]:
        """How far each critique can still move, (B,): `RecurrentCritic.gate_sensitivity`.

        Args:
            trace: Of a forward pass.
        """
        states, found = self._states(trace), {}
        with torch.no_grad():
            for key, group in self.groups.items():
                critic, inputs = self.critics[key], self._inputs(states, group, trace.maps)
                movable = critic.gate_sensitivity(*inputs, critic(*inputs))
                found |= dict(zip(group, movable, strict=True))
        return found

    def learning_maps(self, trace: Trace, items: Sequence[AttentionMap]) -> dict[nn.Module, Tensor]:
        """Maps made again of descriptors without gradient, (B, ...): they lead to theta alone.

        Args:
            trace: Of a forward pass.
            items: The maps wanted.
        """
        actors = [item.actor for item in items]
        with running_statistics_untouched([m for actor in actors for m in actor.modules()]):
            return {a: a.attend(self._detached_descriptor(trace, a)) for a in actors}

    def _oracle_loss(self, trace: Trace, oracle: MapGradients, counts: Tensor | None) -> Tensor:
        """L_q with the true signal in place of the critique; only theta gets a gradient.

        A map's part is minus the signal's mean over the images (0 where predicted wrong); its
        gradient on the map is the signal's own. Maps of blocks not drawn are estimated by those
        drawn in their stage, so that the sum over the maps is unbiased over draws.
        """
        items = [item for item in self.maps if item in oracle.gradients]
        maps, losses = self.learning_maps(trace, items), []
        for item in items:
            gradient, value = oracle.gradients[item].flatten(1), oracle.values[item]
            pushed = (gradient * maps[item.actor].flatten(1).to(gradient.dtype)).sum(1)  # (B,)
            quality = value + pushed - pushed.detach()
            if counts is not None:
                quality = quality * counts.to(quality.dtype)
            same = [m for m in self.maps if (m.stage, m.kind) == (item.stage, item.kind)]
            share = sum(m in oracle.gradients for m in same) / len(same)
            losses.append(-quality.mean() / share)
        zero = next(self.critics.parameters()).new_zeros(())
        total = sum(losses, start=zero)
        return total if self.settings.loss_reduction == "sum" else total / len(self.maps)

    def _controlled(self, rewards: dict, counts: Tensor | None) -> tuple[dict, Tensor | None]:
        """What critics are to learn: the rewards, or the same ones of other images of the batch."""
        if self.settings.reward_control != "shuffled" or not rewards:
            return rewards, counts
        reward = next(iter(rewards.values()))
        # One number of the agent's generator, as for `sample_weights`; one order for all units.
        seed = int(torch.randint(2**62, (), generator=self.generator))
        order = torch.randperm(len(reward), generator=torch.Generator().manual_seed(seed))
        order = order.to(reward.device)
        given = {unit: reward[order] for unit, reward in rewards.items()}
        return given, None if counts is None else counts[order]

    def _detached_descriptor(self, trace: Trace, actor: nn.Module) -> Tensor:
        dtype = next(actor.parameters(), trace.descriptors[actor]).dtype
        return trace.descriptors[actor].detach().to(dtype)

    def _regression_loss(self, trace: Trace, states: dict, rewards: dict, counts: Tensor | None):
        """L_r, Eq. 9: only the critics get a gradient. Also the critiques and sensitivities."""
        reward_of = {m: rewards[u] for u, maps in self.units.items() if u in rewards for m in maps}
        maps = {actor: attention.detach() for actor, attention in trace.maps.items()}
        losses, critiques, sensitivities = [], {}, {}
        for key, group in self.groups.items():
            critic, inputs = self.critics[key], self._inputs(states, group, maps)
            predicted = critic(*inputs)  # Eq. 2, (L, B)
            movable = critic.gate_sensitivity(*inputs, predicted.detach())
            for item, critique, sensitivity in zip(group, predicted, movable, strict=True):
                critiques[item.name] = critique.detach()
                sensitivities[item.name] = sensitivity
                if item in reward_of:
                    losses.append(mean_square(critique, reward_of[item], counts))
        zero = next(self.critics.parameters()).new_zeros(1)
        return self._reduce(torch.stack(losses) if losses else zero), critiques, sensitivities

    def _reduce(self, losses: Tensor) -> Tensor:
        return losses.sum() if self.settings.loss_reduction == "sum" else losses.mean()


def summed(loss: Tensor | dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
    """L_c and its parts, from what a loss function returned."""
    if isinstance(loss, Tensor):
        return loss, {}
    return sum(loss.values()), loss


def reinforce(
    model: nn.Module,
    image_size: int | tuple[int, int] | None = None,
    stages: Sequence[str] = DEFAULT_STAGES,
    gamma: float = 1.0,
    *,
    quality_weight: float = 1.0,
    regression_weight: float = 1.0,
    bypass_draw: str = "step",
    bypass_unit: str = "block",
    bypass_mean: str = "entries",
    later_maps: str = "recomputed",
    reward_statistics: str = "batch",
    loss_reduction: str = "sum",
    spatial_state: str = "refined",
    critic_init: str = "pytorch",
    critic_input_norm: str = "off",
    critic_lr: float | None = None,
    critic_hidden: int = 1,
    reward_fraction: float = 1.0,
    reward_control: str = "none",
    quality_signal: str = "critic",
    classification_loss: Loss = F.cross_entropy,
    generator: torch.Generator | None = None,
) -> Agent:
    """Gives a network critics, so that its attention can be trained by DREAL.

    Args:
        model: Any network for images (B, 3, H, W) whose attention modules have `extract`,
            `attend` and `recalibrate`, called by their forward pass, and may declare their `kind`
            (`dreal_lib.attention.actor`).
        image_size: Side, or (H, W), of the images; needed for spatial and full maps only.
        stages: Names of modules; the attention of one stage shares a critic.
        gamma: Penalty of Eq. 1 for an image predicted wrong.
        quality_weight, regression_weight, bypass_draw, bypass_unit, bypass_mean, later_maps,
            reward_statistics, loss_reduction, spatial_state, critic_init, critic_input_norm,
            critic_lr, critic_hidden, reward_fraction, reward_control, quality_signal: See
            `dreal_lib.settings.dreal.Settings`.
        classification_loss: L_c from what the network returns (logits (B, K), or an object with
            `logits`) and labels (B,); a dict of losses is summed.
        generator: Draws the blocks to bypass, the sample of a `reward_fraction` and the order of
            shuffled rewards; a new one by default.

    Returns:
        The agent; `agent.actor is model`. The critics lie on the model's device.

    Raises:
        UserError: A stage or setting that does not exist, or a network that does not fit: none of
            its attention multiplies its features, or a module of it has no parameters.
    """
    settings = Settings(
        gamma=gamma,
        quality_weight=quality_weight,
        regression_weight=regression_weight,
        bypass_draw=bypass_draw,
        bypass_unit=bypass_unit,
        bypass_mean=bypass_mean,
        later_maps=later_maps,
        reward_statistics=reward_statistics,
        loss_reduction=loss_reduction,
        spatial_state=spatial_state,
        critic_init=critic_init,
        critic_input_norm=critic_input_norm,
        critic_lr=critic_lr,
        critic_hidden=critic_hidden,
        reward_fraction=reward_fraction,
        reward_control=reward_control,
        quality_signal=quality_signal,
    )
    if isinstance(stages, str):
        raise UserError(f"stages must be a list of names; got {stages!r}; try [{stages!r}]")
    maps = find_maps(model, tuple(stages), image_size)
    for item in maps:
        if next(item.actor.parameters(), None) is None:
            raise UserError(
                f"the attention {item.name!r} ({type(item.actor).__name__}) has no parameters, so "
                f"L_q has nothing to train there; leave its stage out, or take one that learns"
            )
    return Agent(model, maps, settings, generator, classification_loss)
