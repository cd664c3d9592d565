"""Which images a scale's numbers are of (`sets.yaml`); all others are own data."""

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from dreal_lib.recipes import plain_yaml
from dreal_lib.recipes.schema import Recipe


def is_own_data(recipe: Recipe, fingerprint: str, manifest: Mapping[str, Any] | None) -> bool:
    """Whether images are not those that a recipe's scale is about.

    Args:
        recipe: What is going to be trained.
        fingerprint: Of the images.
        manifest: Of the prepared set that they are, unchanged; None for any others.
    """
    own = sets()
    scale = recipe.profile if recipe.variant is None else f"{recipe.profile}+{recipe.variant}"
    known = own["fingerprints"].get(recipe.task, {}).get(scale, ())
    if known or manifest is None:
        return fingerprint not in known
    if manifest.get("name") != own["names"].get(recipe.dataset, recipe.dataset):
        return True
    rendered = own["rendered"].get(recipe.dataset, {})
    return not rendered.items() <= manifest.get("settings", {}).items()


@cache
def sets() -> dict[str, dict[str, Any]]:
    """What `sets.yaml` holds: fingerprints by task and scale, names, settings of rendered sets."""
    return plain_yaml.load(Path(__file__).with_name("sets.yaml").read_text(encoding="utf-8"))
