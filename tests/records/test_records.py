"""Records: what is written is what is read, and nothing doubtful is read."""

import json
import os
import subprocess

import numpy as np
import pandas as pd
import pytest
from pydantic import ValidationError
from synthetic_records import agreeing, block_curves, write_run

from dreal_lib import records
from dreal_lib.errors import UserError
from dreal_lib.recipes.classification import CLASSIFICATION
from dreal_lib.recipes.retrieval import RETRIEVAL
from dreal_lib.records.arrays import (
    BOXES,
    CLASS_LABELS,
    MAP_MEAN,
    MAP_VARIANCE,
    OF_CLASSIFICATION,
    OF_RETRIEVAL,
    REWARDS,
    RIGHT,
    FigureData,
    check_figure_data,
)
from dreal_lib.runtime import atomic, environment

RECIPE = "table_1/se_resnet50_reinforced"


@pytest.fixture
def stored(tmp_path):
    record = write_run(tmp_path, RECIPE, seed=3, profile="desktop", variant="two_cores")
    path = records.record_path(tmp_path, "desktop", "two_cores", RECIPE, 3)
    return records.StoredRecord(record, path)


def edit(path, **fields):
    """Change fields of a record file as a hand or an older program would."""
    content = json.loads(path.read_text()) | fields
    path.write_text(json.dumps(content))


def test_a_record_round_trips(stored):
    assert records.read_record(stored.path) == stored.record


def test_the_file_lies_where_the_layout_says(tmp_path, stored):
    expected = tmp_path / "desktop+two_cores/table_1/se_resnet50_reinforced/seed3.json"
    assert expected.is_file()
    names = {path.name for path in expected.parent.iterdir()}
    assert names == {
        "seed3.json",
        "seed3.history.csv",
        "seed3.blocks.csv",
        "seed3.figures.npz",
    }


def test_writing_twice_gives_the_same_bytes(tmp_path):
    write_run(tmp_path / "one")
    write_run(tmp_path / "two")
    for path in (tmp_path / "one").rglob("seed0*"):
        other = tmp_path / "two" / path.relative_to(tmp_path / "one")
        assert path.read_bytes() == other.read_bytes()


def test_companions_round_trip(stored):
    pd.testing.assert_frame_equal(
        pd.DataFrame(stored.blocks()), block_curves(seed=3), check_dtype=False, rtol=1e-8
    )
    assert list(stored.history()) == list(CLASSIFICATION.history_columns)
    assert stored.figure_data()["right"].tolist() == [True, False]


def test_a_record_is_frozen_and_refuses_unknown_fields(stored):
    with pytest.raises(ValidationError):
        stored.record.seed = 4
    with pytest.raises(ValidationError):
        records.Record.model_validate(stored.record.model_dump() | {"notes": "x"})


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"schema_version": 5}, "schema_version 5, this library reads 1 to 4"),
        ({"schema_version": None}, "schema_version None"),
        ({"seed": "3"}, "bad field seed"),
        ({"seed": -1}, "bad field seed"),
        ({"profile": "../../etc"}, "bad field profile"),
        ({"recipe": "table_1/../../x"}, "bad field recipe"),
        ({"wall_seconds": float("nan")}, "bad field wall_seconds"),
        ({"mood": "good"}, "bad field mood"),
        ({"files": {"history": {"name": "../h.csv", "sha256": "0" * 64}}}, "files.history.name"),
    ],
)
def test_a_bad_record_is_refused_in_one_line(stored, fields, said):
    edit(stored.path, **fields)
    with pytest.raises(UserError) as refused:
        records.read_record(stored.path)
    message = str(refused.value)
    assert said in message
    assert str(stored.path) in message
    assert "\n" not in message


def test_a_missing_field_is_named(stored):
    content = json.loads(stored.path.read_text())
    del content["last"]["top1_error_pct"]
    stored.path.write_text(json.dumps(content))
    with pytest.raises(UserError, match=r"last\.top1_error_pct.*run its recipe again"):
        records.read_record(stored.path)


@pytest.mark.parametrize("content", ["", "{", "[]", '"text"', "\x00\x01"])
def test_what_is_no_record_is_refused(tmp_path, content):
    path = tmp_path / "seed0.json"
    path.write_text(content)
    with pytest.raises(UserError, match=r"seed0\.json"):
        records.read_record(path)


