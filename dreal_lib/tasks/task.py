"""What a task hands to the trainer and to the run's record; see `classification`, `identification`.

One trainer, two tasks: what a step learns from and how a network is judged is all that differs.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from torch import Tensor

from dreal_lib import records
from dreal_lib.actor_critic.agent import Agent
from dreal_lib.actor_critic.baseline import Baseline


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
            judgement in any case; returns the epoch's metrics by name (fields of `metrics`), or
            nothing where none is due.
        figure_data: Arrays that figures are drawn from, by name; called once, after training.
        facts: What the record says of the data.
        metrics: The record's form of what `validate` returns.
        parts: Names of what L_c is the sum of, if of several.
        note: A line for the user, or "".
    """

    learner: Agent | Baseline
    train: Batches
    validate: Callable[[int | None], dict[str, float]]
    figure_data: Callable[[], dict[str, np.ndarray]]
    facts: records.DataFacts | records.IdentityFacts
    metrics: type[records.Metrics] | type[records.RetrievalMetrics]
    parts: tuple[str, ...] = ()
    note: str = ""
