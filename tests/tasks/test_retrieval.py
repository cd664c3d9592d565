"""Instance recognition from images to record: what a run leaves, continues, evaluates, refuses.

Above 350 lines, as one finished run of each row is read by many tests.
"""

import math
import os
import shutil
import signal
import sys

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from slow_reference import slow_ranking, slow_retrieval
from synthetic_retrieval import figure_arrays
from tiny_identities import (
    read_index,
    tiny_retrieval_recipe,
    write_index,
    write_tiny_identities,
)

from book.companion import commands
from dreal_lib import records
from dreal_lib.data.identities import open_identity_set
from dreal_lib.data.identity_batches import evaluation_transform
from dreal_lib.diagnosis import ranked
from dreal_lib.errors import Interrupted, UserError
from dreal_lib.networks.embedding import create_embedding
from dreal_lib.recipes.retrieval import RETRIEVAL
from dreal_lib.tasks.retrieval import create_learner, identity_facts, open_data, open_task
from dreal_lib.training import runs, trained
from dreal_lib.training.checkpoints import load_checkpoint
from dreal_lib.training.trainer import CHECKPOINT

CPU = torch.device("cpu")
ROWS = ("resnet50_baseline", "resnet50_attention", "resnet50_reinforced")
METRICS = ("rank1_pct", "rank5_pct", "rank10_pct", "map_step_pct", "map_trapezoid_pct", "minp_pct")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_tiny_identities(tmp_path_factory.mktemp("set") / "tiny")


@pytest.fixture
def changed(data, tmp_path):
    """Function that gives a copy of the set whose rows were changed by a function."""

    def make(change):
        root = tmp_path / "changed"
        shutil.copytree(data, root)
        write_index(root, [row for old in read_index(root) if (row := change(*old))])
        return root

    return make


def run(row, root, folder, *, seed=0, listen=None, **changes):
    """Trains a row on a set; gives (stored record, run folder)."""
    path = runs.run(
        tiny_retrieval_recipe(row, **changes),
        root,
        folder / "run",
        folder / "records",
        seed=seed,
        device=CPU,
        cache=folder / "cache",
        workers=0,
        listener=listen or (lambda progress, steps, row: None),
    )
    return records.StoredRecord(records.read_record(path), path), folder / "run"


@pytest.fixture(scope="module")
def finished(data, tmp_path_factory):
    """Of each row a finished run: (stored record, run folder); the reinforced with figure data."""
    made = {"resnet50_reinforced": run(ROWS[2], data, tmp_path_factory.mktemp(ROWS[2]))}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ranked, "figure_arrays", lambda *_: figure_arrays())
        return made | {row: run(row, data, tmp_path_factory.mktemp(row)) for row in ROWS[:2]}


@pytest.fixture
def train(data, tmp_path, monkeypatch):
    """Function that runs a row on the tiny set, without figure data: (stored record, folder)."""
    monkeypatch.setattr(ranked, "figure_arrays", lambda *_: figure_arrays())

    def make(row="resnet50_reinforced", *, root=data, folder="here", **options):
        return run(row, root, tmp_path / folder, **options)

    return make


def refused(call, *said) -> str:
    with pytest.raises(UserError) as caught:
        call()
    message = str(caught.value)
    assert "\n" not in message
    for text in said:
        assert text in message
    return message


# --- what a run leaves --------------------------------------------------------------------------


@pytest.mark.parametrize("row", ROWS)
def test_a_run_leaves_a_whole_record(finished, row):
    stored, folder = finished[row]
    record, recipe = stored.record, tiny_retrieval_recipe(row)
    assert (record.task, record.schema_version, record.complete) == ("retrieval", 4, True)
    assert (record.recipe, record.recipe_hash) == (recipe.name, recipe.hash)
    assert record.settings == recipe.model_dump(mode="json") | {"variant": record.variant}
    assert (record.network, record.method) == (recipe.network, recipe.method)
    facts = record.data
    assert (facts.name, facts.train_images, facts.train_identities) == ("tiny", 16, 4)
    assert (facts.query_images, facts.gallery_images, facts.cameras) == (6, 7, 2)  # junk left out
    history = pd.DataFrame(stored.history())
    assert tuple(history.columns) == RETRIEVAL.history_columns
    assert history.epoch.tolist() == [1, 2]
    assert history.learning_rate.tolist() == pytest.approx(
        [recipe.learning_rate, recipe.learning_rate / 10]
    )
    np.testing.assert_allclose(
        history.classification_loss, history.identity_loss + history.triplet_loss, rtol=1e-6
    )
    assert (history.quality_loss != 0).all() == (record.method == "reinforced")
    assert (record.files.blocks is not None) == (record.method == "reinforced")
    assert load_checkpoint(folder / runs.WEIGHTS)[1]["task"] == "retrieval"


