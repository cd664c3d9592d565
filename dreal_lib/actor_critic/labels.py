"""What rewards are read from: labels that are classes, or a user's own judgement of an output.

Eq. 1 needs two things of an image: how probable its truth is, and whether the network is right.

Letters: B batch, K classes.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from dreal_lib.errors import UserError

# Of what a network returned and what its images are labelled with: log p of the truth, (B,), and
# whether the network is right, (B,) bool.
RewardOf = Callable[[Any, Any], tuple[Tensor, Tensor]]
REMEDY = "give reinforce a reward_of(output, labels) that returns (log p, right), each (B,)"


def refuse_labels(images: Tensor, labels: object) -> None:
    """Refuses a batch whose labels are not a class for each image, before a pass is made.

    Args:
        images: (B, C, H, W).
        labels: (B,), of any type of whole numbers.

    Raises:
        UserError: An empty batch, or labels of another shape or type.
    """
    if not len(images):
        raise UserError("a batch needs at least one image; got none; leave empty batches out")
    if not isinstance(labels, Tensor):
        got = type(labels).__name__
    elif labels.is_floating_point() or labels.is_complex() or labels.dtype == torch.bool:
        got = f"{labels.dtype} {tuple(labels.shape)}"
    elif labels.shape != (len(images),):
        got = f"{labels.dtype} {tuple(labels.shape)}"
    else:
        return
    raise UserError(
        f"labels must be one class an image, whole numbers ({len(images)},), by which Eq. 1 "
        f"rewards; got {got}; try labels.argmax(1) for soft labels, or {REMEDY}"
    )


def refuse_classes(labels: Tensor, classes: int) -> None:
    """Refuses classes that do not exist, as an ignored index is.

    Args:
        labels: (B,), whole numbers.
        classes: K.

    Raises:
        UserError: A class below 0, or not below K.
    """
    least, most = int(labels.min()), int(labels.max())
    if least < 0 or most >= classes:
        raise UserError(
            f"labels must be classes from 0 to {classes - 1}; got {least if least < 0 else most}; "
            f"leave such images out, as Eq. 1 has no reward for them, or {REMEDY}"
        )


def refuse_judgement(log_p: object, right: object, count: int) -> None:
    """Refuses what a `RewardOf` must not return.

    Args:
        log_p, right: What it returned.
        count: B.

    Raises:
        UserError: They are not (B,) numbers and (B,) bool.
    """
    fits = isinstance(log_p, Tensor) and isinstance(right, Tensor)
    if not fits or right.dtype != torch.bool or {log_p.shape, right.shape} != {(count,)}:
        shown = [
            f"{tuple(one.shape)} {one.dtype}" if isinstance(one, Tensor) else type(one).__name__
            for one in (log_p, right)
        ]
        raise UserError(
            f"reward_of must return log p, ({count},), and right, ({count},) bool; got "
            f"{' and '.join(shown)}"
        )
