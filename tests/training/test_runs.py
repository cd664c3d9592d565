"""A run from images to record: what it leaves, and what it refuses before it trains.

Above 350 lines, as one finished run of each row is read by many tests.
"""

import hashlib
import json
import shlex
import shutil
import subprocess

import numpy as np
import pandas as pd
import pytest
import torch
from synthetic_records import write_run
from tiny_images import CLASSES, tiny_recipe, write_tiny_set

from dreal_lib import records
from dreal_lib.errors import UserError
from dreal_lib.recipes import load_recipe
from dreal_lib.recipes.classification import CLASSIFICATION
from dreal_lib.recipes.own_data import own_label
from dreal_lib.runtime.environment import PLAN, environment_facts
from dreal_lib.training import runs, trained
from dreal_lib.training.checkpoints import load_checkpoint, save_checkpoint
from dreal_lib.training.run_record import note_on_other_images

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_tiny_set(tmp_path_factory.mktemp("images") / "tiny")


@pytest.fixture
def train(data, tmp_path):
    """Function that runs a row on the tiny set and gives (stored record, run folder)."""

    def make(row="se_resnet50_reinforced", *, root=data, seed=0, **overrides):
        folder = tmp_path / "run" / row / str(seed)
        path = runs.run(
            tiny_recipe(row, **overrides),
            root,
            folder,
            tmp_path / "records",
            seed=seed,
            device=CPU,
            cache=tmp_path / "cache",
            workers=0,
        )
        return records.StoredRecord(records.read_record(path), path), folder

    return make


@pytest.fixture(scope="module")
def finished(data, tmp_path_factory):
    """Function that gives a row's run on the tiny set, for tests that only read it."""
    kept = {}

    def give(row):
        if row not in kept:
            place = tmp_path_factory.mktemp(row)
            path = runs.run(
                tiny_recipe(row), data, place / "run", place / "records", device=CPU,
                cache=place / "cache", workers=0,
            )  # fmt: skip
            kept[row] = records.StoredRecord(records.read_record(path), path), place / "run"
        return kept[row]

    return give


def test_a_reinforced_run_leaves_a_whole_record(finished):
    stored, folder = finished("se_resnet50_reinforced")
    record, recipe = stored.record, tiny_recipe()
    assert stored.path == records.record_path(
        folder.parent / "records", "smoke", record.variant, recipe.name, 0
    )
    assert record.complete
    assert (record.recipe, record.recipe_hash) == (recipe.name, recipe.hash)
    own = own_label(record.data.fingerprint)
    assert (record.profile, record.variant) == ("smoke", f"{recipe.variant}+{own}")
    assert record.overrides == recipe.overrides
    assert record.settings == recipe.model_dump(mode="json") | {"variant": record.variant}
    assert (record.network, record.method, record.seed) == ("se_resnet50", "reinforced", 0)
    facts = record.data
    assert (facts.name, facts.train_images, facts.val_images, facts.classes) == ("tiny", 27, 12, 3)
    assert record.hardware.device == "cpu"
    assert record.versions["torch"] == torch.__version__.split("+")[0] or "+" in torch.__version__
    assert 0 < record.wall_seconds < 600
    assert 0 < record.images_per_second
    assert 50 < record.peak_memory_mib < 100_000


def test_last_and_best_are_rows_of_the_history(train):
    stored, _ = train(epochs=4)
    history, record = pd.DataFrame(stored.history()), stored.record
    assert tuple(history.columns) == CLASSIFICATION.history_columns
    assert history.epoch.tolist() == [1, 2, 3, 4]
    for metrics, row in (
        (record.last, history.iloc[-1]),
        (record.best, history.loc[history.top1_error_pct.idxmin()]),
    ):
        assert metrics.epoch == row.epoch
        for name in ("top1_error_pct", "top5_error_pct", "val_loss"):
            assert getattr(metrics, name) == pytest.approx(row[name], rel=1e-9)
    assert record.best.top1_error_pct <= record.last.top1_error_pct
    assert record.last.top5_error_pct == 0  # of three classes


