"""The command line as a user meets it: whole runs, interruptions, and bad input in one line."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from tiny_images import set_arguments, tiny_recipe, write_tiny_set

from book.companion import commands
from dreal_lib.records import find_records, read_record
from dreal_lib.runtime import environment
from dreal_lib.training import runs
from dreal_lib.training.checkpoints import load_checkpoint, save_checkpoint

BASELINE, REINFORCED = "table_1/se_resnet50_baseline", "table_1/se_resnet50_reinforced"

# The program as the console script starts it, but it sends itself a Ctrl-C at a known step.
INTERRUPTED = """
import os, signal
from book.companion import commands
from dreal_lib.training.display import TrainingDisplay

def update(self, progress, steps, row):
    if (progress.epoch, progress.step) == (1, 2):
        os.kill(os.getpid(), signal.SIGINT)

TrainingDisplay.update = update
commands.main()
"""


@pytest.fixture
def data(tmp_path):
    return write_tiny_set(tmp_path / "data")


@pytest.fixture
def dreal(tmp_path, monkeypatch, capfd):
    """Function that runs the program in this process, from another folder: (status, out, err)."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setattr(environment, "PROJECT_ROOT", tmp_path / "here")

    def call(*words):
        monkeypatch.setattr(sys, "argv", ["dreal", *map(str, words)])
        capfd.readouterr()
        with pytest.raises(SystemExit) as stopped:
            commands.main()
        return stopped.value.code or 0, *capfd.readouterr()

    return call


# Else `build/` is the checkout's, wherever the program is started.
NO_CHECKOUT = """
from pathlib import Path
from dreal_lib.runtime import environment
environment.PROJECT_ROOT = Path("/nowhere")
"""


