"""Training in several processes (`torchrun`): who does what, and how their parts are put together.

The recipe's batch is the global batch. Each of N processes takes its contiguous N-th, gradients are
averaged (DistributedDataParallel), sums over images are added up, and only the first process
writes. The recipe's learning rate belongs to the global batch, so it is the same for every N.

Without `torchrun` everything here is that of one process, and costs nothing.
"""

import itertools
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from dreal_lib.errors import UserError

_USUAL, _STRAY = timedelta(minutes=10), timedelta(minutes=1)  # to wait for the other processes


def under_torchrun() -> bool:
    """Whether `torchrun` (or a like launcher) started this process."""
    return "RANK" in os.environ and "WORLD_SIZE" in os.environ


@contextmanager
def joined(device: torch.device) -> Iterator[None]:
    """Joins the other processes, if `torchrun` started this one; gloo on a CPU, NCCL on GPUs.

    Raises:
        UserError: They cannot be reached.
    """
    if not under_torchrun():
        yield
        return
    # Left in an environment without torchrun, as on some clusters, they would wait for nobody.
    patience = _USUAL if "TORCHELASTIC_RUN_ID" in os.environ else _STRAY
    if device.type == "cuda":
        torch.cuda.set_device(device)
    try:
        store, own_rank, size = next(distributed.rendezvous("env://", timeout=patience))
        # torchrun keeps one store over its restarts, in which the dead processes' addresses stay.
        attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
        distributed.init_process_group(
            "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo",
            store=distributed.PrefixStore(f"attempt {attempt}", store),
            rank=own_rank,
            world_size=size,
        )
    except (RuntimeError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(
            f"RANK and WORLD_SIZE are set (process {os.environ['RANK']} of "
            f"{os.environ['WORLD_SIZE']}), but the other processes cannot be joined ({reason}); "
            f"start by torchrun, or unset both for a single process"
        ) from None
    yield
    distributed.destroy_process_group()  # not after an error: the others may be gone


def rank() -> int:
    """The number of this process; 0 writes."""
    return distributed.get_rank() if distributed.is_initialized() else 0


def world_size() -> int:
    """The number of processes, N."""
    return distributed.get_world_size() if distributed.is_initialized() else 1


@contextmanager
def first_one_first() -> Iterator[None]:
    """The first process goes through alone, then the others: it leaves them what they read."""
    if rank():
        distributed.barrier()
    yield
    if world_size() > 1 and not rank():
        distributed.barrier()


def wait_for_all() -> None:
    """Returns when every process has come here."""
    if world_size() > 1:
        distributed.barrier()


def shard(batch_size: int, what: str = "batch_size") -> slice:
    """This process's places in a global batch.

    Args:
        batch_size: Of the global batch, images or identities.
        what: The recipe's key for it.

    Raises:
        UserError: It cannot be cut into equal shards.
    """
    n = world_size()
    if batch_size % n:
        near = max(n, round(batch_size / n) * n)
        raise UserError(
            f"{what} {batch_size} is the global batch and cannot be cut into {n} equal shards; "
            f"try --set {what}={near}, or another number of processes"
        )
    size = batch_size // n
    return slice(rank() * size, (rank() + 1) * size)


def part(count: int) -> slice:
    """This process's places among `count` images to judge; each image is in one part alone."""
    n, r = world_size(), rank()
    return slice(r * count // n, (r + 1) * count // n)


def summed(values: Tensor) -> Tensor:
    """The sum over all processes of each value, in every process."""
    total = values.clone()
    if world_size() > 1:
        distributed.all_reduce(total)
    return total


def summed_numbers(values: Sequence[float], device: torch.device | str = "cpu") -> list[float]:
    """`summed` for numbers, in float64: whole numbers stay exact."""
    if world_size() == 1:
        return list(values)
    return summed(torch.tensor(values, dtype=torch.float64, device=device)).tolist()


def any_of(flags: Sequence[bool], device: torch.device) -> list[bool]:
    """For each flag, whether it is set in any process, so that all do the same next."""
    return [total > 0 for total in summed_numbers([float(flag) for flag in flags], device)]


def stacked(values: Tensor) -> Tensor:
    """Values (...) of every process, (N, ...); without others (...) as it is."""
    if world_size() == 1:
        return values
    every = [torch.empty_like(values) for _ in range(world_size())]
    distributed.all_gather(every, values)
    return torch.stack(every)


def unstacked(values: Tensor, dims: int) -> Tensor:
    """This process's own of what `stacked` made, for a tensor of `dims` dimensions.

    If it was made by another number of processes, the first takes the sum and the others nothing.
    """
    each = values if values.dim() > dims else values.unsqueeze(0)
    if len(each) == world_size():
        return each[rank()]
    total = each.sum(0)
    return total if rank() == 0 else torch.zeros_like(total)


def gathered(values: Tensor, count: int) -> Tensor:
    """Rows of all processes' parts (`part`) in order, (count, D); on the CPU."""
    if world_size() == 1:
        return values
    n = world_size()
    largest = -(-count // n)
    padded = values.new_zeros(largest, *values.shape[1:])
    padded[: len(values)] = values
    ends = [r * count // n for r in range(n + 1)]
    sizes = [end - start for start, end in itertools.pairwise(ends)]
    return torch.cat([rows[:size] for rows, size in zip(stacked(padded), sizes, strict=True)])


class _Step(nn.Module):
    """`training_step` as a forward pass, through which gradients are averaged."""

    def __init__(self, learner: nn.Module):
        super().__init__()
        self.learner = learner

    def forward(self, images: Tensor, labels: Tensor) -> Any:
        return self.learner.training_step(images, labels)


def parallel_step(learner: nn.Module, device: torch.device) -> Callable[[Tensor, Tensor], Any]:
    """The learner's `training_step`; after `backward` gradients are means over all processes."""
    if world_size() == 1:
        return learner.training_step
    # Buffers are averaged by `average_buffers`: torch would take the first process's.
    return DistributedDataParallel(
        _Step(learner),
        device_ids=[device.index] if device.type == "cuda" else None,
        broadcast_buffers=False,
    )


@torch.no_grad()
def average_buffers(learner: nn.Module) -> None:
    """Running statistics become means over all processes, whose shards they come from."""
    if world_size() == 1:
        return
    buffers = [b for b in learner.buffers() if b.is_floating_point()]
    for dtype in {buffer.dtype for buffer in buffers}:
        same = [buffer for buffer in buffers if buffer.dtype == dtype]
        flat = torch.cat([buffer.flatten() for buffer in same])
        distributed.all_reduce(flat)
        parts = (flat / world_size()).split([buffer.numel() for buffer in same])
        for buffer, mean in zip(same, parts, strict=True):
            buffer.copy_(mean.view_as(buffer))


def synchronise_norms(learner: nn.Module, device: torch.device) -> None:
    """BatchNorm of the network over the global batch instead of each process's shard.

    Raises:
        UserError: Not on GPUs.
    """
    if device.type != "cuda":
        raise UserError(
            f"--sync-bn needs GPUs, as torch's SyncBatchNorm does; the device is {device}; "
            f"try without it"
        )
    if world_size() > 1:
        learner.actor = nn.SyncBatchNorm.convert_sync_batchnorm(learner.actor)
