"""A run's record, from what its trainer leaves: facts, companions, and the command to make it."""

import json
import math
import resource
import shlex
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from dreal_lib import records
from dreal_lib.errors import UserError
from dreal_lib.recipes import Recipe, planned_names, variant_names
from dreal_lib.recipes.own_data import without_own_data
from dreal_lib.recipes.task_facts import Result
from dreal_lib.runtime.environment import PROJECT_ROOT, EnvironmentFacts
from dreal_lib.tasks.task import Task
from dreal_lib.training.progress import Progress
from dreal_lib.training.trainer import Trainer

COMMITTED = PROJECT_ROOT / "book" / "records"


def note_on_other_images(recipe: Recipe, fingerprint: str, committed: Path = COMMITTED) -> str:
    """A line for the user if the records of a recipe's scale are of other images.

    Args:
        recipe: What is going to be trained, at the scale of its images.
        fingerprint: Of the images that it is going to be trained on.
        committed: Folder of records.

    Returns:
        "" if they are the same images, or if there is no record to compare with.
    """
    named = without_own_data(recipe.variant)
    if named != recipe.variant:
        scale = records.scale_name(recipe.profile, recipe.variant)
        return (
            f"these are not the images of scale {records.scale_name(recipe.profile, named)}; this "
            f"run has a scale of its own, {scale}"
        )
    try:
        stored = records.find_records(committed, profile=recipe.profile, variant=recipe.variant)
    except UserError:  # the book's build says what is wrong with them; training needs none
        return ""
    theirs = {s.record.data.fingerprint for s in stored if s.record.recipe == recipe.name}
    if not theirs or fingerprint in theirs:
        return ""
    return (
        f"these are not the images that the committed records of {recipe.name} were made from "
        f"(fingerprint {fingerprint[:12]}, theirs {', '.join(sorted(f[:12] for f in theirs))}), so "
        "errors will differ from theirs"
    )


@dataclass(frozen=True)
class Origin:
    """What a run was started by and on, read before it begins: the checkout may move meanwhile."""

    command: str
    environment: EnvironmentFacts

    def after(self, progress: Progress, note: Callable[[str], None]) -> "Origin":
        """The origin of all starts of a run: not clean if one of them had other code.

        Args:
            progress: Of the run; takes this start up if it finds the code changed.
            note: Called with a line for the user in that case.
        """
        now, starts = self.environment.git.model_dump(), progress.starts
        if progress.begun and not starts:  # by a version that kept no starts
            starts.append({"commit": None, "clean": None})
        if starts and starts[-1] != now:
            before, after = (_named(git) for git in (starts[-1], now))
            note(
                f"the code changed since this run was last started ({before}, now {after}); "
                f"its record will say that it was not made from one commit alone"
            )
        if not starts or starts[-1] != now:
            starts.append(now)
        if len(starts) == 1:
            return self
        mixed = self.environment.git.model_copy(update={"clean": False})
        return replace(self, environment=replace(self.environment, git=mixed))


def _named(git: dict[str, Any]) -> str:
    commit = git["commit"][:12] if git["commit"] else "no known commit"
    return f"{commit} with uncommitted changes" if git["clean"] is False else commit


def judged(trainer: Trainer) -> list[Result]:
    """The metrics of the epochs that were evaluated."""
    kind = trainer.facts.result
    rows = [{name: row[name] for name in kind.model_fields} for row in trainer.progress.history]
    return [kind(**row) for row in rows if not any(map(math.isnan, row.values()))]


def record_run(
    trainer: Trainer, task: Task, weights_sha256: str | None, path: Path, origin: Origin
) -> None:
    """Writes a record's companions, then the record that names them.

    A partial record has no weights, and no figure data, which take a pass over all images.

    Args:
        trainer: Whose run it is; at least one epoch was evaluated.
        task: What it trained.
        weights_sha256: Of the weights' file; None for a partial record.
        path: Of the record.
        origin: What the run was started by and on.
    """
    recipe, progress = trainer.recipe, trainer.progress
    epochs, environment = judged(trainer), origin.environment
    complete = progress.epoch == recipe.epochs
    record = records.record_type(recipe.task)(
        recipe=recipe.name,
        recipe_hash=recipe.hash,
        profile=recipe.profile,
        variant=recipe.variant,
        overrides=recipe.overrides,
        settings=recipe.model_dump(mode="json"),
        network=recipe.network,
        method=recipe.method,
        seed=trainer.seed,
        complete=complete,
        git=environment.git,
        versions=environment.versions,
        hardware=environment.hardware,
        threads=environment.threads,
        plan_commit=environment.plan_commit if recipe.name in planned_names() else None,
        data=task.facts,
        wall_seconds=progress.wall_seconds,
        images_per_second=progress.images / progress.train_seconds,
        peak_memory_mib=peak_memory_mib(trainer.device),
        last=epochs[-1],
        best=trainer.facts.best_of(epochs),
        checkpoint_sha256=weights_sha256,
        files=_write_companions(path, trainer, task, complete),
        command=origin.command,
        created=datetime.now(UTC),
    )
    records.write_record(record, path)


def _write_companions(
    path: Path, trainer: Trainer, task: Task, complete: bool
) -> records.CompanionFiles:
    def beside(kind: str) -> Path:
        return records.companion_path(path, kind)

    progress, columns = trainer.progress, trainer.facts.history_columns
    blocks = figures = None
    if progress.blocks:
        blocks = records.write_table(beside("blocks"), progress.blocks, records.BLOCK_COLUMNS)
    if complete:
        figures = records.write_figure_data(beside("figure_data"), task.figure_data(), task.arrays)
    return records.CompanionFiles(
        history=records.write_table(beside("history"), progress.history, columns),
        blocks=blocks,
        figure_data=figures,
    )


def command_of(
    recipe: Recipe,
    seed: int,
    repeatable: bool = False,
    sync_bn: bool = False,
    decode: str = "workers",
    threads: int | None = None,
) -> str:
    """The command that makes a run, with DATA for the data root (no path of any machine).

    Args:
        recipe, seed, repeatable, sync_bn, decode: As for `dreal_lib.training.runs.run`.
        threads: Of the CPU; sums are rounded in another order by another number, and training
            makes much of little. None names none.
    """
    parts = ["dreal", "train", recipe.name, "--profile", recipe.profile]
    variant = without_own_data(recipe.variant)  # the data say it themselves
    if variant not in (None, *variant_names()):
        for key, value in recipe.overrides.items():
            parts += ["--set", f"{key}={json.dumps(value)}"]
    elif variant:
        parts += ["--variant", variant]
    parts += ["--deterministic"] if repeatable else []
    parts += ["--sync-bn"] if sync_bn else []
    parts += ["--decode", decode] if decode != "workers" else []  # its pixels may round otherwise
    counted = ["--threads", str(threads)] if threads else []
    return shlex.join([*parts, "--seed", str(seed), *counted, "--data", "DATA"])


def peak_memory_mib(device: torch.device) -> float:
    """The most memory this process has held: on the GPU if it ran there, else in main memory."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10  # bytes there, KiB here