def interrupted(folder: Path, *words):
    """The program in a process of its own, from another folder."""
    return subprocess.run(
        [sys.executable, "-c", NO_CHECKOUT + INTERRUPTED, *map(str, words)],
        cwd=folder,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def test_a_baseline_from_images_to_record_and_its_weights_evaluated(data, tmp_path, dreal):
    folder = tmp_path / "here"
    words = ("train", BASELINE, "--data", data, "--device", "cpu", *set_arguments())
    status, said, err = dreal(*words)
    assert (status, err) == (0, "")
    (stored,) = find_records(folder / "build" / "records")
    last = stored.record.last
    assert stored.record.complete
    assert f"record: {stored.path.relative_to(folder)}" in said
    lines = [line for line in said.splitlines() if line.startswith("epoch")]
    assert len(lines) == 2
    assert f"top-1 error {last.top1_error_pct:.2f} %" in lines[1]
    run = folder / "build" / "runs" / stored.record.scale / BASELINE / "seed0"
    assert sorted(path.name for path in run.iterdir()) == [
        "checkpoint.previous.safetensors",
        "checkpoint.safetensors",
        "run.lock",
        "tensorboard",
        "weights.safetensors",
    ]
    status, out, err = dreal("evaluate", run / runs.WEIGHTS, "--data", data, "--device", "cpu")
    assert (status, err) == (0, "")
    assert out.splitlines() == [
        f"top-1 error {last.top1_error_pct:.2f} %",
        f"cross-entropy {last.val_loss:.4f}",
    ]


def test_a_reinforced_run_stopped_by_ctrl_c_goes_on_with_the_same_command(data, tmp_path, dreal):
    folder = tmp_path / "here"
    words = ["train", REINFORCED, "--data", data, "--device", "cpu", "--threads", 1]
    words += ["--cache", tmp_path / "cache", *set_arguments()]
    stopped = interrupted(folder, *words)
    assert stopped.returncode == commands.STOPPED, stopped.stderr
    assert stopped.stderr.splitlines() == [
        "dreal: stopped; the same command continues from the checkpoint"
    ]
    assert not (folder / "build" / "records").exists()
    (checkpoint,) = folder.rglob("checkpoint.safetensors")
    facts = load_checkpoint(checkpoint)[1]
    assert (facts["epoch"], facts["step"]) == (1, 2)

    status, out, err = dreal(*words)
    assert (status, err) == (0, "")
    assert "continuing" in out
    (stored,) = find_records(folder / "build" / "records")
    assert set(stored.blocks()["epoch"]) == {1, 2}

    status, out, _ = dreal(*words, "--run", tmp_path / "whole", "--records", tmp_path / "records")
    assert (status, "continuing" in out) == (0, False)
    whole = read_record(out.splitlines()[-1].removeprefix("record: "))
    assert stored.record.checkpoint_sha256 == whole.checkpoint_sha256
    assert stored.record.last == whole.last
    assert stored.record.files.figure_data == whole.files.figure_data
    assert stored.record.files.blocks == whole.files.blocks


def test_a_users_own_images_need_no_more_than_folders(dreal, data, tmp_path):
    places = ["--run", tmp_path / "mine", "--records", tmp_path / "r", "--cache", tmp_path / "c"]
    status, _, err = dreal(
        "train", REINFORCED, "--data", data, "--seed", 3, *places, *set_arguments(epochs=1)
    )
    assert (status, err) == (0, "")
    assert (tmp_path / "mine" / "weights.safetensors").exists()
    (stored,) = find_records(tmp_path / "r")
    assert (stored.record.seed, stored.record.data.name) == (3, "data")
    assert list((tmp_path / "here").iterdir()) == []


@pytest.mark.parametrize("command", ["train", "evaluate", "gates", "reproduce", "execute"])
def test_help_has_examples(dreal, command):
    status, out, err = dreal(command, "--help")
    assert (status, err) == (0, "")
    assert f"dreal {command}" in out.split("Example")[1]


def test_help_lists_the_commands(dreal):
    status, out, _ = dreal("--help")
    assert status == 0
    for command in ("prepare", "train", "evaluate", "gates", "reproduce"):
        assert command in out


@pytest.fixture
def refused(dreal, tmp_path):
    """Function that gives the one line of a refusal, and holds that it is one and left nothing."""

    def call(*words) -> str:
        status, out, err = dreal(*words)
        assert status == 2
        said = ("data: data, ", "decoded data into ", "these are not the images of scale smoke")
        assert all(line.startswith(said) for line in out.splitlines())
        assert err.startswith("dreal: ")
        assert err.count("\n") == 1
        assert err.endswith("\n")
        left = {
            path.relative_to(tmp_path / "here").as_posix()
            for path in (tmp_path / "here").rglob("*")
            if path.is_file() and path.suffix != ".lock"
        }
        assert not [name for name in left if not name.startswith("build/cache/")]
        assert not [name for name in left if "partial" in name]
        return err

    return call


def train_words(data, *more, row=BASELINE):
    return ("train", row, "--data", data, "--device", "cpu", *set_arguments(), *more)


def test_a_missing_data_folder(refused, tmp_path):
    line = refused(*train_words(tmp_path / "nowhere"))
    assert f"no folder {tmp_path / 'nowhere' / 'train'}" in line
    assert "dreal prepare" in line


def test_an_empty_data_folder(refused, tmp_path):
    (tmp_path / "empty" / "train").mkdir(parents=True)
    (tmp_path / "empty" / "val").mkdir()
    assert "holds no class folders" in refused(*train_words(tmp_path / "empty"))


STREAMED = ("--set", "decoded_cache=false", "--workers", "2")


@pytest.mark.filterwarnings("ignore:.*TorchCodec:DeprecationWarning")
@pytest.mark.parametrize("more", [(), STREAMED, (*STREAMED, "--decode", "device")])
def test_a_corrupt_image(refused, data, tmp_path, more):
    broken = data / "train" / "bee" / "3.jpg"
    broken.write_bytes(broken.read_bytes()[:200])
    assert f"cannot decode image {broken}" in refused(*train_words(data, *more))
    assert not list((tmp_path / "here").rglob("*.npy"))


def test_a_class_in_val_and_not_in_train(refused, data):
    (data / "train" / "bee").rename(data / "train" / "wasp")
    assert "class folder val/bee" in refused(*train_words(data))


def test_an_unknown_recipe_key(refused, data):
    line = refused(*train_words(data, "--set", "epoch=3"))
    assert "unknown recipe key 'epoch'; did you mean 'epochs'?" in line


def test_a_misspelt_recipe(refused, data):
    line = refused(*train_words(data, row="table_1/se_resnet50_reinforce"))
    assert f"did you mean {REINFORCED!r}?" in line


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("--profile", "smok", "did you mean 'smoke'?"),
        ("--variant", "two_core", "did you mean 'two_cores'?"),
        ("--set", "epochs", "KEY=VALUE; got 'epochs'"),
        ("--set", "epochs=many", "recipe key 'epochs'"),
        ("--set", "milestones=[0.5", "not YAML"),
        ("--set", "dreal.gama=1", "did you mean 'dreal.gamma'?"),
        ("--set", "batch_size=64", "27 images, less than one batch of 64"),
        ("--set", "classes=9", "classes must be from 2 to 3"),
        ("--set", "stages=[layer9]", "unknown stage 'layer9'"),
        ("--device", "gpu", "no such device 'gpu'"),
    ],
)
def test_bad_options(refused, data, option, value, said):
    assert said in refused(*train_words(data, option, value))


