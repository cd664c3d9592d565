"""Class recognition (section 4.1) as data; `dreal_lib.tasks.classification` is its code."""

from typing import Any, ClassVar, Literal

from pydantic import Field, ValidationInfo, field_validator

from dreal_lib.recipes.schema import Positive, Recipe, Side
from dreal_lib.recipes.task_facts import DataFacts, Metric, TaskFacts, declare


class ClassificationRecipe(Recipe):
    """Section 4.1: class recognition.

    Attributes:
        classes: Only the first so many classes, in sorted order; None for all.
        image_size, resize, smallest_area: See `dreal_lib.data.batches.Crops`.
        decoded_cache: Decode the set once and keep it, instead of streaming files.
        batch_size: Images a step.
        momentum: Of SGD.
        evaluate_every: Epochs between two evaluations; the last epoch is always evaluated.
        figure_images: So many test images, spread evenly over the set, are what the figures' data
            are of; None for all. (Both are written where they are not at their default.)
    """

    task: ClassVar[str] = "classification"

    method: Literal["baseline", "reinforced"]
    classes: Positive | None = None
    image_size: Side
    resize: Side
    smallest_area: float = Field(gt=0, le=1)
    decoded_cache: bool
    batch_size: int = Field(ge=2)
    momentum: float = Field(ge=0, lt=1)
    evaluate_every: Positive = Field(default=1, exclude_if=lambda value: value == 1)
    figure_images: Positive | None = Field(default=None, exclude_if=lambda value: value is None)

    @field_validator("resize")
    @classmethod
    def _covers_the_crop(cls, value: int, info: ValidationInfo) -> int:
        if value < info.data.get("image_size", 0):  # else evaluated images get a black margin
            raise ValueError(f"must be at least image_size, {info.data['image_size']}")
        return value

    @property
    def size(self) -> tuple[int, int]:
        return (self.image_size, self.image_size)

    @property
    def optimizer(self) -> tuple[str, dict[str, Any]]:
        return "SGD", {"momentum": self.momentum}


class ClassFacts(DataFacts):
    """The classes and images that a run was trained and validated on.

    `class_names` are those of the folders, in the order of the network's outputs; None where they
    were not kept.
    """

    val_images: int = Field(ge=0)
    classes: int = Field(ge=1)
    class_names: tuple[str, ...] | None = None

    @property
    def decided(self) -> frozenset[str]:
        # Among five classes the true one is always one of the first five.
        return frozenset({"top5_error_pct"} if self.classes <= 5 else ())

    @property
    def text(self) -> str:
        return f"{self.classes} classes, {self.train_images:,} + {self.val_images:,} images"


CLASSIFICATION = declare(
    TaskFacts(
        recipe=ClassificationRecipe,
        metrics=(
            Metric("val_loss", "cross-entropy", better="lower"),
            Metric("top1_error_pct", "top-1 error", better="lower", shown=True),
            Metric("top5_error_pct", "top-5 error", better="lower", shown=True),
        ),
        best="top1_error_pct",
        data=ClassFacts,
        rendered="embedded",
        pair=("table_1/se_resnet50_baseline", "table_1/se_resnet50_reinforced"),
    )
)
