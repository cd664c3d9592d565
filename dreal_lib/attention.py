"""Attention actors: SE (Hu et al., 2018), CBAM (Woo et al., 2018), SRM (Lee et al., 2019).

An actor is a module that makes one attention map in three steps, which its forward pass calls:
`extract` (F_ext: features to descriptor), `attend` (descriptor to map) and `recalibrate` (F_rec).
`dreal_lib.reinforce` needs nothing else of it, so any module with these three methods is an actor.

Deviations: the inputs of CBAM's spatial convolution are [avg, max], as in DREAL's Eq. 5 (the CBAM
authors' code has [max, avg]); SRM's variance is unbiased and eps sits inside the root, as in its
authors' code.

Letters: B batch, C channels, H and W height and width.
"""

import torch
from torch import Tensor, nn

from dreal_lib.errors import UserError, unknown_choice

ACTOR_METHODS = ("extract", "attend", "recalibrate")


def is_actor(module: nn.Module) -> bool:
    """Whether `module` makes one attention map by `extract`, `attend` and `recalibrate`."""
    return all(callable(getattr(module, method, None)) for method in ACTOR_METHODS)


def reduce_to_map(features: Tensor, attention: Tensor) -> Tensor:
    """F~: the features reduced to the shape of a map by averaging (section 3.2).

    Args:
        features: (B, C, H, W).
        attention: (B, C), (B, 1, H, W) or any shape of one axis size or 1 per axis of `features`.

    Returns:
        Same shape as `attention`.
    """
    full = attention.shape + (1,) * (features.dim() - attention.dim())
    axes = [axis for axis in range(1, features.dim()) if full[axis] == 1]
    reduced = features.mean(axes, keepdim=True) if axes else features
    return reduced.reshape(attention.shape)


class Actor(nn.Module):
    """Base of the attention modules here: the order of the three steps.

    An actor may also have a method `reduced_state`, which returns F~ from the descriptor, so that
    the critic's side need not pool the features again. Without it, F~ is computed.
    """

    def forward(self, features: Tensor) -> Tensor:
        descriptor = self.extract(features)
        attention = self.attend(descriptor)
        return self.recalibrate(features, attention)

    def extract(self, features: Tensor) -> Tensor:
        raise NotImplementedError

    def attend(self, descriptor: Tensor) -> Tensor:
        raise NotImplementedError

    def recalibrate(self, features: Tensor, attention: Tensor) -> Tensor:
        """F_rec: the features times the map, broadcast over the axes the map lacks."""
        missing = (1,) * (features.dim() - attention.dim())
        return features * attention.reshape(attention.shape + missing)


def _bottleneck_width(channels: int, reduction: int) -> int:
    if channels % reduction:
        fitting = [r for r in range(1, channels + 1) if channels % r == 0]
        nearest = min(fitting, key=lambda r: abs(r - reduction))
        raise UserError(
            f"reduction must divide the channels; got {channels} channels, "
            f"reduction {reduction}; try {nearest}"
        )
    return channels // reduction


class SqueezeExcitation(Actor):
    """SE, Eq. 4. Both fully connected layers carry a bias (28.088M parameters in Table 1)."""

    def __init__(self, channels: int, reduction: int = 16):
        super().__init__()
        hidden = _bottleneck_width(channels, reduction)
        self.fc1 = nn.Linear(channels, hidden)
        self.fc2 = nn.Linear(hidden, channels)

    def extract(self, features: Tensor) -> Tensor:
        return features.mean((2, 3))  # (B, C, H, W) -> (B, C)

    def attend(self, descriptor: Tensor) -> Tensor:
        return torch.sigmoid(self.fc2(torch.relu(self.fc1(descriptor))))  # Eq. 4, (B, C)

    def reduced_state(self, descriptor: Tensor) -> Tensor:
        return descriptor


class ChannelAttention(Actor):
    """CBAM's channel map, Eq. 6: one MLP shared by the average and the maximum."""

    def __init__(self, channels: int, reduction: int = 16):
        super().__init__()
        hidden = _bottleneck_width(channels, reduction)
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


class StyleRecalibration(Actor):
    """SRM, Eq. 7: a channel-wise fully connected layer (CFC) on mean and standard deviation.

    The CFC weight is 0 at first, so every gate starts at 0.5. In the authors' code neither it nor
    its BN is decayed: see `no_weight_decay`.
    """

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


ATTENTION = {
    "se": SqueezeExcitation,
    "cbam": CBAM,
    "srm": StyleRecalibration,
}


def create_attention(name: str, channels: int) -> nn.Module:
    """The attention module that the registry `ATTENTION` holds under `name`.

    Raises:
        UserError: The name is unknown (lists the choices), or the channels do not fit.
    """
    if name not in ATTENTION:
        raise unknown_choice("attention", name, ATTENTION)
    return ATTENTION[name](channels)
