"""The main pass of a step and what it is rewarded with: lines 4 to 6 of Algorithm 1.

Both terms of Eq. 1 are taken alike: with the batch statistics of the main pass, or of the network
in evaluation mode (`reward_statistics`).

Letters: B batch, K classes.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

from dreal_lib.actor_critic.blocks import AttentionMap
from dreal_lib.actor_critic.bypass_rewards import bypass_rewards, judged_rewards
from dreal_lib.actor_critic.chance import drawn_since, states_of
from dreal_lib.actor_critic.counterfactual import Bypass, Trace, observed
from dreal_lib.actor_critic.found_gate import FoundGate
from dreal_lib.actor_critic.labels import refuse_classes, refuse_judgement
from dreal_lib.actor_critic.normalization import (
    MainPassStatistics,
    refuse_untracked_norms,
    refusing_chance,
    refusing_moved_state,
)
from dreal_lib.actor_critic.oracle import MapGradients, oracle_gradients
from dreal_lib.actor_critic.reward import logits_of, predicted_right, sample_weights
from dreal_lib.runtime.modes import evaluation_mode

if TYPE_CHECKING:
    from dreal_lib.actor_critic.agent import Agent

Units = Mapping[str, Sequence[AttentionMap]]


class Rewarded(NamedTuple):
    """What a pass is rewarded with.

    Attributes:
        rewards: R by unit, (B,).
        counts: How much each image counts, (B,); None if all count alike.
        right: Who was right in the pass that the rewards are of, (B,) bool.
        oracle: The true gradients, where a control asks for them.
    """

    rewards: dict[str, Tensor]
    counts: Tensor | None
    right: Tensor
    oracle: MapGradients | None


def main_pass(
    agent: "Agent", images: Tensor, labels: Any, units: Units
) -> tuple[Any, Trace, Rewarded]:
    """The network's output, its trace, and the rewards of some units.

    Args:
        agent: With its network in the mode of the step.
        images: (B, C, H, W).
        labels: Of the images.
        units: What is bypassed, by name.
    """
    if agent.settings.reward_statistics == "running":
        with observed(agent.actor, agent.maps, bypassed=()) as trace:
            output = agent.actor(images)
        return output, trace, _evaluated(agent, images, labels, units)
    with MainPassStatistics(agent.actor) as statistics:
        moving = refusing_moved_state(agent.actor) if units else nullcontext()
        with moving, _observed(agent, units) as trace, _chance(agent, trace, images):
            output = agent.actor(images)
        with statistics.reused():
            rewarded = _rewarded(agent, images, labels, output, trace, units)
    return output, trace, rewarded


@contextmanager
def _chance(agent: "Agent", trace: Trace, images: Tensor) -> Iterator[None]:
    """Found gates repeat what the main pass draws at random; a network of actors may not."""
    repeats = isinstance(agent.maps[0].actor, FoundGate)
    if not repeats or agent.settings.quality_signal != "critic":
        with refusing_chance(images.device):
            yield
        return
    before = states_of(images)
    yield
    if drawn_since(before, (images,)):
        trace.chance = before


@torch.no_grad()
def _evaluated(agent: "Agent", images: Tensor, labels: Any, units: Units) -> Rewarded:
    """Rewards of the network in evaluation mode (running statistics, no dropout)."""
    refuse_untracked_norms(agent.actor)
    with evaluation_mode(agent.actor):
        with _observed(agent, units) as trace:
            output = agent.actor(images)
        return _rewarded(agent, images, labels, output, trace, units)


def _observed(agent: "Agent", units: Units):
    return observed(agent.actor, agent.maps, {maps[0].block for maps in units.values()})


def _rewarded(
    agent: "Agent", images: Tensor, labels: Any, output: Any, trace: Trace, units: Units
) -> Rewarded:
    settings, counts = agent.settings, None
    how = Bypass(settings.bypass_mean, settings.later_maps)
    if agent.reward_of:

        def judge(made: Any, truth: Any) -> tuple[Tensor, Tensor]:
            return _judged(agent, made, truth)

        judged = judge(output, labels)
        if settings.reward_fraction < 1:
            counts = sample_weights(judged[1], settings.reward_fraction, agent.generator)
        given = (agent.actor, images, labels, judged, trace, agent.maps, units, settings.gamma)
        return Rewarded(judged_rewards(*given, judge, how, counts), counts, judged[1], None)
    logits = logits_of(output).detach()
    refuse_classes(labels, logits.shape[1])
    labels = labels.long()
    right = predicted_right(logits, labels)
    if settings.reward_fraction < 1:
        counts = sample_weights(right, settings.reward_fraction, agent.generator)
    given = (agent.actor, images, labels, logits, trace, agent.maps, units, settings.gamma)
    if settings.quality_signal == "critic":
        return Rewarded(bypass_rewards(*given, how, counts), counts, right, None)
    oracle = oracle_gradients(*given, how, counts, signal=settings.quality_signal)
    return Rewarded(oracle.rewards, counts, right, oracle)


def _judged(agent: "Agent", output: Any, labels: Any) -> tuple[Tensor, Tensor]:
    """log p, (B,), in float32 or better, and right, of a user's `reward_of`."""
    log_p, right = agent.reward_of(output, labels)
    refuse_judgement(log_p, right, len(tree_leaves(labels)[0]))
    return log_p.detach().to(torch.promote_types(log_p.dtype, torch.float32)), right
