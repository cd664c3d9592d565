"""Recipes: each row of a table as data, at three scales.

A recipe is put together from a row (`table_1/se_resnet50_reinforced.yaml`: which network, which
method), a profile (`profiles/classification/smoke.yaml`: which data, how long), perhaps a variant
(a named set of overrides) and overrides given by hand. A row of the retrieval task says so
(`task: retrieval`) and takes the profiles and variants of that task. What comes out is validated
and recorded with its hash.
"""

import hashlib
import json
import re
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from dreal_lib.errors import UserError, unknown_choice
from dreal_lib.recipes import plain_yaml

# A task is known by its recipe's file being imported here.
from dreal_lib.recipes.classification import ClassificationRecipe as ClassificationRecipe
from dreal_lib.recipes.retrieval import RetrievalRecipe as RetrievalRecipe
from dreal_lib.recipes.schema import Recipe as Recipe
from dreal_lib.recipes.task_facts import FIRST_TASK as FIRST_TASK
from dreal_lib.recipes.task_facts import TASKS as TASKS
from dreal_lib.recipes.task_facts import metric as metric
from dreal_lib.recipes.task_facts import task_facts as task_facts

FOLDER = Path(__file__).parent
PROFILES = ("smoke", "desktop", "paper")
PLANNED = "evidence"  # the folder of the rows that follow a plan (`book/plan.md`)
ORIGIN = ("name", "profile", "variant", "overrides")  # of a recipe: not to be set, but recorded


def recipe_names() -> list[str]:
    """Names of all rows, e.g. "table_1/se_resnet50_reinforced": a file in a folder of this one."""
    # Profiles and variants lie a folder deeper.
    return sorted(str(p.relative_to(FOLDER).with_suffix("")) for p in FOLDER.glob("*/*.yaml"))


def planned_names() -> list[str]:
    """Those that follow the plan: at a scale of their own, and in no batch of all rows."""
    return [name for name in recipe_names() if name.startswith(f"{PLANNED}/")]


def variant_names(task: str = "*") -> list[str]:
    """Names of the override sets of a task, or of all."""
    return sorted(path.stem for path in (FOLDER / "variants").glob(f"{task}/*.yaml"))


def task_of(name: str) -> str:
    """The task of a row, e.g. "retrieval"; arguments and errors as `load_recipe`."""
    return task_facts(_row(name).get("task", FIRST_TASK)).name


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
    task = task_of(name)
    if variant is not None and variant not in variant_names(task):
        raise unknown_choice(f"variant of {task}", variant, variant_names(task))
    named = _read(FOLDER / "variants" / task / f"{variant}.yaml") if variant else {}
    # As JSON holds them, so that a recorded override equals the one that was given.
    changed = json.loads(json.dumps({**named, **(overrides or {})}, default=str))
    kind = task_facts(task).recipe
    row = {key: value for key, value in _row(name).items() if key != "task"}
    values: dict[str, Any] = {}
    for source in (_read(FOLDER / "profiles" / task / f"{profile}.yaml"), row, changed):
        _merge(kind, values, source)
    label = variant
    if overrides:  # another recipe than the named variant; its records get a place of their own
        text = json.dumps(changed, sort_keys=True)
        label = f"custom-{hashlib.sha256(text.encode()).hexdigest()[:8]}"
    if name not in recipe_names():  # becomes a folder's name, see `dreal_lib.records`
        name = "own/" + (
            re.sub(r"[^a-z0-9_]+", "_", Path(name).stem.lower()).strip("_") or "recipe"
        )
    origin = {"name": name, "profile": profile, "variant": label, "overrides": changed}
    return _validated(kind, values | origin)


def parse_overrides(texts: list[str]) -> dict[str, Any]:
    """["epochs=3", "dreal.gamma=2"] as a dict, values read by `plain_yaml.value`.

    Raises:
        UserError: A text without "=", or a list or the like that is not YAML.
    """
    overrides = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals:
            raise UserError(f"an override is KEY=VALUE; got {text!r}; try --set epochs=3")
        try:
            overrides[key.strip()] = plain_yaml.value(value)
        except yaml.YAMLError as error:
            reason = " ".join(str(error).split())
            raise UserError(
                f"the value of the override {text[:80]!r} is not YAML ({reason}); try "
                f"--set epochs=3, or --set 'milestones=[0.5, 0.9]'"
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
        values = plain_yaml.load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"cannot read recipe {path} ({reason}); mend the file") from None
    if not isinstance(values, dict):
        raise UserError(f"recipe {path} holds no settings; write lines such as `epochs: 10`")
    return values


def _merge(kind: type[Recipe], values: dict[str, Any], source: dict[str, Any]) -> None:
    for key, value in source.items():
        first, _, nested = str(key).partition(".")
        choices = [field for field in kind.model_fields if field not in ORIGIN]
        groups = (*kind.nested, "depths")
        if first not in choices or (nested and first not in groups):
            raise unknown_choice("recipe key", key, choices)
        if first not in groups:
            values[first] = value
            continue
        inner = {nested: value} if nested else value
        if not isinstance(inner, dict):
            raise UserError(
                f"recipe key {key!r} needs names and values; got {value!r}; "
                f"try --set {key}.NAME=VALUE"
            )
        if first in kind.nested:
            kind.refuse_unknown(first, inner)
        # A depth is a number in a recipe file, and a text where it was recorded as JSON.
        values[first] = {**values.get(first, {}), **{str(k): v for k, v in inner.items()}}


def _validated(kind: type[Recipe], values: dict[str, Any]) -> Recipe:
    from dreal_lib.networks.backbones import STEMS, parse_model_name

    parse_model_name(str(values.get("network", "")))
    if str(values.get("stem")) not in STEMS:
        raise unknown_choice("stem", values.get("stem"), STEMS)
    try:
        return kind(**values)
    except ValidationError as error:
        first = error.errors()[0]
        # A place in a list, "milestones.0", is no key that could be set.
        depth = 2 if first["loc"][0] in (*kind.nested, "depths") else 1
        key = ".".join(str(part) for part in first["loc"][:depth])
        message = first["msg"].removeprefix("Value error, ")
        raise UserError(
            f"recipe key {key!r}: {message}; got {first.get('input')!r:.80}; mend it in the "
            f"recipe or with --set {key}=VALUE"
        ) from None