@pytest.mark.skipif(torch.cuda.is_available(), reason="asks for a GPU where there is none")
def test_a_gpu_where_there_is_none(refused, data):
    assert "this machine has no GPU; try cpu" in refused(*train_words(data, "--device", "cuda"))


def test_a_loss_that_is_no_number(dreal, data, tmp_path):
    # The largest rate that a recipe may have, for more steps than numbers last.
    changes = ("--set", "learning_rate=1000000", "--set", "batch_size=2")
    status, _, err = dreal(*train_words(data, *changes))
    assert status == 2
    assert err.startswith("dreal: the loss is ")
    assert "at epoch 1, step" in err
    assert err.count("\n") == 1
    assert not list((tmp_path / "here").rglob("*.safetensors"))
    assert not (tmp_path / "here" / "build" / "records").exists()


@pytest.mark.parametrize("option", ["--run", "--records", "--cache"])
def test_a_place_that_cannot_be_written(dreal, data, tmp_path, option):
    (tmp_path / "file").write_text("a file, no folder")
    words = train_words(data, "--set", "epochs=1", option, tmp_path / "file" / "x")
    status, _, err = dreal(*words)
    assert status == 2
    assert err.startswith("dreal: cannot write ")
    assert err.count("\n") == 1
    assert not list((tmp_path / "here").iterdir())  # nothing was trained, nothing decoded


@pytest.fixture(scope="module")
def finished_once(tmp_path_factory):
    place = tmp_path_factory.mktemp("finished")
    runs.run(
        tiny_recipe("se_resnet50_baseline"), write_tiny_set(place / "data"), place / "run",
        place / "records", device=torch.device("cpu"), cache=place / "cache", workers=0,
    )  # fmt: skip
    return place / "run"


@pytest.fixture
def finished(finished_once, tmp_path):
    """The folder of a finished run of the baseline."""
    return shutil.copytree(finished_once, tmp_path / "finished")


def truncate(path):
    path.write_bytes(path.read_bytes()[:-40])


def test_two_truncated_checkpoints(refused, data, finished):
    for name in ("checkpoint", "checkpoint.previous"):
        truncate(finished / f"{name}.safetensors")
    line = refused(*train_words(data, "--run", finished))
    assert f"checkpoint {finished / 'checkpoint.previous.safetensors'} is damaged" in line


def test_a_run_out_of_time_ends_with_its_own_status_and_goes_on(dreal, data, tmp_path):
    words = train_words(data, "--max-minutes", 1e-6, "--deterministic")
    status, _, err = dreal(*words)
    assert status == 75
    assert err.startswith("dreal: time is up after epoch 0, step 1; the same command goes on")
    assert err.count("\n") == 1
    assert not (tmp_path / "here" / "build" / "records").exists()
    status, _, err = dreal(*words[:-2], 5, "--deterministic")
    assert (status, err) == (0, "")
    (stored,) = find_records(tmp_path / "here" / "build" / "records")
    assert stored.record.complete
    assert " --deterministic " in stored.record.command


def test_a_batch_out_of_time_does_not_begin_another_run(dreal, data, tmp_path, monkeypatch):
    monkeypatch.setenv("DREAL_DEADLINE", "1")
    status, out, err = dreal(*train_words(data))
    assert (status, out) == (75, "")
    assert err == "dreal: time was up before the run began; the same command begins it\n"
    assert list((tmp_path / "here").iterdir()) == []


def test_a_budget_of_nothing(refused, data):
    assert "--max-minutes must be above 0" in refused(*train_words(data, "--max-minutes", 0))


def test_a_folder_of_another_run(refused, data, finished):
    line = refused(*train_words(data, "--run", finished, "--seed", 1))
    assert "another recipe, seed or data set" in line
    assert "--run" in line


def test_truncated_weights(refused, data, finished):
    truncate(finished / runs.WEIGHTS)
    assert "is damaged" in refused("evaluate", finished / runs.WEIGHTS, "--data", data)


def test_missing_weights(refused, data, finished):
    assert "no checkpoint" in refused("evaluate", finished / "none.safetensors", "--data", data)


def test_weights_of_another_architecture(refused, data, finished):
    tensors, facts = load_checkpoint(finished / runs.WEIGHTS)
    facts["recipe"]["network"] = "srm_resnet50"
    save_checkpoint(finished / runs.WEIGHTS, tensors, facts)
    line = refused("evaluate", finished / runs.WEIGHTS, "--data", data)
    assert "another architecture" in line
    assert "'layer1.0.attention." in line
