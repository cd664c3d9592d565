"""Global context, GCNet (Cao et al., ICCVW 2019): one context of the whole map is added to F.

    context = sum over positions j of softmax_j(W_k F_j) F_j                        (B, C)
    F_rec = F + W_v2 relu(LayerNorm(W_v1 context))

W_k has one output channel; W_v1 reduces C by r = 16; all have biases. As in the authors' code W_v2
starts at 0, so that the block starts as the identity. Deviation: they put it into the blocks of
stages 2 to 4, here it sits in every block.

What it makes is added to the features: no map multiplies them, so it cannot be reinforced.
"""

import torch
from torch import Tensor, nn

from dreal_lib.attention.actor import Actor, bottleneck_width


class GlobalContext(Actor):
    """The GC block.

    Args:
        channels: C.
        reduction: r.
    """

    kind = "features"
    own_initialisation = True

    def __init__(self, channels: int, reduction: int = 16):
        super().__init__()
        hidden = bottleneck_width(channels, reduction)
        self.key = nn.Conv2d(channels, 1, 1)  # W_k
        self.reduce = nn.Linear(channels, hidden)  # W_v1
        self.norm = nn.LayerNorm(hidden)
        self.expand = nn.Linear(hidden, channels)  # W_v2
        nn.init.kaiming_normal_(self.key.weight, mode="fan_in", nonlinearity="relu")
        for zero in (self.key.bias, self.expand.weight, self.expand.bias):
            nn.init.zeros_(zero)

    def extract(self, features: Tensor) -> Tensor:
        weights = self.key(features).flatten(2).softmax(2)  # (B, 1, HW)
        return (features.flatten(2) @ weights.transpose(1, 2)).squeeze(2)  # (B, C)

    def attend(self, descriptor: Tensor) -> Tensor:
        return self.expand(torch.relu(self.norm(self.reduce(descriptor))))  # (B, C)

    def recalibrate(self, features: Tensor, attention: Tensor) -> Tensor:
        return features + attention[:, :, None, None]
