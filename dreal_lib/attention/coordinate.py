"""Coordinate attention (Hou et al., CVPR 2021): gates along the height and along the width.

F is averaged over W into (B, C, H), over H into (B, C, W); both, one behind the other, go through
one 1x1 convolution to C / r channels (at least 8), BN and h-swish; then each part through a 1x1
convolution of its own and a sigmoid: a_h (B, C, H, 1), a_w (B, C, 1, W). All with bias.

    A = a_h * a_w, F_rec = F * A

r = 32 as in the paper and its code. Deviation: the two gates are one map here, their product, as
they share a layer and act at once; it is over channels and positions.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dreal_lib.attention.actor import Actor, bottleneck_width

SMALLEST_WIDTH = 8


class CoordinateAttention(Actor):
    """Coordinate attention.

    Args:
        channels: C.
        reduction: r.
    """

    kind = "full"

    def __init__(self, channels: int, reduction: int = 32):
        super().__init__()
        hidden = SMALLEST_WIDTH
        if channels > SMALLEST_WIDTH * reduction:
            hidden = bottleneck_width(channels, reduction)
        self.reduce = nn.Conv1d(channels, hidden, 1)
        self.bn = nn.BatchNorm1d(hidden)
        self.along_height = nn.Conv1d(hidden, channels, 1)
        self.along_width = nn.Conv1d(hidden, channels, 1)

    def extract(self, features: Tensor) -> Tensor:
        return features  # the two averages differ in length: `attend` takes them

    def attend(self, descriptor: Tensor) -> Tensor:
        rows, columns = descriptor.mean(3), descriptor.mean(2)  # (B, C, H), (B, C, W)
        mixed = self.bn(self.reduce(torch.cat((rows, columns), dim=2)))  # (B, C/r, H + W)
        of_rows, of_columns = F.hardswish(mixed).split([rows.shape[2], columns.shape[2]], dim=2)
        high = torch.sigmoid(self.along_height(of_rows)).unsqueeze(3)  # a_h, (B, C, H, 1)
        wide = torch.sigmoid(self.along_width(of_columns)).unsqueeze(2)  # a_w, (B, C, 1, W)
        return high * wide  # (B, C, H, W)
