"""The border between the reproduction's images and a user's own."""

import inspect
import json

import pytest

from data_prep import embedded, embedded_figures
from dreal_lib.recipes import load_recipe
from dreal_lib.recipes.own_data import is_reproduction, with_own_data, without_own_data
from dreal_lib.recipes.sets import is_own_data, sets
from dreal_lib.runtime.environment import PROJECT_ROOT

PRINT = "1a2b3c4d" * 8
SMOKE = load_recipe("table_1/se_resnet50_baseline", "smoke")
RENDERED = {"name": "embedded", "settings": dict(sets()["rendered"]["embedded"], extra=1)}


@pytest.mark.parametrize("variant", [None, "two_cores", "custom-0a1b2c3d"])
def test_a_variant_is_found_again_behind_its_data(variant):
    placed = with_own_data(variant, PRINT)
    assert placed.endswith("own-1a2b3c4d")
    assert without_own_data(placed) == without_own_data(variant) == variant
    assert not is_reproduction(placed)


def test_which_scales_are_the_reproduction_s():
    assert is_reproduction(None)
    assert is_reproduction("two_cores")
    assert not is_reproduction("custom-0a1b2c3d")


def test_every_committed_record_is_of_its_scale_s_own_images():
    paths = sorted((PROJECT_ROOT / "book" / "records").rglob("seed*.json"))
    assert paths
    for path in paths:
        record = json.loads(path.read_text())
        row, profile, variant = (record[name] for name in ("recipe", "profile", "variant"))
        manifest = None
        if profile == "smoke":  # rendered: known by its generator, whose bytes may differ elsewhere
            name = record["data"]["name"]
            manifest = {"name": name, "settings": sets()["rendered"][name]}
        recipe = load_recipe(row, profile, variant)
        assert not is_own_data(recipe, record["data"]["fingerprint"], manifest), path


def test_what_dreal_prepare_did_not_write_is_own():
    assert is_own_data(SMOKE, PRINT, None)
    assert not is_own_data(SMOKE, PRINT, RENDERED)


def test_a_set_of_another_name_or_rendered_otherwise_is_own():
    assert is_own_data(SMOKE, PRINT, {**RENDERED, "name": "photos"})
    other = {**RENDERED, "settings": {**RENDERED["settings"], "seed": 1}}
    assert is_own_data(SMOKE, PRINT, other)


def test_a_scale_with_records_takes_their_images_alone():
    manifest = {"name": "tiny-imagenet", "settings": {}}
    two_cores = load_recipe("table_1/se_resnet50_baseline", "desktop", "two_cores")
    (known,) = sets()["fingerprints"]["classification"]["desktop+two_cores"]
    assert not is_own_data(two_cores, known, None)
    assert is_own_data(two_cores, PRINT, manifest)  # other classes of the same set
    desktop = load_recipe("table_1/se_resnet50_baseline", "desktop")
    assert not is_own_data(desktop, PRINT, manifest)  # no record holds a fingerprint of it
    imagenet = load_recipe("table_1/se_resnet50_baseline", "paper")
    assert is_own_data(imagenet, PRINT, manifest)
    assert not is_own_data(imagenet, PRINT, {"name": "imagenet", "settings": {}})


def test_a_scale_for_identities_of_one_s_own_has_no_images_of_its_own():
    recipe = load_recipe("table_2/resnet50_baseline", "desktop")
    assert is_own_data(recipe, PRINT, {"name": "market1501", "settings": {}})
    paper = load_recipe("table_2/resnet50_baseline", "paper")
    assert not is_own_data(paper, PRINT, {"name": "market1501", "settings": {}})


@pytest.mark.parametrize("module", [embedded, embedded_figures])
def test_rendered_settings_are_those_of_a_command_without_options(module):
    defaults = {
        name: parameter.default
        for name, parameter in inspect.signature(module.prepare).parameters.items()
        if name not in ("out", "workers")
    }
    assert sets()["rendered"][module.NAME] == defaults
