"""RGA against a slow reference, node by node; its two forms; the release's state dicts; costs."""

from contextlib import nullcontext
from functools import partial

import pytest
import slow_rga
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from dreal_lib.attention import relations
from dreal_lib.attention.relations import cheaper_form, embedded_relations, relation_macs
from dreal_lib.attention.rga import (
    ChannelRelationAttention,
    ChannelThenSpatial,
    ParallelRelationAttention,
    SpatialRelationAttention,
    SpatialThenChannel,
    load_released,
    released_state,
)
from dreal_lib.errors import UserError
from dreal_lib.settings.rga import RGASettings

CHANNELS, SIZE = 12, (3, 4)
RATIOS = {"s1": 2, "s2": 3}
RELEASED = {
    "S": (SpatialRelationAttention, ("spatial",)),
    "C": (ChannelRelationAttention, ("channel",)),
    "SC": (SpatialThenChannel, ("spatial", "channel")),
}
EVERY = {
    **{name: made for name, (made, _) in RELEASED.items()},
    "CS": ChannelThenSpatial,
    "S//C": ParallelRelationAttention,
    "S//C concatenated": partial(
        ParallelRelationAttention, settings=RGASettings(parallel_fusion="concatenation")
    ),
}
FORMS = ("direct", "factorised")
# Channels and sizes behind the stages of ResNet-50 at 256x128, whose last stage has stride 1.
STAGES = ((256, (64, 32)), (512, (32, 16)), (1024, (16, 8)), (2048, (16, 8)))
BACKBONE = 23_508_032


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def state_of(kinds: tuple[str, ...], seed: int = 1) -> dict[str, torch.Tensor]:
    shapes = slow_rga.released_shapes(CHANNELS, SIZE[0] * SIZE[1], kinds, **RATIOS)
    return slow_rga.made_up_state(shapes, seed)


def loaded(name: str, training: bool = True, **options) -> tuple[nn.Module, dict]:
    """The module with made-up released weights, and these."""
    made, kinds = RELEASED[name]
    state = state_of(kinds)
    module = made(CHANNELS, SIZE, **RATIOS, **options).double().train(training)
    load_released(module, state)
    return module, state


def gradients(output: torch.Tensor, inputs: list[torch.Tensor]) -> list[torch.Tensor]:
    return torch.autograd.grad((output * normal(*output.shape, seed=5)).sum(), inputs)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("training", [True, False], ids=["batch", "running"])
@pytest.mark.parametrize("name", RELEASED)
def test_output_and_gradients_are_the_slow_reference_s(name, training, form):
    module, state = loaded(name, training, form=form)
    weights = {k: v.requires_grad_("running" not in k) for k, v in state.items()}
    x = normal(2, CHANNELS, *SIZE).requires_grad_()
    expected = slow_rga.rga(x, weights, RELEASED[name][1], training)
    torch.testing.assert_close(module(x), expected, rtol=0, atol=1e-13)

    learned = {k: v for k, v in weights.items() if v.requires_grad}
    ours = gradients(module(x), [x, *module.parameters()])
    by_hand = gradients(expected, [x, *learned.values()])
    torch.testing.assert_close(ours[0], by_hand[0], rtol=0, atol=1e-11)
    for parameter, gradient in zip(module.parameters(), ours[1:], strict=True):
        parameter.data = gradient  # so that the release's names lead to it
    assert learned.keys() <= released_state(module).keys()
    for key, gradient in zip(learned, by_hand[1:], strict=True):
        torch.testing.assert_close(released_state(module)[key], gradient, rtol=0, atol=1e-11)


def test_channel_then_spatial_is_the_other_order():
    module = ChannelThenSpatial(CHANNELS, SIZE, **RATIOS).double()
    state, x = state_of(("spatial", "channel")), normal(2, CHANNELS, *SIZE)
    load_released(module, state)
    expected = slow_rga.rga(slow_rga.rga(x, state, ("channel",), True), state, ("spatial",), True)
    torch.testing.assert_close(module(x), expected, rtol=0, atol=1e-13)


