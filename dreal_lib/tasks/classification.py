"""Class recognition (section 4.1): its data, its network, its errors, its figures' data."""

from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from torch import nn

from dreal_lib.actor_critic.agent import Agent
from dreal_lib.actor_critic.baseline import Baseline
from dreal_lib.actor_critic.blocks import find_maps
from dreal_lib.actor_critic.counterfactual import Bypass
from dreal_lib.actor_critic.reinforcement import reinforce
from dreal_lib.data.batches import CachedBatches, Crops, StreamedBatches, loaded
from dreal_lib.data.boxes import open_objects
from dreal_lib.data.cache import CachedSet, open_cache
from dreal_lib.data.decoding import loaded_on_device, refuse_without_decoder
from dreal_lib.data.images import (
    ImageSet,
    Split,
    fingerprint_of_contents,
    fingerprint_of_sizes,
    open_image_set,
)
from dreal_lib.data.prepared import unchanged_manifest
from dreal_lib.data.summary import class_summary
from dreal_lib.diagnosis.evaluation import diagnose, evaluate
from dreal_lib.diagnosis.localization import can_explain, localize
from dreal_lib.errors import UserError
from dreal_lib.networks.backbones import create_model
from dreal_lib.recipes.classification import ClassFacts, ClassificationRecipe
from dreal_lib.records.arrays import CLASS_TITLES, OF_CLASSIFICATION
from dreal_lib.runtime.modes import autocast
from dreal_lib.runtime.seeding import derived_generator, seed_initialisation
from dreal_lib.tasks.task import Task, TaskData

PERTURBATION_STEPS = 8  # of the deletion and insertion curves, each a forward pass an image

Source = CachedBatches | StreamedBatches


def open_data(recipe: ClassificationRecipe, root: Path, cache: Path | None) -> TaskData:
    """The images of a recipe; arguments as for `dreal_lib.tasks.task.open_data`.

    Raises:
        UserError: Images that cannot be used.
    """
    images = open_image_set(root, recipe.classes)
    splits = (images.train, images.val)
    summary, cached = class_summary(images), None
    if recipe.decoded_cache and cache is not None:
        cached = open_cache(images, recipe.resize, cache)
        fingerprint = cached.fingerprint
        if cached.rebuilt:
            summary += (f"decoded {images.name} into {cache} ({cached.rebuilt})",)
    elif recipe.decoded_cache:
        fingerprint = fingerprint_of_contents(splits)
    else:  # reading every byte of a large set would take longer than it tells; names and sizes do
        fingerprint = fingerprint_of_sizes(splits)
    facts = ClassFacts(
        name=images.name,
        fingerprint=fingerprint,
        train_images=len(images.train),
        val_images=len(images.val),
        classes=len(images.classes),
        class_names=images.classes,
    )
    files = [file for split in splits for file in split.files]
    folders = [f"{split}/{name}" for split in ("train", "val") for name in images.classes]
    contents = fingerprint if recipe.decoded_cache else ""
    manifest = unchanged_manifest(root, files, folders, contents)
    return TaskData(facts, manifest, summary, (images, cached))


def open_task(
    recipe: ClassificationRecipe,
    data: TaskData,
    device: torch.device,
    seed: int = 0,
    workers: int = 4,
    decode_on_device: bool = False,
) -> Task:
    """Batches and network of a recipe; arguments as for `dreal_lib.tasks.task.open_task`.

    Raises:
        UserError: Stages that do not exist, no decoder on the device, or nothing for it to decode.
    """
    if decode_on_device and recipe.decoded_cache:
        raise UserError(
            f"--decode device has nothing to decode: {recipe.name} trains on images that were "
            f"decoded before (decoded_cache: true); leave it out, or --set decoded_cache=false"
        )
    images, cached = data.held
    train, val = open_batches(recipe, images, cached, device, seed, workers, decode_on_device)
    learner = create_learner(recipe, len(images.classes), device, seed)
    # Before the training, so that stages that do not exist are refused before it.
    maps = find_maps(learner.actor, recipe.stages, recipe.image_size)

    def validate(epoch: int | None) -> dict[str, float]:
        if epoch is not None and epoch % recipe.evaluate_every and epoch != recipe.epochs:
            return {}
        return asdict(evaluate(learner.actor, val.part(), autocast(recipe.precision, device)))

    def figure_data() -> dict[str, np.ndarray]:
        # In fp32 whatever the training's precision: rewards are small differences.
        how = Bypass(recipe.dreal.bypass_mean, recipe.dreal.later_maps)
        shown, split = _shown(recipe, images, val)
        diagnosis = diagnose(learner.actor, shown.epoch(), maps, recipe.dreal.gamma, how)
        return diagnosis.arrays() | _localized(learner.actor, images, split, shown, recipe)

    return Task(learner, train, validate, figure_data, OF_CLASSIFICATION, data.facts)


def open_batches(
    recipe: ClassificationRecipe,
    images: ImageSet,
    cached: CachedSet | None,
    device: torch.device,
    seed: int = 0,
    workers: int = 4,
    decode_on_device: bool = False,
) -> tuple[Source, Source]:
    """Batches for training and validation.

    Images to judge are decoded by the workers always, so that errors are those of the same pixels.
    """
    crops = Crops(recipe.image_size, recipe.resize, recipe.smallest_area)
    size, last = recipe.batch_size, recipe.channels_last
    if cached is not None:
        train = CachedBatches(cached, "train", crops, size, device, seed, last)
        val = CachedBatches(cached, "val", crops, size, device, seed, last)
        return train, val
    load = loaded
    if decode_on_device:
        refuse_without_decoder(device)
        load = loaded_on_device
    train = StreamedBatches(images.train, True, crops, size, device, seed, last, workers, load)
    val = StreamedBatches(images.val, False, crops, size, device, seed, last, workers)
    return train, val


def create_learner(
    recipe: ClassificationRecipe, classes: int, device: torch.device, seed: int
) -> Agent | Baseline:
    """The network of a recipe, with critics if it is reinforced; weights decided by the seed.

    A baseline and a reinforced run of the same seed start from the same network.
    """
    seed_initialisation(seed)
    model = create_model(
        recipe.trained_model,
        classes,
        width=recipe.width,
        stem=recipe.stem,
        image_size=recipe.image_size,
    )
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


def _shown(recipe: ClassificationRecipe, images: ImageSet, val: Source) -> tuple[Source, Split]:
    """The test images that the figures' data are of, as batches and as listed."""
    count, wanted = len(images.val), recipe.figure_images
    if wanted is None or wanted >= count:
        return val, images.val
    indices = np.linspace(0, count, wanted, endpoint=False).astype(np.int64)
    return val.chosen(indices), images.val.chosen(indices)


def _localized(
    model: nn.Module, images: ImageSet, split: Split, val: Source, recipe: ClassificationRecipe
) -> dict[str, np.ndarray]:
    """Where the network looks on the validation images; empty without pytorch-grad-cam."""
    if not can_explain():
        return {}
    crops = Crops(recipe.image_size, recipe.resize)
    objects = open_objects(split, crops, squared=recipe.decoded_cache)
    found = localize(model, val.epoch(), objects, steps=PERTURBATION_STEPS)
    return found.arrays() | {CLASS_TITLES: np.array(images.titles)}
