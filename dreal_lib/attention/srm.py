"""Style recalibration, SRM (Lee et al., 2019).

The variance is unbiased and eps sits inside the root, as in its authors' code.
"""

import torch
from torch import Tensor, nn

from dreal_lib.attention.actor import Actor
from dreal_lib.errors import UserError


class StyleRecalibration(Actor):
    """SRM, Eq. 7: a channel-wise fully connected layer (CFC) on mean and standard deviation.

    The CFC weight is 0 at first, so every gate starts at 0.5. In the authors' code neither it nor
    its BN is decayed: see `no_weight_decay`.
    """

    kind = "channel"
    no_weight_decay = True

    def __init__(self, channels: int, eps: float = 1e-5):
        super().__init__()
        self.cfc = nn.Parameter(torch.zeros(channels, 2))
        self.bn = nn.BatchNorm1d(channels)
        self.eps = eps

    def extract(self, features: Tensor) -> Tensor:
        if features.shape[2] * features.shape[3] < 2:
            raise UserError(
                "SRM needs the standard deviation of each feature map; got maps of 1x1, where it "
                "is undefined; try larger images or the small-image stem"
            )
        variance, mean = torch.var_mean(features, dim=(2, 3), correction=1)
        return torch.stack((mean, (variance + self.eps).sqrt()), dim=2)  # (B, C, 2)

    def attend(self, descriptor: Tensor) -> Tensor:
        return torch.sigmoid(self.bn((descriptor * self.cfc).sum(2)))  # Eq. 7, (B, C)

    def reduced_state(self, descriptor: Tensor) -> Tensor:
        return descriptor[..., 0]
