"""BN in steps of several passes: one move of the running statistics, alike in both terms of R."""

import copy

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from dreal_lib.actor_critic.normalization import MainPassStatistics, running_statistics_untouched
from dreal_lib.errors import UserError
from dreal_lib.runtime.modes import evaluation_mode


def batch(*shape: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64) * 2 + 1


def norm(momentum: float | None = 0.1, channels: int = 3, kind=nn.BatchNorm2d) -> nn.Module:
    module = kind(channels, momentum=momentum).double()
    with torch.no_grad():
        module.weight.uniform_(0.5, 1.5, generator=torch.Generator().manual_seed(5))
        module.running_mean.fill_(0.25)
        module.running_var.fill_(4.0)
    return module


def buffers(module: nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in module.named_buffers()}


@pytest.mark.parametrize("momentum", [0.1, 0.01, 1.0, None])
@pytest.mark.parametrize("steps", [1, 3])
def test_running_statistics_move_as_by_plain_forward_passes(momentum, steps):
    plain = nn.Sequential(norm(momentum), nn.ReLU(), norm(momentum))
    watched = copy.deepcopy(plain)
    for step in range(steps):
        x = batch(4, 3, 5, 5, seed=step)
        expected = plain(x)
        with MainPassStatistics(watched) as statistics:
            torch.testing.assert_close(watched(x), expected, rtol=0, atol=0)
            with statistics.reused(), torch.no_grad():
                watched(x[:1] * 100)
    torch.testing.assert_close(buffers(watched), buffers(plain))
    assert watched[0].num_batches_tracked == steps
    assert [module.momentum for module in watched if hasattr(module, "momentum")] == [momentum] * 2


@pytest.mark.parametrize("momenta", [(0.1, 0.01, None, 0.1), (1.0, 0.1, 0.01, 0.01)])
def test_norms_of_several_momenta_move_each_by_its_own(momenta):
    plain = nn.Sequential(*(norm(momentum) for momentum in momenta))
    watched, x = copy.deepcopy(plain), batch(4, 3, 5, 5)
    plain(x)
    with MainPassStatistics(watched):
        watched(x)
    torch.testing.assert_close(buffers(watched), buffers(plain))


class Operations(TorchDispatchMode):
    """Counts what is dispatched: on a GPU, about the launches."""

    count = 0

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        self.count += operation is not torch.ops.aten.empty_like.default  # launches nothing
        return operation(*args, **(kwargs or {}))


def test_statistics_are_handled_all_at_once_whatever_the_number_of_norms():
    def count(norms: int) -> int:
        model = nn.Sequential(*(norm() for _ in range(norms)))
        with Operations() as operations:
            model(batch(4, 3, 5, 5))
            alone, operations.count = operations.count, 0
            with MainPassStatistics(model) as statistics:
                model(batch(4, 3, 5, 5))
                with statistics.reused():
                    pass
        return operations.count - alone

    assert count(20) == count(2)


@pytest.mark.parametrize(("momentum", "share"), [(0.1, 0.1), (0.01, 0.01)])
def test_running_statistics_move_once_by_the_momentum(momentum, share):
    module, x = norm(momentum), batch(4, 3, 5, 5)
    with MainPassStatistics(module) as statistics:
        module(x)
        with statistics.reused(), torch.no_grad():
            for count in (1, 2, 4):
                module(x[:count])
    values = x.transpose(0, 1).flatten(1)
    mean = (1 - share) * 0.25 + share * values.mean(1)
    variance = (1 - share) * 4.0 + share * values.var(1, correction=1)
    torch.testing.assert_close(module.running_mean, mean)
    torch.testing.assert_close(module.running_var, variance)
    assert module.num_batches_tracked == 1
    assert module.training


@pytest.mark.parametrize(
    ("kind", "shape"),
    [(nn.BatchNorm1d, (5, 3)), (nn.BatchNorm2d, (2, 3, 1, 1)), (nn.BatchNorm2d, (4, 3, 5, 6))],
)
def test_reused_statistics_are_those_of_the_batch(kind, shape):
    """The biased variance, as BN itself normalises with; here n is as small as 2."""
    module, x = norm(kind=kind), batch(*shape)
    with MainPassStatistics(module) as statistics:
        expected = module(x)
        with statistics.reused():
            torch.testing.assert_close(module(x), expected)
            torch.testing.assert_close(module(x[:1]), expected[:1])  # whatever the neighbours


