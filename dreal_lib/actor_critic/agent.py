"""Deep REinforced Attention Learning: one actor-critic step (Algorithm 1, section 3.4).

The backbone W learns from L_c alone, the attention actors theta from L_c + L_q, the critics phi
from L_r alone, all by one backward pass (`dreal_lib.actor_critic.losses`).

Letters: B batch, K classes.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from dreal_lib.actor_critic.blocks import AttentionMap
from dreal_lib.actor_critic.counterfactual import units_of
from dreal_lib.actor_critic.critics import Critics
from dreal_lib.actor_critic.labels import RewardOf, refuse_labels
from dreal_lib.actor_critic.losses import Loss, oracle_loss, quality_loss, regression_loss, summed
from dreal_lib.actor_critic.main_pass import main_pass
from dreal_lib.actor_critic.reward import logits_of
from dreal_lib.actor_critic.verification import verify
from dreal_lib.errors import UserError, unknown_choice
from dreal_lib.runtime.distributed import world_size
from dreal_lib.settings.dreal import Settings


@dataclass(frozen=True)
class Step:
    """What one training step made.

    Attributes:
        loss: L_c + quality_weight * L_q + regression_weight * L_r; call backward on it.
        logits: Of the main pass, (B, K); with a `reward_of`, whatever the network returned.
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


class Agent(nn.Module):
    """A network with its critics; made by `reinforce`.

    Attributes:
        actor: The network itself, unchanged; use it alone after training.
        critics: One for each stage and kind of map.
        settings: The choices that the paper leaves open.
        maps: The reinforced attention maps, in network order.
        units: What is bypassed together, by name.
        generator: Draws the blocks to bypass, and the images if only a fraction is evaluated.
        reward_of: log p and being right of an output and labels; None where these are classes.
    """

    def __init__(
        self,
        model: nn.Module,
        maps: Sequence[AttentionMap],
        settings: Settings,
        generator: torch.Generator | None = None,
        classification_loss: Loss = F.cross_entropy,
        reward_of: RewardOf | None = None,
    ):
        super().__init__()
        self.actor, self.maps, self.settings = model, tuple(maps), settings
        self.units = units_of(self.maps, settings.bypass_unit)
        self.classification_loss, self.reward_of = classification_loss, reward_of
        self.generator = generator or torch.Generator()
        self.drawn: list[str] | None = None
        parameter = next(model.parameters())
        self.critics = Critics(self.maps, settings).to(
            parameter.device, torch.promote_types(parameter.dtype, torch.float32)
        )

    def forward(
        self, images: Tensor, labels: Any = None, blocks: Sequence[str] | None = None
    ) -> Any:
        """The step of a batch (`training_step`); without labels the network's own output.

        Wrappers that act on a forward pass, as DistributedDataParallel does, train by it.

        Args:
            images: (B, C, H, W).
            labels: As for `training_step`.
            blocks: As for `training_step`.
        """
        return self.actor(images) if labels is None else self._step(images, labels, blocks)

    def draw_blocks(self) -> list[str]:
        """One random block of each stage, kept until the next draw (section 4.1)."""
        self.drawn = []
        for stage in dict.fromkeys(item.stage for item in self.maps):
            blocks = list(dict.fromkeys(item.block for item in self.maps if item.stage == stage))
            index = torch.randint(len(blocks), (), generator=self.generator)
            self.drawn.append(blocks[int(index)])
        return self.drawn

    def training_step(
        self, images: Tensor, labels: Any, blocks: Sequence[str] | None = None
    ) -> Step:
        """Lines 4 to 9 of Algorithm 1 for a batch.

        Args:
            images: (B, C, H, W).
            labels: (B,), whole numbers; with a `reward_of`, whatever that and the loss take.
            blocks: Names of the blocks to evaluate, instead of the random draw.

        Raises:
            UserError: A block that is not reinforced, an empty batch, labels or outputs that
                rewards cannot be read from, a loss that is not one number, or a call past a
                wrapper that acts on the forward pass.
        """
        self._refuse_going_past_a_wrapper()
        return self._step(images, labels, blocks)

    def verify(self, images: Tensor, labels: Any = None) -> float:
        """Tries on a batch whether rewards are exact: puts each map back, which may change nothing.

        Every other image of the batch is predicted once more for each unit, in the mode that the
        network is in, and each map is made once more. Nothing is moved by it. (What is refused by
        class alone is found by a step; this finds the rest.)

        Args:
            images: (B, C, H, W), at least two.
            labels: Not needed; taken so that a batch can be given as to a step.

        Returns:
            The largest difference of an output or map, as a share of its largest entry.

        Raises:
            UserError: One that rounding does not explain (names the map).
        """
        return verify(self, images)

    def _refuse_going_past_a_wrapper(self) -> None:
        wrapper = None
        if "_original_forward" in vars(self):
            wrapper = "accelerate has wrapped the agent's forward pass"
        elif world_size() > 1 and DistributedDataParallel._get_active_ddp_module() is None:
            wrapper = f"there are {world_size()} processes, whose gradients a wrapper averages"
        if wrapper:
            raise UserError(
                f"{wrapper}, which training_step goes past; call the wrapped agent itself: "
                f"wrapped(images, labels) returns the step"
            )

    def _step(self, images: Tensor, labels: Any, blocks: Sequence[str] | None) -> Step:
        if not self.reward_of:
            refuse_labels(images, labels)
        if next(self.critics.parameters()).dtype in (torch.float16, torch.bfloat16):
            raise UserError(
                "the critics are in half precision, in which they do not learn; keep them in "
                "float32: agent.critics.float()"
            )
        units = self._units_in(self._choose(blocks))
        output, trace, rewarded = main_pass(self, images, labels, units)
        rewards, counts, right, oracle = rewarded
        l_c, parts = summed(self._classification_loss(output, labels))
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
        logits = output if self.reward_of else logits_of(output)
        made = (rewards, critiques, sensitivities, parts, counts, right)
        return Step(loss, logits, l_c, l_q, l_r, *made)

    def _classification_loss(self, output: Any, labels: Any) -> Tensor | dict[str, Tensor]:
        if self.classification_loss is F.cross_entropy and not self.reward_of:
            return F.cross_entropy(logits_of(output), labels.long())
        return self.classification_loss(output, labels)

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
