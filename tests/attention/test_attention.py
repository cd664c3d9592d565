"""What is a family's own: initial states, orders, options; what an actor is.

What holds for all is in `test_every_attention.py`.
"""

import pytest
import torch
from slow_attention import convolved, ge_minus_of_extent
from torch import nn

from dreal_lib import reinforce
from dreal_lib.actor_critic.blocks import find_maps
from dreal_lib.actor_critic.counterfactual import observed
from dreal_lib.attention.actor import Actor, is_actor, kind_of, reduce_to_map
from dreal_lib.attention.cbam import CBAM, SpatialAttention
from dreal_lib.attention.eca import kernel_size
from dreal_lib.attention.registry import create_attention
from dreal_lib.attention.se import SqueezeExcitation
from dreal_lib.attention.srm import StyleRecalibration
from dreal_lib.errors import UserError
from dreal_lib.networks.backbones import create_model


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


def test_cbam_is_channel_then_spatial():
    module, features = moved(CBAM(16, 4)).eval(), features_like(2, 16, 4, 4)
    refined = module.channel(features)
    torch.testing.assert_close(module(features), module.spatial(refined), rtol=0, atol=0)
    assert not torch.allclose(module(features), module.channel(module.spatial(features)))


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


# --- ECA, GE, coordinate, GC, non-local ----------------------------------------------------------


@pytest.mark.parametrize(
    ("channels", "kernel"), [(16, 3), (64, 3), (128, 5), (256, 5), (512, 5), (1024, 5), (2048, 7)]
)
def test_eca_s_kernel_grows_with_the_channels(channels, kernel):
    assert kernel_size(channels) == kernel
    assert create_attention("eca", channels).conv.weight.shape == (1, 1, kernel)


def test_eca_s_kernel_may_be_given_and_must_be_odd():
    assert create_attention("eca", 64, kernel=9).conv.weight.numel() == 9
    with pytest.raises(UserError, match=r"kernel must be odd.*got 4; try 5"):
        create_attention("eca", 64, kernel=4)


@pytest.mark.parametrize(("extent", "size"), [(2, (4, 6)), (4, (8, 8)), (2, (5, 3))])
def test_gather_excite_of_an_extent_gates_windows(extent, size):
    x = features_like(2, 3, *size)
    torch.testing.assert_close(
        create_attention("ge", 3, extent=extent)(x), ge_minus_of_extent(x, extent)
    )


def test_gather_excite_theta_of_an_extent_is_strided_convolutions():
    """Extent 4: two depth-wise ones with stride 2, the gates spread by nearest neighbour."""
    actor = moved(create_attention("ge_theta", 3, (8, 12), extent=4)).eval()
    x = features_like(2, 3, 8, 12)
    scale = 1 / (1 + 1e-5) ** 0.5  # a BN with running mean 0 and variance 1

    def layer(at: int, of: torch.Tensor) -> torch.Tensor:
        kernels, norm = actor.gather[at].weight, actor.gather[at + 1]
        maps = [convolved(of[:, c : c + 1], kernels[c], stride=2) for c in range(3)]
        return torch.stack(maps, 1) * scale * norm.weight[:, None, None] + norm.bias[:, None, None]

    gathered = layer(3, layer(0, x).clamp(min=0))
    assert gathered.shape == (2, 3, 2, 3)
    gates = torch.sigmoid(gathered).repeat_interleave(4, 2).repeat_interleave(4, 3)
    torch.testing.assert_close(actor(x), x * gates)
    assert actor.kind == "full"


def test_gather_excite_s_extent_must_be_a_power_of_two():
    with pytest.raises(UserError, match=r"power of 2.*got 3; try 4"):
        create_attention("ge", 64, extent=3)


@pytest.mark.parametrize(("channels", "width"), [(16, 8), (256, 8), (512, 16), (2048, 64)])
def test_coordinate_attention_s_narrow_part(channels, width):
    assert create_attention("coordinate", channels).reduce.out_channels == width


@pytest.mark.parametrize("name", ["gc", "non_local"])
def test_what_is_added_is_nothing_at_first_in_a_network_too(name):
    model = create_model(f"{name}_resnet14", width=16, stem="cifar")
    actor = next(module for module in model.modules() if is_actor(module))
    x = features_like(2, next(actor.parameters()).shape[1], 4, 4).float()
    assert torch.equal(actor(x), x)


def test_a_network_leaves_an_initialisation_of_its_own_alone():
    torch.manual_seed(0)
    model = create_model("non_local_resnet14", width=32, stem="cifar")
    assert model.layer2.attention.theta.weight.std().item() == pytest.approx(0.01, rel=0.1)
    assert model.layer2[0].conv1.weight.std().item() > 0.05


# --- modules of one's own ------------------------------------------------------------------------


