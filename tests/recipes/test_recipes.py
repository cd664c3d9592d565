"""Recipes: every row loads at every scale, and what cannot be is refused in one line."""

import json
import re
import shlex

import pytest
import yaml

from book.companion.papers.dreal import TABLE_1
from dreal_lib.errors import UserError
from dreal_lib.recipes import (
    FOLDER,
    PROFILES,
    ClassificationRecipe,
    load_recipe,
    parse_overrides,
    recipe_names,
    variant_names,
)
from dreal_lib.recipes.classification import CLASSIFICATION
from dreal_lib.settings.dreal import Settings
from dreal_lib.training.runs import command_of

ROW = "table_1/se_resnet50_reinforced"
TABLE_1_ROWS = [name for name in recipe_names() if name.startswith("table_1/")]
PAIRS = sorted({name.rsplit("_", 1)[0] for name in TABLE_1_ROWS})


def refusal(*arguments, **keywords) -> str:
    with pytest.raises(UserError) as caught:
        load_recipe(*arguments, **keywords)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_there_is_a_pair_of_rows_for_each_network_of_the_table():
    expected = {f"table_1/{network}_{m}" for network in TABLE_1 for m in ("baseline", "reinforced")}
    assert set(TABLE_1_ROWS) == expected
    assert len(TABLE_1_ROWS) == 12


