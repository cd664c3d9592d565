"""Losses of instance recognition (section 4.2): smoothed cross-entropy and batch-hard triplet.

L_c of Eq. 10 is here their sum; with L_q and L_r they are the four losses that the paper minimizes
together.

Letters: B batch, D embedding, K training identities.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from dreal_lib.errors import UserError
from dreal_lib.settings.retrieval import RetrievalSettings


def smoothed_cross_entropy(
    logits: Tensor, labels: Tensor, smoothing: float = 0.1, over: str = "all"
) -> Tensor:
    """Cross-entropy with a share of the label spread over the classes (Szegedy et al., 2016).

    Args:
        logits: (B, K).
        labels: (B,).
        smoothing: eps, the share that is spread.
        over: "all" gives each of the K classes eps/K, the true one included; "others" gives each
            of the K-1 others eps/(K-1).

    Returns:
        Mean over the images.
    """
    classes = logits.shape[1]
    if over == "others" and classes > 1:
        # eps' spread over all K leaves the true class 1 - eps' + eps'/K; solve for 1 - eps.
        smoothing = smoothing * classes / (classes - 1)
    log_p = F.log_softmax(logits.float() if logits.dtype != torch.float64 else logits, dim=1)
    true_class = log_p.gather(1, labels[:, None]).squeeze(1)
    return -((1 - smoothing) * true_class + smoothing * log_p.mean(1)).mean()


class BatchHardTriplet(torch.nn.Module):
    """Triplet loss with the hardest positive and negative of each image (Hermans et al., 2017).

    Mean over the images of max(0, distance to the farthest image of the same identity - distance to
    the nearest of another + margin).

    Args:
        margin: 0.5 in the paper.
        normalised: Distances between features of length 1.

    Raises:
        UserError: pytorch-metric-learning is not installed.
    """

    def __init__(self, margin: float = 0.5, normalised: bool = False):
        super().__init__()
        try:  # not at the top: only training of retrieval needs it
            from pytorch_metric_learning.distances import LpDistance
            from pytorch_metric_learning.losses import TripletMarginLoss
            from pytorch_metric_learning.miners import BatchHardMiner
            from pytorch_metric_learning.reducers import MeanReducer
        except ImportError:
            raise UserError(
                "the triplet loss needs pytorch-metric-learning; try "
                "pip install 'dreal-companion[retrieval]'"
            ) from None
        distance = LpDistance(normalize_embeddings=normalised, p=2)
        self.mine = BatchHardMiner(distance=distance)
        # The library's default, the mean over non-zero losses, would leave satisfied triplets out.
        self.loss = TripletMarginLoss(margin=margin, distance=distance, reducer=MeanReducer())

    def forward(self, features: Tensor, labels: Tensor) -> Tensor:
        """Features (B, D), labels (B,); a scalar."""
        features = features.float() if features.dtype != torch.float64 else features
        return self.loss(features, labels, self.mine(features, labels))


class IdentityLoss(torch.nn.Module):
    """L_c of instance recognition, in its two parts.

    Args:
        settings: The open points of the task.
    """

    def __init__(self, settings: RetrievalSettings):
        super().__init__()
        self.settings = settings
        self.triplet = BatchHardTriplet(
            settings.margin, normalised=settings.triplet_distance == "normalised"
        )

    def forward(self, output, labels: Tensor) -> dict[str, Tensor]:
        """From a `dreal_lib.networks.embedding.Embedded` and labels (B,)."""
        chosen = self.settings
        features = getattr(output, chosen.triplet_feature)
        return {
            "identity_loss": smoothed_cross_entropy(
                output.logits, labels, chosen.smoothing, chosen.smoothing_over
            ),
            "triplet_loss": self.triplet(features, labels),
        }
