"""CBAM (Woo et al., 2018): a channel map, then a spatial one.

The inputs of the spatial convolution are [avg, max], as in DREAL's Eq. 5; the CBAM authors' code
has [max, avg].
"""

import torch
from torch import Tensor, nn

from dreal_lib.attention.actor import Actor, bottleneck_width


class ChannelAttention(Actor):
    """CBAM's channel map, Eq. 6: one MLP shared by the average and the maximum."""

    kind = "channel"

    def __init__(self, channels: int, reduction: int = 16):
        super().__init__()
        hidden = bottleneck_width(channels, reduction)
        self.fc1 = nn.Linear(channels, hidden)
        self.fc2 = nn.Linear(hidden, channels)

    def extract(self, features: Tensor) -> Tensor:
        # (B, C, H, W) -> (B, 2, C)
        return torch.stack((features.mean((2, 3)), features.amax((2, 3))), dim=1)

    def attend(self, descriptor: Tensor) -> Tensor:
        branches = self.fc2(torch.relu(self.fc1(descriptor)))  # (B, 2, C)
        return torch.sigmoid(branches.sum(1))  # Eq. 6, (B, C)

    def reduced_state(self, descriptor: Tensor) -> Tensor:
        return descriptor[:, 0]


class SpatialAttention(Actor):
    """CBAM's spatial map, Eq. 5: 7x7 convolution without bias, then BN(1), weight 0 at first."""

    kind = "spatial"

    def __init__(self, kernel_size: int = 7):
        super().__init__()
        self.conv = nn.Conv2d(2, 1, kernel_size, padding=kernel_size // 2, bias=False)
        self.bn = nn.BatchNorm2d(1, momentum=0.01)
        nn.init.zeros_(self.bn.weight)

    def extract(self, features: Tensor) -> Tensor:
        # (B, C, H, W) -> (B, 2, H, W)
        return torch.cat((features.mean(1, keepdim=True), features.amax(1, keepdim=True)), dim=1)

    def attend(self, descriptor: Tensor) -> Tensor:
        return torch.sigmoid(self.bn(self.conv(descriptor)))  # Eq. 5, (B, 1, H, W)

    def reduced_state(self, descriptor: Tensor) -> Tensor:
        return descriptor[:, :1]


class CBAM(nn.Module):
    """Two actors in sequence, the channel map first (section 3.3)."""

    def __init__(self, channels: int, reduction: int = 16):
        super().__init__()
        self.channel = ChannelAttention(channels, reduction)
        self.spatial = SpatialAttention()

    def forward(self, features: Tensor) -> Tensor:
        return self.spatial(self.channel(features))
