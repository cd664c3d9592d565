"""Efficient channel attention, ECA-Net (Wang et al., CVPR 2020): each channel's gate sees its
neighbours.

A = sigmoid(conv_k(mean of F over H and W)), a 1-d convolution along the channels without bias,
padded with 0. Its kernel grows with C: k = |log2(C) / gamma + b / gamma|, made odd, with gamma = 2
and b = 1. Made odd means, as in the authors' code: cut to an integer, and 1 added where it is even.
No deviation known.
"""

import math

import torch
from torch import Tensor, nn

from dreal_lib.attention.actor import Actor
from dreal_lib.errors import UserError


def kernel_size(channels: int, gamma: float = 2, b: float = 1) -> int:
    """k for C channels, odd and at least 1: log2(C) / gamma + b / gamma to the next odd number.

    Args:
        channels: C.
        gamma, b: The paper's are 2 and 1.
    """
    whole = int(abs(math.log2(channels) / gamma + b / gamma))
    return whole if whole % 2 else whole + 1


class EfficientChannelAttention(Actor):
    """ECA: k parameters a block.

    Args:
        channels: C.
        kernel: k, odd; None to have it from C.
    """

    kind = "channel"

    def __init__(self, channels: int, kernel: int | None = None):
        super().__init__()
        kernel = kernel_size(channels) if kernel is None else kernel
        if kernel < 1 or kernel % 2 == 0:
            raise UserError(
                f"ECA's kernel must be odd, so that a channel has as many neighbours on either "
                f"side; got {kernel}; try {max(1, kernel + 1)}"
            )
        self.conv = nn.Conv1d(1, 1, kernel, padding=kernel // 2, bias=False)

    def extract(self, features: Tensor) -> Tensor:
        return features.mean((2, 3))  # (B, C, H, W) -> (B, C)

    def attend(self, descriptor: Tensor) -> Tensor:
        return torch.sigmoid(self.conv(descriptor.unsqueeze(1)).squeeze(1))  # (B, C)

    def reduced_state(self, descriptor: Tensor) -> Tensor:
        return descriptor