def test_an_absent_record_is_said_to_be_absent(tmp_path):
    with pytest.raises(UserError, match="does not exist"):
        records.read_record(tmp_path / "seed0.json")


@pytest.mark.parametrize(
    ("result", "fields", "said"),
    [
        (
            "last",
            {"top1_error_pct": 20.0},
            "last.top1_error_pct 20, and its history 50 for epoch 4",
        ),
        ("best", {"val_loss": 1.39999}, "best.val_loss 1.39999, and its history 1.4"),
        ("last", {"epoch": 3}, "for epoch 3"),
        ("last", {"epoch": 9}, "its history nan for epoch 9"),
    ],
)
def test_an_edited_result_is_noticed(stored, result, fields, said):
    content = json.loads(stored.path.read_text())
    edit(stored.path, **{result: content[result] | fields})
    with pytest.raises(UserError, match=said) as refused:
        records.read_record(stored.path)
    assert "one of them was edited; restore it" in str(refused.value)
    assert "\n" not in str(refused.value)


def test_an_edited_companion_is_noticed(stored):
    history = stored.path.with_name("seed3.history.csv")
    history.write_text(history.read_text().replace("49,", "10,"))
    with pytest.raises(UserError, match=r"seed3\.history\.csv.*SHA-256 differs.*restore"):
        records.read_record(stored.path)


def test_a_lost_companion_is_noticed(stored):
    stored.path.with_name("seed3.figures.npz").unlink()
    with pytest.raises(UserError, match=r"seed3\.figures\.npz.*cannot be read"):
        records.find_records(stored.path.parents[3])


def test_a_baseline_has_no_block_curves(tmp_path):
    write_run(tmp_path, "table_1/se_resnet50_baseline")
    (stored,) = records.find_records(tmp_path)
    with pytest.raises(UserError, match="no block curves"):
        stored.blocks()


def test_nothing_is_unpickled(tmp_path, stored):
    with pytest.raises(UserError, match="holds Python objects"):
        records.write_figure_data(tmp_path / "x.npz", {"a": np.array([{}], dtype=object)})
    hostile = tmp_path / "hostile.npz"
    np.savez(hostile, a=np.array([{}], dtype=object))
    companion = records.CompanionFile(
        name=hostile.name, sha256=atomic.write_bytes_atomic(hostile, hostile.read_bytes())
    )
    files = stored.record.files.model_copy(update={"figure_data": companion})
    record = stored.record.model_copy(update={"files": files})
    with pytest.raises(UserError, match=r"hostile\.npz is not readable figure data"):
        records.StoredRecord(record, tmp_path / "seed0.json").figure_data()


@pytest.fixture
def kept():
    """Arrays of a run of class recognition, as declared."""
    return {
        RIGHT: np.zeros(5, bool),
        CLASS_LABELS: np.zeros(5, np.int16),
        REWARDS: np.zeros((5, 2), np.float16),
        MAP_MEAN.of("layer1.0.spatial"): np.zeros((4, 4), np.float32),
        MAP_MEAN.of("layer2.0"): np.zeros(8, np.float32),
        MAP_VARIANCE.of("layer2.0"): np.zeros(8, np.float32),
        BOXES: np.zeros((5, 4), np.int16),
    }


def test_what_is_kept_is_what_is_declared(kept):
    check_figure_data(kept, OF_CLASSIFICATION)
    assert sorted(MAP_MEAN.parts_in(kept)) == ["layer1.0.spatial", "layer2.0"]
    assert MAP_MEAN.of("layer2.0") == "attention/layer2.0/mean"
    for table in (OF_CLASSIFICATION, OF_RETRIEVAL):
        fitting = {name.of("x") for name in table}
        assert len(fitting) == len(table)
        assert all(sum(other.fits(name) for other in table) == 1 for name in fitting)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"notes": np.zeros(1)}, "figure data 'notes' are declared nowhere"),
        ({REWARDS: np.zeros((5, 2))}, "'rewards' is float64, not float16"),
        ({REWARDS: np.zeros(5, np.float16)}, r"'rewards' has shape \(5,\), not \(N M\)"),
        ({CLASS_LABELS: np.zeros(6, np.int16)}, "has N = 6, where other arrays have N = 5"),
        ({BOXES: np.zeros((5, 3), np.int16)}, r"has shape \(5, 3\), not \(N 4\)"),
        ({MAP_VARIANCE.of("layer2.0"): np.zeros(9, np.float32)}, "C = 9, where .* C = 8"),
        ({RIGHT: None}, "'right' .predicted right. are missing"),
    ],
)
def test_what_is_not_as_declared_is_refused_in_one_line(kept, change, said):
    wrong = {name: array for name, array in (kept | change).items() if array is not None}
    with pytest.raises(UserError, match=said) as refused:
        check_figure_data(wrong, OF_CLASSIFICATION)
    assert "\n" not in str(refused.value)


