"""Grad-CAM for an embedding: which parts of an image make it similar to another one.

The cosine similarity to another image's embedding stands where a classifier has a class's logit;
everything else is `dreal_lib.diagnosis.localization`'s. What is explained is the feature of the
image as it is, without the mirror image that evaluation averages in. An image's similarity to
itself has no gradient, as the cosine is greatest there, so it cannot be explained.

Letters: B images, R references, D embedding, h, w the layer's output.
"""

from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dreal_lib.diagnosis.localization import LAYER, explaining
from dreal_lib.errors import UserError
from dreal_lib.networks.embedding import EmbeddingNet


class Similarities(nn.Module):
    """An embedding network that returns its feature's cosine to each reference, (B, R).

    Args:
        network: The network.
        references: Embeddings, (R, D).
    """

    def __init__(self, network: EmbeddingNet, references: Tensor):
        super().__init__()
        self.network = network
        self.register_buffer("references", references)

    def forward(self, images: Tensor) -> Tensor:
        """Similarities (B, R) of images (B, 3, H, W)."""
        feature = getattr(self.network(images), self.network.settings.inference_feature)
        return F.normalize(feature, dim=1) @ F.normalize(self.references, dim=1).T


def similarity_maps(
    network: EmbeddingNet,
    batches: Iterable[tuple[Tensor, ...]],
    references: Tensor,
    to: Tensor,
    layer: str = LAYER,
) -> Tensor:
    """Grad-CAM maps of images, each for the similarity to a reference of its own.

    Args:
        network: On the batches' device; it is left as it was.
        batches: Images (B, 3, H, W) first, N in all.
        references: Embeddings, (R, D).
        to: Number of the reference that each image is compared with, (N,).
        layer: See `dreal_lib.diagnosis.localization.find_layer`.

    Returns:
        (N, h, w) float32 on the CPU, each of maximum 1, or zero everywhere.

    Raises:
        UserError: Not one number an image, an unknown layer, or pytorch-grad-cam is missing.
    """
    device = next(network.parameters()).device
    maps, seen = [], 0
    model = Similarities(network, references.to(device))
    with explaining(model, f"network.{layer}") as explain:
        for images, *_ in batches:
            numbers = to[seen : seen + len(images)]
            if len(numbers) < len(images):
                break
            maps.append(explain(images, numbers).cpu())
            seen += len(images)
        else:
            if maps and seen == len(to):
                return torch.cat(maps)
    raise UserError(
        f"each image needs the number of one reference; {len(to)} numbers are given for another "
        f"number of images; give as many, at least one"
    )
