"""The recurrent critic against LSTM cells written out by hand."""

import math

import pytest
import torch
from slow_reference import slow_critiques
from torch import nn

from dreal_lib.actor_critic.critic import RecurrentCritic
from dreal_lib.runtime.modes import frozen

BLOCKS, BATCH, SIZE = 5, 3, 4


def inputs(scale: float = 1.0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    shape = (BLOCKS, BATCH, SIZE)
    made = [torch.randn(shape, generator=generator, dtype=torch.float64) for _ in range(2)]
    return made[0] * scale, made[1] * scale


@pytest.fixture
def critic():
    torch.manual_seed(3)
    return RecurrentCritic(SIZE).double()


def phi_of(critic: RecurrentCritic) -> list[torch.Tensor]:
    lstm = critic.lstm
    return [lstm.weight_ih_l0, lstm.weight_hh_l0, lstm.bias_ih_l0, lstm.bias_hh_l0]


@pytest.mark.parametrize("norm", ["off", "layer"])
@pytest.mark.parametrize("init", ["pytorch", "fan_in"])
def test_critiques_are_those_of_a_loop_over_cells(init, norm):
    torch.manual_seed(3)
    critic = RecurrentCritic(SIZE, init, norm).double()
    states, maps = inputs()
    expected = slow_critiques(list(states), list(maps), phi_of(critic), norm == "layer")
    torch.testing.assert_close(critic(states, maps), torch.stack(expected))


def test_critiques_are_those_of_one_cell_of_torch(critic):
    """The stage's critic is one LSTMCell, called once a block, from zero states."""
    cell = nn.LSTMCell(2 * SIZE, 1).double()
    for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
        getattr(cell, name).data = getattr(critic.lstm, f"{name}_l0").data
    states, maps = inputs()
    got, carried = critic(states, maps), None
    for block in range(BLOCKS):
        carried = cell(torch.cat((states[block], maps[block]), 1), carried)
        torch.testing.assert_close(got[block], carried[0].squeeze(1))


def test_a_block_sees_only_itself_and_those_before(critic):
    states, maps = inputs()
    maps.requires_grad_()
    (gradient,) = torch.autograd.grad(critic(states, maps)[2].sum(), maps)
    seen = [bool(gradient[block].abs().sum()) for block in range(BLOCKS)]
    assert seen == [True, True, True, False, False]


def test_gradients_against_finite_differences(critic):
    states, maps = inputs()
    states.requires_grad_()
    maps.requires_grad_()
    assert torch.autograd.gradcheck(critic, (states, maps))


def test_critiques_cannot_leave_tanh_of_the_block_number():
    """|c| grows by less than 1 a block, so that |Q_l| < tanh(l): the first cannot reach -1."""
    critic = RecurrentCritic(SIZE).double()
    states, maps = (
        torch.ones(BLOCKS, BATCH, SIZE).double(),
        torch.ones(BLOCKS, BATCH, SIZE).double(),
    )
    bounds = torch.tanh(torch.arange(1, BLOCKS + 1, dtype=torch.float64))
    assert bounds[0].item() == pytest.approx(0.762, abs=5e-4)
    with torch.no_grad():
        for sign in (1, -1):
            for parameter in critic.lstm.parameters():
                parameter.fill_(0.0)
            critic.lstm.weight_ih_l0.fill_(100.0)  # every gate open, the candidate at +-1
            critic.lstm.weight_ih_l0[2] *= sign
            reached = critic(states, maps)
            torch.testing.assert_close(reached[:, 0], sign * bounds)  # the bound is tight
    for seed in range(20):
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for parameter in critic.lstm.parameters():
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * 10)
            assert (critic(*inputs(3.0)).abs() <= bounds[:, None] + 1e-12).all()


def autograd_sensitivity(critic, states, maps) -> torch.Tensor:
    """d Q_l / d pre-activation of block l, by autograd, the four gates' absolute values added."""
    w_ih, w_hh, b_ih, b_hh = phi_of(critic)
    h = c = torch.zeros(BATCH, dtype=torch.float64)
    result = torch.zeros(BLOCKS, BATCH, dtype=torch.float64)
    for block in range(BLOCKS):
        x = critic.norm(torch.cat((states[block], maps[block]), 1)) if critic.normalises else (
            torch.cat((states[block], maps[block]), 1)
        )  # fmt: skip
        pre = (x @ w_ih.T + b_ih + h[:, None] * w_hh[:, 0] + b_hh).detach().requires_grad_()
        i, f, g, o = pre.unbind(1)
        cell = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        hidden = torch.sigmoid(o) * torch.tanh(cell)
        (gradient,) = torch.autograd.grad(hidden.sum(), pre)
        result[block] = gradient.abs().sum(1)
        h, c = hidden.detach(), cell.detach()
    return result