def test_an_array_taken_by_its_name_is_there_and_as_declared(tmp_path):
    data = FigureData({"right": np.zeros(3), "labels": np.zeros(3, np.int16)}, tmp_path / "x.json")
    assert data[CLASS_LABELS].shape == (3,)
    assert data.get(REWARDS) is None
    with pytest.raises(UserError, match=r"right of record .*x\.json is float64, not bool; run its"):
        data[RIGHT]
    with pytest.raises(UserError, match=r"rewards \(bypass reward.*\) is missing in .*x\.json"):
        data[REWARDS]


def test_find_records_selects(tmp_path):
    for seed in (10, 2):
        write_run(tmp_path, "table_1/se_resnet50_baseline", seed=seed)
        write_run(tmp_path, RECIPE, seed=seed)
    write_run(tmp_path, "table_3/srm_resnet101_reinforced")
    write_run(tmp_path, RECIPE, profile="desktop")
    write_run(tmp_path, RECIPE, profile="desktop", variant="two_cores")

    def found(**conditions):
        stored = records.find_records(tmp_path, **conditions)
        return [(s.record.scale, s.record.recipe, s.record.seed) for s in stored]

    assert len(found()) == 7
    assert found(profile="desktop") == [("desktop", RECIPE, 0)]
    assert found(profile="desktop", variant="two_cores") == [("desktop+two_cores", RECIPE, 0)]
    smoke = found(profile="smoke", recipes=["table_1/*"])
    assert [seed for _, _, seed in smoke] == [2, 10, 2, 10]
    assert found(profile="smoke", seeds=[10], recipes=[RECIPE]) == [("smoke", RECIPE, 10)]
    assert found(profile="paper") == []
    assert records.find_records(tmp_path / "nowhere") == []
    with pytest.raises(UserError, match="without a profile"):
        found(variant="two_cores")


def test_two_records_that_disagree_are_refused(tmp_path, stored):
    copy = tmp_path / "desktop+two_cores/table_1/copied"
    copy.mkdir()
    for path in stored.path.parent.iterdir():
        (copy / path.name).write_bytes(path.read_bytes())
    with pytest.raises(UserError, match="says it belongs at"):
        records.find_records(tmp_path)
    edit(copy / "seed3.json", wall_seconds=1.0)
    with pytest.raises(UserError, match="disagree on wall_seconds"):
        records.find_records(tmp_path)


def test_a_record_is_not_written_without_its_companions(tmp_path, stored):
    with pytest.raises(UserError, match=r"history\.csv.*cannot be read"):
        records.write_record(stored.record, tmp_path / "elsewhere" / "seed3.json")
    assert not (tmp_path / "elsewhere").exists()


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "kept.txt"
    atomic.write_text_atomic(path, "old")

    def no_space(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", no_space)
    with pytest.raises(UserError, match=r"cannot write .*kept\.txt: No space left on device"):
        atomic.write_text_atomic(path, "new")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_table_with_a_lacking_column_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"lacks the column.*correlation"):
        records.write_table(
            tmp_path / "b.csv",
            block_curves().drop(columns="correlation").to_dict("records"),
            records.BLOCK_COLUMNS,
        )


def test_environment_facts_fit_a_record():
    facts = environment.environment_facts("cpu")
    assert facts.hardware.device == "cpu"
    assert facts.hardware.device_name == facts.hardware.cpu_name
    assert facts.versions["torch"] is not None
    assert facts.versions["python"].startswith("3.")


