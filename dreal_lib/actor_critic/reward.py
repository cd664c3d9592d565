"""The reward, Eq. 1, and what a critic learns from it, Eq. 9, as pure functions.

R = 1 - p_c(X | A_l replaced by its mean) / p_c(X | A) where the full network is right, else -gamma.
Right means p_c >= p_i for all i, ties included. Probabilities are taken in float32 or better.

Letters: B batch, K classes.
"""

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from dreal_lib.errors import UserError


def log_probabilities(logits: Tensor) -> Tensor:
    """log p, (B, K), in float32 or better."""
    return torch.log_softmax(logits if logits.dtype == torch.float64 else logits.float(), dim=1)


def logits_of(output: object) -> Tensor:
    """The logits (B, K) of what a network returned.

    Args:
        output: The logits, an object or a dict with `logits`, or a tuple that begins with them.

    Raises:
        UserError: It is none of these, or they have not two axes.
    """
    found = output
    if not isinstance(output, Tensor):
        found = output.get("logits") if isinstance(output, Mapping) else None
        found = getattr(output, "logits", found)
        if found is None and isinstance(output, tuple | list) and output:
            found = output[0]
    if isinstance(found, Tensor) and found.dim() == 2:
        return found
    got = f"logits {tuple(found.shape)}" if isinstance(found, Tensor) else type(output).__name__
    raise UserError(
        f"the network must return logits (B, K), alone, first in a tuple, or as `logits` of an "
        f"object or dict; got {got}; wrap it in a module that does, or give reinforce a "
        f"reward_of(output, labels) that returns (log p, right), each (B,)"
    )


def predicted_right(logits: Tensor, labels: Tensor) -> Tensor:
    """Whether no class is more probable than the true one, (B,) bool."""
    true_class = logits.gather(1, labels.long()[:, None])
    return (true_class >= logits.max(1, keepdim=True).values).squeeze(1)


def relative_gain(logits: Tensor, bypassed_logits: Tensor, labels: Tensor) -> Tensor:
    """The first case of Eq. 1, (B,): the share of p_c that is lost without the attention map.

    Args:
        logits: Of the full network, (B, K).
        bypassed_logits: With A_l replaced by its mean, (B, K).
        labels: True classes c, (B,).
    """
    labels = labels.long()
    full = log_probabilities(logits).gather(1, labels[:, None])
    bypassed = log_probabilities(bypassed_logits).gather(1, labels[:, None])
    return -torch.expm1(bypassed - full).squeeze(1)  # Eq. 1: 1 - p_bypassed / p_full


def mean_map(attention: Tensor, mean: str = "entries") -> Tensor:
    """The map that bypasses `attention`: its mean, in the same shape.

    Args:
        attention: (B, C) or (B, 1, H, W).
        mean: "entries" (each image's own map over its channels or positions), "batch" (each
            entry over the images of the batch), or "none" (the map itself is put back, which is
            what `Agent.verify` tries).
    """
    if mean == "none":
        return attention
    axes = (0,) if mean == "batch" else tuple(range(1, attention.dim()))
    return attention.mean(axes, keepdim=True).expand_as(attention)


def sample_weights(right: Tensor, fraction: float, generator: torch.Generator) -> Tensor:
    """How much each image counts where a reward is computed for a sample of the images only.

    Of the n images predicted right, m = ceil(fraction * n) are drawn, each set of m equally likely.
    Their rewards count n/m, those of the images left out 0. The rewards of the images predicted
    wrong are known for nothing and count 1. The weights sum to B, and the weighted mean of any
    function of an image and its reward is an unbiased estimate of its mean over all B.

    Args:
        right: Whether an image is predicted right, (B,) bool.
        fraction: In (0, 1].
        generator: Gives one number a call, whatever `right` is, from which the sample is drawn; so
            processes that share a seed stay in step.

    Returns:
        (B,), float64.
    """
    seed = int(torch.randint(2**62, (), generator=generator))
    indices = right.nonzero().squeeze(1)
    count = math.ceil(fraction * len(indices) - 1e-9)  # 0.1 * 30 is a little more than 3
    order = torch.randperm(len(indices), generator=torch.Generator().manual_seed(seed))
    weights = (~right).double()
    weights[indices[order[:count].to(indices.device)]] = len(indices) / max(1, count)
    return weights


def mean_square(critique: Tensor, reward: Tensor, weights: Tensor | None = None) -> Tensor:
    """Eq. 9 for one map: the mean over the images, or its estimate from some of them.

    Args:
        critique: Q, (B,).
        reward: R, (B,); may be NaN where the weight is 0.
        weights: From `sample_weights`; None if all count alike.
    """
    if weights is None:
        return (critique - reward.to(critique.dtype)).square().mean()  # Eq. 9
    # Not `where` on the errors: the gradient of a NaN times 0 would still be NaN.
    known = torch.where(weights > 0, reward.to(critique.dtype), critique.detach())
    return ((critique - known).square() * weights.to(critique.dtype)).mean()
