"""A third task, made up, whole in one file: which of four corners of a picture is bright?

Nothing in the library or in the book names it; `declared` makes it known for a test.
"""

from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from pydantic import Field
from torch import nn

from dreal_lib.actor_critic.baseline import Baseline
from dreal_lib.errors import UserError
from dreal_lib.recipes import TASKS
from dreal_lib.recipes.schema import Positive, Recipe
from dreal_lib.recipes.task_facts import DataFacts, Metric, TaskFacts
from dreal_lib.records.arrays import Array
from dreal_lib.tasks.task import Task, TaskData


class ToyRecipe(Recipe):
    task: ClassVar[str] = "corners"
    batch_key: ClassVar[str] = "pictures_per_step"

    side: Positive = 8
    pictures_per_step: Positive = 10
    momentum: float = Field(0.5, ge=0, lt=1)

    @property
    def size(self) -> tuple[int, int]:
        return (self.side, self.side)

    @property
    def optimizer(self) -> tuple[str, dict[str, Any]]:
        return "RMSprop", {"momentum": self.momentum}


class PictureFacts(DataFacts):
    corners: int

    @property
    def text(self) -> str:
        return f"{self.train_images} pictures with {self.corners} corners"


TOY = TaskFacts(
    recipe=ToyRecipe,
    metrics=(Metric("corners_found_pct", "corners found", better="higher", shown=True),),
    best="corners_found_pct",
    data=PictureFacts,
    parts=("nearness_loss", "other_loss"),
    found_in=("corners.txt",),
    code=__name__,
)


class Pictures:
    """Rendered as they are asked for."""

    def __init__(self, recipe: ToyRecipe, seed: int):
        self.recipe, self.seed = recipe, seed

    def __len__(self) -> int:
        return 4

    def epoch(self, epoch: int = 0, start: int = 0):
        for step in range(start, len(self)):
            draw = torch.Generator().manual_seed(1000 * self.seed + 10 * epoch + step)
            side, count = self.recipe.side, self.recipe.pictures_per_step
            images = torch.rand(count, 3, side, side, generator=draw)
            labels = torch.arange(count) % 4
            for image, label in zip(images, labels, strict=True):
                row, column = divmod(int(label), 2)
                half = side // 2
                image[:, row * half : (row + 1) * half, column * half : (column + 1) * half] += 2
            yield images, labels


def loss(logits: torch.Tensor, labels: torch.Tensor) -> dict[str, torch.Tensor]:
    return {
        "nearness_loss": nn.functional.cross_entropy(logits, labels),
        "other_loss": 0.01 * logits.square().mean(),
    }


def open_data(recipe, root: Path, cache) -> TaskData:
    if not (root / "corners.txt").exists():
        raise UserError(f"{root} holds no corners.txt; write one")
    facts = PictureFacts(name="drawn", fingerprint="ab" * 32, train_images=40, corners=4)
    return TaskData(facts)


def open_task(recipe, data, device, seed=0, workers=4, decode_on_device=False) -> Task:
    torch.manual_seed(seed)
    model = nn.Sequential(nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(12, 4))
    judged = Pictures(recipe, seed=99)

    @torch.no_grad()
    def validate(_: int | None) -> dict[str, float]:
        right = [(model(images).argmax(1) == labels) for images, labels in judged.epoch()]
        return {"corners_found_pct": 100 * float(torch.cat(right).float().mean())}

    return Task(
        Baseline(model, loss),
        Pictures(recipe, seed),
        validate,
        lambda: {"corners/weights": model[2].weight.detach().numpy()},
        (Array("corners/weights", "4 12", "float32", "of each corner's score", always=True),),
        data.facts,
    )


def recipe(**changes) -> ToyRecipe:
    values = {
        "name": "own/corners", "profile": "smoke", "network": "resnet50", "method": "baseline",
        "dataset": "drawn", "depths": {}, "width": 1, "stem": "tiny", "epochs": 2,
        "learning_rate": 0.01, "weight_decay": 0.0, "milestones": (0.5,), "precision": "fp32",
        "channels_last": False,
    }  # fmt: skip
    return ToyRecipe(**values | changes)


@contextmanager
def declared():
    """While it lasts, the task is known."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(TASKS, TOY.name, TOY)
        yield
