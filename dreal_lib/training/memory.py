"""Whether a training step fits into main memory: the system ends a process that asks for more.

What a step needs at least is read off a forward pass of the network without data (torch's meta
device): the tensors that the backward pass wants back.
"""

import copy
from pathlib import Path

import torch
from torch import Tensor, nn

from dreal_lib.errors import UserError
from dreal_lib.recipes import Recipe
from dreal_lib.runtime import distributed

_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


# The tensors of a step stayed far below this multiple of its images' bytes (60 to 240 were seen).
_ENOUGH = 2000


def refuse_beyond_memory(
    recipe: Recipe, model: nn.Module | None = None, memory: int | None = None
) -> None:
    """Refuses a recipe whose step needs more than all of the memory.

    Args:
        recipe: For image size, batch and width.
        model: What it trains, left as it is; None: its first layer alone is counted, before
            anything of that size is made.
        memory: Bytes; None: this machine's, or what a container of it may use.

    Raises:
        UserError: It says how much is needed and what there is.
    """
    memory = memory_bytes() if memory is None else memory
    batch = max(1, recipe.images_per_step // distributed.world_size())
    pixels = batch * recipe.size[0] * recipe.size[1]
    if memory is None or 4 * 3 * pixels * _ENOUGH < memory:
        return
    if model is None:  # a stem keeps at least a number a channel for each 2 x 2 pixels
        needed = pixels * (4 * 3 + 2 * recipe.width // 4)
    else:
        needed = step_bytes(model, batch, recipe.size)
    if needed > memory:
        raise UserError(
            f"a step of {batch} images of {recipe.size[0]} x {recipe.size[1]} pixels needs at "
            f"least {needed / 2**30:.1f} GiB of memory, and there are {memory / 2**30:.1f}; try "
            f"a smaller --set image_size, or --set {recipe.batch_key}="
            f"{max(2, int(getattr(recipe, recipe.batch_key) * memory / needed / 2))}"
        )


def step_bytes(model: nn.Module, batch: int, size: tuple[int, int]) -> int:
    """Bytes that a training step keeps for its backward pass, at least.

    Args:
        model: The network.
        batch: B.
        size: (H, W) of the images.

    Returns:
        Of the images alone, where the network does not run without data.
    """
    kept: dict[int, Tensor] = {}  # by storage; held, so that no address is given away twice

    def keep(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage()._cdata] = tensor
        return tensor

    images = torch.empty(batch, 3, *size, device="meta")
    try:
        empty = copy.deepcopy(model).to("meta").train()
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            empty(images)
    except Exception:  # of modules that look at their values
        kept.clear()
    keep(images)
    return sum(tensor.untyped_storage().nbytes() for tensor in kept.values())


def memory_bytes() -> int | None:
    """All the memory that this process could use, swap included; None where it cannot be told."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        facts = {line.split(":")[0]: 1024 * int(line.split()[1]) for line in lines}
        total = facts["MemTotal"] + facts.get("SwapTotal", 0)
    except (OSError, ValueError, KeyError, IndexError):
        return None
    limits = [total]
    for path in _LIMITS:
        try:
            limits.append(int(Path(path).read_text(encoding="ascii")))
        except (OSError, ValueError):  # not there, or "max"
            continue
    return min(limits)
