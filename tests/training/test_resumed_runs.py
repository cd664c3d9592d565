"""Starting a run again: what its record says of the code, and what need not be fetched anew."""

import os
import signal

import pytest
import torch
from synthetic_retrieval import figure_arrays
from tiny_identities import tiny_retrieval_recipe, write_tiny_identities
from tiny_images import tiny_recipe, write_tiny_set

from dreal_lib import records
from dreal_lib.diagnosis import ranked
from dreal_lib.errors import Interrupted, UserError
from dreal_lib.runtime.environment import Git
from dreal_lib.training import runs
from dreal_lib.training.checkpoints import load_checkpoint, save_checkpoint
from dreal_lib.training.run_folder import CHECKPOINT, PREVIOUS

A, B = "a" * 40, "b" * 40


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    place = tmp_path_factory.mktemp("sets")
    return {
        "classification": write_tiny_set(place / "images"),
        "retrieval": write_tiny_identities(place / "identities"),
    }


def stop_after(epoch, step):
    def listen(progress, steps, row):
        if row is None and (progress.epoch + 1, progress.step) == (epoch, step):
            os.kill(os.getpid(), signal.SIGINT)

    return listen


@pytest.fixture
def start(data, tmp_path, monkeypatch):
    """Function that starts a run by the code of a commit: the record, or None if it was stopped."""
    monkeypatch.setattr(ranked, "figure_arrays", lambda *_: figure_arrays())

    def make(git, *, stop=None, folder="run", recipe=None, note=lambda text: None):
        monkeypatch.setattr("dreal_lib.runtime.environment.git_facts", lambda root: git)
        recipe = recipe or tiny_recipe("se_resnet50_baseline")
        try:
            path = runs.run(
                recipe,
                data[recipe.task],
                tmp_path / folder,
                tmp_path / f"{folder}-records",
                device=torch.device("cpu"),
                cache=tmp_path / "cache",
                workers=0,
                listener=stop_after(*stop) if stop else lambda progress, steps, row: None,
                note=note,
            )
        except Interrupted:
            return None
        return records.read_record(path)

    return make


CLEAN, OTHER = Git(commit=A, clean=True), Git(commit=B, clean=True)
NONE = Git(commit=None, clean=None)


@pytest.mark.parametrize("git", [CLEAN, Git(commit=A, clean=False), NONE])
def test_starts_of_the_same_code_leave_its_record_as_it_is(start, git):
    notes = []
    for place in ((1, 1), (2, 1)):
        assert start(git, stop=place) is None
    record = start(git, note=notes.append)
    assert record.git == git
    assert not [line for line in notes if "changed" in line]


@pytest.mark.parametrize(
    ("starts", "said"),
    [
        ([CLEAN, OTHER], "(aaaaaaaaaaaa, now bbbbbbbbbbbb)"),
        ([CLEAN, OTHER, OTHER], ""),  # it was said at the second start
        ([CLEAN, OTHER, CLEAN], "(bbbbbbbbbbbb, now aaaaaaaaaaaa)"),
        ([Git(commit=A, clean=False), CLEAN], "(aaaaaaaaaaaa with uncommitted changes, now aaaa"),
        ([NONE, CLEAN], "(no known commit, now aaaaaaaaaaaa)"),
    ],
)
def test_a_run_of_several_states_of_the_code_does_not_count_as_made_from_one(start, starts, said):
    notes = []
    for git, place in zip(starts[:-1], ((1, 1), (2, 1)), strict=False):
        assert start(git, stop=place) is None
    record = start(starts[-1], note=notes.append)
    assert record.git == Git(commit=starts[-1].commit, clean=False)
    changed = [line for line in notes if "the code changed" in line]
    assert len(changed) == bool(said)
    assert all(said in line and "\n" not in line for line in changed)


def test_a_record_written_again_by_other_code_says_so(start):
    assert start(CLEAN).git == CLEAN
    assert start(CLEAN).git == CLEAN
    assert start(OTHER).git == Git(commit=B, clean=False)


def test_of_a_checkpoint_that_kept_no_starts_nothing_is_claimed(start, tmp_path):
    start(CLEAN, stop=(2, 1))
    path = tmp_path / "run" / CHECKPOINT
    tensors, facts = load_checkpoint(path)
    assert facts.pop("starts") == [{"commit": A, "clean": True}]
    save_checkpoint(path, tensors, facts)
    assert start(CLEAN).git == Git(commit=A, clean=False)


@pytest.fixture
def fetched(monkeypatch):
    """A list that grows with each time ImageNet's weights are fetched; these are made up."""
    times = []

    def load(model, depth, width, stem):
        times.append(depth)
        torch.nn.init.constant_(model.conv1.weight, 0.02)

    monkeypatch.setattr("dreal_lib.networks.embedding._load_imagenet_weights", load)
    return times


@pytest.mark.parametrize("row", ["resnet50_baseline", "resnet50_reinforced"])
def test_initial_weights_are_fetched_once(start, fetched, tmp_path, row):
    recipe = tiny_retrieval_recipe(row, pretrained=True)
    whole = start(CLEAN, recipe=recipe, folder="whole")
    assert len(fetched) == 1
    for place in ((1, 1), (2, 1)):
        assert start(CLEAN, stop=place, recipe=recipe) is None
    (tmp_path / "run" / CHECKPOINT).unlink()  # the one before it is there
    assert (tmp_path / "run" / PREVIOUS).exists()
    resumed = start(CLEAN, recipe=recipe)
    assert len(fetched) == 2
    assert resumed.settings["pretrained"] is True
    assert resumed.checkpoint_sha256 == whole.checkpoint_sha256
    plain = start(CLEAN, recipe=tiny_retrieval_recipe(row), folder="plain")
    assert plain.checkpoint_sha256 != whole.checkpoint_sha256


def test_a_checkpoint_that_goes_away_meanwhile_starts_no_other_training(start, fetched, tmp_path):
    recipe, run = tiny_retrieval_recipe("resnet50_baseline", pretrained=True), tmp_path / "run"
    start(CLEAN, stop=(1, 1), recipe=recipe)

    def lose(line):
        assert not line.startswith("continuing")

    opened = runs.open_task

    def lost(*arguments, **options):
        for path in run.glob("*.safetensors"):
            path.unlink()
        return opened(*arguments, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runs, "open_task", lost)
        with pytest.raises(UserError, match="went away while the run was being opened") as caught:
            start(CLEAN, recipe=recipe, note=lose)
    assert "\n" not in str(caught.value)
    assert len(fetched) == 1
    assert start(CLEAN, recipe=recipe).complete
    assert len(fetched) == 2


@pytest.mark.parametrize(
    "control",
    [{"reward_control": "shuffled"}, {"reward_control": "random_critic"},
     {"quality_signal": "oracle_reward"}],
    ids=lambda control: next(iter(control.values())),
)  # fmt: skip
def test_an_interrupted_run_of_a_control_equals_one_that_was_not(start, control):
    settings = {f"dreal.{name}": value for name, value in control.items()}
    recipe = tiny_recipe("se_resnet50_reinforced", depths={50: 26}, **settings)
    whole = start(CLEAN, recipe=recipe, folder="whole")
    assert start(CLEAN, recipe=recipe, stop=(1, 2)) is None
    assert start(CLEAN, recipe=recipe, stop=(2, 1)) is None
    resumed = start(CLEAN, recipe=recipe)
    assert resumed.checkpoint_sha256 == whole.checkpoint_sha256
    assert resumed.last == whole.last
