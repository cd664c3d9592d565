"""Gather-Excite, GENet (Hu et al., NeurIPS 2018): A = sigmoid(interp(gather(F))), F_rec = F * A.

Gather pools each channel over an extent of e x e positions, excite spreads the result to the
positions that it came from (nearest neighbour) and gates. Three forms:

- theta minus, without parameters: an average over windows of 2e - 1, stride e, in which padding
  does not count; with global extent the mean of the whole map.
- theta: depth-wise convolutions, each followed by BN. For extent e log2(e) of 3x3, stride 2, with a
  ReLU between two; for global extent one whose kernel is the whole map.
- theta plus: theta, then the two 1x1 convolutions of SE (ReLU between, biases) before the gate.

The default is the global extent, the paper's best; its map is a channel map. BN and ReLU of theta
stand where timm's module has them.

Theta minus has nothing that L_q could train, so `dreal_lib.reinforce` refuses it. The depth-wise
convolutions are parameters of the actor: `extract` passes F on, and `attend` gathers.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dreal_lib.attention.actor import Actor, bottleneck_width, refuse_other_size
from dreal_lib.errors import UserError


class GatherExcite(Actor):
    """GE theta minus, without parameters.

    Args:
        channels: C; nothing depends on it.
        extent: e, a power of 2, or 0 for the whole map.
    """

    def __init__(self, channels: int, extent: int = 0):
        super().__init__()
        _refuse_extent(extent)
        self.extent, self.kind = extent, "full" if extent else "channel"

    def extract(self, features: Tensor) -> Tensor:
        if self.extent == 0:
            return features.mean((2, 3), keepdim=True)  # (B, C, H, W) -> (B, C, 1, 1)
        window, reach = 2 * self.extent - 1, self.extent - 1
        pooled = F.avg_pool2d(features, window, self.extent, reach, count_include_pad=False)
        return F.interpolate(pooled, size=features.shape[2:])  # (B, C, H, W)

    def attend(self, descriptor: Tensor) -> Tensor:
        return torch.sigmoid(descriptor)


class GatherExciteTheta(Actor):
    """GE theta: gathers by depth-wise convolutions.

    Args:
        channels: C.
        size: (H, W) of the features; the kernel's, if the extent is the whole map.
        extent: e, a power of 2, or 0 for the whole map.
    """

    def __init__(self, channels: int, size: tuple[int, int], extent: int = 0):
        super().__init__()
        _refuse_extent(extent)
        self.extent, self.size, self.kind = extent, size, "full" if extent else "channel"
        self.gather = _gather(channels, size, extent)

    def extract(self, features: Tensor) -> Tensor:
        refuse_other_size(self, self.size, features)
        return features

    def attend(self, descriptor: Tensor) -> Tensor:
        """(B, C, 1, 1) with global extent, else (B, C, H, W)."""
        gathered = self.excite(self.gather(descriptor))
        if self.extent:
            gathered = F.interpolate(gathered, size=descriptor.shape[2:])
        return torch.sigmoid(gathered)

    def excite(self, gathered: Tensor) -> Tensor:
        """What is spread and gated, in the shape of what was gathered."""
        return gathered


class GatherExciteThetaPlus(GatherExciteTheta):
    """GE theta plus: theta, with SE's two 1x1 convolutions before the gate.

    Args:
        channels, size, extent: See `GatherExciteTheta`.
        reduction: Of the two convolutions.
    """

    def __init__(self, channels: int, size: tuple[int, int], extent: int = 0, reduction: int = 16):
        super().__init__(channels, size, extent)
        hidden = bottleneck_width(channels, reduction)
        self.mlp = nn.Sequential(
            nn.Conv2d(channels, hidden, 1), nn.ReLU(), nn.Conv2d(hidden, channels, 1)
        )

    def excite(self, gathered: Tensor) -> Tensor:
        return self.mlp(gathered)


def _refuse_extent(extent: int) -> None:
    if extent and (extent < 2 or extent & (extent - 1)):
        raise UserError(
            f"GE's extent must be a power of 2, or 0 for the whole map; got {extent}; try 4"
        )


def _gather(channels: int, size: tuple[int, int], extent: int) -> nn.Sequential:
    if extent == 0:
        convolution = nn.Conv2d(channels, channels, size, groups=channels, bias=False)
        return nn.Sequential(convolution, nn.BatchNorm2d(channels))
    layers: list[nn.Module] = []
    for _ in range(extent.bit_length() - 1):  # log2(e)
        layers += [nn.Conv2d(channels, channels, 3, 2, 1, groups=channels, bias=False)]
        layers += [nn.BatchNorm2d(channels), nn.ReLU()]
    return nn.Sequential(*layers[:-1])  # no ReLU before the gate
