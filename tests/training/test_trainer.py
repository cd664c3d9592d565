"""The training loop: a run that was stopped equals one that was not, and bad ends leave no harm.

Above 350 lines, as interrupted runs are compared with one whole run of each row.
"""

import math
import os
import signal
import threading
from dataclasses import asdict

import numpy as np
import pytest
import torch
from tiny_images import tiny_recipe

from dreal_lib.data.batches import CachedBatches, Crops
from dreal_lib.data.cache import CachedSet
from dreal_lib.diagnosis.evaluation import evaluate
from dreal_lib.errors import Interrupted, UserError
from dreal_lib.networks.backbones import create_model
from dreal_lib.recipes.classification import CLASSIFICATION
from dreal_lib.records import BLOCK_COLUMNS
from dreal_lib.tasks.classification import create_learner
from dreal_lib.training.checkpoints import load_checkpoint, save_checkpoint
from dreal_lib.training.trainer import CHECKPOINT, Trainer, actor_weights

STEPS = 3  # of an epoch: 26 images in batches of 8
TIMES = ("wall_seconds", "images_per_second")


@pytest.fixture(scope="module")
def cached():
    """Random 20 px images of three classes, each with a colour of its own."""
    generator = np.random.default_rng(0)

    def split(count):
        labels = np.arange(count) % 3
        pixels = generator.integers(0, 160, (count, 20, 20, 3))
        pixels[np.arange(count), ..., labels] += 90
        return pixels.astype(np.uint8), labels

    (train, train_labels), (val, val_labels) = split(26), split(10)
    return CachedSet(
        {"train": train, "val": val}, {"train": train_labels, "val": val_labels}, "f" * 64, ""
    )


@pytest.fixture
def start(cached, tmp_path):
    """Function that starts (or continues) the run in a folder below tmp_path."""

    def make(
        folder="run", row="se_resnet50_reinforced", *, seed=0, data="f", listen=None, **changes
    ):
        recipe = tiny_recipe(row, **{"epochs": 3, **changes})
        crops = Crops(recipe.image_size, recipe.resize, recipe.smallest_area)
        train, val = (
            CachedBatches(
                cached,
                split,
                crops,
                recipe.batch_size,
                seed=seed,
                channels_last=recipe.channels_last,
            )
            for split in ("train", "val")
        )
        learner = create_learner(recipe, 3, torch.device("cpu"), seed)
        trainer = Trainer(
            learner,
            recipe,
            train,
            lambda _: asdict(evaluate(learner.actor, val.epoch())),
            tmp_path / folder,
            seed=seed,
            data_fingerprint=data,
        )
        if listen is not None:
            trainer.listener = lambda *event: listen(trainer, *event)
        return trainer

    return make


def stop_at(epoch, step):
    """A listener that asks the trainer to stop after a step (both from 1)."""

    def listen(trainer, progress, steps, row):
        if row is None and (progress.epoch + 1, progress.step) == (epoch, step):
            trainer.stop_requested = True

    return listen


class Killed(Exception):
    """Stands for a process that ends at once, without a word."""


def die_at(epoch, step):
    """A listener that ends the run at a step (both from 1); step 0: right after the epoch."""

    def listen(trainer, progress, steps, row):
        place = (progress.epoch, 0) if row is not None else (progress.epoch + 1, progress.step)
        if place == (epoch, step):
            raise Killed

    return listen


def trained(trainer) -> dict:
    """All that a run decides: weights, momenta, and rows without their times."""
    progress = trainer.progress
    rows = [{k: v for k, v in row.items() if k not in TIMES} for row in progress.history]
    state = {f"learner.{name}": t for name, t in trainer.learner.state_dict().items()}
    for index, momentum in trainer.optimizer.state_dict()["state"].items():
        state[f"momentum.{index}"] = momentum["momentum_buffer"]
    return {"tensors": state, "history": rows, "blocks": progress.blocks, "images": progress.images}


def assert_equal_runs(one, two):
    one, two = trained(one), trained(two)
    assert one["tensors"].keys() == two["tensors"].keys()
    for name, tensor in one["tensors"].items():
        assert torch.equal(tensor, two["tensors"][name]), name
    assert one["history"] == two["history"]
    assert one["images"] == two["images"]
    np.testing.assert_equal(one["blocks"], two["blocks"])  # NaN equals NaN here


