"""What a task hands to the trainer and to the run's record; see `classification`, `retrieval`.

One trainer for all: what a step learns from and how a network is judged is all that differs. What a
task says of itself as data is in `dreal_lib.recipes.task_facts`.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from dreal_lib.actor_critic.agent import Agent
from dreal_lib.actor_critic.baseline import Baseline
from dreal_lib.recipes import Recipe, task_facts
from dreal_lib.recipes.task_facts import DataFacts
from dreal_lib.records.arrays import Array


class Batches(Protocol):
    """Of an epoch: `len()` steps; from a step on, images (B, 3, H, W) and labels (B,)."""

    def __len__(self) -> int: ...

    def epoch(self, epoch: int, start: int) -> Iterator[tuple[Tensor, Tensor]]: ...


@dataclass(frozen=True)
class Task:
    """A recipe made concrete: data, network, judgement.

    Attributes:
        learner: What is trained.
        train: What it learns from.
        validate: Called after epochs of training with their number (from 1), or with None for a
            judgement in any case; returns the epoch's metrics by name (`TaskFacts.metrics`), or
            nothing where none is due.
        figure_data: Arrays that figures are drawn from, by name; called once, after training.
        arrays: What `figure_data` may return, see `dreal_lib.records.arrays`.
        facts: What the record says of the data.
        note: A line for the user, or "".
    """

    learner: Agent | Baseline
    train: Batches
    validate: Callable[[int | None], dict[str, float]]
    figure_data: Callable[[], dict[str, np.ndarray]]
    arrays: tuple[Array, ...]
    facts: DataFacts
    note: str = ""


def open_task(
    recipe: Recipe,
    root: Path,
    cache: Path,
    device: torch.device,
    seed: int = 0,
    workers: int = 4,
    decode_on_device: bool = False,
) -> Task:
    """Data and network of a recipe, by the `open_task` of its task's module.

    Args:
        recipe: What to do.
        root, cache, device, seed, workers, decode_on_device: As for `dreal_lib.training.runs.run`.

    Raises:
        UserError: Data or settings that cannot be used, as the task says.
    """
    module = import_module(task_facts(recipe.task).module)
    return module.open_task(recipe, root, cache, device, seed, workers, decode_on_device)
