"""Where a training stands, who is told of it, and when it saves or stops of its own accord."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Pace:
    """When a run writes checkpoints of its own accord, and when it stops.

    Attributes:
        checkpoint_minutes: Time between checkpoints within an epoch; 0: at its end alone.
        deadline: When the run shall have stopped, as `time.time()` counts; None: never.
        keep_epochs: After so many epochs a copy of the checkpoint is kept (`kept_checkpoints`).
    """

    checkpoint_minutes: float = 10.0
    deadline: float | None = None
    keep_epochs: tuple[int, ...] = ()


AS_DEFAULT = Pace()


@dataclass
class Progress:
    """Where a run stands; all of it is in the checkpoint.

    Attributes:
        epoch, step: The next step (from 0).
        history: A row for each finished epoch (`TaskFacts.history_columns`).
        blocks: Rows of `dreal_lib.records.BLOCK_COLUMNS`.
        wall_seconds: Spent so far, evaluation included.
        train_seconds, images: Of training steps alone, for images per second.
        starts: Commit and cleanliness of the code, for each start that found them changed.
    """

    epoch: int = 0
    step: int = 0
    history: list[dict[str, float]] = field(default_factory=list)
    blocks: list[dict[str, Any]] = field(default_factory=list)
    wall_seconds: float = 0.0
    train_seconds: float = 0.0
    images: int = 0
    starts: list[dict[str, Any]] = field(default_factory=list)

    @property
    def begun(self) -> bool:
        """Whether a step was done."""
        return self.epoch > 0 or self.step > 0


Listener = Callable[[Progress, int, dict[str, float] | None], None]
