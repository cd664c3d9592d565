"""Does a critic teach what its reward rewards? An audit of the gradient, for any agent.

The actors follow dQ/dA. What they are meant to follow is dR/dA, which exists wherever the
prediction is right (`dreal_lib.actor_critic.oracle`). The audit compares the two, map by map and
image by image:

    audit = critic_audit(agent, images, labels)
    dict(zip(audit.maps, audit.cosine_reward_mean))

All of it with the network in evaluation mode, so that no image depends on its neighbours; nothing
of the agent is changed. dQ/dA is what L_q makes an actor follow: the derivative of the sum of all
critiques, as those of later blocks of the stage depend on a map, too.

Letters: N images (B of a batch), M maps, S size of a map.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields

import numpy as np
import torch
from torch import Tensor, nn

from dreal_lib.actor_critic.agent import Agent
from dreal_lib.actor_critic.blocks import AttentionMap
from dreal_lib.actor_critic.counterfactual import Bypass, Trace, observed
from dreal_lib.actor_critic.losses import learning_maps, summed
from dreal_lib.actor_critic.oracle import oracle_gradients
from dreal_lib.actor_critic.reward import (
    logits_of,
    predicted_right,
)
from dreal_lib.diagnosis.finite_steps import finite_steps
from dreal_lib.errors import UserError
from dreal_lib.runtime.modes import evaluation_mode

STEP = 0.05  # of a map's norm
BATCH = 128
INTERVAL_95 = 1.959963984540054  # standard errors, for many images


@dataclass(frozen=True)
class CriticAudit:
    """What `critic_audit` found. Cosines and shares have no unit, log p is in nats.

    Attributes:
        maps: Names of the maps, (M,).
        step: Length of the steps below, as a share of a map's norm; no axis.
        right: Whether the network predicts an image right, (N,) bool.
        critiques: Q, (N, M).
        rewards: R of the map's unit, (N, M); -gamma where wrong.
        cosine_reward: Cosine of dQ/dA and dR/dA, (N, M); NaN where wrong, or one of them is 0.
        cosine_log_p: Cosine of d log p / dA and dR/dA, likewise: how near R is to cross-entropy.
        cosine_reward_mean, cosine_reward_low, cosine_reward_high: Mean over the images that have
            one and its 95 % interval, (M,).
        cosine_log_p_mean, cosine_log_p_low, cosine_log_p_high: Likewise.
        reward_change: By how much R changes by a step along dQ/dA, along a random direction and
            along dR/dA (`finite_steps.DIRECTIONS`), (3, N, M); NaN where wrong or without a
            direction. A step may leave the gates' range (0, 1).
        log_p_change: By how much log p does, likewise.
        steady_share: Share of the energy of dQ/dA that is its mean over the images, (M,): the same
            push whatever is seen.
        direction_share: Share of it in the one direction that holds most, pushed or pulled, (M,).
        right_variance_share: Share of R's variance that is right or wrong, (M,).
        correlation, correlation_right: Of Q and R over all images, and over those right, (M,).
        gate_sensitivity: How far a critique can still move, (N, M); see `dreal_lib.critic`.
        classification_norm, quality_norm: Norm of the gradient of L_c, and of quality_weight * L_q,
            on the parameters that make a map, (M,).
        gradient_cosine: Cosine of these two gradients, (M,).
        total_classification_norm, total_quality_norm, total_gradient_cosine: The same for all of
            theta together; no axis.
    """

    maps: np.ndarray
    step: np.ndarray
    right: np.ndarray
    critiques: np.ndarray
    rewards: np.ndarray
    cosine_reward: np.ndarray
    cosine_log_p: np.ndarray
    cosine_reward_mean: np.ndarray
    cosine_reward_low: np.ndarray
    cosine_reward_high: np.ndarray
    cosine_log_p_mean: np.ndarray
    cosine_log_p_low: np.ndarray
    cosine_log_p_high: np.ndarray
    reward_change: np.ndarray
    log_p_change: np.ndarray
    steady_share: np.ndarray
    direction_share: np.ndarray
    right_variance_share: np.ndarray
    correlation: np.ndarray
    correlation_right: np.ndarray
    gate_sensitivity: np.ndarray
    classification_norm: np.ndarray
    quality_norm: np.ndarray
    gradient_cosine: np.ndarray
    total_classification_norm: np.ndarray
    total_quality_norm: np.ndarray
    total_gradient_cosine: np.ndarray

    def arrays(self) -> dict[str, np.ndarray]:
        """By name, as for an npz."""
        return {field.name: getattr(self, field.name) for field in fields(self)}


def critic_audit(
    agent: Agent,
    images: Tensor,
    labels: Tensor,
    *,
    step: float = STEP,
    generator: torch.Generator | None = None,
) -> CriticAudit:
    """Compares what the critics teach with what they should.

    Args:
        agent: From `dreal_lib.reinforce`, trained or not.
        images: (N, 3, H, W); some hundred give narrow intervals.
        labels: (N,), int64.
        step: Length of the steps of the finite-step test, as a share of each map's norm.
        generator: Draws the random directions; the same ones each time by default.

    Raises:
        UserError: A step that is not above 0, or no image.
    """
    if not 0 < step < math.inf:
        raise UserError(f"step must be above 0 and finite; got {step}; try {STEP}")
    if not len(images):
        raise UserError("there is no image to audit; give some hundred of a labelled set")
    generator = generator or torch.Generator().manual_seed(0)
    parts, pushes = [], {item: [] for item in agent.maps}
    losses: dict[str, list[Tensor]] = {}
    with evaluation_mode(agent.actor):
        for start in range(0, len(images), BATCH):
            batch = images[start : start + BATCH], labels[start : start + BATCH]
            found, gradients = _of_batch(agent, *batch, step, generator)
            parts.append(found)
            for item, gradient in gradients.items():
                pushes[item].append(gradient.flatten(1).double())
            share = len(batch[1]) / len(images)
            for name, made in _theta_gradients(agent, *batch).items():
                before = losses.get(name, [0.0] * len(made))
                losses[name] = [a + share * b for a, b in zip(before, made, strict=True)]
    axes = {"reward_change": 1, "log_p_change": 1}
    joined = {
        name: torch.cat([part[name] for part in parts], axes.get(name, 0)) for name in parts[0]
    }
    joined |= _over_images(joined) | _energy([torch.cat(pushes[item]) for item in agent.maps])
    joined |= _of_losses(agent, **losses)
    named = {name: value.cpu().numpy() for name, value in joined.items()}
    return CriticAudit(
        maps=np.array([item.name for item in agent.maps]), step=np.array(step), **named
    )


def cosines(first: Tensor, second: Tensor) -> Tensor:
    """Cosine of each pair of rows, (N, S) and (N, S) to (N,); NaN where a row is 0."""
    first, second = first.double(), second.double()
    return (first * second).sum(1) / (first.norm(dim=1) * second.norm(dim=1))


def steady_share(pushes: Tensor) -> Tensor:
    """Share of the energy of vectors (N, S) that is their mean's; 1 if all are the same."""
    return pushes.mean(0).square().sum() / pushes.square().sum(1).mean()


