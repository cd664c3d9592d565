"""Several processes: the same curve as one that takes the shards in turn, and nothing lost."""

import json
import os
import socket
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest
import torch
from distributed_run import CPU, ROWS, parts_of
from tiny_images import set_arguments, tiny_recipe, write_tiny_set

from dreal_lib import records
from dreal_lib.actor_critic.agent import Agent
from dreal_lib.data.batches import CachedBatches, Crops
from dreal_lib.data.cache import CachedSet
from dreal_lib.diagnosis.evaluation import evaluate
from dreal_lib.errors import UserError
from dreal_lib.recipes import task_facts
from dreal_lib.runtime import distributed
from dreal_lib.runtime.environment import Hardware
from dreal_lib.runtime.seeding import derived_seed
from dreal_lib.training.checkpoints import load_checkpoint
from dreal_lib.training.monitor import EpochMonitor
from dreal_lib.training.optimization import create_optimizer, set_learning_rate

PROGRAM = Path(__file__).parents[1] / "distributed_run.py"
LOSSES = ("classification_loss", "quality_loss", "regression_loss", "train_top1_error_pct")
METRICS = tuple(metric.name for metric in task_facts("classification").metrics)


def torchrun(*words, restarts=0, folder=None):
    return subprocess.run(
        [
            sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2",
            "--max-restarts", str(restarts), "--monitor-interval", "0.1", "--", str(PROGRAM),
            *map(str, words),
        ],
        cwd=folder,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )  # fmt: skip


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_tiny_set(tmp_path_factory.mktemp("images") / "tiny")


@pytest.fixture(scope="module")
def two(data, tmp_path_factory):
    """The folder in which two processes have left what they trained."""
    place = tmp_path_factory.mktemp("two")
    (place / "pieces").mkdir()
    done = torchrun("curves", place, data)
    assert done.returncode == 0, done.stderr[-4000:]
    return place


def in_turn(name):
    """One process that takes the two shards one after the other: (history, blocks, learner)."""
    recipe, learner, train, val = parts_of(name)
    optimizer, history, blocks = create_optimizer(learner, recipe), [], []
    units = getattr(learner, "units", {})
    names = {item.name: unit for unit, maps in units.items() for item in maps}
    for epoch in range(recipe.epochs):
        set_learning_rate(optimizer, recipe, epoch)
        draw = recipe.dreal.bypass_draw
        if isinstance(learner, Agent):
            learner.generator.manual_seed(derived_seed(0, "bypass", epoch))
            learner.draw_blocks()
        learner.train()
        monitor = EpochMonitor(names, CPU)
        for number, (images, labels) in enumerate(train.epoch(epoch)):
            before = {n: b.clone() for n, b in learner.named_buffers()}
            after = []
            optimizer.zero_grad()
            for half in (slice(0, 4), slice(4, 8)):
                for buffer_name, buffer in learner.named_buffers():
                    buffer.copy_(before[buffer_name])
                if draw == "step" and isinstance(learner, Agent):
                    learner.generator.manual_seed(derived_seed(0, "bypass", epoch, number))
                step = learner.training_step(images[half], labels[half])
                (step.loss / 2).backward()
                monitor.add(step, labels[half])
                after.append({n: b.clone() for n, b in learner.named_buffers()})
            for buffer_name, buffer in learner.named_buffers():
                first, second = (one[buffer_name] for one in after)
                buffer.copy_((first + second) / 2)
            optimizer.step()
        found = evaluate(learner.actor, val.epoch())
        history.append(monitor.loss_row() | {n: getattr(found, n) for n in METRICS})
        blocks += monitor.block_rows()
    return history, blocks, learner


