"""The networks of RGA's Table 7 for 32x32 images: ResNets and DenseNets with one attention module.

ResNet (He et al., 2016, section 4.2): depth 6n + 2, basic blocks, 16, 32 and 64 channels. The
attention follows the first stage. DenseNet (Huang et al., 2017) of growth 12: depth 3n + 4, or as
DenseNet-BC 6n + 4 (bottlenecks, and transitions that halve the channels). The attention stands
behind the first transition. The table's DenseNet-BC "115" cannot be built (111 is no multiple of
6); its printed parameters are those of depth 112.

Letters: B batch, C channels, H and W height and width, K classes.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dreal_lib.attention.registry import create_attention, entry_of
from dreal_lib.errors import UserError, unknown_choice
from dreal_lib.settings.rga import CifarSettings

GROWTH = 12
STAGE_WIDTHS = (16, 32, 64)
AS_PUBLISHED = CifarSettings()

# Called with the channels and the size (H, W) of the features.
AttentionMaker = Callable[[int, tuple[int, int]], nn.Module]


@dataclass(frozen=True)
class Architecture:
    """A network by name. `layers` are blocks a stage, or layers a dense block."""

    family: str
    depth: int
    layers: int


ARCHITECTURES = {
    f"{family}{depth}": Architecture(family, depth, (depth - ends) // each)
    for family, ends, each, depths in (
        ("resnet", 2, 6, (20, 32, 110, 218)),
        ("densenet", 4, 3, (40, 100, 115)),
        ("densenet_bc", 4, 6, (40, 100, 112)),
    )
    for depth in depths
}


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut: the input, or A padded or B convolved to fit."""

    def __init__(self, before: int, channels: int, stride: int, shortcut: str):
        super().__init__()
        self.conv1 = _conv3x3(before, channels, stride)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = _conv3x3(channels, channels)
        self.bn2 = nn.BatchNorm2d(channels)
        self.downsample: nn.Module = nn.Identity()
        if before != channels and shortcut == "A":
            self.downsample = PaddedShortcut(channels - before, stride)
        elif before != channels:
            conv = nn.Conv2d(before, channels, 1, stride, bias=False)
            self.downsample = nn.Sequential(conv, nn.BatchNorm2d(channels))

    def forward(self, x: Tensor) -> Tensor:
        out = F.relu(self.bn1(self.conv1(x)), inplace=True)
        out = self.bn2(self.conv2(out))
        return F.relu(out + self.downsample(x), inplace=True)


class PaddedShortcut(nn.Module):
    """Shortcut A: every other position, and channels of zeros behind those there are."""

    def __init__(self, added: int, stride: int):
        super().__init__()
        self.added, self.stride = added, stride

    def forward(self, x: Tensor) -> Tensor:
        return F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, 0, self.added))


