"""Instance recognition (section 4.2): its data, its network, its losses, its retrieval scores."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from dreal_lib.actor_critic.agent import Agent
from dreal_lib.actor_critic.baseline import Baseline
from dreal_lib.actor_critic.reinforcement import reinforce
from dreal_lib.data.identities import SPLITS, IdentitySet, open_identity_set
from dreal_lib.data.identity_batches import PKBatches, SplitBatches
from dreal_lib.data.images import content_fingerprint
from dreal_lib.data.prepared import unchanged_manifest
from dreal_lib.data.summary import identity_summary
from dreal_lib.diagnosis import ranked
from dreal_lib.errors import UserError
from dreal_lib.networks.embedding import create_embedding, embed_all
from dreal_lib.recipes.retrieval import RETRIEVAL, IdentityFacts, RetrievalRecipe
from dreal_lib.records.arrays import OF_RETRIEVAL
from dreal_lib.retrieval.ranking import Retrieval, evaluate
from dreal_lib.runtime import distributed
from dreal_lib.runtime.modes import autocast
from dreal_lib.runtime.seeding import derived_generator, seed_initialisation
from dreal_lib.tasks.losses import IdentityLoss
from dreal_lib.tasks.task import Task, TaskData

TEST_SPLITS = ("query", "gallery")


def open_data(recipe: RetrievalRecipe, root: Path, cache: Path | None) -> TaskData:
    """The images of a recipe; arguments as for `tasks.task.open_data` (no cache is kept).

    Raises:
        UserError: Images that cannot be used.
    """
    images = open_identity_set(root)
    facts = identity_facts(images)
    files = [file for name in SPLITS for file in getattr(images, name).files]
    # A prepared set is listed whole, below whatever folders.
    folders = sorted({file.partition("/")[0] for file in files})
    summary = identity_summary(images.name, facts.text, root, files, images.left_out)
    return TaskData(facts, unchanged_manifest(root, files, folders), summary, images)


def open_task(
    recipe: RetrievalRecipe,
    data: TaskData,
    device: torch.device,
    seed: int = 0,
    workers: int = 4,
    decode_on_device: bool = False,
) -> Task:
    """Batches and network of a recipe; arguments as for `tasks.task.open_task`.

    Raises:
        UserError: Stages that do not exist, or `decode_on_device`.
    """
    if decode_on_device:
        raise UserError(
            f"--decode device is there for class folders alone, and {recipe.name} trains on "
            f"identities; leave it out"
        )
    images, facts = data.held, data.facts
    train, test = open_batches(recipe, images, device, seed, workers)
    learner = create_learner(recipe, len(images.identity_names), device, seed)

    def validate(epoch: int | None) -> dict[str, float]:
        if epoch is not None and epoch % recipe.evaluate_every and epoch != recipe.epochs:
            return {}
        with autocast(recipe.precision, device):
            query, gallery = (
                distributed.gathered(
                    embed_all(learner.actor, test[name].part()), len(test[name].split)
                )
                for name in TEST_SPLITS
            )
        return percentages(retrieve(images, query, gallery, recipe.retrieval.metric))

    def figure_data() -> dict[str, np.ndarray]:
        # As in `validate`, so that the scores are the record's.
        with autocast(recipe.precision, device):
            query, gallery = (embed_all(learner.actor, test[name].epoch()) for name in TEST_SPLITS)
        return ranked.figure_arrays(
            learner.actor,
            images,
            test["query"],
            test["gallery"],
            ranked.Features(query, gallery),
            retrieve(images, query, gallery, recipe.retrieval.metric),
            facts.fingerprint,
            recipe.retrieval.metric,
        )

    return Task(learner, train, validate, figure_data, OF_RETRIEVAL, facts)


def open_batches(
    recipe: RetrievalRecipe,
    images: IdentitySet,
    device: torch.device,
    seed: int = 0,
    workers: int = 4,
) -> tuple[PKBatches, dict[str, SplitBatches]]:
    """Batches for training, and those of each test split; arguments as for `open_task`."""
    train = PKBatches(
        images.train,
        recipe.size,
        recipe.identities_per_batch,
        recipe.images_per_identity,
        recipe.retrieval,
        device,
        seed,
        recipe.channels_last,
        workers,
    )
    test = {
        name: SplitBatches(
            getattr(images, name),
            recipe.size,
            device=device,
            channels_last=recipe.channels_last,
            workers=workers,
        )
        for name in TEST_SPLITS
    }
    return train, test


def retrieve(images: IdentitySet, query: Tensor, gallery: Tensor, metric: str) -> Retrieval:
    """Scores of features of all queries (Q, D) and of the whole gallery (G, D)."""
    return evaluate(
        query,
        gallery,
        images.query.identities,
        images.gallery.identities,
        images.query.cameras,
        images.gallery.cameras,
        metric=metric,
    )


def percentages(scores: Retrieval) -> dict[str, float]:
    """Scores as a record holds them, in per cent."""
    names = RETRIEVAL.metric_names
    return {name: 100 * float(getattr(scores, name.removesuffix("_pct"))) for name in names}


def identity_facts(images: IdentitySet) -> IdentityFacts:
    """What a record says of the data; the fingerprint is of listing and sizes, not of pixels."""
    listing = {
        f"{name}/{file}": f"{identity}/{camera}/{(split.root / file).stat().st_size}"
        for name in ("train", *TEST_SPLITS)
        for split in (getattr(images, name),)
        for file, identity, camera in zip(
            split.files,
            split.identities,
            [""] * len(split) if split.cameras is None else split.cameras,
            strict=True,
        )
    }
    seen = [getattr(images, name).cameras for name in ("train", *TEST_SPLITS)]
    cameras = 0 if seen[0] is None else len(np.unique(np.concatenate(seen)))
    return IdentityFacts(
        name=images.name,
        fingerprint=content_fingerprint(listing),
        train_images=len(images.train),
        train_identities=len(images.identity_names),
        query_images=len(images.query),
        gallery_images=int((images.gallery.identities >= 0).sum()),
        cameras=cameras,
    )


def create_learner(
    recipe: RetrievalRecipe, identities: int, device: torch.device, seed: int
) -> Agent | Baseline:
    """The network of a recipe, with critics if it is reinforced; weights decided by the seed.

    "+ attention" and "+ reinforce" of the same seed start from the same network.
    """
    seed_initialisation(seed)
    model = create_embedding(
        recipe.trained_model,
        identities,
        width=recipe.width,
        stem=recipe.stem,
        pretrained=recipe.pretrained,
        settings=recipe.retrieval,
        image_size=recipe.size,
    )
    format_ = torch.channels_last if recipe.channels_last else torch.contiguous_format
    model = model.to(device, memory_format=format_)
    loss = IdentityLoss(recipe.retrieval)
    if recipe.method != "reinforced":
        return Baseline(model, loss)
    return reinforce(
        model,
        image_size=recipe.image_size,
        stages=recipe.stages,
        generator=derived_generator(seed, "bypass"),
        classification_loss=loss,
        **recipe.dreal.as_dict(),
    )
