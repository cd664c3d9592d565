"""The training loop: epochs of steps, evaluated, checkpointed, and continued where it stopped.

Order, augmentation and bypass draw of a step depend on the run's seed, the epoch and the step alone
(`dreal_lib.runtime.seeding`), so a run continued from a checkpoint equals one never interrupted.
"""

import math
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dreal_lib.actor_critic.agent import Agent
from dreal_lib.actor_critic.baseline import Baseline
from dreal_lib.errors import Interrupted, OutOfTime, UserError
from dreal_lib.recipes import Recipe, task_facts
from dreal_lib.runtime import distributed
from dreal_lib.runtime.deadline import LONGEST_LEAD_SECONDS
from dreal_lib.runtime.modes import autocast
from dreal_lib.runtime.seeding import derived_seed
from dreal_lib.training.checkpoints import load_weights
from dreal_lib.training.monitor import EpochMonitor
from dreal_lib.training.optimization import create_optimizer, set_learning_rate
from dreal_lib.training.progress import AS_DEFAULT, Listener, Pace, Progress
from dreal_lib.training.run_folder import CHECKPOINT as CHECKPOINT
from dreal_lib.training.run_folder import has_checkpoint, keep_last, load_last, save_last


class Trainer:
    """Trains a learner by a recipe, alone or with others (`dreal_lib.runtime.distributed`).

    Args:
        learner: An `Agent` or a `Baseline`.
        recipe: What to do.
        train: Batches of an epoch: `len()` steps, `epoch(number, first_step)`; with several
            processes this one's shards.
        validate: See `dreal_lib.tasks.task.Task`; where it measures nothing, as none is due, the
            history has empty cells.
        folder: The run's folder, for its checkpoints.
        seed: The run's seed.
        data_fingerprint: Of the images; a checkpoint of other images is not continued.
        listener: Called as listener(progress, steps_an_epoch, None) after each step and with the
            epoch's row after each epoch.
        pace: How often checkpoints are written within an epoch, and when the run stops of itself.
        note: Called with a line for the user.
    """

    def __init__(
        self,
        learner: Agent | Baseline,
        recipe: Recipe,
        train: Any,
        validate: Callable[[int], dict[str, float]],
        folder: Path,
        seed: int = 0,
        data_fingerprint: str = "",
        listener: Listener = lambda progress, steps, row: None,
        pace: Pace = AS_DEFAULT,
        note: Callable[[str], None] = lambda text: None,
    ):
        self.learner, self.recipe, self.seed = learner, recipe, seed
        self.data_fingerprint = data_fingerprint
        self.train_batches, self.validate = train, validate
        self.facts = task_facts(recipe.task)
        self.folder, self.listener, self.pace = Path(folder), listener, pace
        self.checkpoint = self.folder / CHECKPOINT
        self.device = next(learner.parameters()).device
        self.optimizer = create_optimizer(learner, recipe)
        self.progress = Progress()
        self.stop_requested = False
        self.monitor = self._new_monitor()
        self._slowest_step_seconds = self._save_seconds = 0.0
        with distributed.first_one_first():  # it may have to put damaged files aside
            self._resume(note)
        self.training_step = distributed.parallel_step(learner, self.device)
        self._saved_at = time.monotonic()

    def run(self) -> Progress:
        """Trains to the recipe's last epoch.

        Raises:
            Interrupted: A SIGINT or SIGTERM came; the checkpoint holds everything up to then.
            OutOfTime: The pace's deadline came, likewise. At least a step was done.
            UserError: The loss is not finite or memory is out; the last checkpoint is kept.
        """
        with self._stopping_between_steps(), self._explaining_memory():
            while self.progress.epoch < self.recipe.epochs:
                self._epoch()
                if self.progress.epoch < self.recipe.epochs:
                    self._stop_if_asked(saved=True)
        return self.progress

    def _epoch(self) -> None:
        progress, started = self.progress, time.perf_counter()
        before = progress.wall_seconds
        rate = set_learning_rate(self.optimizer, self.recipe, progress.epoch)
        self._seed_draw(progress.epoch)
        if isinstance(self.learner, Agent):
            self.learner.draw_blocks()
        self.learner.train()
        clock = time.perf_counter()
        for images, labels in self.train_batches.epoch(progress.epoch, progress.step):
            self._step(images, labels)
            progress.step += 1
            progress.images += len(labels) * distributed.world_size()
            step_seconds = time.perf_counter() - clock
            self._slowest_step_seconds = max(self._slowest_step_seconds, step_seconds)
            progress.train_seconds += step_seconds
            progress.wall_seconds = before + time.perf_counter() - started
            self.listener(progress, len(self.train_batches), None)
            self._stop_if_asked(saved=False)
            clock = time.perf_counter()
        if self.pace.deadline is not None:
            self.save()  # a machine that is taken away during the evaluation costs no step
        found = self.validate(progress.epoch + 1)
        # The last step may have spoilt the weights; they must not replace the last good checkpoint.
        for name, value in found.items():
            self._refuse_not_finite(name, value, progress.step)
        progress.wall_seconds = before + time.perf_counter() - started
        progress.epoch, progress.step = progress.epoch + 1, 0
        row = self._keep_rows(rate, dict.fromkeys(self.facts.metric_names, math.nan) | found)
        self.save()
        if progress.epoch in self.pace.keep_epochs and distributed.rank() == 0:
            keep_last(self.folder, progress.epoch)
        self.listener(progress, len(self.train_batches), row)

    def _stop_if_asked(self, saved: bool) -> None:
        """Between two steps, or two epochs, where the state is whole; saves if it is due, too."""
        flags = (self.stop_requested, self._time_is_up(), self._checkpoint_is_due())
        stop, late, due = distributed.any_of(flags, self.device)
        if (stop or late or due) and not saved:
            self.save()
        if stop:
            raise Interrupted
        if late:
            raise OutOfTime

    def _time_is_up(self) -> bool:
        # Another step and the checkpoint after it must still fit in.
        ahead = min(self._slowest_step_seconds + self._save_seconds, LONGEST_LEAD_SECONDS)
        return self.pace.deadline is not None and time.time() + ahead >= self.pace.deadline

    def _checkpoint_is_due(self) -> bool:
        limit = 60 * self.pace.checkpoint_minutes
        return limit > 0 and time.monotonic() - self._saved_at >= limit

    def _step(self, images: Tensor, labels: Tensor) -> None:
        self._seed_draw(self.progress.epoch, self.progress.step)
        with self._autocast():
            step = self.training_step(images, labels)
        self._refuse_not_finite("loss", step.loss.detach(), self.progress.step + 1)
        self.optimizer.zero_grad(set_to_none=True)
        step.loss.backward()
        self.optimizer.step()
        distributed.average_buffers(self.learner)
        self.monitor.add(step, labels)

    def _refuse_not_finite(self, what: str, value: Tensor | float, step: int) -> None:
        if not math.isfinite(value):
            raise UserError(
                f"the {what} is {float(value)} at epoch {self.progress.epoch + 1}, step {step}; "
                f"{self._kept()}try a lower learning rate "
                f"(--set learning_rate={self.recipe.learning_rate / 2:g})"
            )

    def _kept(self) -> str:
        kept = has_checkpoint(self.folder)
        return "the last good checkpoint is kept; " if kept else "no checkpoint was written yet; "

    def _seed_draw(self, *counters: int) -> None:
        if isinstance(self.learner, Agent):
            self.learner.generator.manual_seed(derived_seed(self.seed, "bypass", *counters))

    def _keep_rows(self, rate: float, found: dict[str, float]) -> dict[str, float]:
        progress, epoch = self.progress, {"epoch": self.progress.epoch}
        self.monitor.losses = distributed.summed(self.monitor.losses)
        self.monitor.blocks = distributed.summed(self.monitor.blocks)
        speed = progress.images / progress.train_seconds if progress.train_seconds else 0.0
        row = epoch | {"learning_rate": rate} | self.monitor.loss_row() | found
        row |= {"wall_seconds": progress.wall_seconds, "images_per_second": speed}
        progress.history.append(row)
        progress.blocks += [epoch | blocks for blocks in self.monitor.block_rows()]
        self.monitor = self._new_monitor()
        return row

    def _new_monitor(self) -> EpochMonitor:
        units = getattr(self.learner, "units", {})
        rewards = {item.name: unit for unit, maps in units.items() for item in maps}
        return EpochMonitor(rewards, self.device, self.facts.parts)

    def _autocast(self) -> torch.autocast:
        return autocast(self.recipe.precision, self.device)

    @contextmanager
    def _stopping_between_steps(self):
        """Signals ask for a stop, which comes between two steps, where the state is whole."""

        def request(*_):
            # A second Ctrl-C does not wait; torchrun itself sends several.
            if self.stop_requested and distributed.world_size() == 1:
                raise KeyboardInterrupt
            self.stop_requested = True

        try:
            old = {s: signal.signal(s, request) for s in (signal.SIGINT, signal.SIGTERM)}
        except ValueError:  # not in the main thread, where signals cannot be handled
            old = {}
        try:
            yield
        finally:
            for number, handler in old.items():
                signal.signal(number, handler)

    @contextmanager
    def _explaining_memory(self) -> Iterator[None]:
        try:
            yield
        except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            key = self.recipe.batch_key
            size, place = getattr(self.recipe, key), self.progress
            raise UserError(
                f"memory ran out at epoch {place.epoch + 1}, step {place.step + 1}, on "
                f"{self.device}; {self._kept()}try smaller batches, which make another run "
                f"(--set {key}={max(2, size // 2)})"
            ) from None

    def save(self) -> None:
        """Writes the checkpoint: everything the next start needs.

        Raises:
            UserError: It cannot be written, or holds what is not finite; the last one is kept.
        """
        started = time.monotonic()
        sums = {
            "monitor.losses": distributed.stacked(self.monitor.losses),
            "monitor.blocks": distributed.stacked(self.monitor.blocks),
        }
        if distributed.rank() == 0:
            self._write(sums)
        distributed.wait_for_all()  # so that none ends, and ends the others, before it is written
        self._saved_at = time.monotonic()
        self._save_seconds = self._saved_at - started

    def _write(self, sums: dict[str, Tensor]) -> None:
        tensors = {f"learner.{name}": t for name, t in self.learner.state_dict().items()}
        for index, state in self.optimizer.state_dict()["state"].items():
            for name, value in state.items():  # SGD's momentum, or Adam's moments and step
                if value is not None:
                    tensors[f"optimizer.{index}.{name}"] = value
        # A step may have spoilt the weights; they must not replace the last good checkpoint.
        finite = all(bool(torch.isfinite(t).all()) for t in tensors.values())
        self._refuse_not_finite("state", 0.0 if finite else math.nan, self.progress.step)
        save_last(self.folder, tensors | sums, self._identity() | asdict(self.progress))

    def _identity(self) -> dict[str, Any]:
        return {
            "recipe_hash": self.recipe.hash,
            "seed": self.seed,
            "data_fingerprint": self.data_fingerprint,
        }

    def _resume(self, note: Callable[[str], None]) -> None:
        found = load_last(self.folder, note)
        if found is None:
            return
        tensors, facts = found
        for key, value in self._identity().items():
            if facts.pop(key, None) != value:
                raise UserError(
                    f"the run folder {self.checkpoint.parent} holds a run of another recipe, "
                    f"seed or data set (its {key} differs); choose another folder with --run"
                )
        load_weights(self.learner, _under("learner.", tensors), self.checkpoint)
        try:
            self._take_up(tensors, facts)
        except (AttributeError, KeyError, IndexError, TypeError, ValueError, RuntimeError) as error:
            reason = " ".join(str(error).split())[:200]
            raise UserError(
                f"the checkpoint in {self.folder} is of another version of the library "
                f"({type(error).__name__}: {reason}); go on with the version that wrote it, or "
                f"choose another folder with --run"
            ) from None

    def _take_up(self, tensors: dict[str, Tensor], facts: dict[str, Any]) -> None:
        """Optimizer, monitor and progress as a checkpoint has them."""
        state = self.optimizer.state_dict()
        parameters = [p for group in self.optimizer.param_groups for p in group["params"]]
        for key, value in _under("optimizer.", tensors).items():
            index, name = key.split(".")
            kept = value
            if value.dim():  # in the parameter's memory format and place
                kept = torch.empty_like(parameters[int(index)]).copy_(value)
            state["state"].setdefault(int(index), {})[name] = kept
        self.optimizer.load_state_dict(state)
        losses = distributed.unstacked(tensors["monitor.losses"], dims=1)
        blocks = distributed.unstacked(tensors["monitor.blocks"], dims=2)
        self.monitor.losses, self.monitor.blocks = losses.to(self.device), blocks.to(self.device)
        for name, value in facts.items():
            kind = type(getattr(self.progress, name))
            if not isinstance(value, kind) and (kind, type(value)) != (float, int):
                raise TypeError(f"{name} is {value!r:.40}")
        self.progress = Progress(**facts)


def _under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {n.removeprefix(prefix): value for n, value in tensors.items() if n.startswith(prefix)}


def actor_weights(learner: nn.Module) -> dict[str, Tensor]:
    """The plain network's weights; no critic is among them."""
    return {name: tensor.detach().cpu() for name, tensor in learner.actor.state_dict().items()}


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out; CPUs and CUDA's libraries have no class of their own for it."""
    said = ("not enough memory", "can't allocate memory", "Cannot allocate memory")
    said += ("CUDA error: out of memory", "STATUS_ALLOC_FAILED")  # the latter of cuBLAS and cuDNN
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or any(
        text in str(error) for text in said
    )
