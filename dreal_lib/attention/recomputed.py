"""Less memory in training: a tensor that is cheap to make again is not kept for the backward pass.

As activation checkpointing, but of one tensor, and without running a module twice: no BN moves its
statistics again. Gradients are the same.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor
from torch.autograd.graph import saved_tensors_hooks


class _Way(NamedTuple):
    """How to make a tensor, how it is to lie in memory, and the precision it was made in."""

    how: Callable[[], Tensor]
    shape: torch.Size
    stride: tuple[int, ...]
    precision: torch.autocast


def _address(tensor: Tensor) -> int:
    """Where the data of a tensor lie; 0 where nothing is to be, or can be, made again."""
    if not torch.is_grad_enabled() or torch.compiler.is_compiling():
        return 0  # a compiler decides by itself what it recomputes
    if not torch._C._autograd._saved_tensors_hooks_is_enabled():
        return 0  # within torch.func
    return 0 if tensor.is_meta or isinstance(tensor, FakeTensor) else tensor.data_ptr()


@contextmanager
def recomputed(tensor: Tensor, how: Callable[[], Tensor]) -> Iterator[None]:
    """Within it, autograd keeps `how` wherever it would keep `tensor` or a view of all of it.

    What `how` reads must be kept by autograd anyway, else nothing is saved; a later change in place
    is then refused by autograd itself.

    Args:
        tensor: What operations within the context take; contiguous.
        how: Makes it again, without a graph: from detached tensors, not from `tensor`.
    """
    address, size = _address(tensor), tensor.numel()
    if not address:
        yield
        return
    device = tensor.device.type
    cast, dtype = torch.is_autocast_enabled(device), torch.get_autocast_dtype(device)

    def pack(saved: Tensor) -> Tensor | _Way:
        if saved.data_ptr() == address and saved.numel() == size:
            return _Way(how, saved.shape, saved.stride(), torch.autocast(device, dtype, cast))
        return saved

    with saved_tensors_hooks(pack, _unpack):
        yield


@torch.no_grad()
def _unpack(kept: Tensor | _Way) -> Tensor:
    if isinstance(kept, Tensor):
        return kept
    with kept.precision:
        return kept.how().as_strided(kept.shape, kept.stride)
