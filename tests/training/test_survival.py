"""Nothing is lost: kills, damaged files, full disks, folders in use, time that runs out.

Above 350 lines, as killed runs are compared with one whole run, and start from one process that
has imported everything.
"""

import errno
import os
import random
import signal
import time

import pandas as pd
import pytest
import torch
from killed_run import MOMENTS, Nursery
from tiny_images import tiny_recipe, write_tiny_set

from book.companion.reproduction.backlog import by_information, missing, rows_of, tasks_of
from dreal_lib import records
from dreal_lib.errors import OutOfTime, UserError
from dreal_lib.recipes import recipe_names
from dreal_lib.recipes.retrieval import RETRIEVAL
from dreal_lib.runtime.deadline import VARIABLE, deadline_after
from dreal_lib.runtime.determinism import deterministic
from dreal_lib.training import run_folder, runs
from dreal_lib.training.checkpoints import load_checkpoint
from dreal_lib.training.progress import Pace
from dreal_lib.training.run_folder import CHECKPOINT, PREVIOUS, load_last, locked, save_last
from dreal_lib.training.trainer import Trainer, is_out_of_memory

REINFORCED, BASELINE = "se_resnet50_reinforced", "se_resnet50_baseline"
CPU = torch.device("cpu")
KILLS = 4
EPOCHS = 6


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_tiny_set(tmp_path_factory.mktemp("images") / "tiny")


def left_by(place) -> dict:
    """All that a run decides, from what it left: everything but times."""
    (stored,) = records.find_records(place / "records")
    history = pd.DataFrame(stored.history()).drop(columns=["wall_seconds", "images_per_second"])
    blocks = stored.record.files.blocks
    return {
        "weights": stored.record.checkpoint_sha256,
        "last": stored.record.last,
        "best": stored.record.best,
        "history": history.to_csv(),
        "blocks": blocks and blocks.sha256,
        "figures": stored.record.files.figure_data,
        "complete": stored.record.complete,
    }


@pytest.fixture(scope="module")
def nursery():
    with Nursery() as nursery:
        yield nursery


@pytest.fixture(scope="module")
def start(data, nursery):
    """Function that starts a run in a process of its own and gives its id."""

    def make(place, moment=None, after=0, **changes):
        place.parent.mkdir(exist_ok=True)
        changes = {"epochs": EPOCHS, **changes}
        return nursery.start(
            data=data, place=place, row=REINFORCED, changes=changes, moment=moment, after=after
        )

    return make


@pytest.fixture(scope="module")
def whole(start, nursery, tmp_path_factory):
    """An uninterrupted run: (what it left, seconds of training)."""
    place = tmp_path_factory.mktemp("whole") / "run"
    assert nursery.end_of(start(place)) == 0
    (stored,) = records.find_records(place / "records")
    return left_by(place), stored.record.wall_seconds


def test_a_run_killed_at_random_moments_ends_like_one_that_was_not(start, nursery, whole, tmp_path):
    expected, training = whole
    chance, place = random.Random(5), tmp_path / "killed"
    steps, kills = [], 0
    while kills < KILLS:
        pid = start(place)
        while nursery.end_of(pid, 0.0) is None and holder(place) != pid:
            time.sleep(0.001)
        if nursery.end_of(pid, chance.random() * training / 2) is not None:
            break
        os.kill(pid, signal.SIGKILL)
        assert nursery.end_of(pid) == -signal.SIGKILL
        kills += 1
        steps.append(steps_done(place))
    assert kills > 1
    assert steps == sorted(steps)  # nothing is lost
    assert len(set(steps)) > 1  # and not always killed in the same place
    assert nursery.end_of(start(place)) == 0
    assert left_by(place) == expected
    assert not list((place / "run").glob(".*"))  # no halves of files


def holder(place) -> int | None:
    """The process that trains, or trained last."""
    lock = place / "run" / "run.lock"
    text = lock.read_text().strip() if lock.exists() else ""
    return int(text) if text else None


def steps_done(place) -> int:
    """Steps in the last complete checkpoint; an epoch has three."""
    found = load_last(place / "run") if (place / "run").exists() else None
    return 3 * found[1]["epoch"] + found[1]["step"] if found else 0


