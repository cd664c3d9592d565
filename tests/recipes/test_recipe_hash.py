"""A recipe's hash: another one for every deciding value, and for nothing else."""

import pytest

from dreal_lib.recipes import PROFILES, ClassificationRecipe, load_recipe, recipe_names
from dreal_lib.settings.dreal import Settings

ROW = "table_1/se_resnet50_reinforced"

# One other value for each deciding field: a change of any is another run.
CHANGES = {
    "network": "srm_resnet50",
    "method": "baseline",
    "dataset": "other",
    "classes": 77,
    "depths": {50: 101},
    "width": 7,
    "stem": "imagenet",
    "image_size": 13,
    "resize": 777,
    "smallest_area": 0.77,
    "decoded_cache": False,
    "epochs": 77,
    "batch_size": 7,
    "learning_rate": 0.77,
    "momentum": 0.77,
    "weight_decay": 0.77,
    "milestones": [0.77],
    "precision": "bf16",
    "channels_last": False,
    "stages": ["layer3", "layer4"],
    "dreal": {"gamma": 0.5},
    "evaluate_every": 3,
    "figure_images": 77,
}


def test_every_deciding_field_is_tried_below():
    origin = {"name", "profile", "variant", "overrides"}
    assert set(ClassificationRecipe.model_fields) == set(CHANGES) | origin


def test_the_hash_changes_with_every_deciding_value():
    changed = [load_recipe(ROW, overrides={key: value}).hash for key, value in CHANGES.items()]
    assert len({load_recipe(ROW).hash, *changed}) == 1 + len(CHANGES)


@pytest.mark.parametrize("name", Settings.__dataclass_fields__)
def test_the_hash_changes_with_every_setting(name):
    other = {"gamma": 2.0, "quality_weight": 2.0, "regression_weight": 2.0, "critic_lr": 0.1}
    choices = {
        "bypass_draw": "epoch",
        "bypass_unit": "map",
        "bypass_mean": "batch",
        "later_maps": "held",
        "reward_statistics": "running",
        "loss_reduction": "mean",
        "spatial_state": "raw",
        "critic_init": "fan_in",
        "critic_input_norm": "layer",
        "critic_hidden": 16,
        "reward_fraction": 0.5,
        "reward_control": "shuffled",
        "quality_signal": "oracle_reward",
        "full_maps": "means",
        "unequal_maps": "apart",
    }
    changed = load_recipe(ROW, overrides={f"dreal.{name}": (other | choices)[name]})
    assert changed.hash != load_recipe(ROW).hash


def test_the_hash_differs_between_rows_and_scales():
    hashes = {load_recipe(name, profile).hash for name in recipe_names() for profile in PROFILES}
    assert len(hashes) == 3 * len(recipe_names())


def test_the_hash_does_not_depend_on_where_values_came_from():
    plain = load_recipe(ROW)
    same = load_recipe(ROW, overrides={"epochs": plain.epochs, "dreal.gamma": 1})
    assert same.hash == plain.hash
    variant = load_recipe(ROW, "desktop", "two_cores")
    by_hand = load_recipe(ROW, "desktop", overrides=variant.overrides)
    assert by_hand.hash == variant.hash
    assert by_hand.variant != variant.variant