def test_git_facts_tell_clean_from_changed(tmp_path):
    assert environment.git_facts(tmp_path) == environment.Git(commit=None, clean=None)
    git = ["git", "-C", str(tmp_path), "-c", "user.name=t", "-c", "user.email=t@example.org"]
    subprocess.run([*git, "init", "-q"], check=True)
    assert environment.git_facts(tmp_path).commit is None
    (tmp_path / "a").write_text("1")
    subprocess.run([*git, "add", "a"], check=True)
    subprocess.run([*git, "commit", "-q", "-m", "one"], check=True)
    facts = environment.git_facts(tmp_path)
    assert len(facts.commit) == 40
    assert facts.clean is True
    (tmp_path / "a").write_text("2")
    assert environment.git_facts(tmp_path).clean is False
    inner = tmp_path / "inner"
    inner.mkdir()
    assert environment.git_facts(inner).commit is None


# --- two tasks, two schemas ---------------------------------------------------------------------

SCORES = {
    "rank1_pct": 62.5,
    "rank5_pct": 80.0,
    "rank10_pct": 91.0,
    "map_step_pct": 41.25,
    "map_trapezoid_pct": 40.5,
    "minp_pct": 12.0,
}


@pytest.fixture
def retrieval(tmp_path, stored):
    """A retrieval record with two epochs, of which the second was evaluated."""
    path = records.record_path(tmp_path, "smoke", "omniglot", "table_2/resnet50_baseline", 0)
    rows = {name: [1.0, 2.0] for name in RETRIEVAL.history_columns}
    rows |= {name: [np.nan, value] for name, value in SCORES.items()}
    history = records.write_table(
        records.companion_path(path, "history"),
        pd.DataFrame(rows).to_dict("records"),
        RETRIEVAL.history_columns,
    )
    judged = RETRIEVAL.result(epoch=2, **SCORES)
    facts = RETRIEVAL.data(
        name="made-up",
        fingerprint="f" * 64,
        train_images=40,
        train_identities=10,
        query_images=5,
        gallery_images=15,
        cameras=0,
    )
    same = stored.record.model_dump(exclude={"task", "data", "last", "best", "files"})
    row = "table_2/resnet50_baseline"
    same |= {"recipe": row, "profile": "smoke", "variant": "omniglot"}
    same |= {"network": "resnet50", "method": "baseline"}
    same |= agreeing(row, "smoke", row, same, {"epochs": 2})
    files = records.CompanionFiles(history=history)
    record = records.record_type("retrieval")(
        **same | {"seed": 0}, data=facts, last=judged, best=judged, files=files
    )
    records.write_record(record, path)
    return records.StoredRecord(record, path)


def test_a_retrieval_record_round_trips(retrieval, tmp_path):
    again = records.read_record(retrieval.path)
    assert again.task == "retrieval"
    assert again == retrieval.record
    assert again.last.map_step_pct == 41.25
    found = records.find_records(tmp_path, profile="smoke", variant="omniglot")
    assert [stored.record for stored in found] == [again]


def test_epochs_that_were_not_evaluated_are_empty_cells(retrieval):
    lines = retrieval.path.with_name("seed0.history.csv").read_text().splitlines()
    assert ",,,,,," in lines[1]
    history = pd.DataFrame(retrieval.history())
    assert tuple(history.columns) == RETRIEVAL.history_columns
    assert history[list(SCORES)].iloc[0].isna().all()
    assert history[list(SCORES)].iloc[1].to_dict() == SCORES


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"task": "classification"}, "bad field data."),
        ({"task": "segmentation"}, "bad field task"),
        ({"task": None}, "bad field task"),
        ({"task": ["retrieval"]}, "bad field task"),
        ({"schema_version": 5}, "schema_version 5, this library reads 1 to 4"),
        ({"schema_version": [3]}, "schema_version [3]"),
        ({"schema_version": True}, "schema_version True"),
        ({"schema_version": "3"}, "schema_version '3'"),
    ],
)
def test_a_bad_task_or_schema_is_refused_in_one_line(retrieval, fields, said):
    edit(retrieval.path, **fields)
    with pytest.raises(UserError) as refused:
        records.read_record(retrieval.path)
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("value", [-0.1, 100.1, float("nan"), "62"])
@pytest.mark.parametrize("name", SCORES)
def test_scores_that_cannot_be_are_refused(retrieval, name, value):
    content = json.loads(retrieval.path.read_text())
    edit(retrieval.path, last=content["last"] | {name: value})
    with pytest.raises(UserError, match=rf"bad field last\.{name}"):
        records.read_record(retrieval.path)


