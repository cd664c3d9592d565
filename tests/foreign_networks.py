"""Networks of other people, small: timm's, torchvision's, and stand-ins of public implementations.

Each entry says how it is made, at which size, in how many stages its gates lie, and which
sub-module of a gate's module puts out the map; or the reason for which it is refused.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import torch
import torchvision.models
from torch import nn

try:
    import timm
except ImportError:  # `pytest.importorskip` says so where they are used
    timm = None

CLASSES = 5


class Case(NamedTuple):
    make: Callable[[], nn.Module]
    stages: int = 4
    map_maker: str = "gate"
    refused: str = ""
    size: int = 32


def _timm(name: str, **options) -> Callable[[], nn.Module]:
    return lambda: timm.create_model(name, num_classes=CLASSES, **options)


def _resnet(attention: object, depth: int = 1) -> Callable[[], nn.Module]:
    def make() -> nn.Module:
        layer = attention() if callable(attention) else attention
        return timm.create_model(
            "resnet26",
            num_classes=CLASSES,
            layers=(depth,) * 4,
            channels=(8, 16, 24, 32),
            block_args={"attn_layer": layer},
        )

    return make


def _torchvision(name: str) -> Callable[[], nn.Module]:
    return lambda: getattr(torchvision.models, name)(num_classes=CLASSES)


class SE(nn.Module):
    """As in the widely copied SE-ResNet: `view(b, c, 1, 1)` and `expand_as`."""

    def __init__(self, channels: int):
        super().__init__()
        self.avg_pool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Sequential(
            nn.Linear(channels, 4, bias=False),
            nn.ReLU(inplace=True),
            nn.Linear(4, channels, bias=False),
            nn.Sigmoid(),
        )

    def forward(self, x):
        b, c, _, _ = x.size()
        y = self.avg_pool(x).view(b, c)
        return x * self.fc(y).view(b, c, 1, 1).expand_as(x)


class ChannelGate(nn.Module):
    def __init__(self, channels: int):
        super().__init__()
        self.mlp = nn.Sequential(nn.Flatten(), nn.Linear(channels, 4), nn.ReLU())
        self.out, self.gate = nn.Linear(4, channels), nn.Sigmoid()

    def forward(self, x):
        summed = self.out(self.mlp(x.mean((2, 3)))) + self.out(self.mlp(x.amax((2, 3))))
        return x * self.gate(summed).unsqueeze(2).unsqueeze(3).expand_as(x)


class SpatialGate(nn.Module):
    def __init__(self):
        super().__init__()
        self.spatial = nn.Sequential(nn.Conv2d(2, 1, 3, padding=1, bias=False), nn.BatchNorm2d(1))
        self.gate = nn.Sigmoid()

    def forward(self, x):
        pooled = torch.cat((x.max(1)[0].unsqueeze(1), x.mean(1).unsqueeze(1)), dim=1)
        return x * self.gate(self.spatial(pooled))


class CBAM(nn.Module):
    def __init__(self, channels: int):
        super().__init__()
        self.ChannelGate, self.SpatialGate = ChannelGate(channels), SpatialGate()

    def forward(self, x):
        return self.SpatialGate(self.ChannelGate(x))


class BAM(nn.Module):
    """A full map, 1 + sigmoid(channel * spatial)."""

    def __init__(self, channels: int):
        super().__init__()
        self.channel_att = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), nn.Conv2d(channels, 4, 1), nn.ReLU(), nn.Conv2d(4, channels, 1)
        )
        self.spatial_att, self.gate = nn.Conv2d(channels, 1, 3, padding=1), nn.Sigmoid()

    def forward(self, x):
        return (1 + self.gate(self.channel_att(x) * self.spatial_att(x))) * x


class ECA(nn.Module):
    def __init__(self, channels: int):
        super().__init__()
        self.conv, self.gate = nn.Conv1d(1, 1, 3, padding=1, bias=False), nn.Sigmoid()

    def forward(self, x):
        y = x.mean((2, 3), keepdim=True)
        y = self.conv(y.squeeze(-1).transpose(-1, -2)).transpose(-1, -2).unsqueeze(-1)
        return x * self.gate(y).expand_as(x)


class SRM(nn.Module):
    def __init__(self, channels: int):
        super().__init__()
        self.cfc = nn.Parameter(torch.ones(channels, 2) / 2)
        self.bn, self.activation = nn.BatchNorm2d(channels), nn.Sigmoid()

    def forward(self, x):
        style = torch.stack((x.mean((2, 3)), x.flatten(2).std(2)), dim=2)
        z = (style * self.cfc[None]).sum(2)[:, :, None, None]
        g = self.activation(self.bn(z))
        return x * g


class Coordinate(nn.Module):
    """Two maps, (C, 1, W) and (C, H, 1)."""

    def __init__(self, channels: int):
        super().__init__()
        self.conv1, self.bn1, self.act = (
            nn.Conv2d(channels, 8, 1),
            nn.BatchNorm2d(8),
            nn.Hardswish(),
        )
        self.conv_h, self.conv_w = nn.Conv2d(8, channels, 1), nn.Conv2d(8, channels, 1)
        self.gate = nn.Sigmoid()

    def forward(self, x):
        identity = x
        h, w = x.shape[2:]
        rows, columns = x.mean(3, keepdim=True), x.mean(2, keepdim=True).permute(0, 1, 3, 2)
        y = self.act(self.bn1(self.conv1(torch.cat((rows, columns), dim=2))))
        x_h, x_w = torch.split(y, [h, w], dim=2)
        a_w = self.gate(self.conv_w(x_w.permute(0, 1, 3, 2)))
        return identity * a_w * self.gate(self.conv_h(x_h))


class Block(nn.Module):
    """A residual block with attention behind its last norm."""

    def __init__(self, before: int, after: int, attention: Callable[[int], nn.Module], stride: int):
        super().__init__()
        self.conv1 = nn.Conv2d(before, after, 3, stride, padding=1, bias=False)
        self.bn1, self.relu = nn.BatchNorm2d(after), nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(after, after, 3, padding=1, bias=False)
        self.bn2, self.attention = nn.BatchNorm2d(after), attention(after)
        self.downsample = nn.Sequential(
            nn.Conv2d(before, after, 1, stride, bias=False), nn.BatchNorm2d(after)
        )

    def forward(self, x):
        out = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        out = self.attention(out)
        out += self.downsample(x)
        return self.relu(out)


class Public(nn.Module):
    """Two stages of two blocks, and a classifier."""

    def __init__(
        self, attention: Callable[[int], nn.Module], channels: int = 3, between: bool = False
    ):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, 8, 3, padding=1)
        inside = nn.Identity if between else attention
        self.layer1 = nn.Sequential(Block(8, 12, inside, 2), Block(12, 12, inside, 1))
        self.bam1 = attention(12) if between else nn.Identity()
        self.layer2 = nn.Sequential(Block(12, 16, inside, 2), Block(16, 16, inside, 1))
        self.bam2 = attention(16) if between else nn.Identity()
        self.fc = nn.Linear(16, CLASSES)

    def forward(self, x):
        x = self.bam1(self.layer1(self.conv1(x)))
        return self.fc(self.bam2(self.layer2(x)).mean((2, 3)))


NO_GATE = "no gate was found in"

CASES = {
    "timm seresnet50": Case(_timm("seresnet50", layers=(1, 1, 1, 1))),
    "timm ecaresnet26t": Case(_timm("ecaresnet26t")),
    "timm gcresnet50t": Case(_timm("gcresnet50t"), refused=NO_GATE),
    **{f"timm resnet26 {a}": Case(_resnet(a)) for a in "se ese eca ceca cbam gc".split()},
    # The channel map of this one is the output of no module.
    "timm resnet26 lcbam": Case(_resnet("lcbam"), map_maker=""),
    "timm resnet26 ge": Case(
        _resnet(lambda: functools.partial(timm.layers.GatherExcite, use_mlp=False)),
        refused="has no parameters",
    ),
    "timm resnet26 gca": Case(_resnet("gca"), refused=NO_GATE),
    **{f"timm resnet26 {a}": Case(_resnet(a)) for a in "coord scoord ela strip".split()},
    "timm resnet26 nl": Case(_resnet("nl"), refused=NO_GATE),
    "timm resnet26 bat": Case(_resnet("bat"), refused=NO_GATE, size=224),
    "timm efficientnet_b0": Case(_timm("efficientnet_b0"), 7),
    "timm mobilenetv3_small": Case(_timm("mobilenetv3_small_050"), 4),
    "timm regnety_002": Case(_timm("regnety_002"), size=64),
    "timm resnest14d": Case(_timm("resnest14d"), 4, "rsoftmax"),
    "timm skresnet18": Case(_timm("skresnet18"), 4, "attn"),
    "timm legacy_seresnet18": Case(_timm("legacy_seresnet18"), 4, "sigmoid"),
    "timm vit_tiny": Case(
        _timm("vit_tiny_patch16_224", img_size=32, depth=2), refused=NO_GATE, size=32
    ),
    "torchvision efficientnet_b0": Case(_torchvision("efficientnet_b0"), 5, "scale_activation"),
    "torchvision mobilenet_v3_small": Case(
        _torchvision("mobilenet_v3_small"), 3, "scale_activation"
    ),
    "torchvision regnet_y_400mf": Case(
        _torchvision("regnet_y_400mf"), 4, "scale_activation", size=64
    ),
    "public SE": Case(lambda: Public(SE), 2, "fc"),
    "public CBAM": Case(lambda: Public(CBAM), 2),
    "public BAM": Case(lambda: Public(BAM, between=True), 2),
    "public ECA": Case(lambda: Public(ECA), 2),
    "public SRM": Case(lambda: Public(SRM), 2, "activation"),
    "public coordinate": Case(lambda: Public(Coordinate), 2),
}
