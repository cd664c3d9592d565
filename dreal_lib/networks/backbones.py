"""ResNets with attention in every bottleneck, or behind stages, on torchvision's ResNet.

In a bottleneck the attention sits after the last BN and before the residual addition (SENet's
standard place). One that its registry entry puts behind stages is the last module of each of them,
"layer1.attention". Modules are named as torchvision names them, so its ImageNet weights load by
name. The stride is on the 3x3 convolution (4.089 GMACs for ResNet-50). Weights are initialised as
there: Kaiming fan-out for convolutions (but those of attention with an initialisation of its own),
BN weights 1; linear layers keep torch's default.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torchvision.models import resnet

from dreal_lib.attention.registry import ATTENTION, create_attention, entry_of
from dreal_lib.errors import UserError, unknown_choice

BLOCKS_PER_STAGE = {
    14: (1, 1, 1, 1),
    26: (2, 2, 2, 2),
    38: (3, 3, 3, 3),  # no network of the paper: the least with several blocks to draw from a stage
    50: (3, 4, 6, 3),
    101: (3, 4, 23, 3),
}
STAGES = ("layer1", "layer2", "layer3", "layer4")
# Kernel and stride of the first convolution, and whether torchvision's max pooling follows.
STEMS = {"imagenet": (7, 2, True), "tiny": (3, 2, False), "cifar": (3, 1, False)}
BEHIND = "attention"  # the name, within a stage, of the attention behind its blocks
MODEL_NAMES = tuple(
    f"{prefix}resnet{depth}"
    for prefix in ("", *(f"{name}_" for name in ATTENTION))
    for depth in BLOCKS_PER_STAGE
)


class Bottleneck(resnet.Bottleneck):
    """torchvision's bottleneck, cut in two at the feature map F that the attention recalibrates.

    `downsample` is an identity where torchvision has None, so that the shortcut is always the
    output of a module; the state dict is the same.
    """

    def __init__(
        self,
        *args,
        attention: str | None = None,
        size: tuple[int, int] | None = None,
        **kwargs,
    ):
        super().__init__(*args, **kwargs)
        channels = self.bn3.num_features
        self.attention = create_attention(attention, channels, size) if attention else nn.Identity()
        self.downsample = self.downsample or nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        shortcut = self.downsample(x)
        return self.finish(self.features(x), shortcut)

    def features(self, x: Tensor) -> Tensor:
        """F, the state of the block: its feature map before recalibration, (B, C, H, W)."""
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.relu(self.bn2(self.conv2(out)))
        return self.bn3(self.conv3(out))

    def finish(self, features: Tensor, shortcut: Tensor) -> Tensor:
        """The block's output from F on: recalibrate, add the shortcut, rectify."""
        return self.relu(self.attention(features) + shortcut)


