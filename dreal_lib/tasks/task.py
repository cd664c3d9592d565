"""What a task hands to the trainer and to the run's record; see `classification`, `retrieval`.

One trainer for all: what a step learns from and how a network is judged is all that differs. What a
task says of itself as data is in `dreal_lib.recipes.task_facts`.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

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
class TaskData:
    """The images of a recipe, found and counted, before a network is made for them.

    Attributes:
        facts: What the record says of them.
        manifest: Of the prepared set that they are, unchanged; None for any others.
        summary: Lines for the user.
        held: What the task's `open_task` makes batches of.
    """

    facts: DataFacts
    manifest: Mapping[str, Any] | None = None
    summary: tuple[str, ...] = ()
    held: Any = None


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
    """

    learner: Agent | Baseline
    train: Batches
    validate: Callable[[int | None], dict[str, float]]
    figure_data: Callable[[], dict[str, np.ndarray]]
    arrays: tuple[Array, ...]
    facts: DataFacts


def open_data(recipe: Recipe, root: Path, cache: Path | None) -> TaskData:
    """The images of a recipe, by the `open_data` of its task's module.

    Args:
        recipe: What to do.
        root: As for `dreal_lib.training.runs.run`.
        cache: Likewise; None: nothing is decoded and nothing written, and `open_task` cannot take
            what comes out.

    Raises:
        UserError: Data that cannot be used, as the task says.
    """
    module = import_module(task_facts(recipe.task).module)
    return module.open_data(recipe, Path(root), cache)


def open_task(
    recipe: Recipe,
    data: TaskData,
    device: torch.device,
    seed: int = 0,
    workers: int = 4,
    decode_on_device: bool = False,
) -> Task:
    """Batches and network of a recipe, by the `open_task` of its task's module.

    Args:
        recipe: What to do.
        data: See `open_data`.
        device, seed, workers, decode_on_device: As for `dreal_lib.training.runs.run`.

    Raises:
        UserError: Data or settings that cannot be used, as the task says.
    """
    module = import_module(task_facts(recipe.task).module)
    return module.open_task(recipe, data, device, seed, workers, decode_on_device)