def test_a_reinforced_run_has_a_curve_for_each_of_its_maps(finished):
    blocks = pd.DataFrame(finished["resnet50_reinforced"][0].blocks())
    names = {f"layer{s}.0.{kind}" for s in (1, 2, 3, 4) for kind in ("channel", "spatial")}
    assert set(blocks["map"]) == names
    assert set(blocks.epoch) == {1, 2}


def test_the_scores_are_the_slow_references(finished, data):
    """Weights, images and protocol each taken up by other means than the library's own loop."""
    stored, folder = finished["resnet50_attention"]
    tensors, _ = load_checkpoint(folder / runs.WEIGHTS)
    model = create_embedding("cbam_resnet14", 4, width=4, stem="cifar").eval()
    model.load_state_dict(tensors)
    transform = evaluation_transform((32, 16))
    features, ids, cameras = {}, {}, {}
    for split in ("query", "gallery"):
        rows = [row for row in read_index(data) if row[3] == split]
        raw = [np.array(Image.open(data / row[0]).convert("RGB")) for row in rows]
        images = torch.stack([transform(torch.from_numpy(r).permute(2, 0, 1)) for r in raw])
        with torch.no_grad():
            mean = (model(images).after_neck + model(images.flip(3)).after_neck) / 2
        features[split] = mean.tolist()
        ids[split] = [-1 if row[1] == "-1" else row[1] for row in rows]
        cameras[split] = [row[2] for row in rows]
    distances = [slow_ranking(q, features["gallery"], "cosine") for q in features["query"]]
    expected = slow_retrieval(
        distances, ids["query"], ids["gallery"], cameras["query"], cameras["gallery"]
    )
    assert expected["valid_queries"] == 6
    last = stored.record.last
    for r in (1, 5):
        assert getattr(last, f"rank{r}_pct") == pytest.approx(100 * expected["cmc"][r - 1])
    for name in ("map_step", "map_trapezoid", "minp"):
        assert getattr(last, f"{name}_pct") == pytest.approx(100 * expected[name], rel=1e-6)


def test_only_every_nth_epoch_and_the_last_are_judged(train):
    stored, _ = train("resnet50_baseline", epochs=5, evaluate_every=2)
    history, record = pd.DataFrame(stored.history()), stored.record
    judged = history.dropna()
    assert judged.epoch.tolist() == [2, 4, 5]
    assert history[list(METRICS)].isna().any(axis=1).tolist() == [True, False, True, False, False]
    assert not history.drop(columns=list(METRICS)).isna().any().any()
    assert record.last.epoch == 5
    best = judged.loc[judged.map_step_pct.idxmax()]
    for metrics, row in ((record.last, judged.iloc[-1]), (record.best, best)):
        assert metrics.epoch == row.epoch
        for name in METRICS:
            assert getattr(metrics, name) == pytest.approx(row[name], rel=1e-8)


def test_the_best_epoch_has_the_highest_map(train, monkeypatch):
    scores = iter([40.0, 70.0, 70.0, 50.0])

    def judge(images, query, gallery, metric):
        value = next(scores, 50.0) / 100
        names = ("rank1", "rank5", "rank10", "map_trapezoid", "minp")
        return type("Found", (), {"map_step": value, **dict.fromkeys(names, 1 - value)})

    monkeypatch.setattr("dreal_lib.tasks.retrieval.retrieve", judge)
    record = train("resnet50_baseline", epochs=4)[0].record
    assert (record.best.epoch, record.best.map_step_pct) == (2, 70)  # the first of equals
    assert (record.last.epoch, record.last.map_step_pct) == (4, 50)


def test_training_learns(train):
    plain = {"identities_per_batch": 4, "images_per_identity": 4, "evaluate_every": 20}
    calm = {"retrieval.erasing_probability": 0, "milestones": [0.9], "learning_rate": 0.01}
    stored, _ = train("resnet50_baseline", epochs=20, **plain, **calm)
    history = pd.DataFrame(stored.history())
    for loss in ("identity_loss", "triplet_loss"):
        assert history[loss].iloc[-3:].mean() < 0.6 * history[loss].iloc[:2].mean(), loss