class ResNet(resnet.ResNet):
    """torchvision's ResNet with attention, a width, and a stem for small images.

    Args:
        blocks_per_stage: Number of bottlenecks of `layer1` to `layer4`.
        num_classes: Outputs of the classifier.
        attention: A key of `dreal_lib.attention.registry.ATTENTION`, or None for the plain network.
        width: Planes of `layer1` (64 in the paper); each later stage doubles them, and a block
            puts out four times its planes.
        stem: "imagenet" (7x7, stride 2, max pooling: a quarter of the image's side), or for small
            images "tiny" (3x3, stride 2: a half, for 64 px) or "cifar" (3x3, stride 1: all of it,
            for 32 px).
        last_stride: Of `layer4`; 1 keeps its resolution twice as fine (section 4.2).
        image_size: Side, or (H, W), of the images, for attention whose parameters depend on it.

    Raises:
        UserError: Attention that needs an `image_size` has none.
    """

    def __init__(
        self,
        blocks_per_stage: tuple[int, int, int, int],
        num_classes: int = 1000,
        attention: str | None = None,
        width: int = 64,
        stem: str = "imagenet",
        last_stride: int = 2,
        image_size: int | tuple[int, int] | None = None,
    ):
        nn.Module.__init__(self)
        self._norm_layer = nn.BatchNorm2d
        self.inplanes, self.dilation, self.groups, self.base_width = width, 1, 1, 64
        kernel, stride, pooled = STEMS[stem]
        self.conv1 = nn.Conv2d(3, width, kernel, stride, padding=kernel // 2, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, 2, padding=1) if pooled else nn.Identity()

        strides = (1, 2, 2, last_stride)
        sizes = _sizes_of_stages(attention, image_size, (stride * (1 + pooled), *strides))
        behind = entry_of(attention).after_stages if attention else ()
        for index, (stage, blocks) in enumerate(zip(STAGES, blocks_per_stage, strict=True)):
            planes, size = width * 2**index, sizes[index]
            block = _bottleneck_with(None if behind else attention, size)
            self.add_module(stage, self._make_layer(block, planes, blocks, strides[index]))
            if index + 1 in behind:
                made = create_attention(attention, self.inplanes, size)
                self.get_submodule(stage).add_module(BEHIND, made)
        self.avgpool = nn.AdaptiveAvgPool2d((1, 1))
        self.fc = nn.Linear(self.inplanes, num_classes)
        self._initialise_convolutions()

    def _initialise_convolutions(self) -> None:
        own = [m for m in self.modules() if getattr(m, "own_initialisation", False)]
        kept = {inner for module in own for inner in module.modules()}
        for module in self.modules():
            if isinstance(module, nn.Conv2d) and module not in kept:
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def shortcut_module(self, block: str) -> nn.Module:
        """The module whose output is the shortcut of `block` (e.g. "layer3.1").

        An attention behind a stage has none; the block before it, whose output is its F, stands in.
        """
        stage, _, name = block.partition(".")
        if name == BEHIND:
            return self.get_submodule(stage)[-2]
        return self.get_submodule(block).downsample

    def resume(self, block: str, features: Tensor, shortcut: Tensor) -> Tensor:
        """A block's output from its feature map on: where a counterfactual begins.

        Args:
            block: Name of the block, e.g. "layer3.1", or of an attention behind a stage.
            features: F of that block, before recalibration, (B, C, H, W).
            shortcut: The block's shortcut, (B, C, H, W); without use behind a stage.

        Returns:
            (B, C, H, W); `onward` makes logits of it.
        """
        module = self.get_submodule(block)
        if block.endswith(BEHIND):
            return getattr(module, "resume", module)(features)
        return module.finish(features, shortcut)

    def onward(self, x: Tensor, after: str, until: str | None = None):
        """Runs what comes behind a block.

        Args:
            x: The output of the block `after`, (B, C, H, W).
            after: Name of a block.
            until: Name of a later block; None for all the rest.

        Returns:
            The output of the block `until`, or what the whole network returns.
        """
        names = [f"{s}.{i}" for s in STAGES for i, _ in self.get_submodule(s).named_children()]
        last = None if until is None else names.index(until) + 1
        for name in names[names.index(after) + 1 : last]:
            x = self.get_submodule(name)(x)
        return x if until else self.classify(x)

    def classify(self, x: Tensor) -> Tensor:
        """Logits (B, K) from the last stage's output (B, C, H, W)."""
        return self.fc(torch.flatten(self.avgpool(x), 1))


def _bottleneck_with(
    attention: str | None, size: tuple[int, int] | None = None
) -> type[Bottleneck]:
    # torchvision's _make_layer builds blocks itself and reads `expansion` off the class.
    class AttentionBottleneck(Bottleneck):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, attention=attention, size=size, **kwargs)

    return AttentionBottleneck


def _sizes_of_stages(
    attention: str | None, image_size: int | tuple[int, int] | None, strides: Sequence[int]
) -> list[tuple[int, int] | None]:
    """(H, W) of each stage's features behind strides of stem and stages; None if not needed."""
    if attention is None or not entry_of(attention).needs_size:
        return [None] * len(STAGES)
    if image_size is None:
        raise UserError(
            f"the parameters of attention {attention!r} depend on the size of the images; got "
            f"image_size None; try image_size=224"
        )
    size = (image_size, image_size) if isinstance(image_size, int) else tuple(image_size)
    sizes = []
    for stride in strides:
        size = tuple(math.ceil(side / stride) for side in size)  # as padding makes it
        sizes.append(size)
    return sizes[1:]


def parse_model_name(name: str) -> tuple[str | None, int]:
    """Splits "se_resnet50" into the attention ("se", or None) and the depth (50).

    Raises:
        UserError: No such network (lists the choices).
    """
    if name not in MODEL_NAMES:
        raise unknown_choice("model", name, MODEL_NAMES)
    attention, _, depth = name.rpartition("resnet")
    return attention.removesuffix("_") or None, int(depth)


def create_model(
    name: str,
    num_classes: int = 1000,
    *,
    width: int = 64,
    stem: str = "imagenet",
    image_size: int | tuple[int, int] | None = None,
) -> ResNet:
    """A network by name: resnet14, 26, 38, 50 or 101, plain or with attention before it ("se_").

    Args:
        name: E.g. "se_resnet50"; `MODEL_NAMES` lists them.
        num_classes: Outputs of the classifier.
        width: Planes of `layer1`; 64 is the paper's.
        stem: A key of `STEMS`; "tiny" and "cifar" are for small images.
        image_size: Side, or (H, W), of the images; needed by attention whose parameters depend on
            it ("ge_theta"), of no consequence for the others.

    Raises:
        UserError: Unknown name, or a number that cannot be.
    """
    attention, depth = parse_model_name(name)
    if stem not in STEMS:
        raise unknown_choice("stem", stem, STEMS)
    for setting, value in (("num_classes", num_classes), ("width", width)):
        if value < 1:
            raise UserError(f"{setting} must be at least 1; got {value}")
    blocks = BLOCKS_PER_STAGE[depth]
    return ResNet(blocks, num_classes, attention, width, stem, image_size=image_size)
