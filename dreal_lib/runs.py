"""A run from recipe to record: data, network, training, evaluation, and what it leaves behind."""

import json
import resource
import shlex
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from pydantic import ValidationError
from torch import nn

from dreal_lib import records
from dreal_lib.agent import reinforce
from dreal_lib.backbones import create_model
from dreal_lib.baseline import Baseline
from dreal_lib.batches import CachedBatches, Crops, StreamedBatches
from dreal_lib.blocks import find_maps
from dreal_lib.boxes import open_objects
from dreal_lib.cache import open_cache
from dreal_lib.checkpoints import load_checkpoint, load_weights, save_checkpoint
from dreal_lib.counterfactual import Bypass
from dreal_lib.environment import environment_facts
from dreal_lib.errors import UserError
from dreal_lib.evaluation import Errors, diagnose, evaluate
from dreal_lib.images import content_fingerprint, open_image_set
from dreal_lib.localization import can_explain, localize
from dreal_lib.recipes import Recipe, variant_names
from dreal_lib.seeding import derived_generator, seed_initialisation
from dreal_lib.training import Listener, Progress, Source, Trainer, actor_weights, autocast

WEIGHTS = "weights.safetensors"
PERTURBATION_STEPS = 8  # of the deletion and insertion curves, each a forward pass an image


@dataclass(frozen=True)
class Data:
    """Both splits, ready to be trained on, and what a record says of them."""

    train: Source
    val: Source
    facts: records.DataFacts
    cache_note: str = ""


