"""Recipes of Table 2: every row at every scale, the paper's own values, and refusals."""

import json
import shlex
from itertools import product

import pytest
import yaml

from dreal_lib.errors import UserError
from dreal_lib.recipes import (
    FOLDER,
    PROFILES,
    RetrievalRecipe,
    load_recipe,
    parse_overrides,
    recipe_names,
    task_of,
    variant_names,
)
from dreal_lib.records import find_records
from dreal_lib.settings.dreal import Settings
from dreal_lib.settings.retrieval import RetrievalSettings
from dreal_lib.training.runs import command_of

ROWS = [f"table_2/resnet50_{method}" for method in ("attention", "baseline", "reinforced")]
ROW = "table_2/resnet50_reinforced"
RECORDS = FOLDER.parents[1] / "book" / "records"
VARIANTS = [None, *variant_names("retrieval")]


def refusal(*arguments, **keywords) -> str:
    with pytest.raises(UserError) as caught:
        load_recipe(*arguments, **keywords)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_table_2_has_three_rows_of_ours():
    assert [name for name in recipe_names() if name.startswith("table_2/")] == ROWS
    assert {task_of(name) for name in ROWS} == {"retrieval"}


@pytest.mark.parametrize("name", ROWS)
def test_every_row_loads_at_every_scale(name):
    for profile, variant in product(PROFILES, VARIANTS):
        _check_row(name, profile, variant)


def _check_row(name, profile, variant):
    recipe = load_recipe(name, profile, variant)
    assert isinstance(recipe, RetrievalRecipe)
    method = name.rpartition("_")[2]
    network = "resnet50" if method == "baseline" else "cbam_resnet50"
    assert (recipe.name, recipe.network, recipe.method) == (name, network, method)
    assert (recipe.profile, recipe.variant) == (profile, variant)
    assert recipe.dreal == Settings()
    assert recipe.size == recipe.image_size
    assert recipe.images_per_step == recipe.identities_per_batch * recipe.images_per_identity
    assert recipe.trained_model.startswith("cbam_" if method != "baseline" else "resnet")
    assert not recipe.pretrained or (recipe.width, recipe.stem) == (64, "imagenet")


@pytest.mark.parametrize("profile", PROFILES)
def test_rows_share_everything_but_network_and_method(profile):
    for variant in VARIANTS:
        one, *others = (
            load_recipe(name, profile, variant).model_dump(exclude={"name", "network", "method"})
            for name in ROWS
        )
        assert all(other == one for other in others)


@pytest.mark.parametrize("name", ROWS)
def test_the_paper_profile_is_what_the_paper_says(name):
    """Section 4.2, and nothing else than the defaults where it says nothing."""
    recipe = load_recipe(name, "paper")
    assert recipe.dataset == "market1501"
    assert (recipe.identities_per_batch, recipe.images_per_identity) == (16, 8)
    assert recipe.images_per_step == 128
    assert recipe.size == (384, 128)
    assert recipe.retrieval == RetrievalSettings()
    assert (recipe.retrieval.draw, recipe.retrieval.crop_fill) == ("exhaustive", "black")
    assert (recipe.retrieval.margin, recipe.retrieval.smoothing) == (0.5, 0.1)
    assert (recipe.retrieval.flip_probability, recipe.retrieval.mirrored) == (0.5, "mean")
    assert recipe.retrieval.metric == "cosine"
    assert recipe.betas == (0.9, 0.999)
    assert (recipe.weight_decay, recipe.learning_rate, recipe.epochs) == (5e-4, 3e-4, 160)
    assert [share * recipe.epochs for share in recipe.milestones] == [40, 80, 120]
    assert recipe.pretrained
    assert recipe.trained_model.endswith("resnet50")
    assert (recipe.width, recipe.stem) == (64, "imagenet")


@pytest.mark.parametrize(
    ("variant", "dataset"),
    [("dukemtmc", "dukemtmc"), ("msmt17", "msmt17"), ("cuhk03_labelled", "cuhk03-labelled"),
     ("cuhk03_detected", "cuhk03-detected")],
)  # fmt: skip
def test_the_papers_recipe_on_other_sets_differs_in_the_set_alone(variant, dataset):
    own = {"exclude": {"dataset", "variant", "overrides"}}
    market, other = load_recipe(ROW, "paper"), load_recipe(ROW, "paper", variant)
    assert other.dataset == dataset
    assert market.model_dump(**own) == other.model_dump(**own)