@pytest.mark.parametrize(
    "changes",
    [
        {"precision": "bf16"},
        {"retrieval.draw": "exhaustive", "retrieval.metric": "euclidean"}
        | {"retrieval.triplet_distance": "normalised", "retrieval.neck_bias": "learned"},
        {"images_per_identity": 6, "identities_per_batch": 4},  # more than any identity has
    ],
    ids=["bf16", "other choices", "repeated"],
)
def test_other_settings_train_too(train, changes):
    record = train(epochs=1, **changes)[0].record
    assert record.complete
    assert 0 <= record.last.map_step_pct <= 100


def test_an_identity_of_a_single_image_is_trained_on(train, changed):
    """A positive is then the image itself, augmented anew; the rule of PK sampling."""

    def change(file, identity, camera, split):
        keep = identity != "t0" or file.endswith("t0_c0_0.png")
        return (file, identity, camera, split) if keep else None

    record = train(root=changed(change), identities_per_batch=4, epochs=1)[0].record
    assert (record.data.train_images, record.data.train_identities) == (13, 4)


def test_a_set_without_cameras_is_trained_on(train, changed):
    root = changed(lambda file, identity, camera, split: (file, identity, "", split))
    record = train("resnet50_baseline", root=root, epochs=1)[0].record
    assert record.data.cameras == 0


# --- initial weights and continuation -----------------------------------------------------------


def test_attention_and_reinforce_start_from_the_same_network():
    learners = {
        (row, seed): create_learner(tiny_retrieval_recipe(row), 4, CPU, seed)
        for row, seed in ((ROWS[1], 0), (ROWS[2], 0), (ROWS[2], 1))
    }
    one, two, other = (learner.actor.state_dict() for learner in learners.values())
    assert one.keys() == two.keys()
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert not torch.equal(one["conv1.weight"], other["conv1.weight"])


def test_two_runs_of_a_seed_are_equal_and_of_two_seeds_are_not(train, finished):
    first = finished["resnet50_reinforced"][0].record.checkpoint_sha256
    assert train()[0].record.checkpoint_sha256 == first
    assert train(seed=1, folder="other")[0].record.checkpoint_sha256 != first


class Killed(Exception):
    """Stands for a process that ends at once, without a word."""


def die_at(epoch, step):
    """Ends the run at a step (both from 1); step 0: right after the epoch."""

    def listen(progress, steps, row):
        place = (progress.epoch, 0) if row is not None else (progress.epoch + 1, progress.step)
        if place == (epoch, step):
            raise Killed

    return listen


def signal_at(epoch, step):
    def listen(progress, steps, row):
        if row is None and (progress.epoch + 1, progress.step) == (epoch, step):
            os.kill(os.getpid(), signal.SIGINT)

    return listen


def test_a_continued_adam_run_equals_an_uninterrupted_one(train):
    """Bit by bit: the moments, their maxima and the step count of each parameter come back."""
    row, changes = ROWS[2], {"epochs": 3, "evaluate_every": 2}
    whole, whole_folder = train(row, folder="whole", **changes)
    for ending, stop in (
        (Interrupted, signal_at(1, 1)),
        (Killed, die_at(1, 0)),
        (Killed, die_at(2, 1)),  # what was done of epoch 2 is lost, and done again
        (Interrupted, signal_at(3, 2)),  # the last step of all; its evaluation is still due
    ):
        with pytest.raises(ending):
            train(row, listen=stop, **changes)
    resumed, folder = train(row, **changes)
    one, two = (load_checkpoint(f / runs.WEIGHTS)[0] for f in (whole_folder, folder))
    assert all(torch.equal(one[name], two[name]) for name in one)
    kept = [c for c in RETRIEVAL.history_columns if "second" not in c]
    assert pd.DataFrame(resumed.history())[kept].equals(pd.DataFrame(whole.history())[kept])
    assert pd.DataFrame(resumed.blocks()).equals(pd.DataFrame(whole.blocks()))


def test_the_checkpoint_holds_amsgrads_state(finished):
    folder = finished["resnet50_reinforced"][1]
    tensors, _ = load_checkpoint(folder / CHECKPOINT)
    states = {n.split(".", 2)[2] for n in tensors if n.startswith("optimizer.")}
    assert states == {"exp_avg", "exp_avg_sq", "max_exp_avg_sq", "step"}
    counts = {float(t) for n, t in tensors.items() if n.endswith(".step") and "optim" in n}
    assert counts == {4.0}  # two epochs of four identities in batches of two


