"""Fully connected global attention against its formula, position by position."""

import math

import pytest
import torch
from torch import nn

from dreal_lib.attention.fc import (
    FullyConnectedChannel,
    FullyConnectedParallel,
    FullyConnectedSpatial,
)
from dreal_lib.errors import UserError
from dreal_lib.settings.rga import FullyConnectedSettings

CHANNELS, SIZE = 16, (2, 4)
EVERY = {
    "S": FullyConnectedSpatial,
    "C": FullyConnectedChannel,
    "S//C": FullyConnectedParallel,
}
STAGES = ((256, 2048), (512, 512), (1024, 128), (2048, 128))  # channels and positions, ResNet-50
SIZES = {2048: (64, 32), 512: (32, 16), 128: (16, 8)}


def moved(module: nn.Module) -> nn.Module:
    """Every parameter and running statistic off its initial value; evaluation mode."""
    generator = torch.Generator().manual_seed(1)
    module = module.double().eval()
    with torch.no_grad():
        for name, value in module.state_dict().items():
            if value.is_floating_point():
                drawn = torch.randn(value.shape, generator=generator, dtype=torch.float64)
                value.copy_(drawn.abs() + 0.5 if name.endswith("running_var") else drawn / 2)
    return module


def features() -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(3, CHANNELS, *SIZE, generator=generator, dtype=torch.float64)


def embedded(x: torch.Tensor, embedding: nn.Sequential) -> list[list[float]]:
    """[channel][position] of one image (C, H, W)."""
    conv, bn = embedding[0], embedding[1]
    columns = x.flatten(1).T.tolist()
    rows = []
    for e, weights in enumerate(conv.weight[:, :, 0, 0].tolist()):
        deviation = math.sqrt(bn.running_var[e].item() + 1e-5)
        scale, shift = bn.weight[e].item() / deviation, bn.bias[e].item()
        sums = [sum(w * v for w, v in zip(weights, column, strict=True)) for column in columns]
        rows.append([max((s - bn.running_mean[e].item()) * scale + shift, 0) for s in sums])
    return rows


def spatial_logits(rows: list[list[float]], layers: nn.Sequential) -> list[float]:
    mean = [sum(column) / len(rows) for column in zip(*rows, strict=True)]
    first, second = layers[0].weight.tolist(), layers[2].weight.tolist()
    hidden = [max(sum(w * v for w, v in zip(row, mean, strict=True)), 0) for row in first]
    return [sum(w * v for w, v in zip(row, hidden, strict=True)) for row in second]


def channel_logits(rows: list[list[float]], layer: nn.Linear) -> list[float]:
    mean = [sum(row) / len(row) for row in rows]
    return [sum(w * v for w, v in zip(row, mean, strict=True)) for row in layer.weight.tolist()]


def sigmoid(values: list[float]) -> torch.Tensor:
    return torch.tensor([1 / (1 + math.exp(-v)) for v in values], dtype=torch.float64)


@pytest.mark.parametrize("source", ["embedded", "raw"])
@pytest.mark.parametrize("hidden", ["double", "eighth"])
def test_spatial_by_hand(source, hidden):
    settings = FullyConnectedSettings(spatial_input=source, hidden=hidden, embedding="eighth")
    module, x = moved(FullyConnectedSpatial(CHANNELS, SIZE, settings=settings)), features()
    assert module.positions[0].out_features == {"double": 16, "eighth": 1}[hidden]
    for image, out in zip(x, module(x), strict=True):
        raw = image.flatten(1).tolist()
        rows = raw if source == "raw" else embedded(image, module.embedding)
        attention = sigmoid(spatial_logits(rows, module.positions)).reshape(1, *SIZE)
        torch.testing.assert_close(out, image * attention)


@pytest.mark.parametrize("embedding", ["fixed", "eighth"])
def test_channel_by_hand(embedding):
    settings = FullyConnectedSettings(embedding=embedding)
    module, x = moved(FullyConnectedChannel(CHANNELS, settings=settings)), features()
    assert module.embedding[0].out_channels == {"fixed": 256, "eighth": 2}[embedding]
    for image, out in zip(x, module(x), strict=True):
        attention = sigmoid(channel_logits(embedded(image, module.embedding), module.channel))
        torch.testing.assert_close(out, image * attention[:, None, None])


@pytest.mark.parametrize("gate", ["shared", "separate"])
@pytest.mark.parametrize("source", ["embedded", "raw"])
def test_parallel_by_hand(gate, source):
    settings = FullyConnectedSettings(parallel_gate=gate, embedding="eighth", spatial_input=source)
    module, x = moved(FullyConnectedParallel(CHANNELS, SIZE, settings=settings)), features()
    for image, out in zip(x, module(x), strict=True):
        rows = embedded(image, module.embedding)
        channel = channel_logits(rows, module.channel)
        if source == "raw":
            rows = image.flatten(1).tolist()
        elif gate == "separate":
            rows = embedded(image, module.spatial_embedding)
        spatial = spatial_logits(rows, module.positions)
        if gate == "shared":
            attention = torch.stack([sigmoid([s * c for s in spatial]) for c in channel])
        else:
            attention = sigmoid(channel)[:, None] * sigmoid(spatial)
        torch.testing.assert_close(out, image * attention.reshape(image.shape))


@pytest.mark.parametrize(
    ("name", "hidden", "behind_the_embedding"),
    [("S", "double", 17_956_864), ("S", "eighth", 1_122_304), ("C", "double", 983_040)],
)
def test_parameters_at_the_four_stages_of_resnet50(name, hidden, behind_the_embedding):
    settings = FullyConnectedSettings(hidden=hidden)
    found = 0
    for channels, positions in STAGES:
        size = () if name == "C" else (SIZES[positions],)
        with torch.device("meta"):
            module = EVERY[name](channels, *size, settings=settings)
        found += sum(p.numel() for p in module.parameters())
    assert found == 985_088 + behind_the_embedding


@pytest.mark.parametrize("name", ["S", "S//C"])
def test_sizes_that_do_not_fit_are_refused(name):
    with pytest.raises(UserError, match=r"size \(2, 4\); got \(5, 6\); make the network for"):
        EVERY[name](CHANNELS, SIZE).eval()(torch.zeros(1, CHANNELS, 5, 6))


def test_the_channel_map_fits_every_size():
    x = torch.randn(2, CHANNELS, 5, 6)
    assert FullyConnectedChannel(CHANNELS)(x).shape == x.shape
