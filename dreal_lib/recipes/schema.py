"""What a recipe is: all that decides a run but its seed, for each of the two tasks."""

import hashlib
import json
from typing import Annotated, Any, ClassVar, Literal, get_args, get_type_hints

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationInfo,
    field_serializer,
    field_validator,
)

from dreal_lib.errors import unknown_choice
from dreal_lib.settings.dreal import Settings
from dreal_lib.settings.retrieval import RetrievalSettings

Positive = Annotated[int, Field(gt=0)]
Share = Annotated[float, Field(gt=0, lt=1)]
WORDS = {True: "on", False: "off"}  # YAML reads these words as true and false


class Recipe(BaseModel):
    """What both tasks share.

    Attributes:
        name: The row, e.g. "table_1/se_resnet50_reinforced".
        profile, variant, overrides: Where values came from.
        network: The paper's network, e.g. "se_resnet50".
        method: "baseline", "attention" (retrieval only, where the baseline has none) or
            "reinforced".
        dataset: Name of the prepared set.
        depths: Depth that is trained for each of the paper's depths.
        width, stem: See `dreal_lib.networks.backbones.create_model`.
        epochs: Length of the training.
        learning_rate, weight_decay: Of the optimizer.
        milestones: Shares of the epochs after which the learning rate is divided by 10.
        precision: "fp32", or "bf16" (autocast).
        channels_last: Memory format of images and weights.
        stages: Stages that are reinforced.
        dreal: The open points of the method, `dreal_lib.settings.dreal.Settings`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
    task: ClassVar[str]
    nested: ClassVar[dict[str, type]] = {"dreal": Settings}

    name: str
    profile: Literal["smoke", "desktop", "paper"]
    variant: str | None = None
    overrides: dict[str, Any] = {}
    network: str
    method: Literal["baseline", "attention", "reinforced"]
    dataset: str
    depths: dict[int, int]
    width: Positive
    stem: Literal["imagenet", "tiny", "cifar"]
    epochs: Positive
    learning_rate: float = Field(gt=0)
    weight_decay: float = Field(ge=0)
    milestones: tuple[Share, ...]
    precision: Literal["fp32", "bf16"]
    channels_last: bool
    stages: tuple[str, ...] = ("layer1", "layer2", "layer3", "layer4")
    dreal: Settings = Settings()

    @field_validator("dreal", mode="before")
    @classmethod
    def _known_settings(cls, value: Any) -> Any:
        if isinstance(value, dict):
            cls.refuse_unknown("dreal", value)
            return _as_words(Settings, value)
        return value

    @classmethod
    def refuse_unknown(cls, field: str, values: dict[str, Any]) -> None:
        """Refuses a name that is no setting of a nested group.

        Args:
            field: The group, e.g. "dreal".
            values: What is set in it, by name.

        Raises:
            UserError: It lists the settings that there are, and names the nearest.
        """
        choices = [f"{field}.{name}" for name in cls.nested[field].__dataclass_fields__]
        for key in values:
            if f"{field}.{key}" not in choices:
                raise unknown_choice("setting", f"{field}.{key}", choices)

    @field_serializer("dreal")
    def _write_settings(self, value: Settings) -> dict[str, Any]:
        return value.recorded()

    @property
    def size(self) -> tuple[int, int]:
        """(H, W) of what the network sees, in pixels."""
        raise NotImplementedError

    @property
    def trained_model(self) -> str:
        """The network that is trained, e.g. "se_resnet14" where `network` is the paper's."""
        from dreal_lib.networks.backbones import (
            parse_model_name,  # torch: pages that list names need none
        )

        attention, depth = parse_model_name(self.network)
        prefix = f"{attention}_" if attention else ""
        return f"{prefix}resnet{self.depths.get(depth, depth)}"

    @property
    def hash(self) -> str:
        """SHA-256 of everything that decides the run (its overrides' origin is not part of it)."""
        deciding = self.model_dump(mode="json", exclude={"overrides", "variant"})
        return hashlib.sha256(json.dumps(deciding, sort_keys=True).encode()).hexdigest()


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
    image_size: Positive
    resize: Positive
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


class RetrievalRecipe(Recipe):
    """Section 4.2: instance recognition by retrieval.

    Attributes:
        image_size: (H, W) to which images are resized, pixels.
        pretrained: Start from torchvision's ImageNet weights.
        identities_per_batch, images_per_identity: P and K of the PK sampler.
        betas: Of AMSGrad.
        evaluate_every: Epochs between two evaluations; the last epoch is always evaluated.
        retrieval: The open points of the task, `RetrievalSettings`.
    """

    task: ClassVar[str] = "retrieval"
    nested: ClassVar[dict[str, type]] = {"dreal": Settings, "retrieval": RetrievalSettings}

    image_size: tuple[Positive, Positive]
    pretrained: bool
    identities_per_batch: int = Field(ge=2)
    images_per_identity: int = Field(ge=2)
    betas: tuple[Annotated[float, Field(ge=0, lt=1)], Annotated[float, Field(ge=0, lt=1)]]
    evaluate_every: Positive
    retrieval: RetrievalSettings = RetrievalSettings()

    @field_validator("retrieval", mode="before")
    @classmethod
    def _known_retrieval_settings(cls, value: Any) -> Any:
        if isinstance(value, dict):
            cls.refuse_unknown("retrieval", value)
            return _as_words(RetrievalSettings, value)
        return value

    @property
    def size(self) -> tuple[int, int]:
        return self.image_size

    @property
    def batch_size(self) -> int:
        """Images a step, P x K."""
        return self.identities_per_batch * self.images_per_identity


def _as_words(kind: type, values: dict[str, Any]) -> dict[str, Any]:
    """Truth values as "on" and "off" where these are choices of a setting."""
    choices = {name: get_args(hint) for name, hint in get_type_hints(kind).items()}
    return {
        name: WORDS[value] if type(value) is bool and WORDS[value] in choices[name] else value
        for name, value in values.items()
    }


RECIPE_TYPES = {kind.task: kind for kind in (ClassificationRecipe, RetrievalRecipe)}