@pytest.mark.parametrize("fusion", ["product", "mean", "concatenation"])
def test_parallel_makes_both_maps_of_the_same_features(fusion):
    settings = RGASettings(parallel_fusion=fusion)
    module = ParallelRelationAttention(CHANNELS, SIZE, **RATIOS, settings=settings).double()
    state, x = state_of(("spatial", "channel")), normal(2, CHANNELS, *SIZE)
    load_released(module, state)
    s, c = slow_rga.spatial_map(x, state, True), slow_rga.channel_map(x, state, True)
    if fusion == "concatenation":
        kernel = module.fusion.weight[:, :, 0, 0]
        expected = torch.einsum("oc,bchw->bohw", kernel[:, :CHANNELS], x * s)
        expected = expected + torch.einsum("oc,bchw->bohw", kernel[:, CHANNELS:], x * c)
    else:
        expected = x * s * c if fusion == "product" else (x * s + x * c) / 2
    torch.testing.assert_close(module(x), expected, rtol=0, atol=1e-13)


@pytest.mark.parametrize("kind", ["spatial", "channel"])
@pytest.mark.parametrize("left", ["relations", "visual", "unpooled"])
def test_rows_without_relations_or_visual_features(kind, left):
    """The slow reference again, its W1 cut to what is left."""
    made = {"spatial": SpatialRelationAttention, "channel": ChannelRelationAttention}[kind]
    parts = {"relations": left == "relations", "visual": left != "relations"}
    pooled = "unpooled" if left == "unpooled" else "pooled"
    settings = RGASettings(without_relations=pooled)
    module = made(CHANNELS, SIZE, **RATIOS, **parts, settings=settings).double()
    width = {"visual": 1}.get(left, 6)  # one pooled number; 12 / 2 of either otherwise
    assert module.graph.w1.weight.shape == (max(width // 3, 1), width, 1)
    with torch.no_grad():
        for index, parameter in enumerate(module.parameters()):
            parameter.copy_(normal(*parameter.shape, seed=index))
    ours, state = module.graph.state_dict(), {}
    names = {"psi": "gx", "relations.theta": "theta", "relations.phi": "phi"}
    for name, released in (names | {"relations.varphi": "gg"}).items():
        for place, entry in enumerate(("conv", "bn")):
            for key, value in ours.items():
                if key.startswith(f"{name}.{entry}."):
                    short = key.removeprefix(f"{name}.{entry}.")
                    state[f"{released}_{kind}.{place}.{short}"] = value
    for place, name in ((0, "w1"), (1, "bn1"), (3, "w2"), (4, "bn2")):
        for key, value in ours.items():
            if key.startswith(f"{name}."):
                state[f"W_{kind}.{place}.{key.removeprefix(f'{name}.')}"] = value
    state = {k: v.unsqueeze(-1) if v.dim() == 3 else v for k, v in state.items()}
    x = normal(2, CHANNELS, *SIZE)
    slow = slow_rga.spatial_map if kind == "spatial" else slow_rga.channel_map
    attention = module.attend(module.extract(x))
    expected = slow(x, state, True, **parts, pooled=left != "unpooled").reshape(attention.shape)
    torch.testing.assert_close(attention, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize(("nodes", "inner", "width"), [(40, 3, 5), (6, 9, 6), (1, 1, 1)])
def test_both_forms_agree_with_affinities_one_by_one(nodes, inner, width):
    theta, phi = normal(2, inner, nodes, seed=1), normal(2, inner, nodes, seed=2)
    weight = normal(width, 2 * nodes, seed=3)
    inputs = [tensor.requires_grad_() for tensor in (theta, phi, weight)]
    r = torch.einsum("bdi,bdj->bij", theta, phi)
    sent = torch.einsum("mj,bij->bmi", weight[:, :nodes], r)  # R(i, :) at node i
    expected = sent + torch.einsum("mj,bji->bmi", weight[:, nodes:], r)
    wanted = gradients(expected, inputs)
    for form in FORMS:
        found = embedded_relations(theta, phi, weight, form)
        scale = expected.detach().abs().max().item()
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-14 * scale)
        for gradient, by_hand in zip(gradients(found, inputs), wanted, strict=True):
            scale = by_hand.abs().max().item()
            torch.testing.assert_close(gradient, by_hand, rtol=0, atol=4e-14 * scale)


@pytest.mark.parametrize(("nodes", "inner", "width"), [(64, 4, 8), (8, 16, 8), (2048, 32, 256)])
def test_the_cheaper_form_is_the_one_of_fewer_operations(nodes, inner, width):
    def counted(form: str) -> int:
        with torch.device("meta"):
            arguments = torch.zeros(1, inner, nodes), torch.zeros(1, inner, nodes)
            weight = torch.zeros(width, 2 * nodes)
        with FlopCounterMode(display=False) as counter:
            embedded_relations(*arguments, weight, form)
        return counter.get_total_flops() // 2

    macs = {form: counted(form) for form in FORMS}
    assert macs == relation_macs(nodes, inner, width)
    assert macs[cheaper_form(nodes, inner, width)] == min(macs.values())


@pytest.mark.parametrize("name", ["S", "C"])
def test_the_factorised_form_never_holds_n_by_n_numbers(name):
    made = EVERY[name]
    nodes = 144
    channels, size = (4, (12, 12)) if name == "S" else (nodes, (2, 2))
    sizes = {}
    for form in FORMS:
        kept: list[int] = []
        module, x = made(channels, size, form=form), torch.randn(1, channels, *size)
        with torch.autograd.graph.saved_tensors_hooks(
            lambda t, kept=kept: kept.append(t.numel()) or t, lambda t: t
        ):
            module(x)
        sizes[form] = max(kept)
    assert sizes["direct"] >= 2 * nodes * nodes
    assert sizes["factorised"] <= 2 * nodes * (nodes // 8)  # W_varphi itself


def test_the_backward_pass_makes_the_relations_again_and_moves_no_statistics(monkeypatch):
    """Once for each of RGA-SC's two maps: what was kept would have been called for by no one."""
    calls = []

    def counted(*arguments):
        calls.append(arguments[3])
        return embedded_relations(*arguments)

    monkeypatch.setattr(relations, "embedded_relations", counted)
    module = SpatialThenChannel(CHANNELS, SIZE, s1=4, s2=3).double()
    out = module(normal(2, CHANNELS, *SIZE).requires_grad_())
    moved = {k: v.clone() for k, v in module.state_dict().items()}
    assert calls == ["factorised"] * 2
    out.sum().backward()
    assert calls == ["factorised"] * 4
    assert all(torch.equal(v, moved[k]) for k, v in module.state_dict().items())


@pytest.mark.parametrize("name", EVERY)
def test_gradients_against_finite_differences(name):
    module = EVERY[name](4, (2, 3), s1=2, s2=2).double().eval()
    x = normal(2, 4, 2, 3).requires_grad_()
    assert torch.autograd.gradcheck(module, x)


@pytest.mark.parametrize("name", EVERY)
def test_small_features_get_widths_of_at_least_one(name):
    """The release makes (1 + 6 // 8) // 8 = 0 channels here and fails."""
    module = EVERY[name](4, (2, 3))
    x = torch.randn(2, 4, 2, 3)
    assert module(x).shape == x.shape
    assert all(min(p.shape) >= 1 for p in module.parameters())


@pytest.mark.parametrize("name", EVERY)
def test_channels_last_gives_the_same(name):
    module = EVERY[name](CHANNELS, SIZE, **RATIOS).double()
    x = normal(2, CHANNELS, *SIZE)
    last = x.to(memory_format=torch.channels_last)
    torch.testing.assert_close(module(last), module(x), rtol=0, atol=1e-13)


def test_per_image_gradients_by_torch_func():
    module = SpatialThenChannel(CHANNELS, SIZE, **RATIOS).double().eval()
    x = normal(2, CHANNELS, *SIZE).requires_grad_()
    (expected,) = torch.autograd.grad(module(x).square().sum(), x)
    for_one = torch.func.grad(lambda image: module(image[None]).square().sum())
    torch.testing.assert_close(torch.func.vmap(for_one)(x.detach()), expected)


def test_mixed_precision_makes_the_relations_again_as_they_were():
    module, x = SpatialThenChannel(CHANNELS, SIZE, **RATIOS), normal(2, CHANNELS, *SIZE).float()
    x.requires_grad_()
    found = []
    for kept in (nullcontext(), torch.autograd.graph.disable_saved_tensors_hooks("kept")):
        with torch.autocast("cpu", torch.bfloat16), kept:
            out = module(x)
        found.append(torch.autograd.grad(out.float().square().sum(), x)[0])
    torch.testing.assert_close(*found, rtol=0, atol=0)


def test_another_size_names_both_and_the_remedy():
    module = SpatialThenChannel(CHANNELS, SIZE)
    with pytest.raises(UserError, match=r"size \(3, 4\); got \(6, 8\); make the network for"):
        module(torch.zeros(2, CHANNELS, 6, 8))
    with pytest.raises(UserError, match="12 channels; got 24"):
        module(torch.zeros(2, 24, *SIZE))


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"channels": 0}, "channels must be .* at least 1; got 0"),
        ({"s1": 0}, "s1 must be .* at least 1; got 0"),
        ({"s2": 1.5}, "s2 must be a whole number .* got 1.5"),
        ({"form": "fast"}, "'fast'; choices: cheaper, factorised, direct"),
        ({"relations": False, "visual": False}, "got neither"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(arguments, says):
    with pytest.raises(UserError, match=says):
        SpatialThenChannel(**{"channels": CHANNELS, "size": SIZE} | arguments)


@pytest.mark.parametrize("name", RELEASED)
def test_a_released_state_comes_back_as_it_was(name):
    module, state = loaded(name)
    made, _ = RELEASED[name]
    saved = released_state(module)
    assert {k for k in saved if not k.endswith("num_batches_tracked")} == state.keys()
    assert all(torch.equal(saved[key], value) for key, value in state.items())
    again = made(CHANNELS, SIZE, **RATIOS).double()
    load_released(again, {f"att.{k}": v for k, v in saved.items()} | {"conv1": saved}, "att.")
    x = normal(2, CHANNELS, *SIZE)
    assert torch.equal(module.eval()(x), again.eval()(x))


def test_a_state_that_does_not_fit_changes_nothing():
    module, state = loaded("SC")
    before = released_state(module)
    gone, other = dict(state), dict(state)
    del gone["gg_channel.1.bias"]
    other["W_spatial.0.weight"] = torch.zeros(2, 8, 1, 1)
    cases = (
        (gone, "lacks 'gg_channel.1.bias'"),
        (state | {"gx_other.0.weight": torch.zeros(1)}, "has also 'gx_other.0.weight'"),
        (other, r"'W_spatial.0.weight' has the shape \(2, 8, 1, 1\) .* \(2, 7, 1, 1\) here"),
    )
    for bad, says in cases:
        with pytest.raises(UserError, match=says):
            load_released(module, {k: v + 1 for k, v in bad.items()})
    assert all(torch.equal(v, before[k]) for k, v in released_state(module).items())


@pytest.mark.parametrize(
    "module",
    [nn.Linear(2, 2), SpatialRelationAttention(CHANNELS, SIZE, relations=False)],
    ids=["another", "without relations"],
)
def test_what_was_not_released_is_refused(module):
    for call in (released_state, lambda m: load_released(m, {})):
        with pytest.raises(UserError, match="relations and visual features"):
            call(module)


@pytest.mark.parametrize(
    ("name", "parameters", "macs"),
    [
        ("S", 26_731_832, 2_708_882_432),
        ("C", 26_598_328, 3_062_310_912),
        ("SC", 29_822_128, 5_771_193_344),
    ],
)
def test_costs_beside_resnet50(name, parameters, macs):
    """Parameters of the whole network, multiply-accumulates that the released form adds."""
    found, counted = BACKBONE, {"direct": 0, "cheaper": 0}
    for channels, size in STAGES:
        for form in counted:
            with torch.device("meta"):
                module = EVERY[name](channels, size, form=form).eval()
                x = torch.zeros(1, channels, *size)
            with FlopCounterMode(display=False) as counter:
                module(x)
            counted[form] += counter.get_total_flops() // 2
        found += sum(p.numel() for p in module.parameters())
    assert found == parameters
    assert counted["direct"] == macs
    assert counted["cheaper"] < {"S": 0.3, "C": 0.3, "SC": 0.18}[name] * macs


def test_kaiming_is_a_setting_and_torch_s_own_the_default():
    bounds = []
    for settings in (RGASettings(), RGASettings(attention_init="kaiming")):
        torch.manual_seed(0)
        module = SpatialRelationAttention(64, (8, 8), settings=settings)
        bounds.append(module.graph.psi.conv.weight.abs().max().item())
    assert bounds[0] <= 64**-0.5 < bounds[1]
