"""Deep REinforced Attention Learning: one actor-critic step (Algorithm 1, section 3.4).

The backbone W learns from L_c alone, the attention actors theta from L_c + L_q, the critics phi
from L_r alone, all by one backward pass (`dreal_lib.actor_critic.losses`).

Letters: B batch, K classes.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dreal_lib.actor_critic.blocks import AttentionMap, find_maps
from dreal_lib.actor_critic.counterfactual import Bypass, Trace, bypass_rewards, observed, units_of
from dreal_lib.actor_critic.critics import Critics
from dreal_lib.actor_critic.losses import Loss, oracle_loss, quality_loss, regression_loss, summed
from dreal_lib.actor_critic.normalization import (
    MainPassStatistics,
    refuse_untracked_norms,
    refusing_chance,
)
from dreal_lib.actor_critic.oracle import MapGradients, oracle_gradients
from dreal_lib.actor_critic.reward import (
    logits_of,
    predicted_right,
    refuse_labels,
    sample_weights,
)
from dreal_lib.errors import UserError, unknown_choice
from dreal_lib.runtime.modes import evaluation_mode
from dreal_lib.settings.dreal import Settings

DEFAULT_STAGES = ("layer1", "layer2", "layer3", "layer4")


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
        critics: One for each stage and kind of map.
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
        parameter = next(model.parameters())
        self.critics = Critics(self.maps, settings).to(parameter.device, parameter.dtype)

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
            UserError: A block that is not reinforced, an empty batch, labels that are not one class
                an image, or a loss that is not one number.
        """
        refuse_labels(images, labels)
        units = self._units_in(self._choose(blocks))
        if self.settings.reward_statistics == "batch":
            output, trace, found = self._main_pass(images, labels, units)
        else:
            with observed(self.actor, self.maps, bypassed=()) as trace:
                output = self.actor(images)
            found = self._evaluated_rewards(images, labels, units)
        rewards, counts, right, oracle = found
        l_c, parts = summed(self.classification_loss(output, labels))
        how = self.settings
        with torch.autocast(images.device.type, enabled=False):
            states = self.critics.states(trace)
            if oracle is None:
                l_q = quality_loss(self.critics, trace, states, how.loss_reduction)
            else:
                l_q = oracle_loss(self.critics, trace, oracle, counts, how.loss_reduction)
            learnt, learnt_counts = self._controlled(rewards, counts)
            of_maps = {item: learnt[unit] for unit in learnt for item in self.units[unit]}
            l_r, critiques, sensitivities = regression_loss(
                self.critics, trace, states, of_maps, learnt_counts, how.loss_reduction
            )
        loss = l_c + how.quality_weight * l_q + how.regression_weight * l_r
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
