"""Squeeze-and-excitation (Hu et al., 2018). Both fully connected layers carry a bias."""

import torch
from torch import Tensor, nn

from dreal_lib.attention.actor import Actor, bottleneck_width


class SqueezeExcitation(Actor):
    """SE, Eq. 4. With its biases SE-ResNet-50 has the 28.088M parameters of Table 1."""

    kind = "channel"

    def __init__(self, channels: int, reduction: int = 16):
        super().__init__()
        hidden = bottleneck_width(channels, reduction)
        self.fc1 = nn.Linear(channels, hidden)
        self.fc2 = nn.Linear(hidden, channels)

    def extract(self, features: Tensor) -> Tensor:
        return features.mean((2, 3))  # (B, C, H, W) -> (B, C)

    def attend(self, descriptor: Tensor) -> Tensor:
        return torch.sigmoid(self.fc2(torch.relu(self.fc1(descriptor))))  # Eq. 4, (B, C)

    def reduced_state(self, descriptor: Tensor) -> Tensor:
        return descriptor