def test_a_record_of_schema_1_is_read_as_classification_and_left_as_it_is(stored):
    content = json.loads(stored.path.read_text())
    del content["task"]
    stored.path.write_text(json.dumps(content | {"schema_version": 1}))
    before = stored.path.read_bytes()
    again = records.read_record(stored.path)
    assert (again.task, again.schema_version) == ("classification", 4)
    assert again == stored.record
    assert stored.path.read_bytes() == before
    (found,) = records.find_records(stored.path.parents[3])
    pd.testing.assert_frame_equal(pd.DataFrame(found.blocks()), pd.DataFrame(stored.blocks()))


def test_a_record_of_schema_2_kept_no_threads_and_followed_no_plan(stored):
    content = json.loads(stored.path.read_text())
    del content["threads"], content["plan_commit"]
    stored.path.write_text(json.dumps(content | {"schema_version": 2}))
    before = stored.path.read_bytes()
    again = records.read_record(stored.path)
    assert (again.threads, again.plan_commit, again.schema_version) == (None, None, 4)
    assert stored.path.read_bytes() == before


def test_threads_and_plan_are_kept(stored):
    edit(stored.path, threads=1, plan_commit="a" * 40)
    again = records.read_record(stored.path)
    assert (again.threads, again.plan_commit) == (1, "a" * 40)
    edit(stored.path, threads=0)
    with pytest.raises(UserError, match="bad field threads"):
        records.read_record(stored.path)


def test_a_record_since_schema_2_says_its_task(stored):
    content = json.loads(stored.path.read_text())
    del content["task"]
    stored.path.write_text(json.dumps(content))
    with pytest.raises(UserError, match="bad field task"):
        records.read_record(stored.path)


EDITS = {
    "a setting": lambda c: {"settings": c["settings"] | {"learning_rate": 0.5}},
    "a setting and the hash": lambda c: {"settings": {}, "recipe_hash": "0" * 64},
    "a setting that is none": lambda c: {"settings": c["settings"] | {"mood": "good"}},
    "the network": lambda c: {"network": "se_resnet101"},
    "the method": lambda c: {"method": "baseline"},
    "the overrides": lambda c: {"overrides": {"epochs": 4}},
    "completeness": lambda c: {"complete": False},
    "the epochs": lambda c: {"settings": c["settings"] | {"epochs": 8}},
    "the profile": lambda c: {"profile": "paper"},
}


@pytest.mark.parametrize("edited", EDITS.values(), ids=EDITS)
def test_a_record_that_contradicts_itself_is_refused(stored, edited):
    edit(stored.path, **edited(json.loads(stored.path.read_text())))
    with pytest.raises(UserError, match=r"edited|no recipe") as refused:
        records.read_record(stored.path)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("text", ["", "two\nlines", "a\u202eb", "\x1b[31m", 7, None])
@pytest.mark.parametrize("place", ["data.name", "command", "hardware.cpu_name"])
def test_a_text_that_no_page_could_show_is_refused(stored, place, text):
    content = json.loads(stored.path.read_text())
    *above, name = place.split(".")
    (content[above[0]] if above else content)[name] = text
    stored.path.write_text(json.dumps(content))
    with pytest.raises(UserError, match=rf"bad field {place}"):
        records.read_record(stored.path)


@pytest.mark.parametrize(
    "fields",
    [
        {"git": {"commit": "<b>", "clean": True}},
        {"versions": {"python": "<b>"}},
        {"versions": {"<b>": "3"}},
        {"network": "<b>"},
        {"method": "a b"},
        {"recipe_hash": "<b>"},
    ],
)
def test_what_is_no_free_text_holds_none(stored, fields):
    edit(stored.path, **fields)
    with pytest.raises(UserError, match="bad field"):
        records.read_record(stored.path)


def test_deep_nesting_is_one_line(stored):
    stored.path.write_text("[" * 100_000 + "]" * 100_000)
    with pytest.raises(UserError, match="not readable JSON"):
        records.read_record(stored.path)
