"""`reinforce`: gives a network critics, from what its modules declare or what a probe finds.

Letters: B batch, K classes, C, H and W channels, height and width.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dreal_lib.actor_critic.agent import Agent
from dreal_lib.actor_critic.blocks import AttentionMap, blank, find_maps
from dreal_lib.actor_critic.declared_gates import Gate
from dreal_lib.actor_critic.found_gate import FoundGate
from dreal_lib.actor_critic.gates import find_gates, maps_of, refuse_wrapped
from dreal_lib.actor_critic.labels import RewardOf
from dreal_lib.actor_critic.losses import Loss
from dreal_lib.actor_critic.stages import AUTO
from dreal_lib.attention.actor import is_actor
from dreal_lib.errors import UserError
from dreal_lib.settings.dreal import Settings

DEFAULT_STAGES = ("layer1", "layer2", "layer3", "layer4")


def reinforce(
    model: nn.Module,
    image_size: int | tuple[int, int] | None = None,
    stages: str | Sequence[str] = AUTO,
    gamma: float = 1.0,
    *,
    example: Tensor | None = None,
    gates: str | Sequence[str | Gate] | None = None,
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
    full_maps: str = "auto",
    unequal_maps: str = "padded",
    classification_loss: Loss = F.cross_entropy,
    reward_of: RewardOf | None = None,
    generator: torch.Generator | None = None,
) -> Agent:
    """Gives a network critics, so that its attention can be trained by DREAL.

    Args:
        model: Any network for images. Its attention is what its modules declare, by methods
            `extract`, `attend` and `recalibrate` (`dreal_lib.attention.actor`); where none does,
            the products of features and maps that its forward pass shows (`find_gates`).
        image_size: Side, or (H, W), of the images: stands for an `example` of zeros, (1, 3, H, W).
        stages: Names of modules, whose attention shares a critic; "auto" is "layer1" to "layer4"
            for declared attention, else what `dreal_lib.actor_critic.stages` finds.
        gamma: Penalty of Eq. 1 for an image predicted wrong.
        example: Some images as those of the training, (B, C, H, W); needed for found gates, and for
            declared maps over positions; None is one of 224 px.
        gates: Which gates: a pattern that their whole path matches, or a list of paths or of their
            last parts, or declared ones (`dreal_lib.Gate`); None is all that are found, unless
            attention declares itself.
        quality_weight, regression_weight, bypass_draw, bypass_unit, bypass_mean, later_maps,
            reward_statistics, loss_reduction, spatial_state, critic_init, critic_input_norm,
            critic_lr, critic_hidden, reward_fraction, reward_control, quality_signal, full_maps,
            unequal_maps: See `dreal_lib.settings.dreal.Settings`.
        classification_loss: L_c from what the network returns (logits (B, K), or an object with
            `logits`) and labels (B,); a dict of losses is summed.
        reward_of: For other labels or outputs (soft labels, several labels, maps of classes): from
            what the network returns and labels (B, ...), log p of the truth, (B,), and whether the
            network is right, (B,) bool. The default reads logits (B, K) and numbers of classes.
        generator: Draws the blocks to bypass, the sample of a `reward_fraction` and the order of
            shuffled rewards; a new one by default.

    Returns:
        The agent; `agent.actor is model`. The critics lie on the model's device.

    Raises:
        UserError: A stage or setting that does not exist, or a network that does not fit: none of
            its attention multiplies its features, a module of it has no parameters, or the network
            is wrapped or compiled.
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
        full_maps=full_maps,
        unequal_maps=unequal_maps,
    )
    if reward_of and quality_signal != "critic":
        raise UserError(
            f"quality_signal {quality_signal!r} is known for logits and numbers of classes alone; "
            f"leave out reward_of, or try quality_signal='critic'"
        )
    maps = _maps(model, example, image_size, gates, stages)
    for item in maps:
        if next(item.actor.parameters(), None) is None:
            found = isinstance(item.actor, FoundGate)
            name = item.actor.class_name if found else type(item.actor).__name__
            raise UserError(
                f"the attention {item.name!r} ({name}) has no parameters, so L_q has nothing to "
                f"train there; leave its stage out, or take one that learns"
            )
    return Agent(model, maps, settings, generator, classification_loss, reward_of)


def _maps(
    model: nn.Module,
    example: Tensor | None,
    image_size: int | tuple[int, int] | None,
    gates: str | Sequence[str | Gate] | None,
    stages: str | Sequence[str],
) -> tuple[AttentionMap, ...]:
    """The maps that a network's actors declare; where it has none, those of its gates."""
    refuse_wrapped(model)
    if gates is None and any(is_actor(module) for module in model.modules()):
        names = DEFAULT_STAGES if stages == AUTO else stages
        if isinstance(names, str):
            raise UserError(f"stages must be a list of names; got {names!r}; try [{names!r}]")
        return find_maps(model, tuple(names), image_size, example)
    if example is None and image_size is not None:
        example = blank(model, image_size)
    return maps_of(find_gates(model, example, gates=gates, stages=stages))
