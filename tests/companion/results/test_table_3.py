"""Table 3: its recipes, its rows from records, and the sentences that they allow."""

import pytest
from synthetic_records import write_run

from book.companion.papers import dreal
from book.companion.results import table_3
from book.companion.text.tables import MINUS
from dreal_lib import records
from dreal_lib.errors import UserError
from dreal_lib.recipes import FOLDER, load_recipe, recipe_names

NONE, ALL = "table_1/srm_resnet101_baseline", "table_1/srm_resnet101_reinforced"
STAGES = ("layer1", "layer2", "layer3", "layer4")
ALONE = {stage: f"table_3/srm_resnet101_{stage}_reinforced" for stage in STAGES}


def write_row(root, recipe, seed, error, profile="smoke", **changes):
    settings = load_recipe(recipe, profile).model_dump(mode="json")
    facts = {"settings": settings, "network": "srm_resnet101", "profile": profile} | changes
    write_run(root, recipe, seed=seed, top1=(error, error - 1), **facts)


def compared(root, profile="smoke"):
    return table_3.compare_stages(records.find_records(root), profile, None)


def texts(row):
    return [str(cell).replace("\N{NO-BREAK SPACE}", " ").replace(MINUS, "-") for cell in row]


def test_there_is_a_recipe_for_each_stage_alone():
    assert [n for n in recipe_names() if n.startswith("table_3/")] == list(ALONE.values())


@pytest.mark.parametrize("profile", ["smoke", "desktop", "paper"])
@pytest.mark.parametrize("stage", STAGES)
def test_a_recipe_is_the_row_of_table_1_but_for_its_stage(stage, profile):
    full = load_recipe(ALL, profile).model_dump(exclude={"name", "stages"})
    recipe = load_recipe(ALONE[stage], profile)
    assert recipe.stages == (stage,)
    assert recipe.model_dump(exclude={"name", "stages"}) == full


@pytest.mark.parametrize("stage", STAGES)
def test_a_recipe_file_says_what_it_is(stage):
    text = (FOLDER / f"{ALONE[stage]}.yaml").read_text()
    assert f"# Paper:    Table 3, column {table_3.LABELS[stage]} " in text
    assert f"# Command:  dreal train {ALONE[stage]} " in text
    assert "# Cost:     " in text
    assert "# Expected: at profile `paper` the column's published error" in text


def test_the_published_table_as_printed():
    rows = [texts(row) for row in table_3.published_errors().rows]
    printed = {table_3.LABELS[stage]: number.printed for stage, number in dreal.TABLE_3.items()}
    assert rows == [  # differences by hand from the printed errors
        ["conv2_x", printed["conv2_x"], "-0.272"],
        ["conv3_x", printed["conv3_x"], "-0.458"],
        ["conv4_x", printed["conv4_x"], "-0.546"],
        ["conv5_x", printed["conv5_x"], "-0.610"],
        ["none (baseline)", printed["none (baseline)"], "—"],
        ["all stages", printed["all stages"], "-0.930"],
    ]
    assert table_3.published_errors().legend() == "† published; ○ computed"
    assert table_3.published_sentence() == (
        "In the paper 4 of 4 stages alone have a lower error than none, by 0.27 to 0.61 points of "
        "top-1 error, the more the deeper the stage; all together by 0.93. It gives one number a "
        "stage and no spread."
    )


def test_none_and_all_are_the_rows_of_table_1(tmp_path):
    write_row(tmp_path, NONE, 0, 50.0)
    write_row(tmp_path, ALL, 0, 49.0)
    comparison = compared(tmp_path)
    assert [run.record.recipe for run in comparison.runs] == [NONE, ALL]
    assert [row.recipe for row in comparison.rows] == [NONE, *ALONE.values(), ALL]


def test_our_table_by_hand(tmp_path):
    for seed, change in enumerate((-1.0, -1.1, -0.9)):
        write_row(tmp_path, NONE, seed, 50.0 + 5 * seed)
        write_row(tmp_path, ALONE["layer3"], seed, 50.0 + 5 * seed + change)
    write_row(tmp_path, ALL, 1, 54.0)
    table = table_3.our_errors(compared(tmp_path))
    rows = [texts(row) for row in table.rows]
    assert rows[0] == ["conv2_x", "not run", "not run", "—", "—", "0", "0"]
    assert rows[2] == [
        "conv4_x ●", "54.00 ± 5.05", "53.00 ± 5.05", "-1.00 ± 0.10", "-1.25 to -0.75", "3", "3",
    ]  # fmt: skip
    assert rows[4] == [
        "none (baseline) ●", "55.00 ± 5.00", "54.00 ± 5.00", "—", "—", "3", "—",
    ]  # fmt: skip
    assert rows[5] == ["all stages ●", "54.00 ± —", "53.00 ± —", "-1.00 ± —", "—", "1", "1"]
    assert "†" not in table.to_markdown()


def test_the_papers_numbers_stand_beside_ours_at_its_scale_alone(tmp_path):
    imagenet = {
        "name": "imagenet", "fingerprint": "1", "train_images": 1281167, "val_images": 50000,
        "classes": 1000,
    }  # fmt: skip
    write_row(tmp_path, NONE, 0, 21.5, profile="paper", data=imagenet)
    table = table_3.our_errors(compared(tmp_path, "paper"))
    assert str(table.columns[3]).startswith("Paper")
    assert [row[3] for row in table.rows] == [p.printed for p in dreal.TABLE_3.values()]
    write_row(tmp_path, NONE, 0, 50.0)
    assert len(table_3.our_errors(compared(tmp_path)).columns) == len(table.columns) - 1


def test_a_stage_that_was_trained_otherwise_is_refused(tmp_path):
    write_row(tmp_path, NONE, 0, 50.0)
    settings = load_recipe(ALONE["layer1"], overrides={"dreal.gamma": 2}).model_dump(mode="json")
    write_row(tmp_path, ALONE["layer1"], 0, 49.0, settings=settings)
    with pytest.raises(UserError, match=r"differ in method, stages alone.*in dreal\.gamma; run"):
        compared(tmp_path)


@pytest.mark.parametrize(
    ("profile", "variant", "options"),
    [
        ("smoke", "none", "--profile smoke"),
        ("desktop", "default", "--profile desktop --variant two_cores"),
        ("paper", "none", "--profile paper"),
    ],
)
def test_the_page_without_a_run_says_how_to_make_each(
    tmp_path, run_page, profile, variant, options
):
    said = run_page("table_3", profile=profile, variant=variant, records_root=str(tmp_path))
    for recipe in (NONE, *ALONE.values(), ALL):
        assert said.count(f"dreal train {recipe} {options} --seed 0 --threads 1 --data DATA") == 1
    assert said.count("not\N{NO-BREAK SPACE}run |") == 12


def test_the_page_is_made_from_records_alone(tmp_path, run_page):
    for seed, error in enumerate((50.0, 55.0)):
        write_row(tmp_path, NONE, seed, error)
        write_row(tmp_path, ALONE["layer4"], seed, error - 1 - seed)
    said = run_page("table_3", profile="smoke", records_root=str(tmp_path)).replace(MINUS, "-")
    assert "4 recorded in" in said
    assert "conv5_x -1.50 ± 0.71 points (95 % interval" in said
    assert f"dreal train {ALONE['layer1']} " in said
    assert said.count(f"dreal train {NONE} ") == 2  # only in the footer, which lists what was run
