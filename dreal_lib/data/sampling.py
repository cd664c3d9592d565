"""PK sampling (Hermans et al., 2017): batches of P identities with K images each (section 4.2).

Letters: N images, P identities a batch, K images an identity.
"""

from typing import Literal

import numpy as np
import torch
from torch import Tensor

from dreal_lib.errors import UserError


def pk_batches(
    identities: np.ndarray,
    per_batch: int,
    per_identity: int,
    generator: torch.Generator,
    draw: Literal["exhaustive", "once"] = "exhaustive",
) -> list[Tensor]:
    """The batches of one epoch, each (P * K,) indices, images of an identity side by side.

    A batch has P distinct identities with K images each; an image is repeated only where its
    identity has fewer than K. With draw="exhaustive" each identity comes up as often as it has K
    images left (at least once), until fewer than P identities remain; with "once" at most once
    (the identities that do not fill a last batch wait for another epoch).

    Args:
        identities: Of the training images, (N,).
        per_batch: P.
        per_identity: K.
        generator: Draws everything.
        draw: What an epoch is.

    Raises:
        UserError: Fewer than P identities.
    """
    members = [np.flatnonzero(identities == identity) for identity in np.unique(identities)]
    if len(members) < per_batch:
        raise UserError(
            f"the training split has {len(members)} identities, fewer than the {per_batch} of a "
            f"batch; try --set identities_per_batch={max(2, len(members))}"
        )
    groups = [_groups(images, per_identity, draw, generator) for images in members]
    if draw == "once":
        order = torch.randperm(len(groups), generator=generator)
        full = len(order) // per_batch * per_batch
        chosen = order[:full].view(-1, per_batch).tolist()
        return [torch.cat([groups[i][0] for i in batch]) for batch in chosen]
    batches = []
    left = [i for i, parts in enumerate(groups) if parts]
    while len(left) >= per_batch:
        drawn = torch.randperm(len(left), generator=generator)[:per_batch]
        batches.append(torch.cat([groups[left[i]].pop() for i in drawn]))
        left = [i for i in left if groups[i]]
    return batches


def _groups(
    images: np.ndarray, per_identity: int, draw: str, generator: torch.Generator
) -> list[Tensor]:
    """K images at a time, without repetition where there are K."""
    shuffled = torch.from_numpy(images)[torch.randperm(len(images), generator=generator)]
    if len(shuffled) < per_identity:
        again = torch.randint(len(images), (per_identity - len(images),), generator=generator)
        shuffled = torch.cat((shuffled, shuffled[again]))
    count = 1 if draw == "once" else len(shuffled) // per_identity
    return list(shuffled[: count * per_identity].view(count, per_identity))
