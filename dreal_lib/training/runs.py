"""A run from recipe to record: data, network, training, evaluation, and what it leaves behind."""

import os
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch

from dreal_lib import records
from dreal_lib.data.loading import default_workers
from dreal_lib.errors import OutOfTime, UserError, unknown_choice
from dreal_lib.recipes import Recipe
from dreal_lib.recipes.own_data import with_own_data
from dreal_lib.recipes.sets import is_own_data
from dreal_lib.recipes.task_facts import DataFacts
from dreal_lib.runtime import distributed
from dreal_lib.runtime.atomic import require_writable
from dreal_lib.runtime.determinism import deterministic
from dreal_lib.runtime.environment import build_folder, environment_facts
from dreal_lib.tasks.task import Task, TaskData, open_data, open_task
from dreal_lib.training.checkpoints import save_checkpoint
from dreal_lib.training.memory import refuse_beyond_memory
from dreal_lib.training.progress import AS_DEFAULT, Listener, Pace, Progress
from dreal_lib.training.run_folder import WEIGHTS as WEIGHTS
from dreal_lib.training.run_folder import has_checkpoint, locked
from dreal_lib.training.run_record import Origin, judged, note_on_other_images, record_run
from dreal_lib.training.run_record import command_of as command_of
from dreal_lib.training.trainer import Trainer, actor_weights

DECODERS = ("workers", "device")


def choose_device(name: str = "auto") -> torch.device:
    """ "auto" takes a GPU where there is one; processes of `torchrun` take one each.

    A GPU with a number becomes the current one.

    Raises:
        UserError: A device that this machine lacks.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError:
        raise UserError(f"no such device {name!r}; try cpu, cuda or auto") from None
    if device.type not in ("cpu", "cuda"):
        raise UserError(f"device {name!r} is not supported; try cpu, cuda or auto")
    if device.type == "cuda" and not torch.cuda.is_available():
        raise UserError(f"device {name!r} was asked for and this machine has no GPU; try cpu")
    if device.type == "cuda" and distributed.under_torchrun():
        device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0)))
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        last = torch.cuda.device_count() - 1
        raise UserError(f"device {name!r} was asked for and the last one here is cuda:{last}")
    if device.type == "cuda" and device.index is not None:
        torch.cuda.set_device(device)  # what names no device, as pinning memory, goes there too
    return device


def run(
    recipe: Recipe,
    data_root: Path,
    folder: Path | None,
    records_root: Path,
    *,
    seed: int = 0,
    device: torch.device | None = None,
    cache: Path | None = None,
    workers: int | None = None,
    decode: str = "workers",
    pace: Pace = AS_DEFAULT,
    repeatable: bool = False,
    sync_bn: bool = False,
    listener: Listener = lambda progress, steps, row: None,
    note: Callable[[str], None] = lambda text: None,
    begin: Callable[[Path], None] = lambda folder: None,
) -> Path:
    """Trains, evaluates and records one row; continues an interrupted run in its folder.

    Images that are not those of the recipe's scale (`dreal_lib.recipes.own_data`) give it a scale
    of their own.

    Args:
        recipe: What to do.
        data_root: Prepared images.
        folder: The run's own folder: checkpoints and weights; None: see `folder_of`.
        records_root: Where the record and its companions go.
        seed: Of everything random.
        device: Where; a GPU if there is one by default.
        cache: Where decoded images are kept; None: `cache` of `build_folder`.
        workers: Processes that decode streamed images; None: `default_workers()`.
        decode: What decodes streamed training images: those "workers", or the "device", for which
            they read the files (`dreal_lib.data.decoding`).
        pace: When checkpoints are written, and when to stop.
        repeatable: Deterministic algorithms only (`dreal_lib.runtime.determinism`).
        sync_bn: BatchNorm over the global batch, on several GPUs.
        listener: See `Trainer`.
        note: Called with a line of text for the user.
        begin: Called with the run's folder, before anything is written there.

    Returns:
        The record's path.

    Raises:
        UserError: Bad input, see the modules that this one calls; a folder that cannot be written
            to; or a record of other images in the run's place.
        dreal_lib.errors.Interrupted: Stopped by a signal; call again to continue.
        OutOfTime: The pace's deadline came; call again to continue. A partial record lies under
            `partial_root(records_root)` if an epoch was judged.
    """
    device = device or choose_device()
    if not distributed.rank():
        for place in (folder or build_folder(), records_root):
            require_writable(place)
    environment = environment_facts(device, world_size=distributed.world_size())
    command = command_of(recipe, seed, repeatable, sync_bn, decode, environment.threads)
    origin = Origin(command, environment)
    if decode not in DECODERS:
        raise unknown_choice("decoder", decode, DECODERS)
    if device.type == "cpu":
        refuse_beyond_memory(recipe)
    with deterministic(repeatable):
        with distributed.first_one_first():  # it decodes the images for all
            data = open_data(recipe, data_root, cache or build_folder() / "cache")
        recipe, fingerprint = placed(recipe, data), data.facts.fingerprint
        folder = folder or folder_of(recipe, seed)
        refuse_other_images(record_path_of(recipe, seed, records_root), data.facts)
        for text in (*data.summary, note_on_other_images(recipe, fingerprint)):
            if text:
                note(text)
        resumes = has_checkpoint(folder)
        opened = recipe.without_initial_weights() if resumes else recipe
        readers = default_workers() if workers is None else workers
        with distributed.first_one_first():  # it fetches initial weights for all
            task = open_task(opened, data, device, seed, readers, decode == "device")
        if device.type == "cpu":
            refuse_beyond_memory(recipe, task.learner.actor)
        if sync_bn:
            distributed.synchronise_norms(task.learner, device)
        begin(folder)
        with nullcontext() if distributed.rank() else locked(folder):
            told = _listener(listener, task)
            trainer = _trainer(task, recipe, folder, seed, told, pace, note)
            if resumes:
                _look_back(trainer, note)
            return _trained(trainer, task, records_root, origin.after(trainer.progress, note))


def _trainer(
    task: Task,
    recipe: Recipe,
    folder: Path,
    seed: int,
    listener: Listener,
    pace: Pace,
    note: Callable[[str], None],
) -> Trainer:
    return Trainer(
        task.learner,
        recipe,
        task.train,
        task.validate,
        folder,
        seed,
        task.facts.fingerprint,
        listener,
        pace,
        note,
    )


def _listener(listener: Listener, task: Task) -> Listener:
    """Tells nothing that the data decide."""

    def listen(progress: Progress, steps: int, row: dict[str, float] | None) -> None:
        if row is not None:
            row = {name: value for name, value in row.items() if name not in task.facts.decided}
        listener(progress, steps, row)

    return listen


def _look_back(trainer: Trainer, note: Callable[[str], None]) -> None:
    """Says where a run goes on."""
    if not trainer.progress.begun:  # it would train from other weights than its recipe names
        raise UserError(
            f"the checkpoint in {trainer.folder} went away while the run was being opened; "
            f"put it back, or give the same command again to start anew"
        )
    if trainer.progress.epoch >= trainer.recipe.epochs:
        note(f"{trainer.folder} has all its {trainer.recipe.epochs} epochs; what is left is made")
    else:
        note(f"continuing {trainer.folder} at epoch {trainer.progress.epoch + 1}")


def _trained(trainer: Trainer, task: Task, records_root: Path, origin: Origin) -> Path:
    """Trains to the end and records it, or leaves a partial record when time is up."""
    try:
        trainer.run()
    except OutOfTime:
        raise _out_of_time(trainer, task, records_root, origin) from None
    return _finish(trainer, task, records_root, origin)


def _finish(trainer: Trainer, task: Task, records_root: Path, origin: Origin) -> Path:
    """Weights, then the record that names them, by the first process; returns its path."""
    recipe, path = trainer.recipe, _path_of(trainer, records_root)
    if distributed.rank():
        return path
    weights_hash = save_checkpoint(
        trainer.folder / WEIGHTS,
        actor_weights(task.learner),
        {"task": recipe.task, "recipe": recipe.model_dump(mode="json")} | _classes(task.facts),
    )
    record_run(trainer, task, weights_hash, path, origin)
    partial = _path_of(trainer, partial_root(records_root))
    for kind in ("history", "blocks", "figure_data"):
        records.companion_path(partial, kind).unlink(missing_ok=True)
    partial.unlink(missing_ok=True)
    return path


def _out_of_time(trainer: Trainer, task: Task, records_root: Path, origin: Origin) -> OutOfTime:
    """What to raise, after the partial record is written (if any epoch was judged)."""
    progress = trainer.progress
    left = "no epoch is judged yet, so there is no partial record"
    if judged(trainer):
        path = _path_of(trainer, partial_root(records_root))
        if not distributed.rank():
            record_run(trainer, task, None, path, origin)
        left = f"partial record: {path}"
    return OutOfTime(
        f"time is up after epoch {progress.epoch}, step {progress.step}; the same command goes on "
        f"from the checkpoint ({left})"
    )


def folder_of(recipe: Recipe, seed: int) -> Path:
    """Where a run's checkpoints and weights go unless another place is named."""
    scale = records.scale_name(recipe.profile, recipe.variant)
    return build_folder() / "runs" / scale / recipe.name / f"seed{seed}"


