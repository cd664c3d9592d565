"""A run from recipe to record: data, network, training, evaluation, and what it leaves behind."""

import os
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import torch
from pydantic import ValidationError

from dreal_lib import records
from dreal_lib.data.loading import default_workers
from dreal_lib.errors import OutOfTime, UserError, unknown_choice
from dreal_lib.recipes import FIRST_TASK, Recipe, task_facts
from dreal_lib.runtime import distributed
from dreal_lib.runtime.determinism import deterministic
from dreal_lib.runtime.environment import environment_facts
from dreal_lib.tasks.task import Task, open_task
from dreal_lib.training.checkpoints import load_checkpoint, load_weights, save_checkpoint
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
    folder: Path,
    records_root: Path,
    *,
    seed: int = 0,
    device: torch.device | None = None,
    cache: Path = Path("build/cache"),
    workers: int | None = None,
    decode: str = "workers",
    pace: Pace = AS_DEFAULT,
    repeatable: bool = False,
    sync_bn: bool = False,
    listener: Listener = lambda progress, steps, row: None,
    note: Callable[[str], None] = lambda text: None,
) -> Path:
    """Trains, evaluates and records one row; continues an interrupted run in `folder`.

    Args:
        recipe: What to do.
        data_root: Prepared images.
        folder: The run's own folder: checkpoints and weights.
        records_root: Where the record and its companions go.
        seed: Of everything random.
        device: Where; a GPU if there is one by default.
        cache: Where decoded images are kept.
        workers: Processes that decode streamed images; None: `default_workers()`.
        decode: What decodes streamed training images: those "workers", or the "device", for which
            they read the files (`dreal_lib.data.decoding`).
        pace: When checkpoints are written, and when to stop.
        repeatable: Deterministic algorithms only (`dreal_lib.runtime.determinism`).
        sync_bn: BatchNorm over the global batch, on several GPUs.
        listener: See `Trainer`.
        note: Called with a line of text for the user.

    Returns:
        The record's path.

    Raises:
        UserError: Bad input, see the modules that this one calls.
        dreal_lib.errors.Interrupted: Stopped by a signal; call again to continue.
        OutOfTime: The pace's deadline came; call again to continue. A partial record lies under
            `partial_root(records_root)` if an epoch was judged.
    """
    device, resumes = device or choose_device(), has_checkpoint(folder)
    environment = environment_facts(device, world_size=distributed.world_size())
    command = command_of(recipe, seed, repeatable, sync_bn, decode, environment.threads)
    origin = Origin(command, environment)
    if decode not in DECODERS:
        raise unknown_choice("decoder", decode, DECODERS)
    opened = recipe.without_initial_weights() if resumes else recipe
    if device.type == "cpu":
        refuse_beyond_memory(recipe)
    with deterministic(repeatable):
        with distributed.first_one_first():  # it decodes the images for all
            readers = default_workers() if workers is None else workers
            task = open_task(opened, data_root, cache, device, seed, readers, decode == "device")
        if device.type == "cpu":
            refuse_beyond_memory(recipe, task.learner.actor)
        if sync_bn:
            distributed.synchronise_norms(task.learner, device)
        for text in (task.note, note_on_other_images(recipe, task.facts.fingerprint)):
            if text:
                note(text)
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
        {"task": recipe.task, "recipe": recipe.model_dump(mode="json")},
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
    return Path("build/runs") / scale / recipe.name / f"seed{seed}"


def partial_root(records_root: Path) -> Path:
    """Where records of unfinished runs lie: beside the finished ones, where no page counts them."""
    root = records_root.absolute() if records_root.name in ("", "..") else records_root
    return root.with_name(f"{root.name}-partial")


def _path_of(trainer: Trainer, root: Path) -> Path:
    recipe = trainer.recipe
    return records.record_path(root, recipe.profile, recipe.variant, recipe.name, trainer.seed)


def evaluate_weights(
    path: Path, data_root: Path, device: torch.device, cache: Path, workers: int | None = None
) -> dict[str, float]:
    """Metrics of a run's weights, by the recipe that they hold, on the test images of a data root.

    Args:
        path: The weights' file.
        data_root, device, cache, workers: As for `run`.

    Raises:
        UserError: The file is damaged, or the data have another number of classes.
    """
    tensors, facts = load_checkpoint(path)
    if "recipe" not in facts:
        raise UserError(f"{path} is a checkpoint, not the weights of a run; try its {WEIGHTS}")
    kind = task_facts(facts.get("task", FIRST_TASK)).recipe
    try:
        recipe = kind.model_validate(facts["recipe"])
    except ValidationError as error:
        key = ".".join(str(part) for part in error.errors()[0]["loc"]) or "recipe"
        raise UserError(
            f"{path} holds a recipe that this version cannot read (key {key!r}); evaluate it with "
            f"the version that wrote it"
        ) from None
    opened = recipe.without_initial_weights()
    readers = default_workers() if workers is None else workers
    task = open_task(opened, data_root, cache, device, workers=readers)
    load_weights(task.learner.actor, tensors, path)
    found = task.validate(None)
    return {name: value for name, value in found.items() if name not in task.facts.decided}
