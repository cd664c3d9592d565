"""Non-local block (Wang et al., CVPR 2018), embedded Gaussian: each position sees all others.

    y_i = sum over j of softmax_j(theta(F_i) . phi(F_j)) g(F_j),   F_rec = F + BN(W_z y)

theta, phi, g are 1x1 convolutions to C / 2 channels, W_z one back to C, all with biases. The BN's
weight starts at 0, so that the block starts as the identity, and convolutions at a standard
deviation of 0.01, as in the authors' code. Deviations: no max pooling of phi and g (the paper's
subsampling, an option there); it sits behind stages 2 and 3, where the paper has it between blocks
of them.

What it makes is added to the features: no map multiplies them, so it cannot be reinforced.
"""

import torch
from torch import Tensor, nn

from dreal_lib.attention.actor import Actor, bottleneck_width


class NonLocal(Actor):
    """The non-local block.

    Args:
        channels: C.
        reduction: Of the embeddings; 2 in the paper.
    """

    kind = "features"
    own_initialisation = True

    def __init__(self, channels: int, reduction: int = 2):
        super().__init__()
        hidden = bottleneck_width(channels, reduction)
        self.theta = nn.Conv2d(channels, hidden, 1)
        self.phi = nn.Conv2d(channels, hidden, 1)
        self.g = nn.Conv2d(channels, hidden, 1)
        self.z = nn.Conv2d(hidden, channels, 1)
        self.bn = nn.BatchNorm2d(channels)
        for convolution in (self.theta, self.phi, self.g, self.z):
            nn.init.normal_(convolution.weight, std=0.01)
            nn.init.zeros_(convolution.bias)
        nn.init.zeros_(self.bn.weight)

    def extract(self, features: Tensor) -> Tensor:
        return features

    def attend(self, descriptor: Tensor) -> Tensor:
        queries, keys, values = (
            embed(descriptor).flatten(2) for embed in (self.theta, self.phi, self.g)
        )  # each (B, C/2, HW)
        affinity = torch.softmax(queries.transpose(1, 2) @ keys, dim=2)  # (B, HW, HW)
        seen = (values @ affinity.transpose(1, 2)).unflatten(2, descriptor.shape[2:])
        return self.bn(self.z(seen))  # (B, C, H, W)

    def recalibrate(self, features: Tensor, attention: Tensor) -> Tensor:
        return features + attention
