"""What holds for every attention module that has a name; a new entry is tested by being one."""

import copy

import pytest
import torch
from slow_attention import FORMULAE
from torch import nn

from dreal_lib.actor_critic.blocks import intercepted
from dreal_lib.actor_critic.reinforcement import reinforce
from dreal_lib.actor_critic.reward import mean_map
from dreal_lib.attention import ATTENTION, KINDS, create_attention, is_actor
from dreal_lib.attention.actor import kind_of, makes_map, reduced_state
from dreal_lib.errors import UserError
from dreal_lib.networks.backbones import STAGES, create_model

CHANNELS, SIZE = 16, (3, 5)
STEPS = ("extract", "attend", "recalibrate")
OTHER_SIZE = (4, 3)
each = pytest.mark.parametrize("name", ATTENTION)


def make(name: str, channels: int = CHANNELS, seed: int = 1) -> nn.Module:
    """An entry in float64 with every parameter and buffer off its initial value."""
    size = SIZE if ATTENTION[name].needs_size else None
    # RGA's ratios of 8 leave one hidden channel here, which may be silent at every node.
    ratios = {"s1": 2, "s2": 2} if "s1" in ATTENTION[name].options else {}
    module = create_attention(name, channels, size, **ratios)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for key, value in module.double().state_dict().items():
            if key.endswith("running_var"):
                value.copy_(torch.rand(value.shape, generator=generator) + 0.5)
            elif value.is_floating_point():
                value.copy_(torch.randn(value.shape, generator=generator) * 0.5)
    return module


