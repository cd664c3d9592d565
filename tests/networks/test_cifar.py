"""The networks of RGA's Table 7: parameters to the unit, the attention's place, and their parts."""

from functools import cache, partial

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from dreal_lib.attention.rga import SpatialThenChannel
from dreal_lib.attention.se import SqueezeExcitation
from dreal_lib.errors import UserError
from dreal_lib.networks.cifar import ARCHITECTURES, create_cifar, rga_ratios
from dreal_lib.settings.rga import CifarSettings

# Parameters with the classifiers of CIFAR-10 and CIFAR-100.
PLAIN = {
    "resnet110": (1_727_962, 1_733_812),
    "resnet218": (3_477_850, 3_483_700),
    "densenet100": (6_979_642, 7_084_852),
    "densenet115": (9_302_122, 9_423_532),
    "densenet_bc100": (769_162, 800_032),
    "densenet_bc112": (932_986, 967_636),
}
AS_PUBLISHED = CifarSettings()
WITH_RGA = [
    ("resnet110", AS_PUBLISHED, (3_057_734, 3_063_584)),
    ("densenet100", AS_PUBLISHED, (7_121_730, 7_226_940)),
    ("densenet100", CifarSettings(densenet_ratio=4), (7_266_566, 7_371_776)),
    ("densenet100", CifarSettings(densenet_place="block"), (7_738_866, 7_844_076)),
    ("densenet_bc100", AS_PUBLISHED, (817_667, 848_537)),
]
# Channels and side of the features that the attention of a network sees.
PLACES = [
    ("resnet20", AS_PUBLISHED, 16, 32),
    ("densenet40", AS_PUBLISHED, 160, 16),
    ("densenet40", CifarSettings(densenet_place="block"), 160, 32),
    ("densenet_bc40", AS_PUBLISHED, 48, 16),
    ("densenet_bc40", CifarSettings(densenet_place="block"), 96, 32),
]
SMALL = ("resnet20", "densenet40", "densenet_bc40")


def on_meta(name: str, classes: int = 10, **options) -> nn.Module:
    with torch.device("meta"):
        return create_cifar(name, classes, **options)


@cache
def plain(name: str) -> nn.Module:
    return on_meta(name)


def with_more_classes(found: int, model: nn.Module) -> tuple[int, int]:
    """Parameters for 10 and for 100 classes, the classifier being the one thing that differs."""
    return found, found + 90 * (model.fc.in_features + 1)