def test_figure_data_agree_with_the_last_row(finished):
    stored, _ = finished("cbam_resnet50_reinforced")
    arrays, last = stored.figure_data(), stored.record.last
    assert 100 * (1 - arrays["right"].mean()) == pytest.approx(last.top1_error_pct)
    assert arrays["labels"].tolist() == np.repeat([0, 1, 2], 4).tolist()
    assert arrays["rewards"].shape == (12, 4)
    assert (arrays["rewards"][~arrays["right"]] == -1).all()  # -gamma
    assert (arrays["rewards"][arrays["right"]] > -1).any()
    assert arrays["attention/layer4.0.channel/mean"].shape == (128,)
    assert arrays["attention/layer1.0.spatial/mean"].shape == (16, 16)
    assert sorted(set(stored.blocks()["map"])) == [
        f"layer{stage}.0.{kind}" for stage in (1, 2, 3, 4) for kind in ("channel", "spatial")
    ]


def test_a_baseline_leaves_rewards_and_no_block_curves(train):
    stored, _ = train("srm_resnet50_baseline")
    assert stored.record.files.blocks is None
    assert not list(stored.path.parent.glob("*.blocks.csv"))
    assert stored.figure_data()["rewards"].shape == (12, 4)


def test_the_weights_are_the_plain_network_and_named_in_the_record(finished):
    stored, folder = finished("cbam_resnet50_reinforced")
    content = (folder / runs.WEIGHTS).read_bytes()
    assert stored.record.checkpoint_sha256 == hashlib.sha256(content).hexdigest()
    tensors, facts = load_checkpoint(folder / runs.WEIGHTS)
    assert not any("critic" in name for name in tensors)
    recipe = tiny_recipe("cbam_resnet50_reinforced").model_dump(mode="json")
    recipe["variant"] = stored.record.variant  # with the data
    assert facts == {"task": "classification", "recipe": recipe, "classes": list(CLASSES)}


def test_runs_of_a_seed_leave_the_same_but_for_times(train, finished):
    def left(stored, _):
        history = pd.DataFrame(stored.history()).drop(columns=["wall_seconds", "images_per_second"])
        figures = (stored.path.with_name("seed0.figures.npz")).read_bytes()
        weights = stored.record.checkpoint_sha256
        blocks = stored.path.with_name("seed0.blocks.csv").read_text()
        return history.to_csv(), blocks, figures, weights

    assert left(*train()) == left(*finished("se_resnet50_reinforced"))


def test_a_record_names_no_place_of_the_machine(finished, data):
    stored, folder = finished("se_resnet50_reinforced")
    text = stored.path.read_text()
    assert str(folder.parent) not in text
    assert str(data) not in text
    words = shlex.split(stored.record.command)
    assert words[-2:] == ["--data", "DATA"]
    assert [word for word in words if "/" in word] == ["table_1/se_resnet50_reinforced"]


@pytest.mark.parametrize("changes", [{}, {"precision": "bf16"}, {"decoded_cache": False}])
def test_evaluating_the_weights_gives_the_records_last_errors(train, data, tmp_path, changes):
    stored, folder = train("se_resnet50_baseline", **changes)
    weights = folder / runs.WEIGHTS
    found = trained.evaluate_weights(weights, data, CPU, tmp_path / "cache", workers=0)
    last = stored.record.last
    assert found["top1_error_pct"] == last.top1_error_pct
    assert "top5_error_pct" not in found  # which three classes decide
    assert found["val_loss"] == pytest.approx(last.val_loss, rel=1e-6)


def test_a_finished_run_writes_its_record_again_without_training(train):
    first, _ = train()
    first.path.unlink()
    second, _ = train()
    assert second.history() == first.history()
    assert second.record.wall_seconds == first.record.wall_seconds


def test_only_the_first_classes_are_used_where_a_recipe_says_so(train):
    stored, _ = train("se_resnet50_baseline", classes=2)
    assert (stored.record.data.classes, stored.record.data.train_images) == (2, 18)
    assert set(stored.figure_data()["labels"].tolist()) == {0, 1}


