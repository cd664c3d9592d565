"""Eq. 1 for the units of a step: what each is worth, by a counterfactual where one is needed.

Letters: B images of the main pass, N of them predicted right and evaluated, K classes.
"""

import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from dreal_lib.actor_critic.blocks import AttentionMap
from dreal_lib.actor_critic.counterfactual import (
    AS_DEFAULT,
    Bypass,
    Trace,
    bypassed_logits,
    chosen_of,
)
from dreal_lib.actor_critic.labels import RewardOf
from dreal_lib.actor_critic.reward import predicted_right, relative_gain


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


@torch.no_grad()
def judged_rewards(
    model: nn.Module,
    images: Tensor,
    labels: Any,
    judged: tuple[Tensor, Tensor],
    trace: Trace,
    maps: Sequence[AttentionMap],
    units: Mapping[str, Sequence[AttentionMap]],
    gamma: float,
    reward_of: RewardOf,
    how: Bypass = AS_DEFAULT,
    weights: Tensor | None = None,
) -> dict[str, Tensor]:
    """Eq. 1 for each unit, where p and being right are what `reward_of` says.

    Args:
        model, images, trace, maps, units, gamma, how, weights: As for `bypass_rewards`.
        labels: Whatever `reward_of` takes, with an axis (B, ...).
        judged: log p and right of the main pass, each (B,).
        reward_of: Of an output and labels, log p and right.

    Returns:
        As `bypass_rewards`.
    """
    log_p, right = judged
    indices = (right if weights is None else right & (weights > 0)).nonzero().squeeze(1)
    subset = None if len(indices) == len(images) else indices
    without: dict[str, Any] = {}
    if len(indices):
        given = (model, images, trace, maps, units, subset, how)
        without = bypassed_logits(*given, read=lambda output: output)
    rewards = {unit: torch.full_like(log_p, -gamma) for unit in units}
    for unit, reward in rewards.items():
        if unit in without:
            bypassed, _ = reward_of(without[unit], chosen_of(labels, subset))
            reward[indices] = -torch.expm1(bypassed.to(log_p.dtype) - log_p[indices])  # Eq. 1
        if weights is not None:
            reward[weights == 0] = math.nan
    return rewards


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
