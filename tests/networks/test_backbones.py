"""Backbones: torchvision's networks with attention in every block."""

import re

import pytest
import torch
import torchvision
from slow_reference import BLOCKS, TRUE_PARAMETERS
from torch import nn

from dreal_lib.attention import ATTENTION as REGISTRY
from dreal_lib.attention.cbam import CBAM
from dreal_lib.attention.se import SqueezeExcitation
from dreal_lib.attention.srm import StyleRecalibration
from dreal_lib.errors import UserError
from dreal_lib.networks.backbones import MODEL_NAMES, STAGES, create_model, parse_model_name

ATTENTION = {"se": SqueezeExcitation, "cbam": CBAM, "srm": StyleRecalibration}


def on_meta(name: str, **settings):
    with torch.device("meta"):
        return create_model(name, **settings)


@pytest.mark.parametrize("name", TRUE_PARAMETERS)
def test_parameters_of_table_1(name):
    count = sum(parameter.numel() for parameter in on_meta(name).parameters())
    assert count == TRUE_PARAMETERS[name][0]


@pytest.mark.parametrize("depth", [50, 101])
def test_parameters_of_the_plain_networks_are_torchvisions(depth):
    with torch.device("meta"):
        theirs = getattr(torchvision.models, f"resnet{depth}")()
    ours = on_meta(f"resnet{depth}")
    assert {k: v.shape for k, v in ours.state_dict().items()} == {
        k: v.shape for k, v in theirs.state_dict().items()
    }


@pytest.mark.parametrize("depth", BLOCKS)
@pytest.mark.parametrize("prefix", ["", "se_", "cbam_", "srm_"])  # others: test_every_attention
def test_every_block_holds_its_attention(prefix, depth):
    attention = prefix.rstrip("_")
    model = on_meta(f"{prefix}resnet{depth}")
    assert tuple(len(model.get_submodule(stage)) for stage in STAGES) == BLOCKS[depth]
    for stage in STAGES:
        for block in model.get_submodule(stage):
            assert isinstance(block.attention, ATTENTION.get(attention, nn.Identity))
            assert block.conv1.stride == (1, 1)  # the stride is on the 3x3 convolution


def test_names_of_the_networks():
    prefixes, depths = ("", *(f"{name}_" for name in REGISTRY)), (14, 26, 38, 50, 101)
    assert set(MODEL_NAMES) == {f"{p}resnet{d}" for p in prefixes for d in depths}
    assert parse_model_name("resnet26") == (None, 26)
    assert parse_model_name("cbam_resnet101") == ("cbam", 101)
    assert parse_model_name("ge_theta_plus_resnet50") == ("ge_theta_plus", 50)


def test_a_network_whose_attention_needs_the_images_size_asks_for_it():
    with pytest.raises(
        UserError, match=r"'ge_theta' depend on .* image_size None; try image_size="
    ):
        create_model("ge_theta_resnet14")
    sizes = {}
    for image_size, stem in ((224, "imagenet"), ((65, 130), "tiny"), (32, "cifar")):
        model = on_meta("ge_theta_resnet14", image_size=image_size, stem=stem, width=4)
        sizes[stem] = [model.get_submodule(s)[0].attention.size for s in STAGES]
        height, width = (image_size,) * 2 if isinstance(image_size, int) else image_size
        assert model(torch.zeros(2, 3, height, width, device="meta")).shape == (2, 1000)
    assert sizes["imagenet"] == [(56, 56), (28, 28), (14, 14), (7, 7)]
    assert sizes["tiny"] == [(33, 65), (17, 33), (9, 17), (5, 9)]


def test_torchvisions_state_dict_gives_torchvisions_output():
    torch.manual_seed(0)
    theirs = torchvision.models.resnet50().eval()
    ours = create_model("resnet50").eval()
    assert str(ours.load_state_dict(theirs.state_dict())) == "<All keys matched successfully>"
    images = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        assert torch.equal(ours(images), theirs(images))


@pytest.mark.parametrize("attention", ATTENTION)
def test_torchvisions_weights_load_by_name_beside_the_attention(attention):
    with torch.device("meta"):
        weights = torchvision.models.resnet50().state_dict()
    model = on_meta(f"{attention}_resnet50")
    missing, unexpected = model.load_state_dict(weights, strict=False, assign=True)
    assert unexpected == []
    assert missing
    assert all(re.match(r"layer[1-4]\.\d+\.attention\.", name) for name in missing)


