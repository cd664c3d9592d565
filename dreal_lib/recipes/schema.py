"""What recipes of every task share: all that decides a run but its seed."""

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
from dreal_lib.settings.dreal import LARGEST, Settings

Positive = Annotated[int, Field(gt=0)]
Side = Annotated[int, Field(ge=8, le=16_384)]  # pixels; below 8 there is nothing to crop or explain
Share = Annotated[float, Field(gt=0, lt=1)]
WORDS = {True: "on", False: "off"}  # YAML reads these words as true and false


class Recipe(BaseModel):
    """What all tasks share.

    A task's own type adds its fields, and says its `task`, its `nested` groups of settings and
    which key decides the size of a batch (`batch_key`).

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
    batch_key: ClassVar[str] = "batch_size"

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
    learning_rate: float = Field(gt=0, le=LARGEST)
    weight_decay: float = Field(ge=0, le=LARGEST)
    milestones: tuple[Share, ...]
    precision: Literal["fp32", "bf16"]
    channels_last: bool
    stages: tuple[str, ...] = ("layer1", "layer2", "layer3", "layer4")
    dreal: Settings = Settings()

    @field_validator("*", mode="before")
    @classmethod
    def _known_settings(cls, value: Any, info: ValidationInfo) -> Any:
        kind = cls.nested.get(info.field_name)
        if kind is None or not isinstance(value, dict):
            return value
        cls.refuse_unknown(info.field_name, value)
        return _as_words(kind, value)

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
    def images_per_step(self) -> int:
        """Of all processes together."""
        return getattr(self, self.batch_key)

    @property
    def optimizer(self) -> tuple[str, dict[str, Any]]:
        """Its class in `torch.optim`, and its options beside learning rate and weight decay."""
        raise NotImplementedError

    def without_initial_weights(self) -> "Recipe":
        """For a network whose weights are all replaced: no use in fetching ImageNet's."""
        return self

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


def _as_words(kind: type, values: dict[str, Any]) -> dict[str, Any]:
    """Truth values as "on" and "off" where these are choices of a setting."""
    choices = {name: get_args(hint) for name, hint in get_type_hints(kind).items()}
    return {
        name: WORDS[value] if type(value) is bool and WORDS[value] in choices[name] else value
        for name, value in values.items()
    }