def test_streamed_images_are_recorded_like_decoded_ones(train, tmp_path):
    stored, _ = train("se_resnet50_baseline", decoded_cache=False)
    assert (stored.record.data.train_images, stored.record.data.val_images) == (27, 12)
    assert not (tmp_path / "cache").exists()


def one_line(function, *arguments, **keywords) -> str:
    with pytest.raises(UserError) as caught:
        function(*arguments, **keywords)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("row", ["se_resnet50_baseline", "se_resnet50_reinforced"])
def test_a_stage_that_does_not_exist_is_refused_before_training(train, tmp_path, row):
    message = one_line(train, row, stages=["layer1", "layer9"])
    assert "'layer9'" in message
    assert not (tmp_path / "run").exists()


def test_a_network_without_attention_is_refused_before_training(train, tmp_path):
    assert "no attention" in one_line(train, "se_resnet50_baseline", network="resnet50")
    assert not (tmp_path / "run").exists()


def test_images_too_small_for_srm_are_refused(train, tmp_path):
    # At 8 px its last map is 1x1, whose unbiased variance is undefined.
    one_line(train, "srm_resnet50_reinforced", image_size=8)
    assert not (tmp_path / "records").exists()


def test_other_images_under_the_same_folder_do_not_continue_a_run(train, tmp_path):
    data = write_tiny_set(tmp_path / "mine")
    train("se_resnet50_baseline", root=data, epochs=1)
    (data / "train" / "ant" / "1.png").write_bytes((data / "train" / "bee" / "1.png").read_bytes())
    assert "data_fingerprint differs" in one_line(
        train, "se_resnet50_baseline", root=data, epochs=1
    )


@pytest.fixture
def weights(finished, tmp_path):
    """Those of a finished run, to be changed."""
    _, folder = finished("se_resnet50_baseline")
    return shutil.copytree(folder, tmp_path / "finished") / runs.WEIGHTS


def test_weights_are_refused_for_another_number_of_classes(weights, tmp_path):
    four = write_tiny_set(tmp_path / "four", classes=(*CLASSES, "dog"))
    message = one_line(trained.evaluate_weights, weights, four, CPU, tmp_path / "cache")
    assert "3 classes (ant, bee, cat)" in message
    assert "4 (ant, bee, cat, dog)" in message


def test_weights_of_another_architecture_are_refused(weights, data, tmp_path):
    tensors, facts = load_checkpoint(weights)
    facts["recipe"]["network"] = "cbam_resnet50"
    save_checkpoint(weights, tensors, facts)
    message = one_line(trained.evaluate_weights, weights, data, CPU, tmp_path / "cache")
    assert "another architecture" in message


def test_a_recipe_of_another_version_in_the_weights_is_refused(weights, data, tmp_path):
    tensors, facts = load_checkpoint(weights)
    facts["recipe"]["colour"] = "green"
    save_checkpoint(weights, tensors, facts)
    message = one_line(trained.evaluate_weights, weights, data, CPU, tmp_path / "cache")
    assert "'colour'" in message


def test_a_checkpoint_is_not_taken_for_weights(weights, data, tmp_path):
    checkpoint = weights.with_name("checkpoint.safetensors")
    message = one_line(trained.evaluate_weights, checkpoint, data, CPU, tmp_path / "cache")
    assert "weights.safetensors" in message


def test_devices_are_chosen_by_name(monkeypatch):
    assert runs.choose_device("cpu") == CPU
    for name in ("gpu", "cuda:x", "meta", "mps"):
        assert repr(name) in one_line(runs.choose_device, name)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert runs.choose_device("auto") == CPU
    assert "this machine has no GPU; try cpu" in one_line(runs.choose_device, "cuda")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    current = []
    monkeypatch.setattr(torch.cuda, "set_device", current.append)
    assert runs.choose_device("auto").type == "cuda"
    assert runs.choose_device("cuda:1").index == 1
    assert current == [torch.device("cuda:1")]
    assert "the last one here is cuda:1" in one_line(runs.choose_device, "cuda:2")


