"""Fully connected global attention (Liu et al., AAAI 2019), which RGA is compared with (Table 2).

Features are embedded by a 1x1 convolution with BN and ReLU, then averaged: over channels for the
spatial map, whose two layers have weights of their own for each position, or over positions for the
channel map, which one layer makes. No layer has a bias, as in their code; it stands on 8x8 maps of
a video network there, on each stage's here. Needs the size of the features.

All of it is the attention's: as DREAL's actors, these modules extract nothing.

Letters: B batch, C channels, E embedded channels, N = HW positions.
"""

import torch
from torch import Tensor, nn

from dreal_lib.attention.actor import Actor, refuse_other_size
from dreal_lib.settings.rga import FullyConnectedSettings

EMBEDDED_CHANNELS = 256
AS_PUBLISHED = FullyConnectedSettings()


class FeatureEmbedding(nn.Sequential):
    """1x1 convolution without bias, BN, ReLU: (B, C, H, W) -> (B, E, H, W)."""

    def __init__(self, channels: int, settings: FullyConnectedSettings):
        fixed = settings.embedding == "fixed"
        self.width = EMBEDDED_CHANNELS if fixed else max(channels // 8, 1)
        super().__init__(
            nn.Conv2d(channels, self.width, 1, bias=False),
            nn.BatchNorm2d(self.width),
            nn.ReLU(inplace=True),
        )


class PositionLayers(nn.Sequential):
    """Two fully connected layers over the positions: the mean (B, N) -> (B, N)."""

    def __init__(self, positions: int, settings: FullyConnectedSettings):
        hidden = 2 * positions if settings.hidden == "double" else max(positions // 8, 1)
        super().__init__(
            nn.Linear(positions, hidden, bias=False),
            nn.ReLU(inplace=True),
            nn.Linear(hidden, positions, bias=False),
        )


class FullyConnectedAttention(Actor):
    """Base: nothing is extracted, and the weights keep torch's initialisation."""

    own_initialisation = True

    def extract(self, features: Tensor) -> Tensor:
        return features


class FullyConnectedSpatial(FullyConnectedAttention):
    """FC-S: a spatial map, (B, 1, H, W).

    Args:
        channels: C.
        size: (H, W) of the features, which the weights depend on.
        settings: The open points.

    Raises:
        UserError: In the forward pass, features of another size.
    """

    kind = "spatial"

    def __init__(
        self,
        channels: int,
        size: tuple[int, int],
        *,
        settings: FullyConnectedSettings = AS_PUBLISHED,
    ):
        super().__init__()
        self.size = tuple(size)
        embedded = settings.spatial_input == "embedded"
        self.embedding = FeatureEmbedding(channels, settings) if embedded else nn.Identity()
        self.positions = PositionLayers(size[0] * size[1], settings)

    def attend(self, descriptor: Tensor) -> Tensor:
        refuse_other_size(self, self.size, descriptor)
        mean = self.embedding(descriptor).mean(1).flatten(1)  # (B, N)
        return torch.sigmoid(self.positions(mean)).reshape(-1, 1, *self.size)


class FullyConnectedChannel(FullyConnectedAttention):
    """FC-C: a channel map, (B, C); fits features of every size.

    Args:
        channels: C.
        settings: The open points.
    """

    kind = "channel"

    def __init__(self, channels: int, *, settings: FullyConnectedSettings = AS_PUBLISHED):
        super().__init__()
        self.embedding = FeatureEmbedding(channels, settings)
        self.channel = nn.Linear(self.embedding.width, channels, bias=False)

    def attend(self, descriptor: Tensor) -> Tensor:
        return torch.sigmoid(self.channel(self.embedding(descriptor).mean((2, 3))))


class FullyConnectedParallel(FullyConnectedAttention):
    """FC-S//C: one map of full size, (B, C, H, W), of both kinds' product.

    Args:
        channels, size, settings: See `FullyConnectedSpatial`, as its errors.
    """

    kind = "full"

    def __init__(
        self,
        channels: int,
        size: tuple[int, int],
        *,
        settings: FullyConnectedSettings = AS_PUBLISHED,
    ):
        super().__init__()
        self.size = tuple(size)
        self.separate = settings.parallel_gate == "separate"
        self.raw = settings.spatial_input == "raw"
        self.embedding = FeatureEmbedding(channels, settings)
        if self.separate and not self.raw:
            self.spatial_embedding = FeatureEmbedding(channels, settings)
        self.positions = PositionLayers(size[0] * size[1], settings)
        self.channel = nn.Linear(self.embedding.width, channels, bias=False)

    def attend(self, descriptor: Tensor) -> Tensor:
        refuse_other_size(self, self.size, descriptor)
        embedded = self.embedding(descriptor)
        mean = self._spatial_input(descriptor, embedded).mean(1).flatten(1)  # (B, N)
        spatial = self.positions(mean).reshape(-1, 1, *self.size)
        channel = self.channel(embedded.mean((2, 3)))[..., None, None]
        if self.separate:
            return torch.sigmoid(spatial) * torch.sigmoid(channel)
        return torch.sigmoid(spatial * channel)

    def _spatial_input(self, features: Tensor, embedded: Tensor) -> Tensor:
        if self.raw:
            return features
        return self.spatial_embedding(features) if self.separate else embedded
