"""What a trained network does on a labelled set: errors, attention statistics, block rewards.

All of it in evaluation mode. Block rewards are Eq. 1 as a diagnostic of any trained attention
network: which block's attention helped or hurt, image by image.

Letters: N images, K classes, C channels, M evaluated units.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn

from dreal_lib.blocks import AttentionMap
from dreal_lib.counterfactual import AS_DEFAULT, Bypass, Trace, bypass_rewards, observed, units_of
from dreal_lib.normalization import evaluation_mode
from dreal_lib.reward import log_probabilities, predicted_right

Batches = Iterable[tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class Errors:
    """Errors in per cent, and the mean cross-entropy."""

    top1_error_pct: float
    top5_error_pct: float
    val_loss: float


@dataclass
class ErrorCounter:
    """Counts errors batch by batch. With fewer than five classes, top-5 is top-K."""

    images: int = 0
    wrong1: int = 0
    wrong5: int = 0
    loss: float = 0.0

    def add(self, logits: Tensor, labels: Tensor) -> None:
        """Adds logits (N, K) and labels (N,)."""
        best = logits.topk(min(5, logits.shape[1]), dim=1).indices
        hits = best == labels[:, None]
        self.images += len(labels)
        self.wrong1 += int((~hits[:, 0]).sum())
        self.wrong5 += int((~hits.any(1)).sum())
        true_class = log_probabilities(logits).gather(1, labels[:, None])
        self.loss -= float(true_class.double().sum())

    def errors(self) -> Errors:
        share = 100 / self.images
        return Errors(self.wrong1 * share, self.wrong5 * share, self.loss / self.images)


@torch.no_grad()
def evaluate(model: nn.Module, batches: Batches, autocast: torch.autocast | None = None) -> Errors:
    """Single-crop top-1 and top-5 error of a network over batches of images and labels."""
    counter = ErrorCounter()
    with evaluation_mode(model), autocast or torch.autocast("cpu", enabled=False):
        for images, labels in batches:
            counter.add(model(images), labels)
    return counter.errors()


@dataclass
class StreamingMoments:
    """Mean and variance over images in one pass, in float64 (Chan's update of batches)."""

    count: int = 0
    mean: Tensor | float = 0.0
    squares: Tensor | float = 0.0

    def add(self, values: Tensor) -> None:
        """Adds (N, ...)."""
        values = values.double()
        n, mean = len(values), values.mean(0)
        change = mean - self.mean
        total = self.count + n
        self.squares = self.squares + ((values - mean) ** 2).sum(0)
        self.squares = self.squares + change**2 * (self.count * n / total)
        self.mean = self.mean + change * (n / total)
        self.count = total

    @property
    def variance(self) -> Tensor:
        """Over the images seen (divided by their number)."""
        return self.squares / self.count


@dataclass
class Diagnosis:
    """What the figures are drawn from; see `arrays`."""

    moments: dict[str, StreamingMoments] = field(default_factory=dict)
    rewards: dict[str, list[Tensor]] = field(default_factory=dict)
    right: list[Tensor] = field(default_factory=list)
    labels: list[Tensor] = field(default_factory=list)

    def arrays(self) -> dict[str, np.ndarray]:
        """By name: attention/<map>/mean and /variance; rewards (N, M), reward_blocks (M,), right
        (N,), labels (N,)."""
        named: dict[str, np.ndarray] = {}
        for name, moments in self.moments.items():
            named[f"attention/{name}/mean"] = moments.mean.squeeze(0).float().cpu().numpy()
            named[f"attention/{name}/variance"] = moments.variance.squeeze(0).float().cpu().numpy()
        columns = [torch.cat(parts).cpu().numpy() for parts in self.rewards.values()]
        named["rewards"] = np.stack(columns, axis=1).astype(np.float16)
        named["reward_blocks"] = np.array(list(self.rewards), dtype=np.str_)
        named["right"] = torch.cat(self.right).cpu().numpy()
        named["labels"] = torch.cat(self.labels).cpu().numpy().astype(np.int16)
        return named


@torch.no_grad()
def diagnose(
    model: nn.Module,
    batches: Batches,
    maps: Sequence[AttentionMap],
    gamma: float = 1.0,
    how: Bypass = AS_DEFAULT,
) -> Diagnosis:
    """Attention statistics of every map and rewards of every block over a labelled set.

    Args:
        model: The network.
        batches: Images (B, 3, H, W) and labels (B,).
        maps: From `dreal_lib.blocks.find_maps`.
        gamma: Reward (negated) of images predicted wrong.
        how: Which mean, and what becomes of later maps.
    """
    found, units = Diagnosis(), units_of(maps)
    with evaluation_mode(model):
        for images, labels in batches:
            with observed(model, maps) as trace:
                logits = model(images)
            _add_moments(found, trace, maps)
            rewards = bypass_rewards(model, images, labels, logits, trace, maps, units, gamma, how)
            for name, reward in rewards.items():
                found.rewards.setdefault(name, []).append(reward)
            found.right.append(predicted_right(logits, labels))
            found.labels.append(labels)
    return found


def _add_moments(found: Diagnosis, trace: Trace, maps: Sequence[AttentionMap]) -> None:
    for item in maps:
        found.moments.setdefault(item.name, StreamingMoments()).add(trace.maps[item.actor])
