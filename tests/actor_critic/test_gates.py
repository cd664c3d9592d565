"""What is found as a gate, what is chosen, and what a step does at it; networks by hand."""

import copy

import pytest
import torch
from foreign_networks import BAM, CBAM, CLASSES, ECA, SE, Block, Coordinate, Public
from slow_gates import moved, slow_rewards
from slow_reference import slow_critiques
from torch import nn
from torch.utils.flop_counter import FlopCounterMode
from torchvision.ops import stochastic_depth

from dreal_lib import Gate, find_gates, reinforce
from dreal_lib.actor_critic.baseline import Baseline
from dreal_lib.errors import UserError

SIZE = 16


@pytest.fixture
def batch():
    """(model, images, labels), every other image predicted right; of `Public` with an attention."""

    def make(attention, count=4, **options):
        torch.manual_seed(0)
        model = attention if isinstance(attention, nn.Module) else Public(attention, **options)
        model = moved(model)
        images = torch.randn(count, 3, SIZE, SIZE, dtype=torch.float64)
        torch.manual_seed(1)
        with torch.no_grad():
            logits = copy.deepcopy(model)(images)
        labels = (logits.argmax(1) + torch.arange(count) % 2) % CLASSES
        torch.manual_seed(1)
        return model, images, labels

    return make


class Gated(nn.Module):
    """A block whose own forward holds the product; `how` multiplies (x, map, self)."""

    def __init__(self, how, channels: int = 8):
        super().__init__()
        self.conv, self.fc = nn.Conv2d(channels, channels, 1), nn.Linear(channels, channels)
        self.gate, self.how = nn.Sigmoid(), how

    def forward(self, x):
        x = self.conv(x)
        return self.how(x, self.gate(self.fc(x.mean((2, 3))))[:, :, None, None], self)


def network(*blocks: nn.Module) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1),
        *blocks,
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(8, CLASSES),
    )


def example(side: int = SIZE) -> torch.Tensor:
    return torch.randn(1, 3, side, side, generator=torch.Generator().manual_seed(0))


# --- what is a gate -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "how",
    [
        lambda x, a, m: x * a,
        lambda x, a, m: a * x,
        lambda x, a, m: torch.mul(x, a),
        lambda x, a, m: x.mul_(a),
        lambda x, a, m: x * a.expand_as(x),
        lambda x, a, m: x + x * a,
        lambda x, a, m: x * a.expand(-1, -1, x.size(2), -1) * 2,
    ],
)
def test_a_product_is_found_however_it_is_written(how):
    (gate,) = find_gates(network(Gated(how)), example())
    assert (gate.path, gate.class_name, gate.kind) == ("1", "Gated", "channel")
    assert (gate.features, gate.map) == ((8, SIZE, SIZE), (8, 1, 1))


@pytest.mark.parametrize(
    "how",
    [
        lambda x, a, m: x + a,
        lambda x, a, m: x * m.conv.bias[None, :, None, None],
        lambda x, a, m: x * torch.rsqrt(x.square().mean(1, keepdim=True)),  # a norm
        lambda x, a, m: x * a[:, :1],  # a number for each image drops images
        lambda x, a, m: x * (x + a),  # as large as F, which is no input
        lambda x, a, m: x * x.sigmoid(),
    ],
)
def test_what_is_no_gate_is_not_found(how):
    with pytest.raises(UserError, match="no gate was found in Sequential"):
        find_gates(network(Gated(how)), example())


def test_maps_of_one_position_are_told_from_features():
    """At 4 px the features of the second stage have one position."""

    class Pooled(Public):
        def forward(self, x):
            return super().forward(nn.functional.max_pool2d(x, 2))

    small = find_gates(Pooled(SE), example(4))
    large = find_gates(Pooled(SE), example(32))
    assert [gate.path for gate in small] == [gate.path for gate in large]
    assert [gate.features[1:] for gate in small] == [(1, 1)] * 4
    assert {gate.kind for gate in small} == {"channel"}


