"""The network of instance recognition (section 4.2): a ResNet that embeds, with a BN neck.

Between the pooled feature and the identity classifier stands a BN (Luo et al., 2019). The last
stage keeps its resolution (stride 1). In training the classifier gives the class probability of
Eq. 1; at test the embedding alone is used.

Letters: B images, D embedding, K training identities.
"""

from collections.abc import Iterable
from http.client import HTTPException
from pickle import UnpicklingError
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torchvision.models import ResNet50_Weights, ResNet101_Weights

from dreal_lib.errors import UserError, unknown_choice
from dreal_lib.networks.backbones import BLOCKS_PER_STAGE, STAGES, STEMS, ResNet, parse_model_name
from dreal_lib.runtime.modes import evaluation_mode
from dreal_lib.settings.retrieval import RetrievalSettings

AS_DEFAULT = RetrievalSettings()

# The weights of 2015's recipe, which a paper of 2020 means by "pre-trained on ImageNet".
IMAGENET_WEIGHTS = {50: ResNet50_Weights.IMAGENET1K_V1, 101: ResNet101_Weights.IMAGENET1K_V1}

# No network, a download that was cut off (torch checks its hash), a file that is damaged.
UNAVAILABLE = (OSError, HTTPException, RuntimeError, EOFError, UnpicklingError)


class Embedded(NamedTuple):
    """What the network returns: logits (B, K), and the feature before and after the neck (B, D)."""

    logits: Tensor
    before_neck: Tensor
    after_neck: Tensor


class EmbeddingNet(ResNet):
    """ResNet, pooling, BN neck, identity classifier.

    Args:
        blocks_per_stage, num_classes, attention, width, stem, image_size: See `ResNet`;
            `num_classes` is K.
        settings: The open points of the task.
    """

    def __init__(
        self,
        blocks_per_stage: tuple[int, int, int, int],
        num_classes: int,
        attention: str | None = None,
        width: int = 64,
        stem: str = "imagenet",
        settings: RetrievalSettings = AS_DEFAULT,
        image_size: int | tuple[int, int] | None = None,
    ):
        super().__init__(blocks_per_stage, num_classes, attention, width, stem, 1, image_size)
        self.settings = settings
        dimensions = self.inplanes
        self.neck = nn.BatchNorm1d(dimensions)
        self.neck.bias.requires_grad_(settings.neck_bias == "learned")
        self.fc = nn.Linear(dimensions, num_classes, bias=settings.classifier_bias == "on")
        nn.init.normal_(self.fc.weight, std=0.001)
        if self.fc.bias is not None:
            nn.init.zeros_(self.fc.bias)

    def forward(self, images: Tensor) -> Embedded:
        """Logits and features of images (B, 3, H, W)."""
        x = self.maxpool(self.relu(self.bn1(self.conv1(images))))
        for stage in STAGES:
            x = self.get_submodule(stage)(x)
        return self.classify(x)

    def classify(self, x: Tensor) -> Embedded:
        """Logits and features from the last stage's output (B, C, H, W)."""
        before = torch.flatten(self.avgpool(x), 1)
        after = self.neck(before)
        return Embedded(self.fc(after), before, after)

    def embed(self, images: Tensor) -> Tensor:
        """The feature that is compared at test, (B, D), of images (B, 3, H, W).

        With `mirrored="mean"` it is the mean of the features of the image and of its mirror.
        """
        feature = getattr(self(images), self.settings.inference_feature)
        if self.settings.mirrored == "off":
            return feature
        mirror = getattr(self(images.flip(3)), self.settings.inference_feature)
        return (feature + mirror) / 2


def create_embedding(
    name: str,
    identities: int,
    *,
    width: int = 64,
    stem: str = "imagenet",
    pretrained: bool = False,
    settings: RetrievalSettings = AS_DEFAULT,
    image_size: int | tuple[int, int] | None = None,
) -> EmbeddingNet:
    """A network by name, as `dreal_lib.networks.backbones.create_model`.

    Args:
        name: E.g. "cbam_resnet50"; "resnet50" has no attention.
        identities: K, of the training set.
        width, stem, image_size: See `ResNet`.
        pretrained: Start the backbone from torchvision's ImageNet weights, which it downloads.
        settings: The open points of the task.

    Raises:
        UserError: Unknown name; no ImageNet weights for such a network, or they cannot be had.
    """
    attention, depth = parse_model_name(name)
    if stem not in STEMS:
        raise unknown_choice("stem", stem, STEMS)
    if identities < 1 or width < 1:
        raise UserError(f"identities and width must be at least 1; got {identities} and {width}")
    model = EmbeddingNet(
        BLOCKS_PER_STAGE[depth], identities, attention, width, stem, settings, image_size
    )
    if pretrained:
        _load_imagenet_weights(model, depth, width, stem)
    return model


def _load_imagenet_weights(model: EmbeddingNet, depth: int, width: int, stem: str) -> None:
    if depth not in IMAGENET_WEIGHTS or width != 64 or stem != "imagenet":
        raise UserError(
            f"there are no ImageNet weights for depth {depth}, width {width}, stem {stem!r}; "
            f"try --set pretrained=false"
        )
    try:
        weights = IMAGENET_WEIGHTS[depth].get_state_dict(progress=False, check_hash=True)
    except UNAVAILABLE as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise UserError(
            f"torchvision cannot fetch its ImageNet weights ({reason}); put them into torch's hub "
            f"folder, or start without: --set pretrained=false"
        ) from None
    backbone = {key: value for key, value in weights.items() if not key.startswith("fc.")}
    unexpected = model.load_state_dict(backbone, strict=False).unexpected_keys
    assert not unexpected, unexpected  # names are torchvision's own


@torch.no_grad()
def embed_all(model: EmbeddingNet, batches: Iterable[tuple[Tensor, ...]]) -> Tensor:
    """Features (N, D), float32 on the CPU, of all images of a split, in evaluation mode."""
    with evaluation_mode(model):
        return torch.cat([model.embed(batch[0]).float().cpu() for batch in batches])
