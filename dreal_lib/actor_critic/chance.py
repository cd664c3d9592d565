"""Chance in a forward pass (dropout, stochastic depth): the same draws, in every pass of a step.

Both terms of Eq. 1 must differ by a map alone. So a counterfactual draws from the random states
that its main pass drew from, for the whole batch, and what the step leaves behind is the state
after the main pass.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

# Torch's global generators: the CPU's, and a GPU's with its number.
States = tuple[tuple[int | None, Tensor], ...]


def states_of(*given: object) -> States:
    """The states of the generators that a pass over some tensors may draw from."""
    devices = {one.device.index for one in given if isinstance(one, Tensor) and one.is_cuda}
    on_gpus = ((index, torch.cuda.get_rng_state(index)) for index in sorted(devices))
    return ((None, torch.get_rng_state()), *on_gpus)


def put_back(states: States) -> None:
    """Lets the generators go on from some states."""
    for index, state in states:
        if index is None:
            torch.set_rng_state(state)
        else:
            torch.cuda.set_rng_state(state, index)


def same(first: States, second: States) -> bool:
    """Whether nothing was drawn between two states."""
    return all(torch.equal(a, b) for (_, a), (_, b) in zip(first, second, strict=True))


@contextmanager
def kept(*given: object) -> Iterator[None]:
    """Whatever is drawn within, the generators go on from where they are.

    Args:
        given: Tensors on the devices that are drawn on.
    """
    before = states_of(*given)
    try:
        yield
    finally:
        put_back(before)


def drawn_since(before: States, given: Sequence[object]) -> bool:
    """Whether something was drawn since some states.

    Args:
        before: From `states_of`.
        given: The same tensors.
    """
    return not same(before, states_of(*given))