def test_kinds_shapes_blocks_and_critics():
    gates = find_gates(Public(CBAM), example())
    assert [gate.name for gate in gates[:2]] == [
        "layer1.0.attention.channel",
        "layer1.0.attention.spatial",
    ]
    assert [gate.map for gate in gates[:2]] == [(12, 1, 1), (1, 8, 8)]
    assert {gate.block for gate in gates[:2]} == {"layer1.0.attention"}
    assert gates[0].path == "layer1.0.attention.ChannelGate"
    gates = find_gates(Public(Coordinate), example(), stages=["layer2"])
    assert [gate.map for gate in gates[:2]] == [(16, 1, 4), (16, 4, 1)]
    assert {(gate.kind, gate.critic) for gate in gates} == {("full", "layer2_full")}
    assert len({gate.name for gate in gates}) == 4
    assert [gate.map for gate in find_gates(Public(BAM, between=True), example())] == [
        (12, 8, 8),
        (16, 4, 4),
    ]


def test_a_product_in_the_forward_of_the_network_itself(batch):
    class Flat(Gated):
        def __init__(self):
            super().__init__(lambda x, a, m: x * a)
            self.stem, self.head = nn.Conv2d(3, 8, 3, padding=1), nn.Linear(8, CLASSES)

        def forward(self, x):
            return self.head(super().forward(self.stem(x)).amax((2, 3)))

    model, images, labels = batch(Flat())
    agent = reinforce(model, example=images)
    _, expected = slow_rewards(model, images, labels, {"network": ["gate"]})
    step = agent(images, labels)
    torch.testing.assert_close(step.rewards, expected, rtol=0, atol=1e-10)


# --- which are chosen ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("gates", "chosen"),
    [
        (r"layer1\..*", ["layer1.0.attention", "layer1.1.attention"]),
        (r".*\.1\.attention", ["layer1.1.attention", "layer2.1.attention"]),
        (["layer2.0.attention"], ["layer2.0.attention"]),
        (["0.attention"], ["layer1.0.attention", "layer2.0.attention"]),
    ],
)
def test_a_pattern_or_a_list_of_names_chooses(gates, chosen):
    agent = reinforce(Public(SE), example=example(), gates=gates)
    assert list(agent.units) == chosen


@pytest.mark.parametrize("gates", ["layer1", ["se"], [], "attention"])
def test_nothing_chosen_lists_the_candidates(gates):
    with pytest.raises(UserError, match=r"candidates: layer1\.0\.attention, .*layer2\.1\."):
        reinforce(Public(SE), example=example(), gates=gates)


def test_stages_by_name_and_by_runs_of_equal_sides():
    model = Public(SE)
    named = find_gates(model, example(), stages=["layer2", "layer1.1"])
    assert [gate.stage for gate in named] == ["layer1.1", "layer2", "layer2"]
    found = find_gates(model, example())
    assert [gate.stage for gate in found] == ["stage1", "stage1", "stage2", "stage2"]


@pytest.mark.parametrize(
    ("stages", "error"),
    [
        ("layer1", r"stages must be a list of names, or 'auto'; got 'layer1'"),
        (["layer3"], r"unknown stage 'layer3'.*layer1"),
        (["conv1"], r"stage 'conv1' holds no gate; gates are at 'layer1\.0"),
        (["layer1", "layer1.0"], "must not overlap"),
        ([], "at least one"),
    ],
)
def test_stages_that_do_not_fit_are_refused(stages, error):
    with pytest.raises(UserError, match=error):
        find_gates(Public(SE), example(), stages=stages)


# --- declared -----------------------------------------------------------------------------------


