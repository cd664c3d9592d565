"""What is a family's own: initial states, orders, options.

What holds for all is in `test_every_attention.py`.
"""

import pytest
import torch
from slow_attention import convolved, ge_minus_of_extent
from torch import nn

from dreal_lib.attention.actor import is_actor
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
