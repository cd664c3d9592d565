"""What a task hands to the trainer and to the run's record; see `classification`, `identification`.

One trainer, two tasks: what a step learns from and how a network is judged is all that differs.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from dreal_lib import records
from dreal_lib.agent import Agent
from dreal_lib.baseline import Baseline
from dreal_lib.batches import CachedBatches, StreamedBatches
from dreal_lib.identity_batches import PKBatches


@dataclass(frozen=True)
class Task:
    """A recipe made concrete: data, network, judgement.

    Attributes:
        learner: What is trained.
        train: Batches of an epoch: `len()` steps, `epoch(number, first_step)`.
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
    train: CachedBatches | StreamedBatches | PKBatches
    validate: Callable[[int | None], dict[str, float]]
    figure_data: Callable[[], dict[str, np.ndarray]]
    facts: records.DataFacts | records.IdentityFacts
    metrics: type[records.Metrics] | type[records.RetrievalMetrics]
    parts: tuple[str, ...] = ()
    note: str = ""