class CifarResNet(nn.Module):
    """ResNet for small images, with an attention module after `layer1`.

    Args:
        blocks: Basic blocks a stage.
        num_classes: K.
        attention: Makes the module of 16 channels and the images' size; None for the plain network.
        image_size: Side of the images.
        shortcut: "A" or "B"; see `CifarSettings`.
    """

    def __init__(
        self,
        blocks: int,
        num_classes: int = 10,
        attention: AttentionMaker | None = None,
        image_size: int = 32,
        shortcut: str = "A",
    ):
        super().__init__()
        self.conv1 = _conv3x3(3, STAGE_WIDTHS[0])
        self.bn1 = nn.BatchNorm2d(STAGE_WIDTHS[0])
        before = STAGE_WIDTHS[0]
        for number, channels in enumerate(STAGE_WIDTHS, start=1):
            strides = (1 if number == 1 else 2, *(1,) * (blocks - 1))
            stage = []
            for stride in strides:
                stage.append(BasicBlock(before, channels, stride, shortcut))
                before = channels
            self.add_module(f"layer{number}", nn.Sequential(*stage))
        self.fc = nn.Linear(before, num_classes)
        _initialise(self)
        # Behind the initialisation, which is the backbone's alone.
        self.attention = _made(attention, STAGE_WIDTHS[0], image_size)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (B, K) of images (B, 3, H, W)."""
        x = F.relu(self.bn1(self.conv1(images)), inplace=True)
        x = self.attention(self.layer1(x))
        x = self.layer3(self.layer2(x))
        return self.fc(x.mean((2, 3)))


class DenseLayer(nn.Module):
    """BN, ReLU, 3x3 convolution to the growth; as a bottleneck behind a 1x1 of four times it."""

    def __init__(self, before: int, bottleneck: bool):
        super().__init__()
        inner = 4 * GROWTH if bottleneck else before
        self.bn1 = nn.BatchNorm2d(before)
        if bottleneck:
            self.conv1 = nn.Conv2d(before, inner, 1, bias=False)
            self.bn2 = nn.BatchNorm2d(inner)
        self.bottleneck = bottleneck
        self.conv2 = _conv3x3(inner, GROWTH)

    def forward(self, x: Tensor) -> Tensor:
        new = F.relu(self.bn1(x), inplace=True)
        if self.bottleneck:
            new = F.relu(self.bn2(self.conv1(new)), inplace=True)
        return torch.cat((x, self.conv2(new)), 1)


class Transition(nn.Sequential):
    """BN, ReLU, 1x1 convolution, and pooling to half the side."""

    def __init__(self, before: int, channels: int):
        super().__init__(
            nn.BatchNorm2d(before),
            nn.ReLU(inplace=True),
            nn.Conv2d(before, channels, 1, bias=False),
            nn.AvgPool2d(2),
        )


class CifarDenseNet(nn.Module):
    """DenseNet for small images, with an attention module at its first transition.

    Args:
        layers: Layers a dense block (bottlenecks, if so).
        num_classes: K.
        attention: Makes the module of its channels and size; None for the plain network.
        image_size: Side of the images.
        bottleneck: DenseNet-BC: bottlenecks, and transitions to half the channels.
        place: "transition" or "block"; see `CifarSettings`.
    """

    def __init__(
        self,
        layers: int,
        num_classes: int = 10,
        attention: AttentionMaker | None = None,
        image_size: int = 32,
        bottleneck: bool = False,
        place: str = "transition",
    ):
        super().__init__()
        channels = 2 * GROWTH if bottleneck else 16
        self.place = place
        self.conv1 = _conv3x3(3, channels)
        found = {}
        for number in (1, 2, 3):
            block = [DenseLayer(channels + i * GROWTH, bottleneck) for i in range(layers)]
            channels += layers * GROWTH
            found[f"block{number}"] = channels
            self.add_module(f"block{number}", nn.Sequential(*block))
            if number < 3:
                kept = channels // 2 if bottleneck else channels
                self.add_module(f"transition{number}", Transition(channels, kept))
                channels = found[f"transition{number}"] = kept
        self.bn = nn.BatchNorm2d(channels)
        self.fc = nn.Linear(channels, num_classes)
        _initialise(self)
        side = image_size if place == "block" else image_size // 2
        self.attention = _made(attention, found[f"{place}1"], side)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (B, K) of images (B, 3, H, W)."""
        x = self.block1(self.conv1(images))
        if self.place == "block":
            x = self.transition1(self.attention(x))
        else:
            x = self.attention(self.transition1(x))
        x = self.block3(self.transition2(self.block2(x)))
        return self.fc(F.relu(self.bn(x), inplace=True).mean((2, 3)))


def create_cifar(
    name: str,
    num_classes: int = 10,
    *,
    attention: str | AttentionMaker | None = None,
    attention_options: dict[str, object] | None = None,
    image_size: int = 32,
    settings: CifarSettings = AS_PUBLISHED,
) -> CifarResNet | CifarDenseNet:
    """A network of Table 7, or a shallower one of its kind, by name.

    Args:
        name: A key of `ARCHITECTURES`, e.g. "resnet110", "densenet100" or "densenet_bc112".
        num_classes: K.
        attention: A name of `create_attention`, or a function of channels and size (H, W).
        attention_options: Options of a name; None means for "rga_..." the paper's ratios of the
            family, and for others none.
        image_size: Side of the images, a multiple of 4.
        settings: The open points.

    Raises:
        UserError: Unknown name (lists the choices), or a number that cannot be.
    """
    if name not in ARCHITECTURES:
        raise unknown_choice("CIFAR network", name, ARCHITECTURES)
    if num_classes < 1 or image_size < 4 or image_size % 4:
        raise UserError(
            f"num_classes must be at least 1 and image_size a multiple of 4; got {num_classes} and "
            f"{image_size}; try 10 and 32"
        )
    chosen = ARCHITECTURES[name]
    if isinstance(attention, str):
        options = attention_options
        if options is None:
            options = rga_ratios(chosen.family, settings) if attention.startswith("rga_") else {}
        attention = partial(_by_name, attention, options)
    if chosen.family == "resnet":
        return CifarResNet(chosen.layers, num_classes, attention, image_size, settings.shortcut)
    bottleneck, place = chosen.family == "densenet_bc", settings.densenet_place
    return CifarDenseNet(chosen.layers, num_classes, attention, image_size, bottleneck, place)


def rga_ratios(family: str, settings: CifarSettings = AS_PUBLISHED) -> dict[str, int]:
    """s1 and s2 of RGA in a family of networks (section 4.3)."""
    ratio = settings.resnet_ratio if family == "resnet" else settings.densenet_ratio
    return {"s1": ratio, "s2": ratio}


def _by_name(name: str, options: dict, channels: int, size: tuple[int, int]) -> nn.Module:
    needed = size if entry_of(name).needs_size else None
    return create_attention(name, channels, needed, **options)


def _made(attention: AttentionMaker | None, channels: int, side: int) -> nn.Module:
    return attention(channels, (side, side)) if attention else nn.Identity()


def _conv3x3(before: int, channels: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(before, channels, 3, stride, padding=1, bias=False)


def _initialise(model: nn.Module) -> None:
    """Kaiming fan-out for convolutions, 0 for the classifier's bias; BN starts at 1 and 0."""
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        elif isinstance(module, nn.Linear):
            nn.init.zeros_(module.bias)
