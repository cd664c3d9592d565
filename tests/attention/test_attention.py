"""Attention modules against their formulae (Eqs. 4 to 7), written out number by number."""

import math

import pytest
import torch
from torch import nn

from dreal_lib import reinforce
from dreal_lib.attention.actor import Actor, is_actor, reduce_to_map
from dreal_lib.attention.cbam import CBAM, ChannelAttention, SpatialAttention
from dreal_lib.attention.registry import ATTENTION, create_attention
from dreal_lib.attention.se import SqueezeExcitation
from dreal_lib.attention.srm import StyleRecalibration
from dreal_lib.errors import UserError

ACTORS = {
    "se": lambda: SqueezeExcitation(8, 4),
    "channel": lambda: ChannelAttention(8, 4),
    "spatial": SpatialAttention,
    "srm": lambda: StyleRecalibration(8),
}


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def features_like(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def moved(actor: nn.Module) -> nn.Module:
    """The module with every parameter off its initial value."""
    generator = torch.Generator().manual_seed(1)
    actor = actor.double()
    with torch.no_grad():
        for parameter in actor.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
    return actor


def mlp(actor: nn.Module, vector: list[float]) -> list[float]:
    """Two fully connected layers with ReLU between, in plain Python."""

    def linear(layer, x):
        rows = zip(layer.weight.tolist(), layer.bias.tolist(), strict=True)
        return [sum(w * v for w, v in zip(row, x, strict=True)) + b for row, b in rows]

    return linear(actor.fc2, [max(v, 0) for v in linear(actor.fc1, vector)])


def test_squeeze_excitation_by_hand():
    actor, features = moved(SqueezeExcitation(8, 4)), features_like(2, 8, 3, 5)
    out = actor(features)
    for b in range(2):
        means = [sum(features[b, c].flatten().tolist()) / 15 for c in range(8)]
        for c, gate in enumerate(map(sigmoid, mlp(actor, means))):
            torch.testing.assert_close(out[b, c], features[b, c] * gate)


def test_cbam_channel_map_by_hand():
    actor, features = moved(ChannelAttention(8, 4)), features_like(2, 8, 3, 5)
    attention = actor.attend(actor.extract(features))
    for b in range(2):
        rows = [features[b, c].flatten().tolist() for c in range(8)]
        average = mlp(actor, [sum(row) / 15 for row in rows])
        largest = mlp(actor, [max(row) for row in rows])
        expected = [sigmoid(a + m) for a, m in zip(average, largest, strict=True)]
        assert attention[b].tolist() == pytest.approx(expected)


def test_cbam_spatial_map_by_hand():
    """A 7x7 cross-correlation of [average, maximum] over channels, padded with 0, then BN."""
    actor = moved(SpatialAttention()).eval()
    actor.bn.running_mean.fill_(0.3)
    actor.bn.running_var.fill_(2.0)
    features = features_like(1, 5, 4, 6)
    attention = actor.attend(actor.extract(features))
    kernel, grid = actor.conv.weight[0].tolist(), features[0].tolist()
    gamma, beta = actor.bn.weight.item(), actor.bn.bias.item()

    def pooled(i: int, j: int) -> tuple[float, float]:
        if not (0 <= i < 4 and 0 <= j < 6):
            return 0.0, 0.0
        column = [grid[c][i][j] for c in range(5)]
        return sum(column) / 5, max(column)

    for i in range(4):
        for j in range(6):
            total = sum(
                kernel[k][u][v] * pooled(i + u - 3, j + v - 3)[k]
                for k in range(2)
                for u in range(7)
                for v in range(7)
            )
            normal = (total - 0.3) / math.sqrt(2.0 + 1e-5) * gamma + beta
            assert attention[0, 0, i, j].item() == pytest.approx(sigmoid(normal))


def test_cbam_is_channel_then_spatial():
    module, features = moved(CBAM(16, 4)).eval(), features_like(2, 16, 4, 4)
    refined = module.channel(features)
    torch.testing.assert_close(module(features), module.spatial(refined), rtol=0, atol=0)
    assert not torch.allclose(module(features), module.channel(module.spatial(features)))


def test_style_recalibration_by_hand():
    actor, features = moved(StyleRecalibration(4)), features_like(3, 4, 2, 3)
    attention = actor.attend(actor.extract(features))
    style = [[0.0] * 4 for _ in range(3)]
    for b in range(3):
        for c in range(4):
            values = features[b, c].flatten().tolist()
            mean = sum(values) / 6
            deviation = math.sqrt(sum((v - mean) ** 2 for v in values) / 5 + 1e-5)  # unbiased
            style[b][c] = actor.cfc[c, 0].item() * mean + actor.cfc[c, 1].item() * deviation
    for c in range(4):
        column = [style[b][c] for b in range(3)]
        mean = sum(column) / 3
        variance = sum((v - mean) ** 2 for v in column) / 3  # BN normalises with the biased one
        for b in range(3):
            normal = (column[b] - mean) / math.sqrt(variance + 1e-5)
            expected = sigmoid(actor.bn.weight[c].item() * normal + actor.bn.bias[c].item())
            assert attention[b, c].item() == pytest.approx(expected)


def test_initial_gates():
    features = features_like(4, 32, 4, 4).float()
    srm = StyleRecalibration(32)
    assert (srm.attend(srm.extract(features)) == 0.5).all()
    cbam = CBAM(32)
    assert (cbam.spatial.attend(cbam.spatial.extract(features)) == 0.5).all()
    assert cbam.channel.attend(cbam.channel.extract(features)).std() > 0
    se = SqueezeExcitation(32)
    assert se.attend(se.extract(features)).std() > 0


def test_initial_settings_of_the_modules():
    se = SqueezeExcitation(64)
    assert se.fc1.out_features == 64 // 16
    assert se.fc1.bias is not None
    assert se.fc2.bias is not None
    spatial = SpatialAttention()
    assert (spatial.bn.momentum, spatial.conv.bias, spatial.bn.weight.item()) == (0.01, None, 0)
    assert spatial.conv.weight.shape == (1, 2, 7, 7)
    srm = StyleRecalibration(8)
    assert srm.bn.momentum == 0.1
    assert srm.cfc.shape == (8, 2)
    assert srm.no_weight_decay


@pytest.mark.parametrize("make", ACTORS.values(), ids=ACTORS)
def test_forward_is_the_three_steps(make):
    actor, features = moved(make()), features_like(3, 8, 4, 5)
    attention = actor.attend(actor.extract(features))
    shape = (3, 1, 4, 5) if isinstance(actor, SpatialAttention) else (3, 8, 1, 1)
    torch.testing.assert_close(actor(features), features * attention.reshape(shape), rtol=0, atol=0)
    torch.testing.assert_close(
        actor.recalibrate(features, attention), features * attention.reshape(shape), rtol=0, atol=0
    )


@pytest.mark.parametrize("make", ACTORS.values(), ids=ACTORS)
def test_reduced_state_is_the_mean_over_what_the_map_lacks(make):
    actor, features = moved(make()), features_like(3, 8, 4, 5)
    descriptor = actor.extract(features)
    attention = actor.attend(descriptor)
    spatial = isinstance(actor, SpatialAttention)
    expected = features.mean(1, keepdim=True) if spatial else features.mean((2, 3))
    torch.testing.assert_close(actor.reduced_state(descriptor), expected)
    torch.testing.assert_close(reduce_to_map(features, attention), expected)


@pytest.mark.parametrize(
    ("shape", "axes"),
    [((2, 8), (2, 3)), ((2, 1, 4, 5), (1,)), ((2, 8, 1, 1), (2, 3)), ((2, 8, 4, 5), ())],
)
def test_reduce_to_map_for_maps_of_any_shape(shape, axes):
    features = features_like(2, 8, 4, 5)
    reduced = reduce_to_map(features, torch.zeros(shape))
    expected = features
    for axis in axes:
        expected = expected.sum(axis, keepdim=True) / features.shape[axis]
    torch.testing.assert_close(reduced, expected.reshape(shape))


@pytest.mark.parametrize("make", ACTORS.values(), ids=ACTORS)
def test_gradients_against_finite_differences(make):
    actor = moved(make())
    features = features_like(3, 8, 3, 3).requires_grad_()
    names, parameters = zip(*actor.named_parameters(), strict=True)

    def call(x, *values):
        return torch.func.functional_call(actor, dict(zip(names, values, strict=True)), (x,))

    assert torch.autograd.gradcheck(call, (features, *parameters))


def test_srm_refuses_maps_of_one_pixel():
    with pytest.raises(UserError, match=r"1x1.*larger images or the small-image stem"):
        StyleRecalibration(8)(torch.zeros(4, 8, 1, 1))


@pytest.mark.parametrize("name", ["se", "cbam"])
def test_reduction_must_divide_the_channels(name):
    rule = r"reduction must divide the channels; got 100 channels, reduction 16; try 20"
    with pytest.raises(UserError, match=rule):
        create_attention(name, 100)


@pytest.mark.parametrize("channels", [1, 2, 17])
def test_few_or_odd_channels_are_refused_in_one_line(channels):
    with pytest.raises(UserError, match="reduction must divide the channels"):
        SqueezeExcitation(channels)


def test_unknown_attention_lists_the_choices_and_the_nearest():
    with pytest.raises(UserError, match=r"'cbma'; did you mean 'cbam'\?; choices: se, cbam, srm"):
        create_attention("cbma", 64)
    assert list(ATTENTION) == ["se", "cbam", "srm"]


def test_an_actor_is_known_by_its_methods():
    class Own(nn.Module):
        def extract(self, features): ...
        def attend(self, descriptor): ...
        def recalibrate(self, features, attention): ...

    assert is_actor(Own())
    assert not is_actor(CBAM(16))
    assert not is_actor(nn.Identity())


def test_an_actor_of_ones_own_on_the_base_class_needs_no_reduced_state(make_batch):
    """The base says so: actors without `reduced_state` work too."""

    class Efficient(Actor):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv1d(1, 1, 3, padding=1)

        def extract(self, features):
            return features.mean((2, 3))

        def attend(self, descriptor):
            return torch.sigmoid(self.conv(descriptor.unsqueeze(1)).squeeze(1))

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.stage = nn.Sequential(nn.Conv2d(3, 8, 3), Efficient())
            self.fc = nn.Linear(8, 4)

        def forward(self, images):
            return self.fc(self.stage(images).mean((2, 3)))

    model = Net()
    images, labels = make_batch(model)
    assert reinforce(model, stages=["stage"]).training_step(images, labels).loss.isfinite()