@pytest.mark.parametrize("name", ROWS)
def test_the_curve_is_that_of_one_process_which_takes_the_shards_in_turn(two, name):
    history, blocks, learner = in_turn(name)
    found = json.loads((two / f"{name}.json").read_text())
    assert len(history) == len(found["history"]) == 2
    for row, own in zip(history, found["history"], strict=True):
        for column in (*LOSSES, *METRICS):
            assert own[column] == pytest.approx(row[column], rel=1e-10, abs=1e-10), column
    assert len(blocks) == len(found["blocks"])
    for row, own in zip(blocks, found["blocks"], strict=True):
        own.pop("epoch")
        assert own.pop("map") == row.pop("map")
        assert own == pytest.approx(row, rel=1e-8, abs=1e-8, nan_ok=True)
    for rank in range(2):
        weights = load_checkpoint(two / f"{name}.{rank}.safetensors")[0]
        for key, tensor in learner.state_dict().items():
            torch.testing.assert_close(weights[key], tensor, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("name", ["se", "cbam"])
def test_a_stop_that_one_process_asks_for_stops_both_and_loses_nothing(two, name):
    whole, pieces = (
        json.loads((folder / f"{name}.json").read_text()) for folder in (two, two / "pieces")
    )
    for row in (*whole["history"], *pieces["history"]):
        del row["wall_seconds"], row["images_per_second"]
    assert json.dumps(pieces, sort_keys=True) == json.dumps(whole, sort_keys=True)
    for rank in range(2):
        one, other = (
            load_checkpoint(folder / f"{name}.{rank}.safetensors")[0]
            for folder in (two, two / "pieces")
        )
        assert all(torch.equal(tensor, other[key]) for key, tensor in one.items())


def test_a_killed_worker_starts_again_from_the_last_checkpoint(two, data, tmp_path):
    words = ["train", "table_1/se_resnet50_reinforced", "--data", data, "--device", "cpu"]
    words += ["--workers", 0, "--cache", tmp_path / "cache", *set_arguments()]
    words += ["--run", "build/runs/mine", "--records", "build/records"]  # from `folder`
    done = torchrun("killed", *words, restarts=1, folder=tmp_path)
    assert done.returncode == 0, done.stderr[-4000:]
    assert done.stdout.count("continuing ") == 1
    assert "continuing build/runs/" in done.stdout
    assert done.stdout.count("record: ") == 1  # one process speaks
    (stored,) = records.find_records(tmp_path / "build" / "records")
    (expected,) = records.find_records(two / "records")
    assert stored.record.checkpoint_sha256 == expected.record.checkpoint_sha256
    assert stored.record.files.figure_data == expected.record.files.figure_data
    assert stored.record.hardware.world_size == 2
    assert stored.record.settings["batch_size"] == tiny_recipe().batch_size  # the global one


@pytest.fixture
def process(monkeypatch):
    """Function that makes this process the r-th of n, without any others."""

    def make(r, n):
        monkeypatch.setattr(distributed, "rank", lambda: r)
        monkeypatch.setattr(distributed, "world_size", lambda: n)

    return make


@pytest.mark.parametrize("n", [1, 2, 3, 7])
@pytest.mark.parametrize("count", [0, 1, 6, 7, 50_000])
def test_every_image_is_judged_by_one_process(process, n, count):
    seen = []
    for r in range(n):
        process(r, n)
        seen += range(count)[distributed.part(count)]
    assert seen == list(range(count))


def test_shards_make_up_the_batch_image_by_image(process):
    chance = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 255, (20, 20, 20, 3), generator=chance, dtype=torch.uint8).numpy()
    cached = CachedSet({"train": pixels}, {"train": torch.arange(20).numpy()}, "f" * 64, "")

    def batches():
        return list(CachedBatches(cached, "train", Crops(16, 20), 8).epoch(3))

    whole, shards = batches(), []
    for r in range(4):
        process(r, 4)
        shards.append(batches())
    for step, (images, labels) in enumerate(whole):
        assert torch.equal(torch.cat([shard[step][1] for shard in shards]), labels)
        assert torch.equal(torch.cat([shard[step][0] for shard in shards]), images)


def test_a_batch_that_cannot_be_shared_out_is_refused(process):
    process(0, 3)
    with pytest.raises(UserError, match=r"batch_size 8 .* 3 equal shards; try --set batch_size=9"):
        distributed.shard(8)


def test_sums_kept_by_other_numbers_of_processes_are_not_lost(process):
    kept = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    assert distributed.unstacked(kept, 1).tolist() == [4.0, 6.0]
    process(1, 2)
    assert distributed.unstacked(kept, 1).tolist() == [3.0, 4.0]
    assert distributed.unstacked(kept[0], 1).tolist() == [0.0, 0.0]
    process(0, 2)
    assert distributed.unstacked(kept[0], 1).tolist() == [1.0, 2.0]


def test_synchronised_norms_need_gpus():
    with pytest.raises(UserError, match="--sync-bn needs GPUs") as caught:
        distributed.synchronise_norms(torch.nn.Linear(1, 1), CPU)
    assert "\n" not in str(caught.value)


def test_records_of_one_process_need_not_say_so():
    old = {"device": "cpu", "device_name": "a", "cpu_name": "a", "cpu_count": 2}
    assert Hardware(**old).world_size == 1


@pytest.mark.parametrize("rank", ["0", "1"])
def test_stray_variables_do_not_wait_for_ever(monkeypatch, rank):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    monkeypatch.delenv("TORCHELASTIC_RUN_ID", raising=False)
    given = {"RANK": rank, "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(distributed, "_STRAY", timedelta(seconds=0.3))
    with (
        pytest.raises(UserError, match=rf"process {rank} of 2\), .*unset both"),
        distributed.joined(torch.device("cpu")),
    ):
        pass
