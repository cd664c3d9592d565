"""What an actor is, and what is made of modules of one's own that declare nothing."""

import pytest
import torch
from torch import nn

from dreal_lib import reinforce
from dreal_lib.actor_critic.blocks import find_maps
from dreal_lib.actor_critic.counterfactual import observed
from dreal_lib.attention.actor import Actor, is_actor, kind_of, reduce_to_map
from dreal_lib.attention.cbam import CBAM
from dreal_lib.errors import UserError
from dreal_lib.networks.backbones import create_model


def features_like(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


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


@pytest.mark.parametrize("kind", ["channel", "full"])
def test_a_map_that_is_added_is_no_map_whatever_is_declared(kind):
    class Added(nn.Module):
        def __init__(self):
            super().__init__()
            self.kind = kind

        def recalibrate(self, features, attention):
            return features + attention

    attention = torch.rand(2, 3, 4, 4) if kind == "full" else torch.rand(2, 3, 1, 1)
    with pytest.raises(UserError, match=f"Added declares kind '{kind}'.*declare kind = 'features'"):
        kind_of(Added(), torch.rand(2, 3, 4, 4), attention)