@pytest.mark.parametrize(
    ("stem", "side", "kernel"), [("imagenet", 16, 7), ("tiny", 32, 3), ("cifar", 64, 3)]
)
def test_stems(stem, side, kernel):
    model = on_meta("resnet14", stem=stem, width=8)
    seen = {}
    for stage in STAGES:
        model.get_submodule(stage).register_forward_hook(
            lambda module, inputs, output, stage=stage: seen.__setitem__(stage, output.shape)
        )
    logits = model(torch.zeros(2, 3, 64, 64, device="meta"))
    assert model.conv1.weight.shape == (8, 3, kernel, kernel)
    assert {stage: shape[2] for stage, shape in seen.items()} == {
        stage: side // 2**index for index, stage in enumerate(STAGES)
    }
    assert [shape[1] for shape in seen.values()] == [32, 64, 128, 256]  # 4 x width x 1, 2, 4, 8
    assert logits.shape == (2, 1000)


def test_initial_weights():
    """Convolutions Kaiming normal by fan-out, BN 1 and 0 (no block starts at 0)."""
    torch.manual_seed(0)
    model = create_model("se_resnet14", 10, width=32)
    for module in model.modules():
        if isinstance(module, nn.Conv2d) and module.weight.numel() > 10_000:
            fan_out = module.out_channels * module.kernel_size[0] * module.kernel_size[1]
            assert module.weight.std().item() == pytest.approx((2 / fan_out) ** 0.5, rel=0.05)
        if isinstance(module, nn.BatchNorm2d):
            assert (module.weight == 1).all()
            assert (module.bias == 0).all()


@pytest.mark.parametrize("name", ["resnet26", "se_resnet26", "cbam_resnet26", "srm_resnet26"])
def test_resuming_anywhere_is_the_whole_forward_pass(make_network, name):
    model, architecture = make_network(name)
    model.eval()
    features, shortcuts = {}, {}
    for block in architecture.blocks:
        module = model.get_submodule(block)
        module.bn3.register_forward_hook(
            lambda module, inputs, output, block=block: features.__setitem__(block, output)
        )
        model.shortcut_module(block).register_forward_hook(
            lambda module, inputs, output, block=block: shortcuts.__setitem__(block, output)
        )
    images = torch.randn(3, 3, 16, 16, dtype=torch.float64)
    with torch.no_grad():
        whole = model(images)
        assert len(features) == len(shortcuts) == 8
        for block in architecture.blocks:
            output = model.resume(block, features[block], shortcuts[block])
            assert torch.equal(model.onward(output, block), whole), block
            for later in architecture.blocks[architecture.blocks.index(block) + 1 :]:
                there = model.resume(later, features[later], shortcuts[later])
                assert torch.equal(model.onward(output, block, later), there), (block, later)


def test_f_is_the_feature_map_before_recalibration_and_the_addition(make_network):
    model, _ = make_network("se_resnet14")
    block = model.eval().layer2[0]
    x = torch.randn(2, 16, 8, 8, dtype=torch.float64).relu()
    features = block.features(x)
    gate = block.attention.attend(features.mean((2, 3)))[:, :, None, None]
    torch.testing.assert_close(block(x), (features * gate + block.downsample(x)).relu())


@pytest.mark.parametrize(
    "name", ["se_resnet51", "sse_resnet50", "resnet", "SE_resnet50", "resnet50 "]
)
def test_an_unknown_network_lists_the_choices(name):
    with pytest.raises(UserError, match=r"unknown model .*choices: resnet14, .*srm_resnet101"):
        create_model(name)


def test_an_unknown_stem_lists_the_choices():
    with pytest.raises(UserError, match=r"unknown stem 'cifar10'; did you mean 'cifar'\?"):
        create_model("resnet14", stem="cifar10")


@pytest.mark.parametrize("setting", ["num_classes", "width"])
@pytest.mark.parametrize("value", [0, -3])
def test_numbers_that_cannot_be(setting, value):
    with pytest.raises(UserError, match=f"{setting} must be at least 1; got {value}"):
        create_model("resnet14", **{setting: value})


def test_srm_refuses_images_that_shrink_to_one_pixel():
    model = create_model("srm_resnet14", 4, width=4)
    with pytest.raises(UserError, match="small-image stem"):
        model(torch.zeros(2, 3, 32, 32))
