"""Bottleneck attention, BAM (Park et al., BMVC 2018): a channel and a spatial branch, one map.

    M_c = BN(W1 relu(W0 mean(F) + b0) + b1)                       (B, C, 1, 1)
    M_s = BN(conv 1x1 (conv 3x3 (conv 3x3 (conv 1x1 (F)))))       (B, 1, H, W)
    A = sigmoid(M_c + M_s), F_rec = F + F * A                     (B, C, H, W)

The 3x3 convolutions are dilated by d = 4; both branches reduce C by r = 16. BAM sits at the
bottlenecks of the network: behind stages 1, 2 and 3. The map is over channels and positions.

From the authors' code: a BN and a ReLU after each hidden layer. Against it, as the paper has it:
the branches are added (the code multiplies them), and a BN ends each (the code has none there).
"""

import torch
from torch import Tensor, nn

from dreal_lib.attention.actor import Actor, bottleneck_width


class BottleneckAttention(Actor):
    """BAM.

    Args:
        channels: C.
        reduction: r of both branches.
        dilation: d of the spatial branch.
    """

    kind = "full"

    def __init__(self, channels: int, reduction: int = 16, dilation: int = 4):
        super().__init__()
        hidden = bottleneck_width(channels, reduction)
        self.channel = nn.Sequential(
            nn.Linear(channels, hidden),
            nn.BatchNorm1d(hidden),
            nn.ReLU(),
            nn.Linear(hidden, channels),
            nn.BatchNorm1d(channels),
        )

        def dilated() -> nn.Conv2d:
            return nn.Conv2d(hidden, hidden, 3, padding=dilation, dilation=dilation)

        self.spatial = nn.Sequential(
            *(nn.Conv2d(channels, hidden, 1), nn.BatchNorm2d(hidden), nn.ReLU()),
            *(dilated(), nn.BatchNorm2d(hidden), nn.ReLU()),
            *(dilated(), nn.BatchNorm2d(hidden), nn.ReLU()),
            *(nn.Conv2d(hidden, 1, 1), nn.BatchNorm2d(1)),
        )

    def extract(self, features: Tensor) -> Tensor:
        return features  # both branches see F, and all their parameters are the actor's

    def attend(self, descriptor: Tensor) -> Tensor:
        channel = self.channel(descriptor.mean((2, 3)))[:, :, None, None]  # (B, C, 1, 1)
        return torch.sigmoid(channel + self.spatial(descriptor))  # (B, C, H, W)

    def recalibrate(self, features: Tensor, attention: Tensor) -> Tensor:
        return features * (1 + attention)