def parameters(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


def rga_of(name: str, settings: CifarSettings):
    family = ARCHITECTURES[name].family
    return partial(SpatialThenChannel, **rga_ratios(family, settings))


@pytest.mark.parametrize("name", PLAIN)
def test_parameters_of_the_plain_networks(name):
    assert with_more_classes(parameters(plain(name)), plain(name)) == PLAIN[name]


@pytest.mark.parametrize(("name", "settings", "expected"), WITH_RGA)
def test_parameters_with_rga(name, settings, expected):
    attention = rga_of(name, settings)
    model = on_meta(name, attention=attention, settings=settings)
    assert with_more_classes(parameters(model), model) == expected


def test_the_classifier_has_as_many_outputs_as_asked_for():
    assert parameters(on_meta("resnet20", 100)) == with_more_classes(269_722, plain("resnet20"))[1]


def test_parameters_of_the_convolved_shortcut():
    """1,730,714 for depth 110: what it adds is the same for every depth."""
    convolved = on_meta("resnet20", settings=CifarSettings(shortcut="B"))
    assert parameters(convolved) - parameters(plain("resnet20")) == 1_730_714 - 1_727_962


@pytest.mark.parametrize(
    ("name", "macs"),
    [("resnet110", 252_887_680), ("densenet100", 1_769_516_448), ("densenet_bc100", 287_929_692)],
)
def test_multiply_accumulates(name, macs):
    model = plain(name).eval()
    with FlopCounterMode(display=False) as counter:
        model(torch.zeros(1, 3, 32, 32, device="meta"))
    assert counter.get_total_flops() // 2 == macs


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_the_depth_counts_the_layers_with_weights(name):
    """All convolutions but those of shortcuts, and the classifier."""
    layers = [m for m in plain(name).modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    assert len(layers) == int(name.lstrip("resndtbc_"))


@pytest.mark.parametrize(("name", "ratio"), [("resnet20", 4), ("densenet_bc40", 8)])
def test_an_attention_by_name_gets_the_paper_s_ratios_unless_told(name, ratio):
    family = ARCHITECTURES[name].family
    assert rga_ratios(family) == {"s1": ratio, "s2": ratio}
    by_name = parameters(on_meta(name, attention="rga_sc"))
    assert by_name == parameters(on_meta(name, attention=rga_of(name, AS_PUBLISHED)))
    told = on_meta(name, attention="rga_sc", attention_options={"s1": 2, "s2": 2})
    assert parameters(told) > by_name
    assert isinstance(on_meta(name, attention="se").attention, SqueezeExcitation)


@pytest.mark.parametrize(("name", "settings", "channels", "side"), PLACES)
def test_the_attention_sees_its_place(name, settings, channels, side):
    seen = []

    class Seen(nn.Module):
        def __init__(self, channels, size):
            super().__init__()
            seen.append((channels, size))

        def forward(self, x):
            seen.append((x.shape[1], tuple(x.shape[2:])))
            return x * 0

    model = create_cifar(name, attention=Seen, settings=settings).eval()
    logits = model(torch.randn(2, 3, 32, 32))
    assert seen == [(channels, (side, side))] * 2
    assert torch.equal(logits[0], logits[1])  # all that follows came through it


def test_the_attention_is_after_the_first_stage_of_the_resnet():
    model = create_cifar("resnet20", attention=lambda channels, size: nn.Identity()).eval()
    seen = {}
    for name in ("layer1", "attention", "layer2"):
        module = model.get_submodule(name)
        module.register_forward_hook(lambda m, i, o, name=name: seen.update({name: (i[0], o)}))
    model(torch.randn(1, 3, 32, 32))
    assert seen["attention"][0] is seen["layer1"][1]
    assert seen["layer2"][0] is seen["attention"][1]


@pytest.mark.parametrize("side", [32, 16])
@pytest.mark.parametrize("name", SMALL)
def test_logits_and_gradients_of_small_images(name, side):
    model = create_cifar(name, 7, attention=rga_of(name, AS_PUBLISHED), image_size=side)
    logits = model(torch.randn(2, 3, side, side))
    assert logits.shape == (2, 7)
    F.cross_entropy(logits, torch.tensor([0, 6])).backward()
    assert all(p.grad is not None for p in model.parameters())


def test_the_padded_shortcut_by_hand():
    model = create_cifar("resnet20").eval().double()
    block = model.layer2[0]
    with torch.no_grad():
        block.bn2.weight.zero_()  # the shortcut alone, rectified
        x = torch.randn(2, 16, 6, 6, dtype=torch.float64)
        out = block(x)
    expected = torch.zeros(2, 32, 3, 3, dtype=torch.float64)
    for i in range(3):
        for j in range(3):
            expected[:, :16, i, j] = x[:, :, 2 * i, 2 * j].clamp(min=0)
    assert torch.equal(out, expected)


@pytest.mark.parametrize("name", ["densenet40", "densenet_bc40"])
def test_a_dense_layer_keeps_what_it_was_given_and_adds_the_growth(name):
    layer = create_cifar(name).eval().block1[1]
    x = torch.randn(2, layer.bn1.num_features, 8, 8)
    before = x.clone()
    out = layer(x)
    assert out.shape[1] == x.shape[1] + 12
    assert torch.equal(out[:, : x.shape[1]], before)


def test_convolutions_start_by_kaiming_and_the_attention_as_it_made_itself():
    torch.manual_seed(0)
    attention = SpatialThenChannel(16, (32, 32))
    before = {k: v.clone() for k, v in attention.state_dict().items()}
    model = create_cifar("resnet20", attention=lambda channels, size: attention)
    assert all(torch.equal(v, before[k]) for k, v in attention.state_dict().items())
    assert (model.fc.bias == 0).all()
    assert model.layer3[1].conv1.weight.std().item() == pytest.approx((2 / 576) ** 0.5, rel=0.05)


def test_an_unknown_name_lists_the_choices():
    choices = ", ".join(ARCHITECTURES)
    with pytest.raises(UserError, match=f"did you mean 'densenet_bc112'.*{choices}"):
        create_cifar("densenet_bc115")


@pytest.mark.parametrize("options", [{"num_classes": 0}, {"image_size": 30}, {"image_size": 0}])
def test_numbers_that_cannot_be_are_refused(options):
    with pytest.raises(UserError, match=r"image_size a multiple of 4; .* try 10 and 32"):
        create_cifar("resnet20", **options)
