"""Scores of maps of attention: do they lie on the object, and do they matter to the network?

Each score is NaN where it is undefined: the map is zero everywhere, or the region is empty (no
object is known). Deletion and insertion follow RISE (Petsiuk et al., 2018).

Letters: N images (B of a batch), H, W the network's input.
"""

from typing import Literal

import torch
from torch import Tensor, nn
from torchvision.transforms.v2 import functional as vision

from dreal_lib.actor_critic.reward import log_probabilities

THRESHOLD = 0.5  # of a map's maximum
TIE = 1e-5  # values this close to the maximum, relatively, are the maximum, too
BLUR_KERNEL, BLUR_SIGMA = 11, 5.0  # pixels; of the picture that insertion begins with


def pointing(maps: Tensor, regions: Tensor) -> Tensor:
    """Pointing game (Zhang et al., 2016): whether the map's maximum lies in the region.

    Args:
        maps: (N, H, W), not negative.
        regions: (N, H, W) bool.

    Returns:
        1 or 0, and of several equal maxima the share that lies inside, (N,).
    """
    highest = maps >= maps.amax((1, 2), keepdim=True) * (1 - TIE)
    return defined((highest & regions).sum((1, 2)) / highest.sum((1, 2)), maps, regions)


def energy(maps: Tensor, regions: Tensor) -> Tensor:
    """Share of the map's sum that lies in the region (Wang et al., 2020); arguments as above."""
    return defined((maps * regions).sum((1, 2)) / maps.sum((1, 2)), maps, regions)


def thresholded(maps: Tensor, threshold: float = THRESHOLD) -> Tensor:
    """Where a map reaches `threshold` times its maximum, (N, H, W) bool; nowhere if it is zero."""
    highest = maps.amax((1, 2), keepdim=True)
    return (maps >= threshold * highest) & (highest > 0)


def iou(maps: Tensor, regions: Tensor, threshold: float = THRESHOLD) -> Tensor:
    """Intersection over union of the thresholded map and the region, (N,).

    Args:
        maps: (N, H, W), not negative.
        regions: (N, H, W) bool.
        threshold: As `thresholded`'s.
    """
    attended = thresholded(maps, threshold)
    union = (attended | regions).sum((1, 2))
    return defined((attended & regions).sum((1, 2)) / union, maps, regions)


def completeness(maps: Tensor, regions: Tensor, threshold: float = THRESHOLD) -> Tensor:
    """Share of the region that the thresholded map covers, (N,).

    Args:
        maps: (N, H, W), not negative.
        regions: (N, H, W) bool.
        threshold: As `thresholded`'s.
    """
    covered = (thresholded(maps, threshold) & regions).sum((1, 2))
    return defined(covered / regions.sum((1, 2)), maps, regions)


def area(maps: Tensor, threshold: float = THRESHOLD) -> Tensor:
    """Share of the image that the thresholded map covers, (N,)."""
    return defined(thresholded(maps, threshold).float().mean((1, 2)), maps)


def defined(values: Tensor, maps: Tensor, regions: Tensor | None = None) -> Tensor:
    """The values, NaN where a map is zero everywhere or a region is empty.

    Args:
        values: (N,).
        maps: (N, H, W), not negative.
        regions: (N, H, W) bool, if the values hang on one.

    Returns:
        (N,).
    """
    known = maps.amax((1, 2)) > 0
    if regions is not None:
        known = known & regions.any(2).any(1)
    return torch.where(known, values, torch.nan)


@torch.no_grad()
def perturbation_curve(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    maps: Tensor,
    kind: Literal["deletion", "insertion"],
    steps: int,
) -> Tensor:
    """The true class's probability while pixels go or come, highest in the map first.

    Equal pixels follow each other as they are read. Deleted pixels become the mean colour (zero
    after normalisation); insertion begins with a blurred image.

    Args:
        model: The network, in evaluation mode.
        images: (B, 3, H, W).
        labels: (B,).
        maps: (B, H, W).
        kind: "deletion" or "insertion".
        steps: S; each changes an equal share of the pixels.

    Returns:
        (B, S + 1), from no pixel changed to all.
    """
    size = [BLUR_KERNEL] * 2, [BLUR_SIGMA] * 2
    start = images if kind == "deletion" else vision.gaussian_blur(images, *size)
    end = torch.zeros_like(images) if kind == "deletion" else images
    order = maps.flatten(1).argsort(dim=1, descending=True, stable=True)
    rank = order.argsort(dim=1).view_as(maps).unsqueeze(1)  # (B, 1, H, W)
    probabilities = []
    for step in range(steps + 1):
        changed = rank < round(step * maps[0].numel() / steps)
        logits = model(torch.where(changed, end, start))
        probabilities.append(log_probabilities(logits).gather(1, labels[:, None]).exp())
    return torch.cat(probabilities, dim=1)


def area_under(curve: Tensor) -> Tensor:
    """Area under curves (B, S + 1) over the share of pixels, by the trapezoid rule, (B,)."""
    return (curve.sum(1) - (curve[:, 0] + curve[:, -1]) / 2) / (curve.shape[1] - 1)
