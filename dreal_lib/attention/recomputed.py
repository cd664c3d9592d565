"""Less memory in training: a tensor that is cheap to make again is not kept for the backward pass.

As activation checkpointing, but of one tensor, and without running a module twice: no BN moves its
statistics again. Gradients are the same.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks


class _Way(NamedTuple):
    """How to make a tensor, and how autograd wanted it to lie in memory."""

    how: Callable[[], Tensor]
    shape: torch.Size
    stride: tuple[int, ...]


@contextmanager
def recomputed(tensor: Tensor, how: Callable[[], Tensor]) -> Iterator[None]:
    """Within it, autograd keeps `how` wherever it would keep `tensor` or a view of all of it.

    What `how` reads must be kept by autograd anyway, else nothing is saved; a later change in place
    is then refused by autograd itself.

    Args:
        tensor: What operations within the context take; contiguous.
        how: Makes it again, without a graph: from detached tensors, not from `tensor`.
    """
    # A compiler decides by itself what it recomputes; a tensor without data has no address.
    if not torch.is_grad_enabled() or torch.compiler.is_compiling() or tensor.is_meta:
        yield
        return
    address, size = tensor.data_ptr(), tensor.numel()

    def pack(saved: Tensor) -> Tensor | _Way:
        if saved.data_ptr() == address and saved.numel() == size:
            return _Way(how, saved.shape, saved.stride())
        return saved

    with saved_tensors_hooks(pack, _unpack):
        yield


@torch.no_grad()
def _unpack(kept: Tensor | _Way) -> Tensor:
    if isinstance(kept, Tensor):
        return kept
    return kept.how().as_strided(kept.shape, kept.stride)