def test_a_run_killed_within_its_checkpoint_writes_ends_like_one_that_was_not(
    start, nursery, whole, tmp_path
):
    place, done = tmp_path / "killed", 0
    for moment in MOMENTS:
        assert nursery.end_of(start(place, moment, 2)) == -signal.SIGKILL
        found = sorted(path.name for path in (place / "run").iterdir())
        assert (CHECKPOINT in found) == (moment != "between the names")
        assert any(name.startswith(".checkpoint") for name in found) == ("written" in moment)
        # Two checkpoints in peace, and the third if it was complete; one of them is an epoch's end.
        now = steps_done(place)
        assert now - done >= (1 if "written" in moment else 2)
        done = now
    assert nursery.end_of(start(place)) == 0
    assert left_by(place) == whole[0]


def flip(path, position=-1):
    content = bytearray(path.read_bytes())
    content[position] ^= 0x10
    path.write_bytes(content)


def test_a_checkpoint_with_a_flipped_byte_is_passed_over(data, tmp_path):
    recipe, notes = tiny_recipe(BASELINE), []
    places = {"data_root": data, "cache": tmp_path / "cache", "device": CPU, "workers": 0}
    runs.run(recipe, folder=tmp_path / "whole", records_root=tmp_path / "a", **places)
    keep = {"folder": tmp_path / "run", "records_root": tmp_path / "b", "note": notes.append}
    stop = Pace(checkpoint_minutes=1e-9, deadline=time.time() - 1)
    for _ in range(2):
        with pytest.raises(OutOfTime):
            runs.run(recipe, pace=stop, **keep, **places)
    flip(tmp_path / "run" / CHECKPOINT)
    path = runs.run(recipe, **keep, **places)
    refused = [note for note in notes if "was altered" in note]
    assert len(refused) == 1
    assert "\n" not in refused[0]
    assert refused[0].endswith(f"going on from the one before it, {tmp_path / 'run' / PREVIOUS}")
    assert (
        records.read_record(path).checkpoint_sha256
        == records.find_records(tmp_path / "a")[0].record.checkpoint_sha256
    )
    load_checkpoint(tmp_path / "run" / PREVIOUS)  # the damaged one has not become it


def test_of_two_damaged_checkpoints_none_is_used_and_none_removed(tmp_path):
    for value in (1.0, 2.0):
        save_last(tmp_path, {"x": torch.tensor([value])}, {})
    for name in (CHECKPOINT, PREVIOUS):
        flip(tmp_path / name)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(UserError, match="was altered"):
        load_last(tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_the_last_two_checkpoints_are_kept(tmp_path):
    assert load_last(tmp_path) is None
    for step in range(4):
        save_last(tmp_path, {"x": torch.tensor(step)}, {"step": step})
        assert load_last(tmp_path)[1] == {"step": step}
    assert load_checkpoint(tmp_path / PREVIOUS)[1] == {"step": 2}
    assert len(list(tmp_path.iterdir())) == 2


def one_line(function, *arguments, **keywords) -> str:
    with pytest.raises(UserError) as caught:
        function(*arguments, **keywords)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def enter(folder):
    with locked(folder):
        pass


def test_a_folder_in_use_is_refused_with_its_holder(start, nursery, tmp_path):
    pid = start(tmp_path / "held", epochs=500)
    checkpoint = tmp_path / "held" / "run" / CHECKPOINT
    while not checkpoint.exists():
        assert nursery.end_of(pid, 0.02) is None
    line = one_line(enter, tmp_path / "held" / "run")
    assert f"in use by process {pid};" in line
    assert "--run" in line
    os.kill(pid, signal.SIGKILL)
    nursery.end_of(pid)
    enter(tmp_path / "held" / "run")  # the lock went with its process


def test_a_read_only_folder_is_refused(tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(run_folder, "open", refuse, raising=False)
    line = one_line(enter, tmp_path / "run")
    assert "Read-only file system; free some space, allow writing there, or choose" in line


def test_a_full_disk_keeps_the_last_good_checkpoint(tmp_path):
    import resource

    save_last(tmp_path, {"x": torch.zeros(10)}, {"step": 1})
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))
    try:
        line = one_line(save_last, tmp_path, {"x": torch.zeros(100_000)}, {"step": 2})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert line.startswith("cannot write ")
    assert "free some space" in line
    assert load_last(tmp_path)[1] == {"step": 1}
    assert [path.name for path in tmp_path.iterdir()] == [CHECKPOINT]