class TokenAttention(nn.Module):
    """Unfused, as timm's: the weights between tokens go through `attn_drop`."""

    def __init__(self, width: int, dropout: float):
        super().__init__()
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.attn_drop = nn.Dropout(dropout)

    def forward(self, x):
        b, n, c = x.shape
        q, k, v = self.qkv(x).reshape(b, n, 3, 2, c // 2).permute(2, 0, 3, 1, 4).unbind(0)
        attn = self.attn_drop((q @ k.transpose(-2, -1) * 4).softmax(dim=-1))
        return self.proj((attn @ v).transpose(1, 2).reshape(b, n, c))


class Tokens(nn.Module):
    def __init__(self, dropout: float = 0.0):
        super().__init__()
        self.embed = nn.Conv2d(3, 8, 4, 4)
        self.blocks = nn.ModuleList(
            nn.ModuleDict({"attn": TokenAttention(8, dropout)}) for _ in range(2)
        )
        self.head = nn.Linear(8, CLASSES)

    def forward(self, images):
        x = self.embed(images).flatten(2).transpose(1, 2)
        for block in self.blocks:
            x = x + block["attn"](x)
        return self.head(x.amax(1))


class AdditiveContext(nn.Module):
    """Global context: what is added is made by a module of its own."""

    def __init__(self, channels: int):
        super().__init__()
        self.mlp_add = nn.Conv2d(channels, channels, 1)

    def forward(self, x):
        return x + self.mlp_add(x.mean((2, 3), keepdim=True))


@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_declared_weights_between_tokens(batch, dropout):
    model, images, labels = batch(Tokens(dropout))
    agent = reinforce(model, example=images, gates=[Gate("blocks.*.attn", map="attn_drop")])
    assert list(agent.units) == ["blocks.0.attn", "blocks.1.attn"]
    assert {(item.kind, item.shape) for item in agent.maps} == {("matrix", (2, 16, 16))}
    (critic,) = agent.critics.values()
    assert critic.lstm.input_size == 2 * (2 + 16 + 16)  # 34, of which F~ fills 16 + 8
    units = {f"blocks.{i}.attn": [f"blocks.{i}.attn.attn_drop"] for i in (0, 1)}
    torch.manual_seed(1)
    logits, expected = slow_rewards(model, images, labels, units)
    step = agent.training_step(images, labels, list(units))
    assert torch.equal(step.logits, logits)
    torch.testing.assert_close(step.rewards, expected, rtol=0, atol=1e-10)
    assert all(reward[::2].abs().max() > 1e-9 for reward in expected.values())
    step.quality_loss.backward()
    taught = {n for n, p in model.named_parameters() if p.grad is not None and p.grad.any()}
    assert taught == {f"blocks.{i}.attn.qkv.{kind}" for i in (0, 1) for kind in ("weight", "bias")}
    assert agent.verify(images) < 1e-12


def test_declared_maps_that_are_added_stand_beside_found_ones(batch):
    model, images, labels = batch(network(AdditiveContext(8), SE(8)))
    agent = reinforce(model, example=images, gates=["2", Gate("1", map="mlp_add")])
    assert [(item.name, item.kind) for item in agent.maps] == [("1", "channel"), ("2", "channel")]
    _, expected = slow_rewards(model, images, labels, {"1": ["1.mlp_add"], "2": ["2.fc"]})
    step = agent.training_step(images, labels, ["1", "2"])
    torch.testing.assert_close(step.rewards, expected, rtol=0, atol=1e-10)
    step.quality_loss.backward()
    assert model[1].mlp_add.weight.grad.any()


def test_a_module_may_hold_a_declared_map_and_a_product(batch):
    class Both(SE):
        def __init__(self):
            super().__init__(8)
            self.context = nn.Conv2d(8, 8, 1)

        def forward(self, x):
            return super().forward(x) + self.context(x.mean((2, 3), keepdim=True))

    model, images, labels = batch(network(Both()))
    agent = reinforce(model, example=images, gates=["1", Gate("1", map="context")])
    assert len(agent.maps) == 2
    agent(images, labels).quality_loss.backward()
    assert all(p.grad.any() for p in (model[1].context.weight, model[1].fc[0].weight))


@pytest.mark.parametrize(
    ("gate", "said"),
    [
        (Gate("layers.*", "attn_drop"), r"no module has the path 'layers\.\*'"),
        (Gate("blocks.*.attn", "drop"), r"unknown sub-module of 'blocks\.0\.attn' 'drop'.*qkv"),
        (Gate("blocks.*.attn", "unused"), r"'blocks\.0\.attn' \(TokenAttention\) was not made"),
    ],
)
def test_declarations_that_do_not_fit_are_refused(gate, said):
    model = Tokens()
    for block in model.blocks:
        block["attn"].unused = nn.Identity()
    with pytest.raises(UserError, match=said):
        find_gates(model, example(), gates=[gate])


# --- a step -------------------------------------------------------------------------------------


def test_the_quality_loss_teaches_what_makes_maps_and_nothing_else(batch):
    """Against the critics' formula on maps made again of the features as constants."""
    model, images, labels = batch(SE)
    agent, inputs = reinforce(model, example=images, stages=["layer1", "layer2"]), {}
    step = agent.training_step(images, labels)
    twin = copy.deepcopy(model)
    paths = [item.actor.path for item in agent.maps]
    for path in paths:
        twin.get_submodule(path).register_forward_pre_hook(
            lambda m, x, path=path: inputs.__setitem__(path, x[0].detach())
        )
    twin(images)
    loss = 0
    for stage in ("layer1", "layer2"):
        own = [path for path in paths if path.startswith(stage)]
        lstm = agent.critics[f"{stage}_channel"].lstm
        phi = [lstm.weight_ih_l0, lstm.weight_hh_l0, lstm.bias_ih_l0, lstm.bias_hh_l0]
        states = [inputs[path].mean((2, 3)) for path in own]
        maps = [twin.get_submodule(path).fc(s) for path, s in zip(own, states, strict=True)]
        critiques = slow_critiques(states, maps, [tensor.detach() for tensor in phi])
        loss = loss - sum(critique.mean() for critique in critiques)
    torch.testing.assert_close(step.quality_loss, loss)
    step.quality_loss.backward()
    loss.backward()
    for (name, parameter), other in zip(model.named_parameters(), twin.parameters(), strict=True):
        assert (parameter.grad is not None) == (".fc." in name)
        if parameter.grad is not None:
            torch.testing.assert_close(parameter.grad, other.grad)
            assert parameter.grad.abs().max() > 1e-9


def test_features_made_within_the_gate_are_cut_off(batch):
    model, images, labels = batch(network(Gated(lambda x, a, m: x * a)))
    step = reinforce(model, example=images).training_step(images, labels)
    step.quality_loss.backward()
    taught = {n for n, p in model.named_parameters() if p.grad is not None and p.grad.any()}
    assert taught == {"1.fc.weight", "1.fc.bias"}


@pytest.mark.parametrize("attention", [CBAM, Coordinate])
def test_norms_within_a_gate_move_once(batch, attention):
    model, images, labels = batch(attention)
    plain = copy.deepcopy(model)
    plain(images)
    reinforce(model, example=images).training_step(images, labels)
    torch.testing.assert_close(dict(model.named_buffers()), dict(plain.named_buffers()))


@pytest.mark.parametrize(
    "how",
    [
        lambda x, a, m: x.mul_(a),
        lambda x, a, m: (x * a).add_(1),
        lambda x, a, m: nn.functional.dropout(x, 0.3, m.training) * a,
        lambda x, a, m: nn.functional.dropout(x * a, 0.3, m.training),
        lambda x, a, m: stochastic_depth(x, 0.3, "row", m.training) * a,
    ],
)
def test_rewards_where_gates_write_in_place_or_drop_at_random(batch, how):
    model, images, labels = batch(
        network(Gated(how), nn.ReLU(inplace=True), nn.Dropout(0.2), Gated(how))
    )
    agent = reinforce(model, example=images, stages=["1", "4"])
    torch.manual_seed(1)
    logits, expected = slow_rewards(model, images, labels, {"1": ["1.gate"], "4": ["4.gate"]})
    step = agent.training_step(images, labels, blocks=["1", "4"])
    assert torch.equal(step.logits, logits)
    after = torch.get_rng_state()
    torch.manual_seed(1)
    model(images)
    assert torch.equal(torch.get_rng_state(), after)  # as after the main pass alone
    torch.testing.assert_close(step.rewards, expected, rtol=0, atol=1e-10)
    assert all(reward[::2].abs().max() > 1e-9 for reward in expected.values())
    step.loss.backward()
    assert all(p.grad.isfinite().all() for p in agent.parameters())


def test_a_module_that_writes_into_its_input_is_not_replayed(batch):
    """Its input goes on as a shortcut, changed: pre-activation, as often written."""

    class PreActivated(nn.Module):
        def __init__(self):
            super().__init__()
            self.act, self.conv, self.se = nn.ReLU(inplace=True), nn.Conv2d(8, 8, 1), SE(8)

        def forward(self, x):
            return self.se(self.conv(self.act(x))) + x

    model, images, labels = batch(network(PreActivated(), PreActivated()))
    units = {f"{i}.se": [f"{i}.se.fc"] for i in (1, 2)}
    _, expected = slow_rewards(model, images, labels, units)
    agent = reinforce(model, example=images)
    step = agent.training_step(images, labels, blocks=list(units))
    torch.testing.assert_close(step.rewards, expected, rtol=0, atol=1e-10)


def test_maps_of_unequal_size_share_a_critic_or_not(batch):
    model, images, labels = batch(Public(SE))
    for unequal, critics in (("padded", {"_channel"}), ("apart", {"_channel_12", "_channel_16"})):
        agent = reinforce(nn.Sequential(model), example=images, stages=["0"], unequal_maps=unequal)
        assert set(agent.critics) == {f"0{name}" for name in critics}
        step = agent.training_step(images, labels)
        step.loss.backward()
        assert len(step.critiques) == 4
    # Where all sizes agree, both are the same.
    assert set(reinforce(model, example=images, stages=["layer1"]).critics) == {"layer1_channel"}


def test_full_maps_are_read_as_means_or_whole(batch):
    model, images, labels = batch(BAM, between=True)
    for full, widths in (("auto", (12 + 64, 16 + 16)), ("entries", (12 * 64, 16 * 16))):
        agent = reinforce(model, example=images, full_maps=full)
        assert [c.lstm.input_size for c in agent.critics.values()] == [2 * w for w in widths]
        assert agent.training_step(images, labels).loss.isfinite()


@pytest.mark.parametrize("moment", [1, 2, 3])
def test_an_exception_leaves_nothing_behind(batch, moment):
    model, images, labels = batch(CBAM)
    agent, calls = reinforce(model, example=images), []
    buffers = copy.deepcopy(dict(model.named_buffers()))

    def explode(*_):
        calls.append(1)
        if len(calls) == moment:
            raise ZeroDivisionError

    before = [sorted(vars(m)) for m in model.modules()]
    hook = model.layer2[1].attention.SpatialGate.spatial.register_forward_pre_hook(explode)
    with pytest.raises(ZeroDivisionError):
        agent.training_step(images, labels, blocks=["layer1.0.attention"])
    hook.remove()
    assert [sorted(vars(m)) for m in model.modules()] == before
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
    if moment < 3:  # the third is in L_q, behind the rewards
        torch.testing.assert_close(dict(model.named_buffers()), buffers, rtol=0, atol=0)
    assert agent.training_step(images, labels).loss.isfinite()


def test_a_gate_used_twice_is_refused(batch):
    gate = SE(8)
    model, images, labels = batch(network(gate, nn.ReLU(), gate))
    with pytest.raises(UserError, match=r"SE.*used twice"):
        reinforce(model, example=images).training_step(images, labels)


def test_two_agents_do_not_disturb_one_another(batch):
    model, images, labels = batch(SE)
    twin = copy.deepcopy(model)
    first = reinforce(model, example=images)
    expected = copy.deepcopy(first).training_step(images, labels, blocks=["layer2.0.attention"])
    second = reinforce(twin, example=images, gates=["layer1.0.attention"])
    second.training_step(images, labels)
    step = first.training_step(images, labels, blocks=["layer2.0.attention"])
    torch.testing.assert_close(step.loss, expected.loss, rtol=0, atol=0)


@pytest.mark.parametrize("wrap", [nn.DataParallel, torch.compile])
def test_a_wrapped_network_is_refused(wrap):
    with pytest.raises(UserError, match="reinforce it first, then wrap the agent"):
        reinforce(wrap(Public(SE)), example=example())


# --- what it costs ------------------------------------------------------------------------------


def flops(learner, images, labels, *blocks) -> int:
    with FlopCounterMode(display=False) as counter:
        learner.training_step(images, labels, *blocks).loss.backward()
    return counter.get_total_flops()


def test_operations_of_a_step_of_seresnet50_over_the_baselines():
    """All images right, with the average draw's blocks: the dearest step there is."""
    timm = pytest.importorskip("timm")
    torch.manual_seed(0)
    model, images = timm.create_model("seresnet50", num_classes=10), torch.randn(2, 3, 64, 64)
    agent = reinforce(model, example=images)
    blocks = ["layer1.1.se", "layer2.1.se", "layer3.3.se", "layer4.1.se"]
    right = agent.training_step(images, torch.zeros(2, dtype=torch.int64), []).logits.argmax(1)
    baseline = flops(Baseline(model), images, right)
    assert 1.5 < flops(agent, images, right, blocks) / baseline <= 1.75
    assert flops(agent, images, (right + 1) % 10, blocks) / baseline < 1.05


def test_features_made_by_convolutions_of_the_gate_are_not_made_again_for_the_quality_loss(batch):
    class Selective(nn.Module):
        def __init__(self):
            super().__init__()
            self.paths = nn.ModuleList(
                nn.Sequential(nn.Conv2d(8, 8, k, padding=k // 2), nn.BatchNorm2d(8)) for k in (1, 3)
            )
            self.fc, self.norm = nn.Linear(8, 16), nn.BatchNorm1d(16)

        def forward(self, x):
            x = torch.stack([path(x) for path in self.paths], dim=1)
            gate = self.norm(self.fc(x.sum(1).mean((2, 3)))).view(-1, 2, 8, 1, 1).softmax(1)
            return (x * gate).sum(1)

    model, images, labels = batch(network(Selective()))
    agent, calls = reinforce(model, example=images), []
    assert agent.maps[0].shape == (2, 8, 1, 1)
    conv = model[1].paths[0][0]
    forward = conv.forward
    conv.forward = lambda x: calls.append(1) or forward(x)
    step = agent.training_step(images, labels, [])
    assert len(calls) == 1
    step.quality_loss.backward()
    taught = {n for n, p in model.named_parameters() if p.grad is not None and p.grad.any()}
    # The norm behind it takes the bias away, but for rounding.
    assert taught - {"1.fc.bias"} == {"1.fc.weight", "1.norm.weight", "1.norm.bias"}
    found = {n: p.grad.clone() for n, p in model.named_parameters() if n in taught}
    # As without what was kept:
    model.zero_grad()
    twin = copy.deepcopy(agent)
    twin.actor[1].paths[0].append(nn.Dropout(1e-12))  # draws, so that all is run again
    again = twin.training_step(images, labels, [])
    torch.testing.assert_close(again.quality_loss, step.quality_loss)
    again.quality_loss.backward()
    for name, parameter in twin.actor.named_parameters():
        if name in taught:
            torch.testing.assert_close(parameter.grad, found[name])


def test_each_module_runs_once_before_a_bypassed_map(batch):
    model, images, labels = batch(ECA)
    agent, calls = reinforce(model, example=images), {}
    for name, module in model.named_modules():
        if isinstance(module, Block | nn.Conv2d):
            forward = module.forward

            def counted(x, name=name, forward=forward):
                calls[name] = calls.get(name, 0) + 1
                return forward(x)

            module.forward = counted
    agent.training_step(images, labels, blocks=["layer2.0.attention"])
    assert {name for name, count in calls.items() if count == 1} == {
        "conv1", "layer1.0", "layer1.0.conv1", "layer1.0.conv2", "layer1.0.downsample.0",
        "layer1.1", "layer1.1.conv1", "layer1.1.conv2", "layer1.1.downsample.0",
        "layer2.0.conv1", "layer2.0.conv2",
    }  # fmt: skip