def test_two_runs_of_a_seed_are_equal_and_of_two_seeds_are_not(start):
    runs = [start(f"run{index}", seed=seed) for index, seed in enumerate((0, 0, 1))]
    runs[1].learner.eval()  # whatever mode it comes in
    for trainer in runs:
        trainer.run()
    assert_equal_runs(runs[0], runs[1])
    assert runs[0].progress.history[0] != runs[2].progress.history[0]


ROWS = {
    "se baseline": {"row": "se_resnet50_baseline"},
    "se, a draw a step": {"row": "se_resnet101_reinforced"},
    "cbam, a draw an epoch": {
        "row": "cbam_resnet101_reinforced",
        "dreal": {"bypass_draw": "epoch", "critic_lr": 0.01},
    },
    "srm, bf16": {"row": "srm_resnet50_reinforced", "precision": "bf16"},
}


@pytest.fixture(scope="module")
def uninterrupted():
    return {}  # filled by the test below, one run for each of ROWS


@pytest.mark.parametrize(
    ("row", "stop"),
    [(row, (2, 2)) for row in ROWS] + [("cbam, a draw an epoch", at) for at in ((1, 1), (2, 3))],
)
def test_a_run_stopped_within_an_epoch_goes_on_as_if_it_had_not(start, uninterrupted, row, stop):
    if row not in uninterrupted:
        uninterrupted[row] = start("whole", **ROWS[row])
        uninterrupted[row].run()
    with pytest.raises(Interrupted):
        start(listen=stop_at(*stop), **ROWS[row]).run()
    resumed = start(**ROWS[row])
    assert (resumed.progress.epoch, resumed.progress.step) != (0, 0)
    resumed.run()
    assert_equal_runs(resumed, uninterrupted[row])


@pytest.mark.parametrize("row", ROWS)
def test_a_run_killed_goes_on_from_the_last_epochs_end(start, uninterrupted, row):
    for place in ((2, 0), (3, 2)):  # twice, even
        with pytest.raises(Killed):
            start(listen=die_at(*place), **ROWS[row]).run()
    resumed = start(**ROWS[row])
    assert (resumed.progress.epoch, resumed.progress.step) == (2, 0)
    resumed.run()
    if row not in uninterrupted:
        uninterrupted[row] = start("whole", **ROWS[row])
        uninterrupted[row].run()
    assert_equal_runs(resumed, uninterrupted[row])


def test_a_finished_run_is_not_trained_again(start):
    start(epochs=1).run()
    again = start(epochs=1, listen=die_at(1, 1))
    again.run()
    assert (again.progress.epoch, len(again.progress.history)) == (1, 1)


def test_time_is_counted_across_interruptions(start):
    with pytest.raises(Interrupted):
        start(listen=stop_at(2, 2)).run()
    resumed = start()
    before = resumed.progress.wall_seconds
    assert 0 < resumed.progress.train_seconds < before
    progress = resumed.run()
    assert progress.images == 3 * STEPS * 8
    times = [row["wall_seconds"] for row in progress.history]
    assert times[0] < before < times[1] < times[2] == progress.wall_seconds


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_between_steps_with_a_checkpoint(start, number):
    def listen(trainer, progress, steps, row):
        if (progress.epoch, progress.step) == (1, 1):
            os.kill(os.getpid(), number)

    before = signal.getsignal(number)
    with pytest.raises(Interrupted):
        start(listen=listen).run()
    assert signal.getsignal(number) == before
    resumed = start()
    assert (resumed.progress.epoch, resumed.progress.step) == (1, 1)
    assert len(resumed.progress.history) == 1


def test_a_second_ctrl_c_does_not_wait(start):
    def listen(trainer, progress, steps, row):
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)

    before = signal.getsignal(signal.SIGINT)
    trainer = start(listen=listen)
    with pytest.raises(KeyboardInterrupt):
        trainer.run()
    assert signal.getsignal(signal.SIGINT) == before
    assert not trainer.checkpoint.exists()


def test_a_trainer_runs_outside_the_main_thread(start):
    trainer = start(epochs=1)
    thread = threading.Thread(target=trainer.run)
    thread.start()
    thread.join()
    assert trainer.progress.epoch == 1


