"""Where the attention maps of a network are found, and how actors are watched."""

import pytest
import torch
from torch import nn

from dreal_lib.actor_critic.blocks import find_maps, intercepted
from dreal_lib.attention.cbam import ChannelAttention, SpatialAttention
from dreal_lib.attention.se import SqueezeExcitation
from dreal_lib.errors import UserError
from dreal_lib.networks.backbones import STAGES


class Network(nn.Module):
    """Two stages of given blocks, called in the order given."""

    def __init__(self, first: nn.Module, second: nn.Module):
        super().__init__()
        self.stem, self.first, self.second = nn.Conv2d(3, 16, 3, padding=1), first, second
        self.fc = nn.Linear(16, 4)

    def forward(self, images):
        return self.fc(self.second(self.first(self.stem(images))).mean((2, 3)))


class GateOf1x1Convolutions(nn.Module):
    """SE as most networks write it: the gate keeps the axes of the feature map, (B, C, 1, 1)."""

    def __init__(self, channels: int):
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 1)

    def extract(self, features):
        return features.mean((2, 3), keepdim=True)

    def attend(self, descriptor):
        return torch.sigmoid(self.conv(descriptor))

    def recalibrate(self, features, attention):
        return features * attention

    def forward(self, features):
        return self.recalibrate(features, self.attend(self.extract(features)))


def squeeze() -> nn.Module:
    return SqueezeExcitation(16, 4)


def names(maps) -> list[str]:
    return [item.name for item in maps]


def test_maps_of_a_network_with_one_map_a_block(make_network):
    model, architecture = make_network("se_resnet26")
    maps = find_maps(model, STAGES)
    assert names(maps) == [item.block for item in maps] == architecture.blocks
    assert [item.stage for item in maps] == [b.partition(".")[0] for b in architecture.blocks]
    assert {item.kind for item in maps} == {"channel"}
    assert [item.shape for item in maps] == [(c,) for c in (16, 16, 32, 32, 64, 64, 128, 128)]
    assert all(item.actor is model.get_submodule(item.block).attention for item in maps)


def test_maps_of_a_network_with_two_maps_a_block(make_network):
    model, architecture = make_network("cbam_resnet26")
    maps = find_maps(model, ("layer2", "layer4"), image_size=(16, 32))
    blocks = [block for block in architecture.blocks if block[:6] in ("layer2", "layer4")]
    assert names(maps) == [f"{block}.{kind}" for block in blocks for kind in ("channel", "spatial")]
    shapes = {item.name: item.shape for item in maps}
    assert shapes["layer2.1.channel"] == (32,)
    assert shapes["layer2.1.spatial"] == (1, 8, 16)
    assert shapes["layer4.0.spatial"] == (1, 2, 4)
    assert next(item.size for item in maps if item.name == "layer2.1.spatial") == 128


def test_spatial_maps_need_the_size_of_the_images(make_network):
    model, _ = make_network("cbam_resnet14")
    with pytest.raises(UserError, match=r"spatial.*image_size None; try image_size=224"):
        find_maps(model, STAGES)


def test_a_channel_gate_that_keeps_its_axes_is_a_channel_map():
    """SE of 1x1 convolutions makes (B, C, 1, 1), and needs no `image_size`."""
    model = Network(nn.Sequential(GateOf1x1Convolutions(16)), nn.Sequential(squeeze()))
    assert [item.kind for item in find_maps(model, ("first", "second"))] == ["channel", "channel"]


def test_maps_come_in_the_order_of_the_forward_pass():
    """The critic is recurrent: the order in which modules happen to be registered is not it."""

    class Reversed(nn.Module):
        def __init__(self):
            super().__init__()
            self.late, self.early = squeeze(), squeeze()

        def forward(self, x):
            return self.late(self.early(x))

    model = Network(Reversed(), nn.Identity())
    assert names(find_maps(model, ("first",))) == ["first.early", "first.late"]


def test_two_maps_of_one_kind_in_a_block_have_names_of_their_own():
    class TwoGates(nn.Module):
        def __init__(self):
            super().__init__()
            self.one, self.two = squeeze(), squeeze()

        def forward(self, x):
            return self.two(self.one(x))

    model = Network(nn.Sequential(TwoGates()), nn.Identity())
    found = names(find_maps(model, ("first",)))
    assert len(found) == len(set(found)) == 2


@pytest.mark.parametrize("stages", [("first", "first"), ("first", "first.0")])
def test_a_map_belongs_to_one_stage_only(stages):
    model = Network(nn.Sequential(squeeze(), squeeze()), nn.Identity())
    with pytest.raises(UserError, match="first"):
        find_maps(model, stages)