@pytest.mark.parametrize("norm", ["off", "layer"])
def test_gate_sensitivity_is_the_gradient_with_respect_to_the_gates(norm):
    torch.manual_seed(3)
    critic = RecurrentCritic(SIZE, input_norm=norm).double()
    states, maps = inputs()
    got = critic.gate_sensitivity(states, maps, critic(states, maps))
    torch.testing.assert_close(got, autograd_sensitivity(critic, states, maps))


def test_a_block_more_costs_gate_sensitivity_the_recursion_alone(critic):
    """On a GPU each operation is a launch, and a deep stage has 23 blocks."""

    def count(blocks: int) -> int:
        given = torch.ones(blocks, BATCH, SIZE).double()
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profiled:
            critic.gate_sensitivity(given, given, torch.zeros(blocks, BATCH).double())
        return sum(event.name in ("aten::mul", "aten::add") for event in profiled.events())

    assert count(23) - count(3) == 20 * 3  # c_l = f c_{l-1} + i g


def test_gate_sensitivity_against_finite_differences(critic):
    """Shifting a gate's bias moves the first block's critique by its sensitivity."""
    states, maps = (each[:1] for each in inputs())
    sensitivity = critic.gate_sensitivity(states, maps, critic(states, maps))[0]
    total, step = torch.zeros(BATCH, dtype=torch.float64), 1e-6
    with torch.no_grad():
        for gate in range(4):
            ends = []
            for sign in (1, -1):
                critic.lstm.bias_ih_l0[gate] += sign * step
                ends.append(critic(states, maps)[0])
                critic.lstm.bias_ih_l0[gate] -= sign * step
            total += ((ends[0] - ends[1]) / (2 * step)).abs()
    torch.testing.assert_close(sensitivity, total, rtol=1e-6, atol=1e-8)


def test_gate_sensitivity_of_saturated_gates_is_0(critic):
    with torch.no_grad():
        critic.lstm.weight_ih_l0.fill_(1000.0)
    states = maps = torch.ones(1, BATCH, SIZE, dtype=torch.float64)
    # All gates and the candidate are at 1, where neither the sigmoid nor tanh moves.
    assert critic.gate_sensitivity(states, maps, critic(states, maps)).max() < 1e-12


@pytest.mark.parametrize(("init", "bound"), [("pytorch", 1.0), ("fan_in", 1 / math.sqrt(400))])
def test_initial_parameters_fill_their_range(init, bound):
    torch.manual_seed(0)
    critic = RecurrentCritic(200, init)
    weights = critic.lstm.weight_ih_l0
    assert 0.97 * bound < weights.abs().max() <= bound
    assert weights.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.1)
    assert all(parameter.abs().max() <= bound for parameter in critic.parameters())


@pytest.mark.parametrize("norm", ["off", "layer"])
def test_parameters_are_those_of_four_linear_maps_with_both_biases(norm):
    for size in (49, 256):
        critic = RecurrentCritic(size, input_norm=norm)
        count = sum(parameter.numel() for parameter in critic.parameters())
        assert count == 4 * (2 * size + 1) + 2 * 4


def test_frozen_parameters_are_constants_for_a_while(critic):
    states, maps = inputs()
    maps.requires_grad_()
    critic.lstm.bias_hh_l0.requires_grad_(False)  # a parameter frozen before stays so
    with frozen(critic):
        critic(states, maps).sum().backward()
    assert maps.grad.abs().sum() > 0
    assert all(parameter.grad is None for parameter in critic.parameters())
    trained = {name: p.requires_grad for name, p in critic.lstm.named_parameters()}
    assert trained.pop("bias_hh_l0") is False
    assert all(trained.values())


def test_an_exception_thaws_what_was_frozen(critic):
    with pytest.raises(ZeroDivisionError), frozen(critic):
        _ = 1 / 0
    assert all(parameter.requires_grad for parameter in critic.parameters())