@pytest.mark.parametrize(
    ("other", "key"),
    [
        ({"row": "se_resnet50_baseline"}, "recipe_hash"),
        ({"row": "cbam_resnet50_reinforced"}, "recipe_hash"),
        ({"learning_rate": 0.01}, "recipe_hash"),
        ({"dreal": {"gamma": 2}}, "recipe_hash"),
        ({"seed": 1}, "seed"),
        ({"data": "other"}, "data_fingerprint"),
    ],
)
def test_a_folder_of_another_run_is_refused_and_left_alone(start, tmp_path, other, key):
    start(epochs=1).run()
    before = (tmp_path / "run" / CHECKPOINT).read_bytes()
    with pytest.raises(UserError, match=rf"{key} differs.*--run") as caught:
        start(**{"epochs": 1, **other})
    assert str(tmp_path / "run") in str(caught.value)
    assert "\n" not in str(caught.value)
    assert (tmp_path / "run" / CHECKPOINT).read_bytes() == before


def test_a_truncated_checkpoint_is_refused_and_left_alone(start, tmp_path):
    start(epochs=1).run()
    path = tmp_path / "run" / CHECKPOINT
    path.write_bytes(path.read_bytes()[:-100])
    before = path.read_bytes()
    with pytest.raises(UserError, match=rf"{path} is damaged"):
        start(epochs=1)
    assert path.read_bytes() == before


def poison_at(epoch, step):
    """A listener that spoils the weights after a step (both from 1)."""

    def listen(trainer, progress, steps, row):
        if row is None and (progress.epoch + 1, progress.step) == (epoch, step):
            trainer.learner.actor.fc.bias.data.fill_(math.nan)

    return listen


@pytest.mark.parametrize("row", ["se_resnet50_baseline", "se_resnet50_reinforced"])
def test_a_loss_that_is_no_number_stops_the_run_and_keeps_the_checkpoint(start, tmp_path, row):
    with pytest.raises(UserError, match="the loss is nan at epoch 2, step 3") as caught:
        start(row=row, listen=poison_at(2, 2)).run()
    assert "--set learning_rate=" in str(caught.value)
    assert "\n" not in str(caught.value)
    tensors, facts = load_checkpoint(tmp_path / "run" / CHECKPOINT)
    assert (facts["epoch"], facts["step"]) == (1, 0)
    assert all(torch.isfinite(tensor).all() for tensor in tensors.values())


def test_weights_spoilt_by_an_epochs_last_step_do_not_replace_the_checkpoint(start, tmp_path):
    with pytest.raises(UserError, match="the val_loss is nan at epoch 2, step 3"):
        start(listen=poison_at(2, 3)).run()
    tensors, facts = load_checkpoint(tmp_path / "run" / CHECKPOINT)
    assert facts["epoch"] == 1
    assert all(torch.isfinite(tensor).all() for tensor in tensors.values())


def test_a_diverging_run_is_stopped(start, tmp_path):
    with pytest.raises(UserError, match=r"the (val_)?loss is (nan|inf) at epoch 1, step [123]"):
        start(row="se_resnet50_baseline", learning_rate=1e6).run()
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("network", ["se_resnet50", "cbam_resnet50", "srm_resnet101"])
def test_both_methods_start_from_the_same_network(start, network):
    baseline, reinforced = (
        actor_weights(start(method, row=f"{network}_{method}", seed=4).learner)
        for method in ("baseline", "reinforced")
    )
    other = actor_weights(start("other", row=f"{network}_baseline", seed=5).learner)
    assert baseline.keys() == reinforced.keys()
    assert all(torch.equal(baseline[name], reinforced[name]) for name in baseline)
    assert not torch.equal(baseline["conv1.weight"], other["conv1.weight"])


@pytest.mark.parametrize("network", ["se_resnet50", "cbam_resnet50"])
def test_without_the_critics_say_reinforced_training_is_the_baseline(start, network):
    """With L_q weighted by 0 the same images in the same order give the same weights."""
    baseline = start("a", row=f"{network}_baseline")
    silent = start("b", row=f"{network}_reinforced", dreal={"quality_weight": 0})
    heard = start("c", row=f"{network}_reinforced")
    for trainer in (baseline, silent, heard):
        trainer.run()
    weights = [
        dict(trainer.learner.actor.named_parameters()) for trainer in (baseline, silent, heard)
    ]
    for name, parameter in weights[0].items():
        torch.testing.assert_close(weights[1][name], parameter, rtol=1e-4, atol=1e-6)
    moved = [
        not torch.allclose(weights[2][n], p, rtol=1e-3, atol=1e-5) for n, p in weights[0].items()
    ]
    assert any(moved)
    errors = [[row["top1_error_pct"] for row in t.progress.history] for t in (baseline, silent)]
    assert errors[0] == errors[1]