@pytest.mark.parametrize("profile", PROFILES)
def test_every_row_loads_at_every_scale(profile):
    for name in TABLE_1_ROWS:
        recipe = load_recipe(name, profile)
        network, _, method = name.removeprefix("table_1/").rpartition("_")
        assert (recipe.network, recipe.method, recipe.profile) == (network, method, profile)
        assert recipe.dreal == Settings()  # the defaults are what the book's page lists
        if profile != "smoke":
            assert recipe.trained_model == network


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*/*.yaml")), ids=lambda path: path.stem)
def test_the_header_of_a_recipe_file_says_what_it_is(path):
    header = [line for line in path.read_text().splitlines() if line.startswith("#")]
    text = "\n".join(header)
    assert "# Cost:" in text
    if path.parent.name == "table_1":
        assert "# Paper:    Table 1" in text
        assert "# Expected:" in text
        assert f"dreal train table_1/{path.stem} " in text


def test_the_paper_profile_is_the_papers_recipe():
    recipe = load_recipe(ROW, "paper")  # protocol: section 3, ImageNet
    assert (recipe.epochs, recipe.batch_size) == (100, 256)
    assert (recipe.learning_rate, recipe.momentum, recipe.weight_decay) == (0.1, 0.9, 1e-4)
    assert [share * recipe.epochs for share in recipe.milestones] == [30, 60, 90]
    assert (recipe.image_size, recipe.resize, recipe.smallest_area) == (224, 256, 0.08)
    assert (recipe.width, recipe.stem, recipe.classes) == (64, "imagenet", None)


@pytest.mark.parametrize("pair", PAIRS)
def test_both_rows_of_a_network_share_everything_but_the_method(pair):
    for profile in PROFILES:
        baseline, reinforced = (
            load_recipe(f"{pair}_{method}", profile).model_dump(exclude={"name", "method"})
            for method in ("baseline", "reinforced")
        )
        assert baseline == reinforced


def test_smoke_trains_smaller_networks_and_says_so():
    assert load_recipe("table_1/cbam_resnet50_baseline").trained_model == "cbam_resnet14"
    assert load_recipe("table_1/srm_resnet101_baseline").trained_model == "srm_resnet26"


def test_later_sources_win(tmp_path):
    own = tmp_path / "mine.yaml"
    own.write_text("network: se_resnet50\nmethod: baseline\nepochs: 5\nwidth: 8\n")
    assert load_recipe(str(own), "smoke").epochs == 5  # row over profile
    both = load_recipe(str(own), "smoke", "two_cores", {"width": 4})
    named = yaml.safe_load((FOLDER / "variants" / "classification" / "two_cores.yaml").read_text())
    assert both.epochs == named["epochs"]  # variant over row
    assert both.width == 4  # override over variant


def test_a_variant_is_recorded_with_its_overrides():
    recipe = load_recipe(ROW, "desktop", "two_cores")
    named = yaml.safe_load((FOLDER / "variants" / "classification" / "two_cores.yaml").read_text())
    assert recipe.variant == "two_cores"
    assert recipe.overrides == json.loads(json.dumps(named))
    assert recipe.classes == named["classes"]
    assert recipe.depths == named["depths"]
    assert recipe.trained_model == "se_resnet14"


@pytest.mark.parametrize(
    ("arguments", "keywords", "thing", "nearest", "choice"),
    [
        (("table_1/se_resnet50_reinforce",), {}, "recipe", ROW, "table_1/srm_resnet101_baseline"),
        ((ROW, "desktp"), {}, "profile", "desktop", "paper"),
        ((ROW, "smoke", "two_core"), {}, "variant", "two_cores", "two_cores"),
        ((ROW,), {"overrides": {"epoch": 3}}, "recipe key", "epochs", "momentum"),
        ((ROW,), {"overrides": {"dreal.gama": 3}}, "setting", "dreal.gamma", "dreal.bypass_draw"),
        ((ROW,), {"overrides": {"dreal": {"gama": 3}}}, "setting", "dreal.gamma", "dreal.gamma"),
        ((ROW,), {"overrides": {"network": "se_resnet51"}}, "model", "se_resnet50", "srm_resnet26"),
        ((ROW,), {"overrides": {"stem": "tinny"}}, "stem", "tiny", "imagenet"),
    ],
)
def test_an_unknown_name_lists_the_choices_and_the_nearest(
    arguments, keywords, thing, nearest, choice
):
    message = refusal(*arguments, **keywords)
    assert f"unknown {thing} " in message
    assert f"did you mean {nearest!r}?" in message
    assert choice in message.split("choices:")[1]


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("epochs", 0, "'epochs'.*got 0"),
        ("epochs", "many", "'epochs'.*got 'many'"),
        ("epochs", 2.5, "'epochs'.*got 2.5"),
        ("epochs", {"x": 3}, "'epochs'.*got {'x': 3}"),
        ("epochs.x", 3, "unknown recipe key 'epochs.x'"),
        ("batch_size", 1, "'batch_size'.*got 1"),
        ("learning_rate", -0.1, "'learning_rate'.*got -0.1"),
        ("learning_rate", float("nan"), "'learning_rate'.*got nan"),
        ("learning_rate", float("inf"), "'learning_rate'.*got inf"),
        ("learning_rate", 1e300, "'learning_rate'.*got 1e\\+300"),
        ("weight_decay", 1e300, "'weight_decay'.*got 1e\\+300"),
        ("image_size", 1, "'image_size'.*got 1"),
        ("image_size", 3, "'image_size'.*got 3"),
        ("image_size", 10**9, "'image_size'.*got 1000000000"),
        ("momentum", 1.0, "'momentum'.*got 1.0"),
        ("weight_decay", -1, "'weight_decay'.*got -1"),
        ("smallest_area", 1.5, "'smallest_area'.*got 1.5"),
        # Epochs in place of shares would never be reached.
        ("milestones", [30, 60, 90], "'milestones':.*less than 1; got 30.*--set milestones="),
        ("milestones", 0.5, "'milestones'.*got 0.5"),
        ("precision", "fp16", "'precision'.*'bf16'; got 'fp16'"),
        ("method", "reinforce", "'method'.*'reinforced'; got 'reinforce'"),
        ("classes", 0, "'classes'.*got 0"),
        # Below image_size, evaluated images would get a black margin.
        ("resize", 10, "'resize'.*at least image_size.*got 10"),
        ("stages", "layer1", "'stages'.*got 'layer1'"),
        ("depths", 14, "'depths'.*got 14"),
        ("network", 5, "unknown model '5'"),
        ("stem", ["tiny"], r"unknown stem \['tiny'\]"),
        ("dreal", 3, "'dreal'.*got 3"),
        ("dreal.gamma", -1, "gamma must be from 0.*got -1"),
        ("dreal.gamma", "much", "'dreal.gamma'.*got 'much'"),
        ("dreal.gamma", float("nan"), "'dreal.gamma'.*got nan"),
        ("dreal.bypass_draw", "image", "'dreal.bypass_draw'.*'epoch'; got 'image'"),
        ("dreal.critic_lr", 0, "critic_lr must be above 0.*got 0"),
    ],
)
def test_a_bad_value_is_one_line_that_names_key_and_value(key, value, said):
    assert re.search(said, refusal(ROW, overrides={key: value}))


@pytest.mark.parametrize("key", ["name", "profile", "variant", "overrides"])
def test_where_a_recipe_came_from_cannot_be_overridden(key):
    assert f"unknown recipe key {key!r}" in refusal(ROW, overrides={key: "smoke"})


def test_overrides_reach_nested_settings():
    recipe = load_recipe(ROW, overrides={"dreal.gamma": 2, "dreal": {"bypass_unit": "map"}})
    assert recipe.dreal == Settings(gamma=2.0, bypass_unit="map")
    assert load_recipe(ROW, overrides={"depths.50": 26}).trained_model == "se_resnet26"
    assert load_recipe(ROW, overrides={"dreal.critic_lr": "1e-3"}).dreal.critic_lr == 0.001


def test_texts_become_overrides():
    texts = ["epochs=3", "dreal.gamma=2.5", "milestones=[0.5, 0.9]", "classes=null", "stem=tiny"]
    assert parse_overrides(texts) == {
        "epochs": 3,
        "dreal.gamma": 2.5,
        "milestones": [0.5, 0.9],
        "classes": None,
        "stem": "tiny",
    }
    assert parse_overrides(["name=a=b"]) == {"name": "a=b"}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("photos #2", "photos #2"),
        ("a: b", "a: b"),
        ("photos:", "photos:"),
        ("photos ", "photos "),
        ("@x", "@x"),
        ("*x", "*x"),
        ("010", 10),
        ("-09", -9),
        ("1:30", "1:30"),
        ("2020-1-1", "2020-1-1"),
        ("1e-3", "1e-3"),
        ("0.5", 0.5),
        ("on", True),
        ("", None),
        (" 3 ", 3),
        ("'010'", "010"),
        ("[010, 'a #b']", [10, "a #b"]),
    ],
)
def test_a_value_by_hand_is_all_its_text(text, value):
    assert parse_overrides([f"key={text}"]) == {"key": value}


NESTED_ALIASES = "a0: &a0 [x, x]\n" + "".join(
    f"a{i + 1}: &a{i + 1} [*a{i}, *a{i}]\n" for i in range(40)
)


def test_aliases_are_refused(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(NESTED_ALIASES)
    assert "line 2 has an alias (*a0)" in refusal(str(path))
    with pytest.raises(UserError, match=r"alias \(\*b\)"):
        parse_overrides(["stages=[&b [x], *b]"])


def test_deep_nesting_is_one_line(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("a: " + "[" * 5000)
    assert "nested too deeply" in refusal(str(path))
    with pytest.raises(UserError, match="nested too deeply"):
        parse_overrides(["a=" + "[" * 5000])


@pytest.mark.parametrize("text", ["epochs", "milestones=[0.5", "a={"])
def test_a_text_that_is_no_override_is_one_line(text):
    with pytest.raises(UserError, match="--set") as caught:
        parse_overrides([text])
    assert "\n" not in str(caught.value)
    assert repr(text) in str(caught.value)


def test_overrides_by_hand_get_a_place_of_their_own():
    one, two = (load_recipe(ROW, overrides={"epochs": epochs}).variant for epochs in (3, 4))
    assert one.startswith("custom-")
    assert one != two
    assert one == load_recipe("table_1/srm_resnet50_baseline", overrides={"epochs": 3}).variant
    assert one not in variant_names()


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("overrides", [None, {"depths": {50: 26}, "dreal.critic_lr": 0.1}])
def test_a_recipe_survives_json(profile, overrides):
    recipe = load_recipe(ROW, profile, "two_cores", overrides)
    content = recipe.model_dump(mode="json")
    for values in (content, json.loads(json.dumps(content))):
        again = ClassificationRecipe(**values)
        assert again == recipe
        assert again.hash == recipe.hash


def test_a_stored_recipe_with_an_unknown_key_is_refused():
    content = load_recipe(ROW).model_dump(mode="json")
    with pytest.raises(ValueError, match="extra"):
        ClassificationRecipe(**content, epoch=3)
    with pytest.raises(ValueError, match=r"dreal\.gama"):
        ClassificationRecipe(**{**content, "dreal": {"gama": 1}})


def test_a_recipe_cannot_be_changed():
    with pytest.raises(ValueError, match="frozen"):
        load_recipe(ROW).epochs = 3


@pytest.mark.parametrize(
    ("variant", "overrides"),
    [
        (None, None),
        ("two_cores", None),
        ("two_cores", {"depths.50": 26, "milestones": [0.5], "classes": None}),
        (None, {"dreal.bypass_draw": "epoch", "learning_rate": 1e-3, "depths": {50: 14}}),
    ],
)
def test_the_recorded_command_gives_the_recipe_again(variant, overrides):
    recipe = load_recipe(ROW, "desktop", variant, overrides)
    words = shlex.split(command_of(recipe, seed=3))
    assert words[:2] == ["dreal", "train"]
    options = list(zip(words[3::2], words[4::2], strict=True))
    texts = [value for key, value in options if key == "--set"]
    given = dict(option for option in options if option[0] != "--set")
    again = load_recipe(
        words[2], given["--profile"], given.get("--variant"), parse_overrides(texts)
    )
    assert (again.hash, again.variant) == (recipe.hash, recipe.variant)
    assert given["--seed"] == "3"
    assert given["--data"] == "DATA"


@pytest.mark.parametrize(
    "text", ["", "- epochs\n", "epochs: [1\n", "network: se_resnet50\n", "50: 3\n", "\udcff"]
)
def test_a_recipe_file_of_ones_own_that_cannot_be_is_one_line(tmp_path, text):
    path = tmp_path / "mine.yaml"
    path.write_text(text, errors="surrogateescape")
    refusal(str(path))


def test_a_recipe_file_of_ones_own_gets_a_name_that_fits_a_folder(tmp_path):
    path = tmp_path / "My Recipe (2).yml"
    path.write_text("network: cbam_resnet50\nmethod: reinforced\n")
    assert load_recipe(str(path)).name == "own/my_recipe_2"


@pytest.mark.parametrize(("classes", "decided"), [(2, True), (5, True), (6, False), (1000, False)])
def test_a_top_5_error_that_cannot_be_is_told_nobody(classes, decided):
    facts = CLASSIFICATION.data(
        name="x", fingerprint="f", train_images=9, val_images=9, classes=classes
    )
    assert ("top5_error_pct" in facts.decided) == decided
    assert "top1_error_pct" not in facts.decided
