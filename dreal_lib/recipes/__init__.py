"""Recipes: each row of a table as data, at three scales.

A recipe is put together from a row (`table_1/se_resnet50_reinforced.yaml`: which network, which
method), a profile (`profiles/smoke.yaml`: which data, how long), perhaps a variant (a named set of
overrides) and overrides given by hand. What comes out is validated and recorded with its hash.
"""

import hashlib
import json
import re
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_serializer,
    field_validator,
)

from dreal_lib.errors import UserError, unknown_choice
from dreal_lib.settings import Settings

FOLDER = Path(__file__).parent
PROFILES = ("smoke", "desktop", "paper")
ROWS = ("table_*", "ablations")  # folders of rows
ORIGIN = ("name", "profile", "variant", "overrides")  # of a recipe: not to be set, but recorded
NESTED = ("dreal", "depths")
Positive = Annotated[int, Field(gt=0)]
Share = Annotated[float, Field(gt=0, lt=1)]


class Recipe(BaseModel):
    """All that decides a run, but its seed.

    Attributes:
        name: The row, e.g. "table_1/se_resnet50_reinforced".
        profile, variant, overrides: Where values came from.
        network: The paper's network, e.g. "se_resnet50".
        method: "baseline" (L_c alone) or "reinforced".
        dataset: Name of the prepared set.
        classes: Only the first so many classes, in sorted order; None for all.
        depths: Depth that is trained for each of the paper's depths.
        width, stem: See `dreal_lib.backbones.create_model`.
        image_size, resize, smallest_area: See `dreal_lib.batches.Crops`.
        decoded_cache: Decode the set once and keep it, instead of streaming files.
        epochs, batch_size: Length of the training.
        learning_rate, momentum, weight_decay: Of SGD.
        milestones: Shares of the epochs after which the learning rate is divided by 10.
        precision: "fp32", or "bf16" (autocast).
        channels_last: Memory format of images and weights.
        stages: Stages that are reinforced.
        dreal: The open points, `dreal_lib.settings.Settings`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    name: str
    profile: Literal["smoke", "desktop", "paper"]
    variant: str | None = None
    overrides: dict[str, Any] = {}
    network: str
    method: Literal["baseline", "reinforced"]
    dataset: str
    classes: Positive | None = None
    depths: dict[int, int]
    width: Positive
    stem: Literal["imagenet", "tiny", "cifar"]
    image_size: Positive
    resize: Positive
    smallest_area: float = Field(gt=0, le=1)
    decoded_cache: bool
    epochs: Positive
    batch_size: int = Field(ge=2)
    learning_rate: float = Field(gt=0)
    momentum: float = Field(ge=0, lt=1)
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
            _refuse_unknown_settings(value)
        return value

    @field_serializer("dreal")
    def _write_settings(self, value: Settings) -> dict[str, Any]:
        return value.recorded()

    @field_validator("resize")
    @classmethod
    def _covers_the_crop(cls, value: int, info: ValidationInfo) -> int:
        if value < info.data.get("image_size", 0):  # else evaluated images get a black margin
            raise ValueError(f"must be at least image_size, {info.data['image_size']}")
        return value

    @property
    def trained_model(self) -> str:
        """The network that is trained, e.g. "se_resnet14" where `network` is the paper's."""
        from dreal_lib.backbones import parse_model_name  # torch: pages that list names need none

        attention, depth = parse_model_name(self.network)
        prefix = f"{attention}_" if attention else ""
        return f"{prefix}resnet{self.depths.get(depth, depth)}"

    @property
    def hash(self) -> str:
        """SHA-256 of everything that decides the run (its overrides' origin is not part of it)."""
        deciding = self.model_dump(mode="json", exclude={"overrides", "variant"})
        return hashlib.sha256(json.dumps(deciding, sort_keys=True).encode()).hexdigest()


def recipe_names() -> list[str]:
    """Names of all rows, of tables and ablations, e.g. "table_1/se_resnet50_reinforced"."""
    rows = [path for folder in ROWS for path in FOLDER.glob(f"{folder}/*.yaml")]
    return sorted(str(path.relative_to(FOLDER).with_suffix("")) for path in rows)


def variant_names() -> list[str]:
    """Names of the override sets."""
    return sorted(path.stem for path in (FOLDER / "variants").glob("*.yaml"))