@pytest.mark.parametrize(
    "scale", [("smoke", None), ("desktop", "omniglot"), ("desktop", "grocery")]
)
def test_recorded_rows_remain_what_they_were(scale):
    """Their records' hash and settings are those of today's recipe, and so are those read back."""
    for name in ROWS:
        recipe = load_recipe(name, *scale)
        own = {"exclude": {"variant", "overrides"}}
        for stored in find_records(RECORDS, profile=scale[0], variant=scale[1]):
            if stored.record.recipe == name:
                again = RetrievalRecipe(**stored.record.settings)
                assert recipe.hash == again.hash == stored.record.recipe_hash
                assert recipe.model_dump(**own) == again.model_dump(**own)
                assert again.retrieval == recipe.retrieval


@pytest.mark.parametrize("variant", ["omniglot", "omniglot_long"])
def test_letters_are_never_mirrored(variant):
    settings = load_recipe(ROW, "desktop", variant).retrieval
    assert (settings.flip_probability, settings.mirrored) == (0.0, "off")


def test_nested_settings_join_those_of_the_profile():
    own = yaml.safe_load((FOLDER / "profiles" / "retrieval" / "smoke.yaml").read_text())
    assert "margin" not in own["retrieval"]
    both = {"retrieval.margin": 0.3, "retrieval": {"smoothing": 0.2}}
    found = load_recipe(ROW, "smoke", overrides=both).retrieval
    assert found == RetrievalSettings(**own["retrieval"], margin=0.3, smoothing=0.2)


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*/retrieval/*.yaml")), ids=lambda p: p.stem)
def test_the_header_of_a_file_says_what_it_is_for(path):
    assert path.read_text().startswith(("# Scale:", "# For:"))


@pytest.mark.parametrize(
    ("keywords", "said"),
    [
        ({"variant": "two_cores"}, ("variant of retrieval 'two_cores'", "grocery", "omniglot")),
        ({"variant": "omniglott"}, ("did you mean 'omniglot'",)),
        ({"overrides": {"retrieval.margn": 1}}, ("'retrieval.margn'", "mean 'retrieval.margin'")),
        ({"overrides": {"retrieval": {"drow": 1}}}, ("did you mean 'retrieval.draw'",)),
        ({"overrides": {"retrieval": 3}}, ("needs names and values; got 3",)),
        ({"overrides": {"momentum": 0.9}}, ("recipe key 'momentum'", "betas")),
        ({"overrides": {"batch_size": 8}}, ("recipe key 'batch_size'", "identities_per_batch")),
        ({"overrides": {"retrieval.draw": "twice"}}, ("retrieval.draw", "'exhaustive' or 'once'")),
        ({"overrides": {"retrieval.margin": -1}}, ("margin must be at least 0",)),
        ({"overrides": {"retrieval.crop_padding": 2.5}}, ("retrieval.crop_padding",)),
        ({"overrides": {"retrieval.margin": "wide"}}, ("retrieval.margin", "'wide'")),
        ({"overrides": {"identities_per_batch": 1}}, ("identities_per_batch", "got 1")),
        ({"overrides": {"images_per_identity": 1}}, ("images_per_identity", "got 1")),
        ({"overrides": {"betas": [0.9, 1.0]}}, ("betas", "less than 1")),
        ({"overrides": {"betas": [0.9]}}, ("betas",)),
        ({"overrides": {"image_size": 64}}, ("image_size", "got 64")),
        ({"overrides": {"image_size": [64, 0]}}, ("image_size", "got 0")),
        ({"overrides": {"evaluate_every": 0}}, ("evaluate_every", "got 0")),
        ({"overrides": {"method": "attentive"}}, ("method", "'attention'")),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(keywords, said):
    message = refusal(ROW, **keywords)
    for text in said:
        assert text in message


def test_variants_of_retrieval_are_none_of_classification():
    message = refusal("table_1/se_resnet50_reinforced", "smoke", "omniglot")
    assert "variant of classification 'omniglot'" in message
    assert "two_cores" in message
    assert "grocery" not in message.split("choices:")[1]
    assert "attention" not in message


def test_a_users_own_row_may_say_its_task(tmp_path):
    own = tmp_path / "My row.yaml"
    own.write_text("task: retrieval\nnetwork: srm_resnet50\nmethod: attention\nepochs: 5\n")
    recipe = load_recipe(str(own), "desktop")
    assert isinstance(recipe, RetrievalRecipe)
    assert (recipe.name, recipe.epochs) == ("own/my_row", 5)
    own.write_text("task: retreival\nnetwork: resnet50\nmethod: baseline\n")
    assert "unknown task 'retreival'; did you mean 'retrieval'" in refusal(str(own))


OTHER_DRAW = {"once": "exhaustive", "exhaustive": "once"}[load_recipe(ROW).retrieval.draw]
CHANGES = {
    "epochs": 77,
    "learning_rate": 0.0123,
    "weight_decay": 0.0123,
    "milestones": [0.123],
    "width": 13,
    "stem": "cifar",
    "precision": "bf16",
    "channels_last": False,
    "image_size": [33, 44],
    "pretrained": True,
    "identities_per_batch": 5,
    "images_per_identity": 3,
    "betas": [0.5, 0.9],
    "evaluate_every": 13,
    "dataset": "another",
    "stages": ["layer4"],
    "depths": {50: 26},
    "dreal.gamma": 2.0,
    "retrieval.margin": 0.2,
    "retrieval.smoothing": 0.2,
    "retrieval.smoothing_over": "others",
    "retrieval.triplet_feature": "after_neck",
    "retrieval.triplet_distance": "normalised",
    "retrieval.inference_feature": "before_neck",
    "retrieval.metric": "euclidean",
    "retrieval.neck_bias": "learned",
    "retrieval.classifier_bias": "on",
    "retrieval.crop": "enlarge",
    "retrieval.crop_padding": 13,
    "retrieval.flip_probability": 0.123,
    "retrieval.erasing_probability": 0.123,
    "retrieval.erasing_smallest_area": 0.1,
    "retrieval.erasing_largest_area": 0.33,
    "retrieval.erasing_aspect": 0.55,
    "retrieval.crop_fill": "black",  # of a profile whose records have the other
    "retrieval.erasing_fill": "mean_as_number",
    "retrieval.draw": OTHER_DRAW,
    "retrieval.mirrored": "off",
}


def test_the_hash_changes_with_each_deciding_field():
    changed = [load_recipe(ROW, overrides={key: value}) for key, value in CHANGES.items()]
    rows = [load_recipe(name) for name in ROWS]
    hashes = [recipe.hash for recipe in (*changed, *rows)]
    assert len(set(hashes)) == len(hashes)
    fields = {key.removeprefix("retrieval.") for key in CHANGES if key.startswith("retrieval.")}
    assert fields == set(RetrievalSettings.__dataclass_fields__)  # none was forgotten
    top = {key.partition(".")[0] for key in CHANGES} | {"name", "profile", "network", "method"}
    assert top == set(RetrievalRecipe.model_fields) - {"variant", "overrides"}


def test_the_hash_does_not_tell_how_a_value_came():
    one = load_recipe(ROW, overrides={"retrieval.margin": 0.3})
    two = load_recipe(ROW, overrides={"retrieval": {"margin": 0.3}})
    assert one.hash == two.hash
    assert one.hash != load_recipe(ROW).hash


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_recipe_round_trips_through_json(variant):
    recipe = load_recipe(ROW, "desktop", variant)
    again = RetrievalRecipe(**json.loads(json.dumps(recipe.model_dump(mode="json"))))
    assert again == recipe
    assert again.hash == recipe.hash


@pytest.mark.parametrize(
    "texts",
    [
        ["retrieval.mirrored=off", "retrieval.classifier_bias=on"],
        ["retrieval.mirrored='off'", "retrieval.classifier_bias='on'"],
        ["retrieval={mirrored: off, classifier_bias: on}"],
    ],
)
def test_on_and_off_are_words_on_the_command_line(texts):
    """YAML reads them as true and false."""
    recipe = load_recipe(ROW, overrides=parse_overrides(texts))
    assert (recipe.retrieval.mirrored, recipe.retrieval.classifier_bias) == ("off", "on")
    words = shlex.split(command_of(recipe, 0))
    again = [words[i + 1] for i, word in enumerate(words) if word == "--set"]
    assert load_recipe(ROW, overrides=parse_overrides(again)).hash == recipe.hash


def test_switches_that_are_not_on_or_off_are_still_refused():
    assert "retrieval.draw" in refusal(ROW, overrides={"retrieval.draw": False})
    assert "retrieval.mirrored" in refusal(ROW, overrides={"retrieval.mirrored": True})


@pytest.mark.parametrize("variant", [None, "omniglot"])
def test_the_command_names_what_was_asked_for(variant):
    recipe = load_recipe(ROW, "desktop", variant)
    expected = f"dreal train {ROW} --profile desktop "
    expected += f"--variant {variant} " if variant else ""
    assert command_of(recipe, 3) == f"{expected}--seed 3 --data DATA"
    assert command_of(recipe, 3, threads=1) == f"{expected}--seed 3 --threads 1 --data DATA"
