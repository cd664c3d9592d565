"""A tensor that is made again in the backward pass: gradients as without, and nothing kept."""

import pytest
import torch

from dreal_lib.attention.recomputed import recomputed


def made(x: torch.Tensor) -> torch.Tensor:
    return x * 2


def normal() -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(2, 3, 4, generator=generator, dtype=torch.float64).requires_grad_()


def output(x: torch.Tensor, calls: list, recompute: bool) -> torch.Tensor:
    """Of a tensor that is used as it is, as a view, and transposed."""
    between = made(x)

    def again() -> torch.Tensor:
        calls.append(1)
        return made(x.detach())

    def used() -> torch.Tensor:
        flat = between.flatten(1)
        return between.square().sum() + (flat @ flat.T).sum() + between.mT.sin().sum()

    if not recompute:
        return used()
    with recomputed(between, again):
        return used()


def test_gradients_of_both_orders_are_those_without():
    x, calls = normal(), []
    found = []
    for recompute in (False, True):
        (first,) = torch.autograd.grad(output(x, calls, recompute), x, create_graph=True)
        (second,) = torch.autograd.grad(first.square().sum(), x)
        found.append((first, second))
    assert calls
    for with_it, without in zip(*found, strict=True):
        torch.testing.assert_close(with_it, without, rtol=0, atol=0)


@pytest.mark.parametrize("recompute", [True, False])
def test_the_tensor_is_not_kept(recompute):
    x = normal()
    between = made(x)
    if recompute:
        with recomputed(between, lambda: made(x.detach())):
            out = between.square().sum()
    else:
        out = between.square().sum()
    alive = between.untyped_storage()._weak_ref()
    del between
    kept = not torch.UntypedStorage._expired(alive)
    torch.UntypedStorage._free_weak_ref(alive)
    assert kept != recompute
    assert torch.equal(torch.autograd.grad(out, x)[0], 8 * x)


def test_no_graph_and_no_data_keep_nothing():
    calls = []
    with torch.no_grad():
        output(normal(), calls, True)
    x = torch.zeros(2, 3, 4, device="meta", requires_grad=True)
    output(x, calls, True).backward()
    assert calls == []


def test_another_tensor_of_that_size_is_kept_as_it_is():
    x = normal()
    between, other = made(x), x.detach() * 3
    with recomputed(between, lambda: torch.full_like(between, torch.nan)):
        out = (other * x).sum()
    (gradient,) = torch.autograd.grad(out, x)
    assert torch.equal(gradient, other)