class Own(nn.Module):
    """Three methods and no declaration; `made` is what it attends to, for one image."""

    def __init__(self, *made: int, adds: bool = False):
        super().__init__()
        self.weight = nn.Parameter(torch.rand(made) + 0.1)
        self.adds = adds

    def extract(self, features):
        return features.mean((1, 2, 3))

    def attend(self, descriptor):
        ones = (1,) * self.weight.dim()
        return torch.sigmoid(descriptor.reshape(-1, *ones) * self.weight)

    def recalibrate(self, features, attention):
        attention = attention.reshape(attention.shape + (1,) * (4 - attention.dim()))
        return features + attention if self.adds else features * attention

    def forward(self, features):
        return self.recalibrate(features, self.attend(self.extract(features)))


class OwnNetwork(nn.Module):
    def __init__(self, *actors: nn.Module):
        super().__init__()
        self.stage = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), *actors)
        self.fc = nn.Linear(8, 4)

    def forward(self, images):
        return self.fc(self.stage(images).mean((2, 3)))


def found_kind(actor: nn.Module) -> str:
    (item,) = find_maps(OwnNetwork(actor), ("stage",), (4, 5))
    return item.kind


@pytest.mark.parametrize(
    ("made", "kind"), [((8,), "channel"), ((8, 1, 1), "channel"), ((1, 4, 5), "spatial")]
)
def test_without_a_declaration_the_map_s_shape_says_its_kind(made, kind):
    assert found_kind(Own(*made)) == kind


def test_a_map_over_channels_and_positions_is_asked_for():
    actor = Own(8, 4, 5)
    with pytest.raises(UserError, match=r"Own may multiply .*\(8, 4, 5\) or add.*kind = 'full'"):
        found_kind(actor)
    actor.kind = "full"
    assert found_kind(actor) == "full"


def test_full_maps_need_the_size_of_the_images():
    with pytest.raises(UserError, match=r"full attention maps.*image_size None; try image_size="):
        reinforce(create_model("coordinate_resnet14", width=4))


def test_a_full_map_that_is_declared_is_reinforced(make_batch):
    """F~ is then F: nothing is left to average (section 3.2)."""
    model = OwnNetwork(Own(8, 4, 5)).double()
    model.stage[1].kind = "full"
    agent = reinforce(model, (4, 5), ["stage"])
    images = features_like(6, 3, 4, 5)
    step = agent.training_step(images, model(images).argmax(1))
    assert agent.critics["stage_full"].lstm.input_size == 2 * 8 * 4 * 5
    step.loss.backward()
    assert model.stage[1].weight.grad.abs().sum() > 0
    assert agent.critics["stage_full"].lstm.weight_ih_l0.grad.abs().sum() > 0


def test_a_module_that_adds_is_not_taken_for_one_that_multiplies():
    with pytest.raises(UserError, match=r"Own does not multiply.*recalibrate\(2 F, A\)"):
        found_kind(Own(8, adds=True))
    declared = Own(8, adds=True)
    declared.kind = "features"
    with pytest.raises(UserError, match=r"'stage' \(Own\) is added .*leave the stage out"):
        found_kind(declared)


def test_what_adds_stands_beside_what_multiplies():
    """It is left out: neither judged, nor held where later maps are."""
    adds = Own(8, adds=True)
    adds.kind = "features"
    model = OwnNetwork(adds, Own(8)).double()
    agent = reinforce(model, stages=["stage"], later_maps="held")
    assert [item.block for item in agent.maps] == ["stage.2"]
    images = features_like(4, 3, 4, 5)
    step = agent.training_step(images, model(images).argmax(1))
    assert step.rewards["stage.2"].abs().min() > 0
    with observed(model, agent.maps) as trace:
        model(images)
    assert list(trace.maps) == [model.stage[2]]


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("chanel", "unknown kind of Own 'chanel'; did you mean 'channel'"),
        (
            "spatial",
            r"declares kind 'spatial', .*got a map \(8,\) an image; declare",
        ),
    ],
)
def test_a_declaration_that_cannot_be_is_refused(kind, said):
    actor = Own(8)
    actor.kind = kind
    with pytest.raises(UserError, match=said):
        found_kind(actor)


def test_a_step_that_writes_to_its_features_is_judged_by_what_it_returns():
    class InPlace(Own):
        def recalibrate(self, features, attention):
            return features.mul_(attention[:, :, None, None])

    x = features_like(1, 8, 4, 5)
    assert kind_of(InPlace(8), x, torch.ones(1, 8)) == "channel"


def test_a_map_of_axes_that_the_features_lack_needs_a_reduced_state_of_its_own():
    with pytest.raises(UserError, match=r"4, 5\) cannot be averaged to a map \(2, 20, 20\)"):
        reduce_to_map(features_like(2, 8, 4, 5), torch.zeros(2, 20, 20))


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

    model = OwnNetwork(Efficient())
    images, labels = make_batch(model)
    assert reinforce(model, stages=["stage"]).training_step(images, labels).loss.isfinite()