def test_a_stage_may_be_an_actor_itself_or_lie_deeper():
    model = Network(nn.Sequential(nn.Sequential(nn.ReLU(), squeeze())), squeeze())
    maps = find_maps(model, ("first.0", "second"))
    assert [(item.stage, item.block) for item in maps] == [
        ("first.0", "first.0.1"),
        ("second", "second"),
    ]


def test_an_unknown_stage_lists_the_modules(make_network):
    model, _ = make_network("se_resnet14")
    with pytest.raises(UserError, match=r"unknown stage 'layer5'.*choices: .*layer1.*layer4"):
        find_maps(model, ("layer1", "layer5"))


def test_a_stage_without_attention_is_refused(make_network):
    model, _ = make_network("resnet14")
    with pytest.raises(UserError, match=r"'layer1' holds no attention.*extract, attend"):
        find_maps(model, ("layer1",))


def test_maps_of_one_stage_must_be_alike(make_network):
    model, _ = make_network("se_resnet14")
    stages = nn.Module()
    stages.add_module("all", nn.Sequential(model.layer1, model.layer2))

    class Whole(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem = nn.Conv2d(3, 4, 1, dtype=torch.float64)
            self.all = stages.all

        def forward(self, images):
            return self.all(self.stem(images))

    with pytest.raises(UserError, match=r"differ in shape \(\[\(16,\), \(32,\)\]\)"):
        find_maps(Whole(), ("all",))


def test_an_attention_module_that_hides_its_steps_is_refused():
    class Hidden(SqueezeExcitation):
        def forward(self, features):
            gate = torch.sigmoid(self.fc2(torch.relu(self.fc1(features.mean((2, 3))))))
            return features * gate[:, :, None, None]

    model = Network(nn.Sequential(Hidden(16, 4)), nn.Identity())
    with pytest.raises(UserError, match=r"Hidden\) did not call its attend"):
        find_maps(model, ("first",))


def test_looking_leaves_the_network_as_it_was(make_network):
    model, _ = make_network("cbam_resnet14")
    model.layer2.eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    modes = [module.training for module in model.modules()]
    attributes = [sorted(vars(module)) for module in model.modules()]
    find_maps(model, STAGES, 16)
    assert [module.training for module in model.modules()] == modes
    assert [sorted(vars(module)) for module in model.modules()] == attributes
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


# --- intercepted --------------------------------------------------------------------------------


def test_what_an_actor_does_is_seen_in_order():
    actor, seen = SqueezeExcitation(16, 4), []
    x = torch.randn(2, 16, 3, 3, generator=torch.Generator().manual_seed(0))
    with intercepted(
        [actor],
        extract=lambda who, given, made: seen.append(("extract", who, given, made)),
        attend=lambda who, given, made: seen.append(("attend", who, given, made)),
    ):
        out = actor(x)
    assert [(step, who is actor) for step, who, _, _ in seen] == [
        ("extract", True),
        ("attend", True),
    ]
    assert seen[0][2] is x
    assert seen[0][3] is seen[1][2]
    torch.testing.assert_close(out, actor(x), rtol=0, atol=0)
    assert len(seen) == 2  # nothing is watched any more


def test_a_map_can_be_replaced():
    actor = SqueezeExcitation(16, 4)
    x = torch.randn(2, 16, 3, 3, generator=torch.Generator().manual_seed(0))
    with intercepted([actor], replace={actor: torch.full((2, 16), 0.25)}):
        torch.testing.assert_close(actor(x), x * 0.25, rtol=0, atol=0)
    assert "attend" not in vars(actor)


def test_an_exception_leaves_nothing_behind():
    actor = SpatialAttention()
    before = sorted(vars(actor))
    with pytest.raises(ZeroDivisionError):
        with intercepted([actor], attend=lambda *_: 1 / 0, extract=lambda *_: None):
            actor(torch.zeros(2, 4, 8, 8))
    assert sorted(vars(actor)) == before


def test_steps_that_are_modules_or_attributes_can_be_watched():
    """`attend` may be a sub-module, or a function set on the instance: both stay in place."""

    class Composed(nn.Module):
        def __init__(self):
            super().__init__()
            self.extract = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
            self.attend = nn.Sequential(nn.Linear(16, 16), nn.Sigmoid())
            self.recalibrate = lambda features, gate: features * gate[:, :, None, None]

        def forward(self, features):
            return self.recalibrate(features, self.attend(self.extract(features)))

    actor, seen = Composed(), []
    with intercepted([actor], extract=lambda *_: None, attend=lambda *given: seen.append(given)):
        actor(torch.zeros(2, 16, 4, 4))
    assert len(seen) == 1
    assert isinstance(actor.attend, nn.Sequential)

    actor = ChannelAttention(16, 4)
    own = actor.attend = lambda descriptor: torch.sigmoid(descriptor.sum(1))
    with intercepted([actor], attend=lambda *_: None):
        actor(torch.zeros(2, 16, 4, 4))
    assert actor.attend is own