def features_like(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def features(size: tuple[int, int] = SIZE) -> torch.Tensor:
    return features_like(3, CHANNELS, *size)


def actors(module: nn.Module) -> list[nn.Module]:
    return [inner for inner in module.modules() if is_actor(inner)]


MULTIPLYING = [name for name in ATTENTION if any(map(makes_map, make(name).modules()))]
REINFORCED = [name for name in MULTIPLYING if list(make(name).parameters())]


def seen(module: nn.Module, x: torch.Tensor) -> dict[nn.Module, tuple[torch.Tensor, ...]]:
    """(F, descriptor, map) of each actor in one forward pass."""
    found: dict[nn.Module, tuple[torch.Tensor, ...]] = {}

    def on_extract(actor, given, descriptor):
        found[actor] = (given, descriptor)

    def on_attend(actor, descriptor, attention):
        assert descriptor is found[actor][1]
        found[actor] += (attention,)

    with intercepted(actors(module), extract=on_extract, attend=on_attend):
        module(x)
    return found


def test_every_entry_has_a_formula_and_every_formula_an_entry():
    assert sorted(FORMULAE) == sorted(ATTENTION)


@each
@pytest.mark.parametrize("training", [False, True])
def test_it_is_its_formula(name, training):
    module, x = make(name).train(training), features()
    weights = {key: value.clone() for key, value in module.state_dict().items()}
    torch.testing.assert_close(module(x), FORMULAE[name](weights, x, training))
    assert not torch.allclose(module(x), x)


@each
def test_it_consists_of_actors_that_declare_their_kind(name):
    module = make(name).eval()
    found = seen(module, features())
    assert set(found) == set(actors(module))
    owned = {p for actor in found for p in actor.parameters()}
    assert owned == set(module.parameters())
    for actor, (given, _, attention) in found.items():
        assert actor.kind in KINDS
        assert kind_of(actor, given, attention) == actor.kind


@each
def test_without_its_declaration_the_kind_is_inferred_or_asked_for(name):
    """Never inferred wrongly: what is added, or shaped as features, is not taken for a map."""
    module = make(name).eval()
    for actor, (given, _, attention) in seen(module, features()).items():
        declared = actor.kind
        actor.kind = None
        if declared in ("channel", "spatial"):
            assert kind_of(actor, given, attention) == declared
        else:
            with pytest.raises(UserError, match="declare"):
                kind_of(actor, given, attention)


@each
def test_each_step_is_called_once(name):
    module, calls = make(name), []

    def counted(actor: nn.Module, step: str):
        own = getattr(actor, step)

        def call(*given):
            calls.append((actor, step))
            return own(*given)

        return call

    for actor in actors(module):
        for step in STEPS:
            setattr(actor, step, counted(actor, step))
    module(features())
    assert calls == [(actor, step) for actor in actors(module) for step in STEPS]


@each
def test_shapes(name):
    module, x = make(name), features()
    assert module(x).shape == x.shape
    shapes = {
        "channel": {(3, CHANNELS), (3, CHANNELS, 1, 1)},
        "spatial": {(3, 1, *SIZE)},
        "full": {(3, CHANNELS, *SIZE)},
        "features": {(3, CHANNELS), (3, CHANNELS, *SIZE)},
    }
    for actor, (_, _, attention) in seen(module, x).items():
        assert tuple(attention.shape) in shapes[actor.kind]


@each
def test_features_of_another_size(name):
    module, x = make(name), features(OTHER_SIZE)
    if ATTENTION[name].needs_size:
        with pytest.raises(UserError, match=r"size \(3, 5\); got \(4, 3\)"):
            module(x)
    else:
        assert module(x).shape == x.shape


@each
def test_the_reduced_state_is_the_mean_over_what_the_map_lacks(name):
    for actor, (given, descriptor, attention) in seen(make(name), features()).items():
        if actor.kind == "features":
            continue
        expected = {
            "channel": given.flatten(2).sum(2) / (SIZE[0] * SIZE[1]),
            "spatial": given.sum(1, keepdim=True) / CHANNELS,
            "full": given,
        }[actor.kind]
        reduced = reduced_state(actor, given, descriptor, attention)
        assert reduced.shape == attention.shape
        torch.testing.assert_close(reduced.flatten(1), expected.flatten(1))


@pytest.mark.parametrize("name", [n for n in MULTIPLYING if all(map(makes_map, actors(make(n))))])
def test_with_its_map_replaced_by_the_mean_it_emphasises_nothing(name):
    """Each image's features are then scaled by one number; so bypassing means what Eq. 1 says."""
    module, x = make(name).eval(), features()
    maps = {a: made for a, (_, _, made) in seen(module, x).items()}
    with intercepted(maps, replace={a: mean_map(made) for a, made in maps.items()}):
        scale = module(x) / x
    torch.testing.assert_close(scale, scale[:, :1, :1, :1].expand_as(x))
    assert (module(x) / x).flatten(1).std(1).min() > 1e-4


@each
def test_gradients_against_finite_differences(name):
    module = make(name)
    names, parameters = zip(*module.named_parameters(), strict=True) if name != "ge" else ((), ())
    x = features_like(2, CHANNELS, *SIZE).requires_grad_()
    direction = features_like(2, CHANNELS, *SIZE, seed=4)

    def call(x, *values):
        given = dict(zip(names, values, strict=True))
        return (torch.func.functional_call(module, given, (x,)) * direction).sum()

    assert torch.autograd.gradcheck(call, (x, *parameters), fast_mode=True)


@each
def test_a_state_dict_makes_the_same_module_of_another(name):
    module, other, x = make(name), make(name, seed=2), features()
    module.eval(), other.eval()
    assert not (list(module.parameters()) and torch.equal(other(x), module(x)))
    other.load_state_dict(copy.deepcopy(module.state_dict()))
    assert torch.equal(other(x), module(x))


@each
def test_what_does_not_fit_is_refused_in_one_line(name):
    entry, size = ATTENTION[name], SIZE if ATTENTION[name].needs_size else None
    with pytest.raises(UserError, match="channels must be at least 1; got 0"):
        create_attention(name, 0, size)
    with pytest.raises(UserError, match=f"unknown option of attention '{name}' 'redaction'"):
        create_attention(name, CHANNELS, size, redaction=4)
    if entry.needs_size:
        with pytest.raises(UserError, match=r"needs the size .* got size None; try size="):
            create_attention(name, CHANNELS)
        with pytest.raises(UserError, match=r"must be \(H, W\).*got \(3, 0\)"):
            create_attention(name, CHANNELS, (3, 0))
    else:
        with pytest.raises(UserError, match=r"every size; got size \(3, 5\); leave it out"):
            create_attention(name, CHANNELS, SIZE)
    if "reduction" in entry.options:
        rule = r"reduction must divide the channels; got 1000 channels, reduction 33; try"
        with pytest.raises(UserError, match=rule):
            create_attention(name, 1000, size, reduction=33)


# --- in a network --------------------------------------------------------------------------------


def network(name: str, dtype: torch.dtype = torch.float64) -> nn.Module:
    torch.manual_seed(0)
    model = create_model(f"{name}_resnet14", 4, width=4, stem="cifar", image_size=16).to(dtype)
    with torch.no_grad():
        for actor in actors(model):
            for parameter in actor.parameters():  # off an initial state in which gates are alike
                parameter.add_(torch.randn_like(parameter) / 2)
    return model


def stages_of(name: str) -> list[str]:
    after = ATTENTION[name].after_stages
    return [s for number, s in enumerate(STAGES, 1) if not after or number in after]


@each
def test_it_sits_where_its_entry_says(name):
    with torch.device("meta"):
        model = create_model(f"{name}_resnet26", 10, width=16, image_size=64)
    behind = [f"layer{n}.attention" for n in ATTENTION[name].after_stages]
    inside = [f"{stage}.{block}.attention" for stage in STAGES for block in (0, 1)]
    made = type(create_attention(name, 64, SIZE if ATTENTION[name].needs_size else None))
    found = [path for path, module in model.named_modules() if type(module) is made]
    assert found == (behind or inside)
    assert model(torch.zeros(2, 3, 64, 64, device="meta")).shape == (2, 10)


@pytest.mark.parametrize("name", REINFORCED)
def test_l_q_reaches_the_actors_and_nothing_else(name, make_batch):
    model = network(name)
    agent = reinforce(model, 16, stages=stages_of(name))
    images, labels = make_batch(model)
    step = agent.training_step(images, labels)
    of_actors = {p for item in agent.maps for p in item.actor.parameters()}
    parameters = list(agent.parameters())
    gradients = torch.autograd.grad(step.quality_loss, parameters, allow_unused=True)
    reached = {p for p, g in zip(parameters, gradients, strict=True) if g is not None}
    assert reached
    assert reached <= of_actors
    assert step.loss.isfinite()


@pytest.mark.parametrize("name", REINFORCED)
def test_counterfactuals_cut_short_are_those_of_whole_passes(name, make_batch):
    class Whole(nn.Module):
        """The same network, of which nothing is known but its forward pass."""

        def __init__(self, net):
            super().__init__()
            self.net = net

        def forward(self, images):
            return self.net(images)

    model = network(name)
    images, labels = make_batch(model)
    names = stages_of(name)
    short = reinforce(model, 16, stages=names)
    whole = reinforce(Whole(copy.deepcopy(model)), 16, stages=[f"net.{stage}" for stage in names])
    blocks = [item.block for item in short.maps]
    step = short.training_step(images, labels, blocks)
    slow = whole.training_step(images, labels, [f"net.{block}" for block in blocks])
    assert set(step.rewards) == set(blocks)
    for block, reward in step.rewards.items():
        torch.testing.assert_close(reward, slow.rewards[f"net.{block}"], rtol=0, atol=1e-12)
    assert any((reward[reward != -1].abs() > 1e-9).any() for reward in step.rewards.values())


@pytest.mark.parametrize("name", [n for n in ATTENTION if n not in REINFORCED])
def test_what_cannot_be_reinforced_says_why(name):
    reason = "has no parameters, so" if name == "ge" else "no map that multiplies"
    with pytest.raises(UserError, match=f"{reason}.*leave .*stage out"):
        reinforce(network(name), 16, stages=stages_of(name))
