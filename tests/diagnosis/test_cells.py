"""Where cells lie: followed through networks, against gradients; and maps laid over images."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from dreal_lib.data.boxes import Regions
from dreal_lib.diagnosis.cells import Cells, cells_of, spread
from dreal_lib.diagnosis.localization import laid, localize
from dreal_lib.diagnosis.receptive_fields import cells_of_layer
from dreal_lib.errors import UserError
from dreal_lib.networks.backbones import MODEL_NAMES, create_model
from dreal_lib.networks.cifar import create_cifar


class Brightness(nn.Module):
    """Logits (0, brightness) by averaging alone: a cell is bright where its receptive field is."""

    def __init__(self, *layers):
        super().__init__()
        self.features = nn.Sequential(*layers)
        for module in self.features.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.ones_(module.weight)
                module.bias = None
            if isinstance(module, nn.ConvTranspose2d):  # one that interpolates
                weights = torch.tensor([1.0, 3.0, 3.0, 1.0])
                module.weight.data[:] = weights.outer(weights)
                module.bias = None

    def forward(self, images):
        bright = self.features(images).mean((1, 2, 3))
        return torch.stack((torch.zeros_like(bright), bright), dim=1)


class Padded(nn.Module):
    def forward(self, x):
        return F.pad(x, (2, 0, 3, 0))[:, :, :, ::2]


class Mixed(nn.Module):
    """Rows and columns change places on the way, and a gate of global means is of no place."""

    def __init__(self):
        super().__init__()
        self.inner = nn.Conv2d(3, 3, (3, 5), stride=(2, 1), padding=(1, 0))

    def forward(self, x):
        turned = self.inner(x).permute(0, 2, 3, 1).contiguous().transpose(1, 2)
        return turned.permute(0, 3, 2, 1) * (1 + x.mean((2, 3), keepdim=True))


def conv(kernel, stride=1, padding=0, dilation=1):
    return nn.Conv2d(3, 3, kernel, stride, padding, dilation)


STACKS = {
    "padded": [conv(3, 2, 1), conv(3, 2, 1), conv(3, 1, 1)],
    "unpadded": [conv(5, 2), conv(3, 3)],
    "even": [conv(4, 2, 1), conv(2, 2)],
    "dilated": [conv(3, 1, 2, 2), conv((5, 3), (2, 1), (1, 0))],
    "pooled": [nn.AvgPool2d(3, 2, 1), nn.AvgPool2d(2)],
    "enlarged": [conv(3, 4, 1), nn.ConvTranspose2d(3, 3, 4, 2, 1), conv(3, 1, 1)],
    "interpolated": [conv(3, 4, 1), nn.Upsample(scale_factor=2, mode="bilinear"), conv(3, 2, 0)],
    "cut": [Padded(), conv(3, 2, 1)],
    "turned": [Mixed(), conv(3, 2, 1)],
}


@pytest.mark.parametrize("name", STACKS)
def test_a_cell_lies_at_the_middle_of_what_it_averages(name):
    """Of a symmetric kernel that is the centroid of its gradient, if no edge cuts it."""
    model = Brightness(*STACKS[name]).double()
    image = torch.rand(1, 3, 41, 37, dtype=torch.float64, requires_grad=True)
    cells, out = cells_of_layer(model, model.features, image), model.features(image)
    assert cells.traced
    assert (len(cells.rows), len(cells.columns)) == out.shape[2:]
    middle_row, middle_column = (count // 2 for count in out.shape[2:])
    for row, column in [(middle_row, middle_column - 1), (middle_row - 1, middle_column)]:
        (gradient,) = torch.autograd.grad(out[0, :, row, column].sum(), image, retain_graph=True)
        if name == "turned":  # less the gate's part, which is the same at every place
            gradient = gradient - gradient.flatten()[-1]
        share = gradient[0].sum(0) / gradient.sum()
        middle = [float((share.sum(1 - d) * torch.arange(share.shape[d])).sum()) for d in (0, 1)]
        assert middle == pytest.approx([cells.rows[row], cells.columns[column]], abs=1e-9)


@pytest.mark.parametrize(
    ("stem", "size", "expected"),
    [("tiny", (48, 32), ((0, 16, 32), (0, 16))), ("imagenet", (96, 64), ((0, 32, 64), (0, 32)))],
)
def test_cells_of_a_resnet_begin_at_the_edge(stem, size, expected):
    model = create_model("cbam_resnet14", 4, width=4, stem=stem).train()
    state = {name: value.clone() for name, value in model.state_dict().items()}
    cells = cells_of_layer(model, model.layer4[-1], torch.rand(2, 3, *size))
    assert (cells.rows, cells.columns, cells.size) == (*expected, size)
    assert model.training
    assert not model.layer4[-1]._forward_hooks
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())


ATTENTIONS = sorted(name for name in MODEL_NAMES if name.endswith("resnet14"))


@pytest.mark.parametrize("name", ATTENTIONS)
def test_attention_moves_no_cell(name):
    """Also where a stage has as many channels as rows, so that a gate could pass for places."""
    model = create_model(name, 4, width=4, stem="cifar", image_size=16)
    cells = cells_of_layer(model, model.layer2[-1], torch.rand(1, 3, 16, 16))
    assert cells.rows == cells.columns == tuple(range(0, 16, 2))


def test_a_densenet_pools_by_two():
    model = create_cifar("densenet40", 4)
    cells = cells_of_layer(model, model.bn, torch.rand(1, 3, 32, 32))
    assert cells.rows == tuple(1.5 + 4 * i for i in range(8))


def test_a_layer_without_places_is_spread_evenly_and_says_so():
    model = nn.Sequential(nn.Flatten(), nn.Linear(3 * 36, 3 * 9), nn.Unflatten(1, (3, 3, 3)))
    cells = cells_of_layer(model, model, torch.rand(1, 3, 6, 6))
    assert cells == spread((3, 3), (6, 6)) == Cells((0.5, 2.5, 4.5), (0.5, 2.5, 4.5), (6, 6), False)


@pytest.mark.parametrize("layer", [1, 2])
def test_what_is_no_feature_map_is_refused(layer):
    model = nn.Sequential(conv(3), nn.Flatten())
    module = [*model, nn.ReLU()][layer]
    with pytest.raises(UserError, match="feature map" if layer == 1 else "does not run"):
        cells_of_layer(model, module, torch.rand(1, 3, 6, 6))


def test_a_map_is_linear_between_centres_and_keeps_its_edge_beyond():
    cells = Cells((0, 4), (1, 3, 5), (6, 7))
    maps = np.array([[[0, 1, 0], [4, 1, 8]]], dtype=np.float32)
    large = cells.laid(maps)[0]
    assert large[:, 1].tolist() == [0, 1, 2, 3, 4, 4]
    assert large[0].tolist() == [0, 0, 0.5, 1, 0.5, 0, 0]
    assert np.allclose(laid(torch.from_numpy(maps), cells)[0], large)
    twice = cells.laid(maps, (12, 14))[0]  # pixels of half the size, at -0.25, 0.25, 0.75, ...
    assert twice[:5, 0].tolist() == [0, 0.25, 0.75, 1.25, 1.75]


def test_cells_spread_evenly_are_what_libraries_draw():
    maps = torch.rand(2, 3, 4, generator=torch.Generator().manual_seed(0))
    resized = F.interpolate(maps[:, None], (48, 40), mode="bilinear")[:, 0]
    assert np.allclose(spread((3, 4), (48, 40)).laid(maps), resized, atol=1e-6)


def test_settings_say_where_cells_lie():
    cells = Cells((0.0, 16.0), (0.0,), (32, 16))
    assert cells_of({"image_size": [32, 16], **cells.settings()}, (2, 1)) == cells
    assert cells_of({"image_size": 32}, (2, 2)) == spread((2, 2), (32, 32))


class Spot:
    """The object is the spot of each image and two pixels around it."""

    def __init__(self, spots, side):
        self.spots, self.side = spots, side

    def regions(self, start, count):
        box = torch.zeros(count, self.side, self.side, dtype=torch.bool)
        for one, (row, column) in zip(box, self.spots[start : start + count], strict=True):
            one[max(0, row - 2) : row + 3, max(0, column - 2) : column + 3] = True
        return Regions(box, box, torch.zeros(count, dtype=torch.bool))


def test_one_bright_spot_is_found_where_it_is():
    """Spots at and around the centres of a stride of 8; resized, every peak lies 3.5 off."""
    model, side = Brightness(conv(3, 2, 1), conv(3, 2, 1), conv(3, 2, 1)), 48
    spots = [(r, c) for r in (8, 15, 17, 24, 33) for c in (7, 16, 25, 32)]
    images = torch.zeros(len(spots), 3, side, side)
    for image, (row, column) in zip(images, spots, strict=True):
        image[:, row, column] = 1
    batch = (images, torch.ones(len(spots), dtype=torch.int64))
    found = localize(model, [batch], Spot(spots, side), layer="features")
    assert found.settings["rows"] == tuple(range(0, 48, 8))
    assert found.scores["pointing"].tolist() == [1] * len(spots)
    places = np.arange(side)
    large = cells_of(found.settings, found.cam.shape[1:]).laid(found.cam.astype(np.float32))
    for spot, one in zip(spots, large, strict=True):
        centroid = [(one.sum(1 - axis) * places).sum() / one.sum() for axis in (0, 1)]
        assert np.abs(np.subtract(centroid, spot)).max() < 2.5  # of cells 8 apart