def direction_share(pushes: Tensor) -> Tensor:
    """Share of the energy of vectors (N, S) along the one axis that holds most of it."""
    energies = torch.linalg.svdvals(pushes).square()
    return energies.max() / energies.sum()


def right_variance_share(rewards: Tensor, right: Tensor) -> Tensor:
    """Share of the variance of rewards (N,) that lies between right (N,) and wrong."""
    means = torch.where(right, rewards[right].mean(), rewards[~right].mean())
    return means.nan_to_num().var(correction=0) / rewards.var(correction=0)


def correlation(first: Tensor, second: Tensor) -> Tensor:
    """Pearson's, of (N,) and (N,); NaN if one is constant."""
    first, second = first - first.mean(), second - second.mean()
    return (first * second).sum() / (first.norm() * second.norm())


def mean_interval(values: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Mean over the images of (N, M), and both ends of its 95 % interval; NaN is left out."""
    count = values.isfinite().sum(0)
    mean = values.nanmean(0)
    variance = (values - mean).square().nansum(0) / (count - 1)
    margin = INTERVAL_95 * (variance / count).sqrt()
    return mean, mean - margin, mean + margin


def _of_batch(
    agent: Agent, images: Tensor, labels: Tensor, step: float, generator: torch.Generator
) -> tuple[dict[str, Tensor], dict[AttentionMap, Tensor]]:
    """What is known image by image, (B, M) or (3, B, M), and dQ/dA of each map, (B, ...)."""
    with torch.no_grad(), observed(agent.actor, agent.maps) as trace:
        logits = logits_of(agent.actor(images))
    right = predicted_right(logits, labels)
    how = Bypass(agent.settings.bypass_mean, agent.settings.later_maps)
    given = (agent.actor, images, labels, logits, trace, agent.maps, agent.units)
    reward = oracle_gradients(*given, agent.settings.gamma, how, signal="oracle_reward")
    log_p = oracle_gradients(*given, agent.settings.gamma, how, signal="oracle_log_p")
    critiques, pushes = _pushes(agent, trace)
    unit_of = {item: unit for unit, members in agent.units.items() for item in members}
    movable = agent.critics.sensitivities(trace)
    columns: dict[str, list[Tensor]] = {}
    for item in agent.maps:
        true, push = reward.gradients[item], pushes[item]
        moved = finite_steps(agent, images, labels, trace, item, (push, true), step, generator)
        column = {
            "critiques": critiques[item],
            "rewards": reward.rewards[unit_of[item]],
            "cosine_reward": cosines(push.flatten(1), true.flatten(1)),
            "cosine_log_p": cosines(log_p.gradients[item].flatten(1), true.flatten(1)),
            "reward_change": torch.where(right, moved[0], torch.nan),
            "log_p_change": torch.where(right, moved[1], torch.nan),
            "gate_sensitivity": movable[item],
        }
        for name, value in column.items():
            columns.setdefault(name, []).append(value.detach().double())
    return {name: torch.stack(c, -1) for name, c in columns.items()} | {"right": right}, pushes


@torch.enable_grad()
def _pushes(
    agent: Agent, trace: Trace
) -> tuple[dict[AttentionMap, Tensor], dict[AttentionMap, Tensor]]:
    """Q of each map, (B,), and d(sum of all Q)/dA, (B, ...)."""
    leaves = {item.actor: trace.maps[item.actor].clone().requires_grad_() for item in agent.maps}
    critiques = agent.critics.critiques(trace, leaves)
    total = sum(critique.sum() for critique in critiques.values())
    found = torch.autograd.grad(total, [leaves[item.actor] for item in agent.maps])
    return critiques, dict(zip(agent.maps, found, strict=True))


def _theta(agent: Agent) -> Iterator[tuple[int, nn.Parameter]]:
    """The parameters that make maps, each with the index of its map."""
    for index, item in enumerate(agent.maps):
        for parameter in item.actor.parameters():
            yield index, parameter


@torch.enable_grad()
def _theta_gradients(agent: Agent, images: Tensor, labels: Tensor) -> dict[str, list[Tensor]]:
    """Gradients of L_c and of quality_weight * L_q on theta, in its order."""
    with observed(agent.actor, agent.maps, bypassed=()) as trace:
        output = agent.actor(images)
    classification, _ = summed(agent.classification_loss(output, labels))
    critiques = agent.critics.critiques(trace, learning_maps(trace, agent.maps))
    losses = torch.stack([-critique.mean() for critique in critiques.values()])  # Eq. 8
    quality = losses.sum() if agent.settings.loss_reduction == "sum" else losses.mean()
    quality = agent.settings.quality_weight * quality
    theta = [parameter for _, parameter in _theta(agent)]

    def of(loss: Tensor) -> list[Tensor]:
        found = torch.autograd.grad(loss, theta, allow_unused=True, retain_graph=True)
        pairs = zip(found, theta, strict=True)
        return [torch.zeros_like(p) if g is None else g for g, p in pairs]

    return {"classification": of(classification), "quality": of(quality)}


def _over_images(found: dict[str, Tensor]) -> dict[str, Tensor]:
    right, (q, r) = found["right"], (found["critiques"], found["rewards"])
    columns = range(q.shape[1])
    made = {
        "right_variance_share": [right_variance_share(r[:, m], right) for m in columns],
        "correlation": [correlation(q[:, m], r[:, m]) for m in columns],
        "correlation_right": [correlation(q[right, m], r[right, m]) for m in columns],
    }
    stacked = {name: torch.stack(values) for name, values in made.items()}
    for name in ("cosine_reward", "cosine_log_p"):
        ends = mean_interval(found[name])
        stacked |= {f"{name}_{e}": v for e, v in zip(("mean", "low", "high"), ends, strict=True)}
    return stacked


def _energy(pushes: Sequence[Tensor]) -> dict[str, Tensor]:
    return {
        "steady_share": torch.stack([steady_share(push) for push in pushes]),
        "direction_share": torch.stack([direction_share(push) for push in pushes]),
    }


def _of_losses(
    agent: Agent, classification: list[Tensor], quality: list[Tensor]
) -> dict[str, Tensor]:
    """Norms and cosine of two gradients on theta, map by map and in all."""
    owners = [index for index, _ in _theta(agent)]

    def flat(gradients: list[Tensor], index: int | None = None) -> Tensor:
        pairs = zip(owners, gradients, strict=True)
        return torch.cat([g.double().flatten() for o, g in pairs if index in (None, o)])[None]

    both = [(flat(classification, m), flat(quality, m)) for m in range(len(agent.maps))]
    total = flat(classification), flat(quality)
    return {
        "classification_norm": torch.stack([c.norm() for c, _ in both]),
        "quality_norm": torch.stack([q.norm() for _, q in both]),
        "gradient_cosine": torch.cat([cosines(c, q) for c, q in both]),
        "total_classification_norm": total[0].norm(),
        "total_quality_norm": total[1].norm(),
        "total_gradient_cosine": cosines(*total)[0],
    }