# --- evaluation and bad input -------------------------------------------------------------------


def test_dreal_evaluate_prints_the_scores(finished, data, monkeypatch, capsys):
    stored, folder = finished["resnet50_reinforced"]
    last = stored.record.last
    words = ["evaluate", folder / runs.WEIGHTS, "--data", data, "--device", "cpu", "--workers", 0]
    monkeypatch.setattr(sys, "argv", ["dreal", *map(str, words)])
    with pytest.raises(SystemExit) as ended:
        commands.main()
    assert not ended.value.code
    assert capsys.readouterr().out.splitlines() == [
        f"Rank-1 {last.rank1_pct:.2f} %",
        f"Rank-5 {last.rank5_pct:.2f} %",
        f"Rank-10 {last.rank10_pct:.2f} %",
        f"mAP (step sum) {last.map_step_pct:.2f} %",
        f"mAP (trapezoid) {last.map_trapezoid_pct:.2f} %",
        f"mINP {last.minp_pct:.2f} %",
    ]


def test_weights_of_other_identities_are_refused(finished, tmp_path):
    folder = finished["resnet50_baseline"][1]
    other = write_tiny_identities(tmp_path / "other", trained=5)
    refused(
        lambda: trained.evaluate_weights(folder / runs.WEIGHTS, other, CPU, tmp_path, 0),
        "'fc.weight'",
        "shape (4, 128), the network wants (5, 128)",
    )


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda f, i, c, s: (f, i.replace("q1", "t1"), c, s), ("training and in test", "t1")),
        (lambda f, i, c, s: (f, i, "c0", s), ("one camera only",)),
        (lambda f, i, c, s: (f, i, "" if i == "t1" else c, s), ("every image needs a camera",)),
        (lambda f, i, c, s: (f, i + s if i != "-1" else i, c, s), ("none of the 6 queries",)),
        (lambda f, i, c, s: (f, "t0", c, s) if s == "train" else (f, i, c, s), ("two identities",)),
    ],
    ids=["overlap", "one camera", "a camera is missing", "no match", "one identity"],
)
def test_sets_that_cannot_be_are_refused_before_training(train, changed, tmp_path, change, said):
    root = changed(change)
    refused(lambda: train(root=root), *said)
    assert not (tmp_path / "here").exists()


def test_more_identities_a_batch_than_there_are_is_refused(train):
    said = ("has 4 identities, fewer than the 5", "--set identities_per_batch=4")
    refused(lambda: train(identities_per_batch=5), *said)


def test_features_that_are_no_numbers_are_refused(data, tmp_path):
    recipe = tiny_retrieval_recipe("resnet50_baseline")
    task = open_task(recipe, open_data(recipe, data, tmp_path), CPU, workers=0)
    assert tuple(task.validate(1)) == RETRIEVAL.metric_names
    assert math.isfinite(task.validate(None)["map_step_pct"])
    torch.nn.init.constant_(task.learner.actor.neck.weight, math.nan)
    refused(lambda: task.validate(1), "query_features holds numbers that are NaN", "6 of 6 rows")
    torch.nn.init.zeros_(task.learner.actor.neck.weight)
    refused(lambda: task.validate(1), "zero vectors, which have no cosine")


def test_the_fingerprint_is_of_listing_and_sizes(data, changed, tmp_path):
    def found(root):
        return identity_facts(open_identity_set(root)).fingerprint

    first = found(data)
    copy = tmp_path / "copy"
    shutil.copytree(data, copy)
    assert found(copy) == first  # wherever it lies
    image = copy / "train" / "t1_c0_0.png"
    image.write_bytes(image.read_bytes() + b"more")
    assert found(copy) != first
    swapped = {"t1": "t2", "t2": "t1"}
    for number, change in enumerate(
        (
            lambda f, i, c, s: (f, swapped.get(i, i), c, s),
            lambda f, i, c, s: (f, i, "c9" if f.startswith("query/q0") else c, s),
            lambda f, i, c, s: None if i == "distractor" else (f, i, c, s),
        )
    ):
        root = changed(change)
        assert found(root) != first
        root.rename(tmp_path / f"used{number}")