def test_statistics_can_be_reused_twice():
    module, x = norm(), batch(4, 3, 5, 5)
    with MainPassStatistics(module) as statistics:
        expected = module(x)
        for _ in range(2):
            with statistics.reused():
                torch.testing.assert_close(module(x), expected)


def test_the_main_pass_can_be_differentiated_after_the_counterfactual():
    module, x = norm(), batch(4, 3, 5, 5).requires_grad_()
    twin = copy.deepcopy(module)
    with MainPassStatistics(module) as statistics:
        out = module(x)
        with statistics.reused(), torch.no_grad():
            module(x[:2])
    weights = batch(4, 3, 5, 5, seed=9)
    got = torch.autograd.grad((out * weights).sum(), [x, module.weight, module.bias])
    expected = torch.autograd.grad((twin(x) * weights).sum(), [x, twin.weight, twin.bias])
    torch.testing.assert_close(got, expected)


def test_a_bn_in_evaluation_mode_stays_as_it_is():
    model = nn.Sequential(norm(), norm())
    model[0].eval()
    before = buffers(model[0])
    with MainPassStatistics(model) as statistics:
        model(batch(4, 3, 5, 5))
        with statistics.reused():
            assert not model[0].training
    assert not model[0].training
    assert model[1].training
    assert all(torch.equal(value, before[name]) for name, value in buffers(model[0]).items())


def test_a_bn_that_was_not_used_stays_as_it_is():
    model = nn.ModuleList([norm(), norm(None)])
    before = buffers(model[1])
    with MainPassStatistics(model) as statistics:
        model[0](batch(4, 3, 5, 5))
        with statistics.reused():
            pass
    assert all(torch.equal(value, before[name]) for name, value in buffers(model[1]).items())


def test_a_bn_used_twice_is_refused():
    module = norm()
    with (
        pytest.raises(UserError, match=r"used twice.*reward_statistics='running'"),
        MainPassStatistics(module),
    ):
        module(module(batch(4, 3, 5, 5)))
    assert not module._forward_pre_hooks
    assert module.momentum == 0.1


@pytest.mark.parametrize("momentum", [0.1, None])
def test_an_exception_in_the_main_pass_spoils_no_running_statistics(momentum):
    """A BN whose own forward pass failed has no batch statistics to mix in."""
    module = norm(momentum)
    before = buffers(module)
    with pytest.raises(RuntimeError), MainPassStatistics(module):
        module(batch(4, 2, 5, 5))  # two channels instead of three
    assert torch.equal(module.running_mean, before["running_mean"])
    assert torch.equal(module.running_var, before["running_var"])
    assert module.momentum == momentum
    assert not module._forward_pre_hooks


def test_the_critics_side_uses_batch_statistics_with_gradient_and_moves_nothing():
    module, x = norm(), batch(4, 3, 5, 5).requires_grad_()
    twin, before = copy.deepcopy(module), buffers(module)
    with running_statistics_untouched(list(module.modules())):
        out = module(x)
    torch.testing.assert_close(out, twin(x), rtol=0, atol=0)
    torch.testing.assert_close(buffers(module), before, rtol=0, atol=0)
    assert module.track_running_stats
    got = torch.autograd.grad((out**3).sum(), x)
    torch.testing.assert_close(got, torch.autograd.grad((twin(x) ** 3).sum(), x))


def test_the_critics_side_uses_running_statistics_where_bn_is_frozen():
    module = norm().eval()
    x = batch(4, 3, 5, 5)
    expected = module(x)
    with running_statistics_untouched([module]):
        torch.testing.assert_close(module(x), expected, rtol=0, atol=0)
    assert module.track_running_stats


def test_every_module_gets_its_own_mode_back():
    model = nn.Sequential(norm(), nn.Sequential(norm(), nn.Dropout()), norm())
    model[1].eval()
    modes = [module.training for module in model.modules()]
    with evaluation_mode(model):
        assert not any(module.training for module in model.modules())
    assert [module.training for module in model.modules()] == modes
    with pytest.raises(ZeroDivisionError), evaluation_mode(model):
        _ = 1 / 0
    assert [module.training for module in model.modules()] == modes
