"""A run's weights in use: class names, predictions, export."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tiny_identities import tiny_retrieval_recipe, write_tiny_identities
from tiny_images import CLASSES, tiny_recipe, write_tiny_set
from typer.testing import CliRunner

from book.companion.commands import app
from dreal_lib import create_model
from dreal_lib.errors import UserError
from dreal_lib.training import runs, trained
from dreal_lib.training.checkpoints import load_checkpoint, save_checkpoint
from dreal_lib.training.trained import export_classifier, open_classifier

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_tiny_set(tmp_path_factory.mktemp("images") / "tiny")


@pytest.fixture(scope="module", params=[True, False], ids=["decoded", "streamed"])
def weights(request, data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    recipe = tiny_recipe("se_resnet50_baseline", decoded_cache=request.param)
    places = {"cache": folder / "cache", "workers": 0, "device": CPU}
    runs.run(recipe, data, folder, folder / "records", **places)
    return folder / runs.WEIGHTS


def called(*words) -> str:
    done = CliRunner().invoke(app, list(map(str, words)), catch_exceptions=False)
    assert done.exit_code == 0
    return done.output


@pytest.mark.filterwarnings("error:The given NumPy array is not writable")
def test_predictions_are_those_of_the_evaluation(weights, data, tmp_path):
    files = sorted((data / "val").rglob("*.*g"))
    rows = json.loads(called("predict", weights, *files, "--json", "--device", "cpu"))
    assert [row["file"] for row in rows] == list(map(str, files))
    wrong = [row["class"] != file.parent.name for row, file in zip(rows, files, strict=True)]
    judged = trained.evaluate_weights(weights, data, CPU, tmp_path, workers=0)
    assert 100 * np.mean(wrong) == pytest.approx(judged["top1_error_pct"])
    losses = [-np.log(r["probabilities"][f.parent.name]) for r, f in zip(rows, files, strict=True)]
    assert np.mean(losses) == pytest.approx(judged["val_loss"], rel=1e-4)
    for row in rows:
        assert sum(row["probabilities"].values()) == pytest.approx(1, abs=1e-5)
        assert row["probability"] == max(row["probabilities"].values())
    first = called("predict", weights, *files, "--device", "cpu").splitlines()[0].split()
    assert first == [str(files[0]), f"{rows[0]['probability']:.4f}", rows[0]["class"]]


def test_an_image_that_cannot_be_read_is_named(weights, tmp_path):
    with pytest.raises(UserError, match=r"no\.png"):
        open_classifier(weights).predict([tmp_path / "no.png"])


def test_weights_are_not_judged_on_other_classes(weights, tmp_path):
    others = write_tiny_set(tmp_path / "others", classes=("ant", "bee", "dog"))
    with pytest.raises(UserError) as caught:
        trained.evaluate_weights(weights, others, CPU, tmp_path / "cache", workers=0)
    assert "(ant, bee, cat)" in str(caught.value)
    assert "(ant, bee, dog)" in str(caught.value)


def test_weights_from_before_names_were_kept_number_their_classes(weights, data, tmp_path):
    tensors, facts = load_checkpoint(weights)
    assert facts.pop("classes") == list(CLASSES)
    old = tmp_path / runs.WEIGHTS
    save_checkpoint(old, tensors, facts)
    assert open_classifier(old).classes == ("0", "1", "2")
    trained.evaluate_weights(old, data, CPU, tmp_path / "cache", workers=0)


def test_an_export_makes_the_same_network(weights, data, tmp_path):
    out = called("export", weights, tmp_path / "out").splitlines()
    assert len(out) == 2
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert config["classes"] == list(CLASSES)
    network = create_model(**config["model"]).eval()
    network.load_state_dict(load_file(tmp_path / "out" / "model.safetensors"))
    made = open_classifier(weights)
    images = made.pixels(next((data / "val" / "ant").iterdir()))[None]
    with torch.no_grad():
        torch.testing.assert_close(network(images), made.network(images))


def test_an_exported_program_needs_no_library(weights, data, tmp_path):
    *_, path = export_classifier(weights, tmp_path, program=True)
    made = open_classifier(weights)
    images = torch.stack([made.pixels(file) for file in sorted((data / "val" / "bee").iterdir())])
    with torch.no_grad():
        found = torch.export.load(path).module()(images)
        torch.testing.assert_close(found, made.network(images), rtol=1e-4, atol=1e-5)


def test_an_embedding_has_no_classes(tmp_path):
    root = write_tiny_identities(tmp_path / "set")
    recipe = tiny_retrieval_recipe("resnet50_baseline", epochs=1)
    runs.run(recipe, root, tmp_path / "run", tmp_path / "records", device=CPU, workers=0)
    with pytest.raises(UserError, match="no classes to name"):
        open_classifier(tmp_path / "run" / runs.WEIGHTS)