def load_recipe(
    name: str,
    profile: str = "smoke",
    variant: str | None = None,
    overrides: dict[str, Any] | None = None,
) -> Recipe:
    """Puts a recipe together; later sources win: profile, row, variant, overrides.

    Args:
        name: A row of `recipe_names()`, or the path of a user's own YAML file.
        profile: "smoke", "desktop" or "paper".
        variant: A name of `variant_names()`.
        overrides: Further values; keys of `Recipe`, "dreal.gamma" for a nested one.

    Raises:
        UserError: An unknown name or key, or a value that cannot be.
    """
    if profile not in PROFILES:
        raise unknown_choice("profile", profile, PROFILES)
    if variant is not None and variant not in variant_names():
        raise unknown_choice("variant", variant, variant_names())
    named = _read(FOLDER / "variants" / f"{variant}.yaml") if variant else {}
    # As JSON holds them, so that a recorded override equals the one that was given.
    changed = json.loads(json.dumps({**named, **(overrides or {})}, default=str))
    values: dict[str, Any] = {}
    for source in (_read(FOLDER / "profiles" / f"{profile}.yaml"), _row(name), changed):
        _merge(values, source)
    label = variant
    if overrides:  # another recipe than the named variant; its records get a place of their own
        text = json.dumps(changed, sort_keys=True)
        label = f"custom-{hashlib.sha256(text.encode()).hexdigest()[:8]}"
    if name not in recipe_names():  # becomes a folder's name, see `dreal_lib.records`
        name = "own/" + (
            re.sub(r"[^a-z0-9_]+", "_", Path(name).stem.lower()).strip("_") or "recipe"
        )
    return _validated(
        values | {"name": name, "profile": profile, "variant": label, "overrides": changed}
    )


def parse_overrides(texts: list[str]) -> dict[str, Any]:
    """["epochs=3", "dreal.gamma=2"] as a dict, values read as YAML.

    Raises:
        UserError: A text without "=", or a value that is not YAML.
    """
    overrides = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals:
            raise UserError(f"an override is KEY=VALUE; got {text!r}; try --set epochs=3")
        try:
            overrides[key.strip()] = yaml.safe_load(value)
        except yaml.YAMLError:
            raise UserError(
                f"the value of the override {text!r} is not YAML; try --set epochs=3, or "
                f"--set 'milestones=[0.5, 0.9]'"
            ) from None
    return overrides


def _row(name: str) -> dict[str, Any]:
    if name in recipe_names():
        return _read(FOLDER / f"{name}.yaml")
    if Path(name).suffix in (".yaml", ".yml") and Path(name).exists():
        return _read(Path(name))
    raise unknown_choice("recipe", name, recipe_names())


def _read(path: Path) -> dict[str, Any]:
    try:
        values = yaml.safe_load(path.read_text())
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"cannot read recipe {path} ({reason}); mend the file") from None
    if not isinstance(values, dict):
        raise UserError(f"recipe {path} holds no settings; write lines such as `epochs: 10`")
    return values


def _merge(values: dict[str, Any], source: dict[str, Any]) -> None:
    for key, value in source.items():
        first, _, nested = str(key).partition(".")
        choices = [field for field in Recipe.model_fields if field not in ORIGIN]
        if first not in choices or (nested and first not in NESTED):
            raise unknown_choice("recipe key", key, choices)
        if first not in NESTED:
            values[first] = value
            continue
        inner = {nested: value} if nested else value
        if not isinstance(inner, dict):
            raise UserError(
                f"recipe key {key!r} needs names and values; got {value!r}; "
                f"try --set {key}.NAME=VALUE"
            )
        if first == "dreal":
            _refuse_unknown_settings(inner)
        # A depth is a number in a recipe file, and a text where it was recorded as JSON.
        values[first] = {**values.get(first, {}), **{str(k): v for k, v in inner.items()}}


def _refuse_unknown_settings(values: dict[str, Any]) -> None:
    choices = [f"dreal.{name}" for name in Settings.__dataclass_fields__]
    for key in values:
        if f"dreal.{key}" not in choices:
            raise unknown_choice("setting", f"dreal.{key}", choices)


def _validated(values: dict[str, Any]) -> Recipe:
    from dreal_lib.backbones import STEMS, parse_model_name

    parse_model_name(str(values.get("network", "")))
    if str(values.get("stem")) not in STEMS:
        raise unknown_choice("stem", values.get("stem"), STEMS)
    try:
        return Recipe(**values)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        message = first["msg"].removeprefix("Value error, ")
        raise UserError(
            f"recipe key {key!r}: {message}; got {first.get('input')!r}; mend it in the "
            f"recipe or with --set {key}=VALUE"
        ) from None