@pytest.fixture
def run_tiny(data, tmp_path):
    """Function that runs a row below tmp_path and gives the record's path."""

    def make(row=BASELINE, folder="run", **keywords):
        changes = keywords.pop("changes", {})
        return runs.run(
            tiny_recipe(row, **changes),
            data,
            tmp_path / folder,
            tmp_path / f"{folder}-records",
            device=CPU,
            cache=tmp_path / "cache",
            workers=0,
            **keywords,
        )

    return make


def test_memory_that_runs_out_is_explained(run_tiny, tmp_path, monkeypatch):
    from dreal_lib.actor_critic.baseline import Baseline

    step, calls = Baseline.training_step, []

    def greedy(self, images, labels):
        calls.append(1)
        if len(calls) == 5:  # the second step of the second epoch
            torch.empty(1 << 60, dtype=torch.uint8)
        return step(self, images, labels)

    monkeypatch.setattr(Baseline, "training_step", greedy)
    line = one_line(run_tiny)
    assert "memory ran out at epoch 2, step 2, on cpu" in line
    assert "--set batch_size=4" in line
    assert load_last(tmp_path / "run")[1]["epoch"] == 1


def test_other_errors_are_not_taken_for_lack_of_memory():
    assert is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory."))
    assert is_out_of_memory(MemoryError())
    assert is_out_of_memory(RuntimeError("CUDA error: out of memory"))  # the driver's
    assert is_out_of_memory(
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`")
    )
    assert not is_out_of_memory(RuntimeError("CUDA error: an illegal memory access"))
    assert not is_out_of_memory(RuntimeError("shapes cannot be multiplied"))


def test_weights_that_are_not_finite_are_not_saved_within_an_epoch(run_tiny, tmp_path, monkeypatch):
    trainers = []

    class Kept(Trainer):
        def __init__(self, *arguments, **keywords):
            super().__init__(*arguments, **keywords)
            trainers.append(self)

    monkeypatch.setattr(runs, "Trainer", Kept)

    def spoil(progress, steps, row):
        if (progress.epoch, progress.step) == (1, 2):
            trainers[-1].learner.actor.fc.bias.data.fill_(float("nan"))

    line = one_line(run_tiny, pace=Pace(checkpoint_minutes=1e-9), listener=spoil)
    assert "nan at epoch 2, step 2; the last good checkpoint is kept" in line
    facts = load_last(tmp_path / "run")[1]
    assert (facts["epoch"], facts["step"]) == (1, 1)


def test_a_run_that_is_out_of_time_goes_on_piece_by_piece(run_tiny, tmp_path):
    row = REINFORCED
    whole = records.read_record(run_tiny(row, "whole"))
    partial = runs.partial_root(tmp_path / "run-records")
    for piece in range(1, 8):  # each is a step, or the judgement of an epoch: the least done
        with pytest.raises(OutOfTime, match=r"time is up after epoch \d, step \d") as caught:
            run_tiny(row, pace=Pace(0, time.time() - 1))
        facts = load_last(tmp_path / "run")[1]
        assert 4 * facts["epoch"] + facts["step"] == piece
        found = records.find_records(partial)
        assert bool(found) == (piece > 3) == ("partial record: " in str(caught.value))
        assert not (tmp_path / "run-records").exists()
    assert not found[0].record.complete
    assert found[0].record.last.epoch == 1
    path = run_tiny(row)
    assert records.read_record(path).checkpoint_sha256 == whole.checkpoint_sha256
    assert records.read_record(path).complete
    assert not [path for path in partial.rglob("*") if path.is_file()]


def test_the_sooner_of_two_deadlines_counts(monkeypatch):
    monkeypatch.delenv(VARIABLE, raising=False)
    assert deadline_after(None) is None
    now = time.time()
    assert now + 119 < deadline_after(2) < now + 121
    monkeypatch.setenv(VARIABLE, repr(now + 60))
    assert deadline_after(2) == deadline_after(None) == now + 60
    assert deadline_after(0.5) < now + 31
    monkeypatch.setenv(VARIABLE, repr(now - 1))
    with pytest.raises(OutOfTime, match="before the run began"):
        deadline_after(2)
    monkeypatch.setenv(VARIABLE, "noon")
    assert "'noon'" in one_line(deadline_after, None)
    monkeypatch.delenv(VARIABLE)
    for minutes in (0.0, -1.0, float("nan")):
        assert "--max-minutes" in one_line(deadline_after, minutes)


def test_most_informative_runs_come_first():
    rows = [row for row in recipe_names() if not row.startswith("table_2/")]
    runs_ = by_information((row, seed) for row in rows for seed in (0, 1))
    assert sorted(runs_) == sorted((row, seed) for row in rows for seed in (0, 1))
    assert runs_[:8] == [
        (f"table_1/{network}_resnet50_{method}", seed)
        for seed in (0, 1)
        for network in ("se", "srm")
        for method in ("baseline", "reinforced")
    ]
    tables = [row.split("/")[0] for row, _ in runs_]
    order = ["table_1", "table_3", "ablations", "evidence"]
    assert list(dict.fromkeys(tables)) == order
    assert tables == sorted(tables, key=order.index)


def test_missing_runs_are_those_without_a_complete_record(run_tiny, tmp_path):
    recipe, made = tiny_recipe(BASELINE), (f"table_1/{BASELINE}", 0)
    wanted = [made, (f"table_1/{BASELINE}", 1), (f"table_1/{REINFORCED}", 0)]
    roots = [tmp_path / "none", tmp_path / "run-records"]
    with pytest.raises(OutOfTime):
        run_tiny(pace=Pace(0, time.time() - 1))
    assert missing(wanted, "smoke", recipe.variant, roots) == wanted
    run_tiny()
    assert missing(wanted, "smoke", recipe.variant, roots) == wanted[1:]
    assert missing(wanted, "desktop", None, roots) == wanted


def test_data_say_which_task_they_serve(tmp_path, data):
    assert tasks_of(None) == ("classification", "retrieval")
    assert tasks_of(data) == ("classification",)
    assert all(not row.startswith("table_2/") for row in rows_of("all", data))
    (tmp_path / "index.csv").touch()
    assert rows_of("pair", tmp_path) == list(RETRIEVAL.pair)
    assert all(row.startswith("table_2/") for row in rows_of("all", tmp_path))


def test_time_left_is_used_up(run_tiny):
    assert records.read_record(run_tiny(pace=Pace(0, time.time() + 3600))).complete


def test_deterministic_runs_are_equal_bit_by_bit_with_threads(run_tiny, tmp_path):
    before, late = torch.get_num_threads(), Pace(0, time.time() - 1)
    torch.set_num_threads(2)
    try:
        for folder in ("one", "two"):
            for _ in range(2):  # a step each
                with pytest.raises(OutOfTime):
                    run_tiny(REINFORCED, folder, repeatable=True, pace=late)
    finally:
        torch.set_num_threads(before)
    one, two = (load_last(tmp_path / folder)[0] for folder in ("one", "two"))
    assert all(torch.equal(tensor, two[name]) for name, tensor in one.items())
    assert not torch.are_deterministic_algorithms_enabled()
    assert "--deterministic" in runs.command_of(tiny_recipe(), 0, repeatable=True)
    assert "--deterministic" not in runs.command_of(tiny_recipe(), 0)


def test_what_has_no_deterministic_form_is_refused_in_one_line():
    message = "put_ does not have a deterministic implementation, but you set ... . You can turn"

    def body():
        with deterministic():
            assert torch.are_deterministic_algorithms_enabled()
            raise RuntimeError(message)

    assert "--deterministic: put_ does not have" in one_line(body)
    assert not torch.are_deterministic_algorithms_enabled()


def test_a_disk_that_is_full_at_the_lock_is_one_line(tmp_path):
    import resource

    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, limits[1]))
    try:
        line = one_line(enter, tmp_path / "run")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert "free some space" in line
