"""Seeds derived from a run's seed by counters, and the one place that sets global seeds.

A counter-based seed depends on the epoch and the step alone, not on what was drawn before, so a
resumed run continues exactly without any saved generator state.
"""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

import torch


def derived_seed(seed: int, *purpose: str | int) -> int:
    """A 63-bit seed for one purpose, e.g. derived_seed(0, "augmentation", epoch, step)."""
    text = "/".join(str(part) for part in (seed, *purpose))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def derived_generator(seed: int, *purpose: str | int) -> torch.Generator:
    """A CPU generator seeded by `derived_seed`."""
    return torch.Generator().manual_seed(derived_seed(seed, *purpose))


def seed_initialisation(seed: int) -> None:
    """Seeds torch's global generator, from which modules draw their first weights."""
    torch.manual_seed(derived_seed(seed, "initialisation"))


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seeds torch's global CPU generator for a while, for code that takes no generator."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # torch.manual_seed would touch GPUs' as well
        yield
