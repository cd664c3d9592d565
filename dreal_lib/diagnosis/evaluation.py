"""What a trained network does on a labelled set: errors, attention statistics, block rewards.

All of it in evaluation mode. Block rewards are Eq. 1 as a diagnostic of any trained attention
network: which block's attention helped or hurt, image by image.

Letters: N images, K classes, C channels, M evaluated units.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn

from dreal_lib.actor_critic.blocks import AttentionMap, intercepted
from dreal_lib.actor_critic.bypass_rewards import bypass_rewards
from dreal_lib.actor_critic.counterfactual import AS_DEFAULT, Bypass, Trace, observed, units_of
from dreal_lib.actor_critic.reward import log_probabilities, logits_of, predicted_right
from dreal_lib.records.arrays import (
    CLASS_LABELS,
    MAP_BETWEEN,
    MAP_MEAN,
    MAP_VARIANCE,
    REWARD_BLOCKS,
    REWARDS,
    RIGHT,
)
from dreal_lib.runtime import distributed
from dreal_lib.runtime.modes import evaluation_mode

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
    """Single-crop top-1 and top-5 error of a network over batches of images and labels.

    With several processes (`dreal_lib.runtime.distributed`), over the batches of them all.

    Args:
        model: The network; its mode is kept.
        batches: Images (B, 3, H, W) and labels (B,), of this process.
        autocast: For the forward pass; none is entered when None.
    """
    counter = ErrorCounter()
    with evaluation_mode(model), autocast or torch.autocast("cpu", enabled=False):
        for images, labels in batches:
            counter.add(logits_of(model(images)), labels)
    images, wrong1, wrong5, loss = distributed.summed_numbers(
        (counter.images, counter.wrong1, counter.wrong5, counter.loss),
        next(model.parameters()).device,
    )
    return ErrorCounter(int(images), int(wrong1), int(wrong5), loss).errors()


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
class ClassMeans:
    """Mean of a map for each true class in one pass, in float64."""

    sums: Tensor
    counts: Tensor

    @classmethod
    def empty(cls, classes: int, size: int, device: torch.device) -> "ClassMeans":
        zeros = torch.zeros(classes, size, dtype=torch.float64, device=device)
        return cls(zeros, torch.zeros(classes, dtype=torch.float64, device=device))

    def add(self, values: Tensor, labels: Tensor) -> None:
        """Adds maps (N, ...) of images with labels (N,)."""
        self.sums.index_add_(0, labels, values.flatten(1).double())
        self.counts.index_add_(0, labels, torch.ones_like(labels, dtype=torch.float64))

    def between_class_variance(self) -> Tensor:
        """Variance of the class means around the mean of all images, (S,), weighted by images.

        Divided by the variance over all images it is the share that the class explains.
        """
        seen = self.counts > 0
        counts, means = self.counts[seen, None], self.sums[seen] / self.counts[seen, None]
        overall = (means * counts).sum(0) / counts.sum()
        return ((means - overall) ** 2 * counts).sum(0) / counts.sum()


@dataclass
class Diagnosis:
    """What the figures are drawn from; see `arrays`."""

    class_means: dict[str, ClassMeans] = field(default_factory=dict)
    moments: dict[str, StreamingMoments] = field(default_factory=dict)
    rewards: dict[str, list[Tensor]] = field(default_factory=dict)
    right: list[Tensor] = field(default_factory=list)
    labels: list[Tensor] = field(default_factory=list)

    def arrays(self) -> dict[str, np.ndarray]:
        """By name; rewards and their blocks if there are any."""
        named: dict[str, np.ndarray] = {}
        for name, moments in self.moments.items():
            between = self.class_means[name].between_class_variance()
            statistics = {
                MAP_MEAN: moments.mean,
                MAP_VARIANCE: moments.variance,
                MAP_BETWEEN: between.reshape(moments.mean.shape),
            }
            for statistic, value in statistics.items():
                array = value.squeeze(0) if value.dim() == 3 else value  # (1, H, W) -> (H, W)
                named[statistic.of(name)] = array.float().cpu().numpy()
        if self.rewards:
            columns = [torch.cat(parts).cpu().numpy() for parts in self.rewards.values()]
            named[REWARDS] = np.stack(columns, axis=1).astype(np.float16)
            named[REWARD_BLOCKS] = np.array(list(self.rewards), dtype=np.str_)
        named[RIGHT] = torch.cat(self.right).cpu().numpy()
        named[CLASS_LABELS] = torch.cat(self.labels).cpu().numpy().astype(np.int16)
        return named


@torch.no_grad()
def diagnose(
    model: nn.Module,
    batches: Batches,
    maps: Sequence[AttentionMap],
    gamma: float = 1.0,
    how: Bypass = AS_DEFAULT,
    rewards: bool = True,
) -> Diagnosis:
    """Attention statistics of every map and rewards of every block over a labelled set.

    Args:
        model: The network.
        batches: Images (B, 3, H, W) and labels (B,).
        maps: From `dreal_lib.actor_critic.blocks.find_maps`.
        gamma: Reward (negated) of images predicted wrong.
        how: Which mean, and what becomes of later maps.
        rewards: Without them, statistics alone, for hardly more than the cost of inference.
    """
    found, units = Diagnosis(), units_of(maps) if rewards else {}
    with evaluation_mode(model):
        for images, labels in batches:
            with observed(model, maps) if rewards else _maps_alone(maps) as trace:
                logits = logits_of(model(images))
            _add_attention(found, trace, maps, labels, logits.shape[1])
            earned = bypass_rewards(model, images, labels, logits, trace, maps, units, gamma, how)
            for name, reward in earned.items():
                found.rewards.setdefault(name, []).append(reward)
            found.right.append(predicted_right(logits, labels))
            found.labels.append(labels)
    return found


@contextmanager
def _maps_alone(maps: Sequence[AttentionMap]) -> Iterator[Trace]:
    """Fills a `Trace` with maps only: keeping every feature map would slow inference."""
    trace = Trace()

    def keep(actor: nn.Module, _: Tensor, attention: Tensor) -> None:
        trace.maps[actor] = attention

    with intercepted([item.actor for item in maps], attend=keep):
        yield trace


def _add_attention(
    found: Diagnosis, trace: Trace, maps: Sequence[AttentionMap], labels: Tensor, classes: int
) -> None:
    for item in maps:
        attention = trace.maps[item.actor]
        if item.name not in found.moments:
            found.moments[item.name] = StreamingMoments()
            found.class_means[item.name] = ClassMeans.empty(classes, item.size, labels.device)
        found.moments[item.name].add(attention)
        found.class_means[item.name].add(attention, labels)
