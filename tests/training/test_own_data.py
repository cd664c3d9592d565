"""Runs on own images: a scale of their own, and no record of other images is ever replaced."""

import json
import os

import pytest
import torch
from tiny_images import TINY, write_tiny_set

from data_prep.embedded import prepare
from dreal_lib.data.prepared import unchanged_manifest
from dreal_lib.errors import UserError
from dreal_lib.recipes import load_recipe
from dreal_lib.records import find_records, read_record, record_path
from dreal_lib.runtime import environment
from dreal_lib.tasks.task import open_data
from dreal_lib.training import runs

ROW = "table_1/se_resnet50_baseline"
# As `smoke`, with nothing set by hand, but quick.
QUICK = load_recipe(ROW).model_copy(update={**TINY, "epochs": 1, "milestones": (0.5,)})


@pytest.fixture
def train(tmp_path):
    def make(data, folder=None, **options):
        options = {"cache": tmp_path / "cache", "workers": 0, **options}
        return runs.run(QUICK, data, folder, tmp_path / "records", **options)

    return make


@pytest.fixture
def photos(tmp_path):
    return write_tiny_set(tmp_path / "photos")


def test_own_images_stay_out_of_the_reproduction_s_place(train, photos, tmp_path, monkeypatch):
    monkeypatch.setattr(environment, "PROJECT_ROOT", tmp_path / "nowhere")
    monkeypatch.chdir(tmp_path)
    path = train(photos)
    record = read_record(path)
    scale = f"smoke+own-{record.data.fingerprint[:8]}"
    assert path == tmp_path / "records" / scale / ROW / "seed0.json"
    assert (tmp_path / "build" / "runs" / scale / ROW / "seed0" / runs.WEIGHTS).exists()
    assert find_records(tmp_path / "records", profile="smoke") == []
    assert " --variant" not in record.command
    assert record.data.class_names == ("ant", "bee", "cat")


def test_a_second_set_with_the_same_run_folder_replaces_nothing(train, photos, tmp_path):
    first = train(photos, tmp_path / "X")
    before = first.read_bytes()
    others = write_tiny_set(tmp_path / "others", train=10)
    with pytest.raises(UserError, match="another recipe, seed or data set"):
        train(others, tmp_path / "X")
    second = train(others, tmp_path / "Y")
    assert second != first
    assert first.read_bytes() == before


def test_a_record_of_other_images_in_the_place_is_refused_before_training(
    train, photos, tmp_path, monkeypatch
):
    monkeypatch.setattr(runs, "is_own_data", lambda *_: False)
    path = train(photos, tmp_path / "X")
    assert path == record_path(tmp_path / "records", "smoke", None, ROW, 0)
    before = path.read_bytes()
    others = write_tiny_set(tmp_path / "others", train=10)
    with pytest.raises(UserError) as caught:
        train(others, tmp_path / "Y")
    line = str(caught.value)
    assert "(photos, fingerprint " in line
    assert "these are others, " in line
    assert "--records" in line
    assert not (tmp_path / "Y").exists()
    assert path.read_bytes() == before


def test_a_record_that_names_other_data_than_its_own_is_refused(train, photos, tmp_path):
    path = train(photos, tmp_path / "X")
    content = json.loads(path.read_text())
    content["variant"] = "own-00000000"
    path.write_text(json.dumps(content))
    with pytest.raises(UserError, match="own-00000000"):
        read_record(path)


def test_a_prepared_set_counts_while_it_is_unchanged(tmp_path):
    root = prepare(tmp_path / "set", train_images=10, val_images=10, image_size=16, workers=1)
    recipe = load_recipe(ROW)
    assert open_data(recipe, root, None).manifest["name"] == "embedded"
    cached = open_data(recipe, root, tmp_path / "cache")
    assert cached.manifest is not None
    assert cached.facts == open_data(recipe, root, None).facts
    files = sorted((root / "train").rglob("*.png"))
    content = files[0].read_bytes()
    files[0].write_bytes(files[1].read_bytes())  # changed
    assert open_data(recipe, root, None).manifest is None
    files[0].write_bytes(content)
    (files[0].parent / "mine.png").write_bytes(content)  # added
    assert open_data(recipe, root, None).manifest is None
    (files[0].parent / "mine.png").unlink()
    names = [str(path.relative_to(root)) for path in files]
    folders = sorted({str(path.parent.relative_to(root)) for path in files})
    assert unchanged_manifest(root, names, folders) is not None
    assert unchanged_manifest(root, names[1:], folders) is None  # taken away


def test_the_scale_is_known_without_decoding_or_writing(photos, tmp_path):
    before = sorted(tmp_path.rglob("*"))
    data = open_data(QUICK, photos, None)
    assert sorted(tmp_path.rglob("*")) == before
    cached = open_data(QUICK, photos, tmp_path / "cache")
    assert runs.placed(QUICK, data).variant == runs.placed(QUICK, cached).variant


@pytest.mark.parametrize("place", ["folder", "records"])
def test_places_are_tried_before_the_images_are_opened(place, tmp_path):
    (tmp_path / "file").write_text("")
    blocked, fine = tmp_path / "file" / "x", tmp_path / "fine"
    folder, records = (blocked, fine) if place == "folder" else (fine, blocked)
    with pytest.raises(UserError, match=f"cannot write to {blocked}"):
        runs.run(QUICK, tmp_path / "no_images", folder, records, device=torch.device("cpu"))
    assert not fine.exists()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_permission(photos, tmp_path):
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o500)
    with pytest.raises(UserError, match=f"cannot write to {closed}"):
        runs.run(QUICK, photos, tmp_path / "run", closed)


def test_build_is_the_checkout_s_wherever_a_command_is_called(tmp_path, monkeypatch):
    root = tmp_path / "checkout"
    (root / "inner").mkdir(parents=True)
    (root / "Snakefile").touch()
    monkeypatch.setattr(environment, "PROJECT_ROOT", root)
    places = []
    for folder in (root, root / "inner", tmp_path):
        monkeypatch.chdir(folder)
        places.append(environment.build_folder().resolve())
        assert runs.folder_of(QUICK, 0).resolve() == places[-1] / "runs" / "smoke" / ROW / "seed0"
    assert set(places) == {root / "build"}
    monkeypatch.setattr(environment, "PROJECT_ROOT", tmp_path / "installed")
    assert environment.build_folder().resolve() == tmp_path / "build"
