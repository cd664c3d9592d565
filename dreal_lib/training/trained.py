"""The weights of a run, used: evaluated on a set, asked about single images, handed on.

They hold the recipe that they were trained by and, of classes, their names.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from safetensors.torch import save
from torch import Tensor, nn
from torchvision.transforms import v2

from dreal_lib.data.batches import MEAN, STD
from dreal_lib.data.cache import as_decoded
from dreal_lib.data.images import read_image
from dreal_lib.data.loading import default_workers
from dreal_lib.data.summary import named
from dreal_lib.errors import UserError
from dreal_lib.networks.backbones import create_model
from dreal_lib.recipes import FIRST_TASK, ClassificationRecipe, Recipe, task_facts
from dreal_lib.recipes.task_facts import DataFacts
from dreal_lib.runtime.atomic import require_writable, write_bytes_atomic, write_text_atomic
from dreal_lib.runtime.modes import autocast
from dreal_lib.tasks.task import open_data, open_task
from dreal_lib.training.checkpoints import load_checkpoint, load_weights
from dreal_lib.training.run_folder import WEIGHTS

CONFIG, MODEL, PROGRAM = "config.json", "model.safetensors", "model.pt2"


@dataclass(frozen=True)
class Prediction:
    """What a network says of one image: probabilities by class, the largest first."""

    file: str
    probabilities: dict[str, float]

    @property
    def top(self) -> str:
        return next(iter(self.probabilities))


@dataclass(frozen=True)
class Classifier:
    """A network from a run's weights, and how its images are cut.

    Attributes:
        network: On the CPU or where it was asked for, in evaluation mode.
        arguments: Of `create_model`, which make the network.
        recipe: That it was trained by.
        classes: By output; numbers where the weights are from before names were kept.
    """

    network: nn.Module
    arguments: dict[str, Any]
    recipe: ClassificationRecipe
    classes: tuple[str, ...]

    def pixels(self, file: Path) -> Tensor:
        """An image as it is judged in evaluation: (3, S, S), normalised.

        Raises:
            UserError: It cannot be decoded.
        """
        recipe, image = self.recipe, read_image(file)
        size = [recipe.image_size] * 2
        if recipe.decoded_cache:
            pixels = as_decoded(image, recipe.resize).copy()  # Pillow lends its own, read-only
            tensor = torch.from_numpy(pixels).permute(2, 0, 1)
        else:
            tensor = v2.functional.resize(
                v2.functional.pil_to_tensor(image), [recipe.resize], antialias=True
            )
        cut = v2.functional.center_crop(tensor, size).float().div(255)
        return v2.functional.normalize(cut, list(MEAN), list(STD))

    @torch.no_grad()
    def predict(self, files: Sequence[Path]) -> list[Prediction]:
        """The classes of images.

        Raises:
            UserError: One cannot be decoded.
        """
        device = next(self.network.parameters()).device
        found = []
        for file in files:
            images = self.pixels(file)[None].to(device)
            if self.recipe.channels_last:
                images = images.contiguous(memory_format=torch.channels_last)
            with autocast(self.recipe.precision, device):
                logits = self.network(images)
            shares = logits[0].float().softmax(0).tolist()
            ranked = sorted(zip(self.classes, shares, strict=True), key=lambda item: -item[1])
            found.append(Prediction(str(file), dict(ranked)))
        return found


def open_classifier(path: Path, device: torch.device | str = "cpu") -> Classifier:
    """The network of a run's weights.

    Raises:
        UserError: The file is damaged, no weights of a run, or of another task than classes.
    """
    tensors, recipe, facts = read_weights(path)
    if not isinstance(recipe, ClassificationRecipe):
        raise UserError(
            f"{path} is of task {recipe.task}, whose network has no classes to name; `dreal "
            f"evaluate` judges it on a set"
        )
    bias = tensors.get("fc.bias")
    count = 0 if bias is None else len(bias)
    classes = tuple(facts.get("classes", map(str, range(count))))
    arguments = {
        "name": recipe.trained_model,
        "num_classes": len(classes),
        "width": recipe.width,
        "stem": recipe.stem,
        "image_size": recipe.image_size,
    }
    network = create_model(**arguments)
    load_weights(network, tensors, path)
    format_ = torch.channels_last if recipe.channels_last else torch.contiguous_format
    network = network.to(device, memory_format=format_).eval()
    return Classifier(network, arguments, recipe, classes)


def export_classifier(path: Path, out: Path, program: bool = False) -> list[Path]:
    """Writes a network for use elsewhere: plain weights, and a config to make it and feed it.

    `dreal_lib.create_model(**config["model"])` makes the network, whose `load_state_dict` takes
    the weights.

    Args:
        path: The weights of a run.
        out: Folder for `config.json` and `model.safetensors`; files of these names are replaced.
        program: Also `model.pt2`, which `torch.export.load` reads without this library.

    Raises:
        UserError: As `open_classifier`, or `out` cannot be written to.
    """
    require_writable(out)
    made = open_classifier(path)
    recipe = made.recipe
    config = {
        "model": made.arguments,
        "classes": list(made.classes),
        "input": {
            "image_size": recipe.image_size,
            "resize": recipe.resize,
            "crop": "centre",
            "scale": "0 to 1",
            "mean": list(MEAN),
            "std": list(STD),
        },
        "recipe": recipe.model_dump(mode="json"),
    }
    tensors = {name: value.contiguous() for name, value in made.network.state_dict().items()}
    written = [out / MODEL, out / CONFIG]
    write_bytes_atomic(out / MODEL, save(tensors))
    write_text_atomic(out / CONFIG, json.dumps(config, indent=2, sort_keys=True) + "\n")
    if program:
        written.append(out / PROGRAM)
        example = torch.zeros(2, 3, recipe.image_size, recipe.image_size)
        batch = torch.export.Dim("batch")
        found = torch.export.export(made.network, (example,), dynamic_shapes=({0: batch},))
        torch.export.save(found, written[-1])
    return written


def read_weights(path: Path) -> tuple[dict[str, Tensor], Recipe, dict[str, Any]]:
    """The weights of a run, the recipe that they hold, and what else they say.

    Raises:
        UserError: The file is damaged, a checkpoint, or of a recipe that this version lacks.
    """
    tensors, facts = load_checkpoint(path)
    if "recipe" not in facts:
        raise UserError(f"{path} is a checkpoint, not the weights of a run; try its {WEIGHTS}")
    kind = task_facts(facts.get("task", FIRST_TASK)).recipe
    try:
        return tensors, kind.model_validate(facts["recipe"]), facts
    except ValidationError as error:
        key = ".".join(str(part) for part in error.errors()[0]["loc"]) or "recipe"
        raise UserError(
            f"{path} holds a recipe that this version cannot read (key {key!r}); evaluate it with "
            f"the version that wrote it"
        ) from None


def evaluate_weights(
    path: Path, data_root: Path, device: torch.device, cache: Path, workers: int | None = None
) -> dict[str, float]:
    """Metrics of a run's weights, by the recipe that they hold, on the test images of a data root.

    Args:
        path: The weights.
        data_root: Images of the classes that they were trained on, or any identities.
        device: Where.
        cache: Where decoded images are kept.
        workers: Processes that decode streamed images; None: `default_workers()`.

    Raises:
        UserError: The file is damaged, or the data have other classes.
    """
    tensors, recipe, facts = read_weights(path)
    data = open_data(recipe, data_root, cache)
    _refuse_other_classes(path, facts.get("classes"), data.facts)
    readers = default_workers() if workers is None else workers
    task = open_task(recipe.without_initial_weights(), data, device, workers=readers)
    load_weights(task.learner.actor, tensors, path)
    found = task.validate(None)
    return {name: value for name, value in found.items() if name not in task.facts.decided}


def _refuse_other_classes(weights: Path, trained: list[str] | None, facts: DataFacts) -> None:
    """Else a dog's output would be judged as a cat's, and nothing would say so."""
    found = getattr(facts, "class_names", None)
    if trained is None or found is None or trained == list(found):
        return
    raise UserError(
        f"{weights} was trained on {len(trained)} classes ({named(trained)}), and {facts.name} has "
        f"{len(found)} ({named(found)}); give data whose class folders have the same names"
    )