def choose_device(name: str = "auto") -> torch.device:
    """ "auto" takes a GPU where there is one.

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
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        last = torch.cuda.device_count() - 1
        raise UserError(f"device {name!r} was asked for and the last one here is cuda:{last}")
    return device


def open_data(
    recipe: Recipe,
    root: Path,
    cache: Path,
    device: torch.device,
    seed: int = 0,
    workers: int = 4,
) -> Data:
    """The batches that a recipe wants from a data root."""
    images = open_image_set(root, recipe.classes)
    crops = Crops(recipe.image_size, recipe.resize, recipe.smallest_area)
    size, last = recipe.batch_size, recipe.channels_last
    note = ""
    if recipe.decoded_cache:
        cached = open_cache(images, recipe.resize, cache)
        fingerprint, note = cached.fingerprint, cached.rebuilt
        train = CachedBatches(cached, "train", crops, size, device, seed, last)
        val = CachedBatches(cached, "val", crops, size, device, seed, last)
    else:
        # Reading every byte of a large set would take longer than it tells; names and sizes do.
        sizes = {
            file: str((split.root / file).stat().st_size)
            for split in (images.train, images.val)
            for file in split.files
        }
        fingerprint = content_fingerprint(sizes)
        train = StreamedBatches(images.train, True, crops, size, device, seed, last, workers)
        val = StreamedBatches(images.val, False, crops, size, device, seed, last, workers)
    facts = records.DataFacts(
        name=images.name,
        fingerprint=fingerprint,
        train_images=len(images.train),
        val_images=len(images.val),
        classes=len(images.classes),
    )
    return Data(train, val, facts, note)


def create_learner(recipe: Recipe, classes: int, device: torch.device, seed: int):
    """The network of a recipe, with critics if it is reinforced; weights decided by the seed.

    A baseline and a reinforced run of the same seed start from the same network.
    """
    seed_initialisation(seed)
    model = create_model(recipe.trained_model, classes, width=recipe.width, stem=recipe.stem)
    format_ = torch.channels_last if recipe.channels_last else torch.contiguous_format
    model = model.to(device, memory_format=format_)
    if recipe.method == "baseline":
        return Baseline(model)
    return reinforce(
        model,
        image_size=recipe.image_size,
        stages=recipe.stages,
        generator=derived_generator(seed, "bypass"),
        **recipe.dreal.as_dict(),
    )


def run(
    recipe: Recipe,
    data_root: Path,
    folder: Path,
    records_root: Path,
    *,
    seed: int = 0,
    device: torch.device | None = None,
    cache: Path = Path("build/cache"),
    workers: int = 4,
    listener: Listener = lambda progress, steps, row: None,
    note: Callable[[str], None] = lambda text: None,
) -> Path:
    """Trains, evaluates and records one row; continues an interrupted run in `folder`.

    Args:
        recipe: What to do.
        data_root: Prepared images.
        folder: The run's own folder: checkpoint and weights.
        records_root: Where the record and its companions go.
        seed: Of everything random.
        device: Where; a GPU if there is one by default.
        cache: Where decoded images are kept.
        workers: Processes that decode streamed images.
        listener: See `Trainer`.
        note: Called with a line of text for the user.

    Returns:
        The record's path.

    Raises:
        UserError: Bad input, see the modules that this one calls.
        dreal_lib.errors.Interrupted: Stopped by a signal; call again to continue.
    """
    device = device or choose_device()
    data = open_data(recipe, data_root, cache, device, seed, workers)
    if data.cache_note:
        note(f"decoded {data.facts.name} into {cache} ({data.cache_note})")
    learner = create_learner(recipe, data.facts.classes, device, seed)
    fingerprint = data.facts.fingerprint
    # Before the training, so that stages that do not exist are refused before it.
    maps = find_maps(learner.actor, recipe.stages, recipe.image_size)
    trainer = Trainer(learner, recipe, data.train, data.val, folder, seed, fingerprint, listener)
    if trainer.progress.epoch or trainer.progress.step:
        note(f"continuing {folder} at epoch {trainer.progress.epoch + 1}")
    progress = trainer.run()
    weights_hash = save_checkpoint(
        folder / WEIGHTS, actor_weights(learner), {"recipe": recipe.model_dump(mode="json")}
    )
    # In fp32 whatever the training's precision: rewards are small differences.
    how = Bypass(recipe.dreal.bypass_mean, recipe.dreal.later_maps)
    diagnosis = diagnose(learner.actor, data.val.epoch(), maps, recipe.dreal.gamma, how)
    figures = diagnosis.arrays() | _localized(learner.actor, data, recipe, data_root)
    path = records.record_path(records_root, recipe.profile, recipe.variant, recipe.name, seed)
    record = _record(recipe, seed, data, progress, figures, weights_hash, device, path)
    records.write_record(record, path)
    return path


def _localized(
    model: nn.Module, data: Data, recipe: Recipe, data_root: Path
) -> dict[str, np.ndarray]:
    """Where the network looks on the validation images; empty without pytorch-grad-cam."""
    if not can_explain():
        return {}
    images = open_image_set(data_root, recipe.classes)
    crops = Crops(recipe.image_size, recipe.resize)
    objects = open_objects(images.val, crops, squared=recipe.decoded_cache)
    found = localize(model, data.val.epoch(), objects, steps=PERTURBATION_STEPS)
    return found.arrays() | {"titles": np.array(images.titles)}


def evaluate_weights(
    path: Path, data_root: Path, device: torch.device, cache: Path, workers: int = 4
) -> Errors:
    """Errors of a run's weights, by the recipe that they hold, on the val images of a data root.

    Raises:
        UserError: The file is damaged, or the data have another number of classes.
    """
    tensors, facts = load_checkpoint(path)
    if "recipe" not in facts:
        raise UserError(f"{path} is a checkpoint, not the weights of a run; try its {WEIGHTS}")
    try:
        recipe = Recipe(**facts["recipe"])
    except ValidationError as error:
        key = ".".join(str(part) for part in error.errors()[0]["loc"])
        raise UserError(
            f"{path} holds a recipe that this version cannot read (key {key!r}); evaluate it with "
            f"the version that wrote it"
        ) from None
    data = open_data(recipe, data_root, cache, device, workers=workers)
    model = create_learner(recipe, data.facts.classes, device, seed=0).actor
    load_weights(model, tensors, path)
    return evaluate(model, data.val.epoch(), autocast(recipe, device))


def _record(
    recipe: Recipe,
    seed: int,
    data: Data,
    progress: Progress,
    figures: dict[str, np.ndarray],
    weights_sha256: str,
    device: torch.device,
    path: Path,
) -> records.Record:
    """Writes the record's companions, then makes the record that names them."""
    fields = records.Metrics.model_fields
    epochs = [records.Metrics(**{k: row[k] for k in fields}) for row in progress.history]
    environment = environment_facts(device)
    return records.Record(
        recipe=recipe.name,
        recipe_hash=recipe.hash,
        profile=recipe.profile,
        variant=recipe.variant,
        overrides=recipe.overrides,
        settings=recipe.model_dump(mode="json"),
        network=recipe.network,
        method=recipe.method,
        seed=seed,
        complete=progress.epoch == recipe.epochs,
        git=environment.git,
        versions=environment.versions,
        hardware=environment.hardware,
        data=data.facts,
        wall_seconds=progress.wall_seconds,
        images_per_second=progress.images / progress.train_seconds,
        peak_memory_mib=peak_memory_mib(device),
        last=epochs[-1],
        best=min(epochs, key=lambda epoch: epoch.top1_error_pct),
        checkpoint_sha256=weights_sha256,
        files=_write_companions(path, progress, figures),
        command=command_of(recipe, seed),
        created=datetime.now(UTC),
    )


def _write_companions(
    path: Path, progress: Progress, figures: dict[str, np.ndarray]
) -> records.CompanionFiles:
    def beside(kind: str) -> Path:
        return records.companion_path(path, kind)

    history = pd.DataFrame(progress.history)
    blocks = None
    if progress.blocks:
        table = pd.DataFrame(progress.blocks)
        blocks = records.write_table(beside("blocks"), table, records.BLOCK_COLUMNS)
    return records.CompanionFiles(
        history=records.write_table(beside("history"), history, records.HISTORY_COLUMNS),
        blocks=blocks,
        figure_data=records.write_figure_data(beside("figure_data"), figures),
    )


def command_of(recipe: Recipe, seed: int) -> str:
    """The command that makes this run, with DATA for the data root (no path of any machine)."""
    parts = ["dreal", "train", recipe.name, "--profile", recipe.profile]
    if recipe.variant not in (None, *variant_names()):
        for key, value in recipe.overrides.items():
            parts += ["--set", f"{key}={json.dumps(value)}"]
    elif recipe.variant:
        parts += ["--variant", recipe.variant]
    return shlex.join([*parts, "--seed", str(seed), "--data", "DATA"])


def peak_memory_mib(device: torch.device) -> float:
    """The most memory this process has held: on the GPU if it ran there, else in main memory."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10  # bytes there, KiB here
