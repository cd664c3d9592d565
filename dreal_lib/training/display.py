"""What a training run shows: a progress bar with ETA, a line an epoch, and TensorBoard scalars."""

import math
import sys
from pathlib import Path
from typing import Any

from tqdm import tqdm

from dreal_lib.errors import UserError
from dreal_lib.recipes import Recipe, task_facts
from dreal_lib.runtime import distributed
from dreal_lib.training.progress import Progress


class TrainingDisplay:
    """Listens to a `Trainer`; use as a context.

    Args:
        recipe: What is trained.
    """

    def __init__(self, recipe: Recipe):
        self.recipe, self.folder = recipe, Path()
        self.silent = distributed.rank() > 0  # of several processes the first speaks
        self.bar: tqdm | None = None
        self.writer: Any = None  # one for the whole run: each makes a file

    def __enter__(self) -> "TrainingDisplay":
        return self

    def __exit__(self, *_) -> None:
        if self.bar is not None:
            self.bar.close()
        if self.writer is not None:
            self.writer.close()

    def begin(self, folder: Path) -> None:
        """Before the first step; TensorBoard's events go below the run's folder."""
        self.folder = folder

    def update(self, progress: Progress, steps: int, row: dict[str, float] | None) -> None:
        """After a step (`row` None) or an epoch; `steps` is the number of steps an epoch."""
        if self.silent:
            return
        done = progress.epoch * steps + progress.step
        if self.bar is None:
            self.bar = tqdm(
                total=self.recipe.epochs * steps,
                initial=max(0, done - 1),
                unit="step",
                disable=not sys.stderr.isatty(),
                desc=f"{self.recipe.name} ({self.recipe.profile})",
            )
        self.bar.update(done - self.bar.n)
        if row is not None:
            self.bar.write(_line(self.recipe, row), file=sys.stdout)
            sys.stdout.flush()
            self._write_scalars(progress, row)

    def note(self, text: str) -> None:
        """A line for the user."""
        if self.silent:
            return
        if self.bar is None:
            print(text, flush=True)
        else:  # on a line of its own
            self.bar.write(text, file=sys.stdout)
            sys.stdout.flush()

    def _write_scalars(self, progress: Progress, row: dict[str, float]) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:  # a machine that trains need not have it; the CSV holds the same
            return
        epoch, folder = int(row["epoch"]), self.folder / "tensorboard"
        try:
            if self.writer is None:
                self.writer = SummaryWriter(folder)
            for name, value in row.items():
                self.writer.add_scalar(f"training/{name}", value, epoch)
            for block in progress.blocks:
                if block["epoch"] == epoch:
                    for name in ("critique_mean", "reward_mean", "correlation"):
                        self.writer.add_scalar(f"{name}/{block['map']}", block[name], epoch)
            self.writer.flush()
        except OSError as error:
            raise UserError(
                f"cannot write {folder}: {error.strerror or error}; free some space or choose "
                f"another folder with --run"
            ) from None


def _line(recipe: Recipe, row: dict[str, float]) -> str:
    judged = [
        metric.text(row[metric.name])
        for metric in task_facts(recipe.task).metrics
        if metric.shown and not math.isnan(row.get(metric.name, math.nan))
    ]
    return "  ".join(
        (
            f"epoch {int(row['epoch']):>3}/{recipe.epochs}",
            f"loss {row['classification_loss']:.4f}",
            f"L_q {row['quality_loss']:+.3f}  L_r {row['regression_loss']:.3f}",
            *judged,
            f"{row['images_per_second']:.0f} images/s",
        )
    )