def test_the_networks_weights_hold_no_critic(start):
    trainer = start("run", row="cbam_resnet50_reinforced", epochs=1)
    trainer.run()
    plain = create_model("cbam_resnet14", 3, width=4, stem="cifar")
    weights = actor_weights(trainer.learner)
    assert weights.keys() == plain.state_dict().keys()
    plain.load_state_dict(weights)
    assert any("critics" in name for name in load_checkpoint(trainer.checkpoint)[0])


def test_rows_have_the_columns_of_the_records(start):
    progress = start().run()
    assert [row["epoch"] for row in progress.history] == [1, 2, 3]
    assert all(
        tuple(sorted(row)) == tuple(sorted(CLASSIFICATION.history_columns))
        for row in progress.history
    )
    assert all(tuple(sorted(row)) == tuple(sorted(BLOCK_COLUMNS)) for row in progress.blocks)
    assert [(row["epoch"], row["map"]) for row in progress.blocks] == [
        (epoch, f"layer{stage}.0") for epoch in (1, 2, 3) for stage in (1, 2, 3, 4)
    ]
    assert {row["images"] for row in progress.blocks} == {STEPS * 8}
    rates = [row["learning_rate"] for row in progress.history]
    assert rates == pytest.approx([0.05, 0.05, 0.005])  # milestone 0.5 of 3 epochs


def test_a_baseline_has_no_critic_losses_and_no_block_rows(start):
    progress = start(row="se_resnet50_baseline", epochs=1).run()
    assert progress.blocks == []
    assert progress.history[0]["quality_loss"] == progress.history[0]["regression_loss"] == 0


def test_training_learns(start):
    history = start(row="se_resnet50_baseline", epochs=8).run().history
    assert history[-1]["classification_loss"] < 0.7 * history[0]["classification_loss"]
    assert history[-1]["top1_error_pct"] <= 40  # chance: 67


@pytest.mark.parametrize("draw", ["step", "epoch"])
def test_blocks_are_drawn_anew_each_step_or_epoch(start, draw):
    drawn = []

    def listen(trainer, progress, steps, row):
        if row is None:
            drawn.append(tuple(trainer.learner.drawn))

    options = {"row": "se_resnet101_reinforced", "dreal": {"bypass_draw": draw}, "epochs": 4}
    start("a", listen=listen, **options).run()
    first = drawn.copy()
    epochs = [set(first[index : index + STEPS]) for index in range(0, len(first), STEPS)]
    assert all(len(blocks) == 4 for blocks in first)
    assert len(set(first)) > 1
    assert all(len(epoch) == 1 for epoch in epochs) == (draw == "epoch")
    drawn.clear()
    start("b", listen=listen, seed=1, **options).run()
    assert drawn != first


@pytest.mark.parametrize(
    "change",
    [
        lambda tensors, facts: facts.update(mood="good"),
        lambda tensors, facts: facts.update(step="three"),
        lambda tensors, facts: tensors.pop("monitor.losses"),
        lambda tensors, facts: tensors.update({"optimizer.x.y": torch.ones(2)}),
        lambda tensors, facts: tensors.update({"optimizer.999.y": torch.ones(2)}),
    ],
    ids=["a field", "a type", "no monitor", "a name", "an index"],
)
def test_a_checkpoint_of_another_version_is_one_line(start, tmp_path, change):
    start(epochs=1).run()
    path = tmp_path / "run" / CHECKPOINT
    tensors, facts = load_checkpoint(path)
    change(tensors, facts)
    save_checkpoint(path, tensors, facts)
    with pytest.raises(UserError, match="version") as caught:
        start(epochs=1)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("epoch", [1, 2])
def test_no_checkpoint_is_promised_that_there_is_not(start, epoch):
    trainer = start(epochs=3, listen=poison_at(epoch, 1))
    with pytest.raises(UserError) as caught:
        trainer.run()
    assert ("is kept" in str(caught.value)) == trainer.checkpoint.exists() == (epoch > 1)
