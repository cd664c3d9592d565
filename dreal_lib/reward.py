"""The reward, Eq. 1, as pure functions.

R = 1 - p_c(X | A_l replaced by its mean) / p_c(X | A) where the full network is right, else -gamma.
Right means p_c >= p_i for all i, ties included. Probabilities are taken in float32 or better.

Letters: B batch, K classes.
"""

import torch
from torch import Tensor


def log_probabilities(logits: Tensor) -> Tensor:
    """log p, (B, K), in float32 or better."""
    return torch.log_softmax(logits if logits.dtype == torch.float64 else logits.float(), dim=1)


def logits_of(output: object) -> Tensor:
    """The logits (B, K) of what a network returned: itself, or its `logits` if it has several."""
    return output if isinstance(output, Tensor) else output.logits


def predicted_right(logits: Tensor, labels: Tensor) -> Tensor:
    """Whether no class is more probable than the true one, (B,) bool."""
    true_class = logits.gather(1, labels[:, None])
    return (true_class >= logits.max(1, keepdim=True).values).squeeze(1)


def relative_gain(logits: Tensor, bypassed_logits: Tensor, labels: Tensor) -> Tensor:
    """The first case of Eq. 1, (B,): the share of p_c that is lost without the attention map.

    Args:
        logits: Of the full network, (B, K).
        bypassed_logits: With A_l replaced by its mean, (B, K).
        labels: True classes c, (B,).
    """
    full = log_probabilities(logits).gather(1, labels[:, None])
    bypassed = log_probabilities(bypassed_logits).gather(1, labels[:, None])
    return -torch.expm1(bypassed - full).squeeze(1)  # Eq. 1: 1 - p_bypassed / p_full


def mean_map(attention: Tensor, mean: str = "entries") -> Tensor:
    """The map that bypasses `attention`: its mean, in the same shape.

    Args:
        attention: (B, C) or (B, 1, H, W).
        mean: "entries" (each image's own map over its channels or positions), or "batch" (each
            entry over the images of the batch).
    """
    axes = (0,) if mean == "batch" else tuple(range(1, attention.dim()))
    return attention.mean(axes, keepdim=True).expand_as(attention)