def placed(recipe: Recipe, data: TaskData) -> Recipe:
    """The recipe at the scale of its images: on own data its variant says so."""
    if not is_own_data(recipe, data.facts.fingerprint, data.manifest):
        return recipe
    variant = with_own_data(recipe.variant, data.facts.fingerprint)
    return recipe.model_copy(update={"variant": variant})


def record_path_of(recipe: Recipe, seed: int, root: Path) -> Path:
    """Where the record of a run lies.

    Args:
        recipe: Of the run, at the scale of its images (`placed`).
        seed: Of the run.
        root: The records folder.
    """
    return records.record_path(root, recipe.profile, recipe.variant, recipe.name, seed)


def refuse_other_images(path: Path, facts: DataFacts) -> None:
    """A record of other images is never replaced.

    Raises:
        UserError: There is one at `path`; both sets are named.
    """
    if not path.exists():
        return
    try:
        old = records.read_record(path).data
    except UserError:  # damaged: the remedy for that is to run it again
        return
    if old.fingerprint != facts.fingerprint:
        raise UserError(
            f"{path} is the record of a run on other images ({old.name}, fingerprint "
            f"{old.fingerprint[:12]}; these are {facts.name}, {facts.fingerprint[:12]}) and is not "
            f"replaced; move it away, or choose another folder with --records"
        )


def _classes(facts: DataFacts) -> dict[str, Any]:
    names = getattr(facts, "class_names", None)
    return {} if names is None else {"classes": list(names)}


def partial_root(records_root: Path) -> Path:
    """Where records of unfinished runs lie: beside the finished ones, where no page counts them."""
    root = records_root.absolute() if records_root.name in ("", "..") else records_root
    return root.with_name(f"{root.name}-partial")


def _path_of(trainer: Trainer, root: Path) -> Path:
    return record_path_of(trainer.recipe, trainer.seed, root)