def test_the_command_in_a_record_is_the_one_that_was_given(train):
    stored, _ = train("se_resnet50_baseline", seed=2, milestones=[0.25, 0.5])
    command = stored.record.command
    assert command.startswith("dreal train table_1/se_resnet50_baseline --profile smoke ")
    assert "--set 'milestones=[0.25, 0.5]'" in command
    assert stored.record.threads == torch.get_num_threads()
    assert command.endswith(f"--seed 2 --threads {torch.get_num_threads()} --data DATA")
    assert json.loads(stored.path.read_text())["command"] == command


def test_images_other_than_those_of_the_records_are_noted(tmp_path):
    data = {"name": "x", "train_images": 1, "val_images": 1, "classes": 2}
    write_run(tmp_path, "table_1/se_resnet50_reinforced", data=data | {"fingerprint": "12" * 32})
    write_run(tmp_path, "table_1/se_resnet50_baseline", data=data | {"fingerprint": "34" * 32})
    recipe = load_recipe("table_1/se_resnet50_reinforced", "smoke")
    assert note_on_other_images(recipe, "12" * 32, tmp_path) == ""
    assert note_on_other_images(recipe, "34" * 32, tmp_path) == (
        "these are not the images that the committed records of table_1/se_resnet50_reinforced "
        "were made from (fingerprint 343434343434, theirs 121212121212), so errors will differ "
        "from theirs"
    )
    other_scale = load_recipe("table_1/se_resnet50_reinforced", "desktop", "two_cores")
    assert note_on_other_images(other_scale, "34" * 32, tmp_path) == ""


def test_own_images_are_noted_with_their_scale(data, tmp_path):
    notes = []
    runs.run(
        load_recipe("table_1/se_resnet50_baseline", "smoke").model_copy(
            update={"epochs": 1, "batch_size": 9}
        ),
        data,
        tmp_path / "run",
        tmp_path / "records",
        device=CPU,
        cache=tmp_path / "cache",
        workers=0,
        note=notes.append,
    )
    assert any("not the images of scale smoke; this run has a scale" in text for text in notes)


def test_evaluations_and_figures_can_be_made_fewer(train):
    stored, _ = train(epochs=5, evaluate_every=2, figure_images=5)
    history = stored.history()
    judged = ~np.isnan(history["top1_error_pct"])
    assert list(np.array(history["epoch"])[judged]) == [2, 4, 5]
    assert stored.record.last.epoch == 5
    assert stored.record.data.val_images == 12
    figures = stored.figure_data()
    assert figures["labels"].tolist() == [0, 0, 1, 1, 2]  # images 0, 2, 4, 7 and 9 of 12
    assert len(figures["rewards"]) == len(figures["cam/maps"]) == 5


def test_a_record_says_its_threads_and_the_commit_of_its_plan(train, monkeypatch):
    plain, _ = train("se_resnet50_baseline")
    assert (plain.record.threads, plain.record.plan_commit) == (torch.get_num_threads(), None)
    row = plain.record.recipe  # as if its row followed the plan
    monkeypatch.setattr("dreal_lib.training.run_record.planned_names", lambda: [row])
    planned, _ = train("se_resnet50_baseline", seed=1)
    assert planned.record.plan_commit == environment_facts("cpu").plan_commit


def test_the_plans_commit_is_the_last_that_touched_it(tmp_path):
    def git(*arguments):
        name = ["-c", "user.name=a", "-c", "user.email=a@b.c"]
        command = ["git", *name, "-C", str(tmp_path), *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    assert environment_facts("cpu", tmp_path).plan_commit is None
    git("init", "-q")
    (tmp_path / "book").mkdir()
    for name in ("other", PLAN, "third"):
        (tmp_path / name).write_text(name)
        git("add", name)
        git("commit", "-qm", name)
    facts = environment_facts("cpu", tmp_path)
    assert facts.plan_commit == git("rev-parse", "HEAD~1")
    assert facts.git.commit == git("rev-parse", "HEAD")
