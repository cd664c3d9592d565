"""Instance recognition stopped within an epoch: it goes on where it was, to the last bit.

Everything that a step depends on comes back: which identities and images are next (PK sampling),
how they are cut and erased, which blocks are bypassed, and AMSGrad's moments, their maxima and
step counts.
"""

import math
import os
import signal

import numpy as np
import pandas as pd
import pytest
import torch
from synthetic_retrieval import figure_arrays
from tiny_identities import tiny_retrieval_recipe, write_tiny_identities

from dreal_lib import records
from dreal_lib.diagnosis import ranked
from dreal_lib.errors import Interrupted
from dreal_lib.recipes.retrieval import RETRIEVAL
from dreal_lib.training import runs
from dreal_lib.training.checkpoints import load_checkpoint
from dreal_lib.training.trainer import CHECKPOINT

# Four identities of four images, in batches of two by two: four steps an epoch at most, as with
# draw="exhaustive" the images of one identity may be left over.
EPOCHS, CHANCE = 3, {"retrieval.draw": "exhaustive", "retrieval.erasing_probability": 0.5}
CASES = {
    "attention, once": ("resnet50_attention", {"retrieval.draw": "once"}),
    "reinforced, a draw a step": ("resnet50_reinforced", {"depths": {50: 26}}),
    "reinforced, a draw an epoch": (
        "resnet50_reinforced",
        {"depths": {50: 26}, "dreal.bypass_draw": "epoch", "precision": "bf16"},
    ),
}
# After which step of which epoch each is stopped; infinity: its evaluation is still due.
STOPS = {
    "attention, once": (1, 1),
    "reinforced, a draw a step": (2, 2),
    "reinforced, a draw an epoch": (2, math.inf),
}


@pytest.fixture(scope="module")
def train(tmp_path_factory):
    """Function that trains a case and gives what it leaves: (checkpoint, stored record)."""
    place = tmp_path_factory.mktemp("resume")
    data = write_tiny_identities(place / "tiny")

    def make(case, folder, listen=lambda progress, steps, row: None):
        row, changes = CASES[case]
        folder = place / case.replace(", ", "-").replace(" ", "-") / folder
        path = runs.run(
            tiny_retrieval_recipe(row, epochs=EPOCHS, **{**CHANCE, **changes}),
            data,
            folder / "run",
            folder / "records",
            device=torch.device("cpu"),
            workers=0,
            listener=listen,
        )
        stored = records.StoredRecord(records.read_record(path), path)
        return load_checkpoint(folder / "run" / CHECKPOINT), stored

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ranked, "figure_arrays", lambda *_: figure_arrays())
        yield make


@pytest.fixture(scope="module")
def uninterrupted(train):
    """Function that gives what a case leaves if nothing stops it, and the steps of each epoch."""
    made = {}

    def get(case):
        if case not in made:
            steps = {}

            def listen(progress, _, row):
                if row is None:
                    steps[progress.epoch + 1] = progress.step

            made[case] = (*train(case, "whole", listen), steps)
        return made[case]

    return get


def stop_after(epoch, step):
    def listen(progress, steps, row):
        if row is None and (progress.epoch + 1, progress.step) == (epoch, step):
            os.kill(os.getpid(), signal.SIGINT)

    return listen


@pytest.mark.parametrize("case", CASES)
def test_a_run_stopped_within_an_epoch_ends_as_if_it_had_not(train, uninterrupted, case):
    (tensors, facts), whole, steps = uninterrupted(case)
    epoch, step = STOPS[case]
    with pytest.raises(Interrupted):
        train(case, "stopped", stop_after(epoch, min(step, steps[epoch])))
    seen = []
    (resumed, resumed_facts), stored = train(
        case, "stopped", lambda progress, _, row: seen.append((progress.epoch, progress.step, row))
    )
    done = sum(steps[e] for e in range(1, epoch)) + min(step, steps[epoch])
    assert len([place for place in seen if place[2] is None]) == sum(steps.values()) - done
    assert resumed.keys() == tensors.keys()
    unequal = [name for name in tensors if not torch.equal(resumed[name], tensors[name])]
    assert not unequal
    assert resumed_facts["images"] == facts["images"]
    kept = [c for c in RETRIEVAL.history_columns if "second" not in c]
    assert pd.DataFrame(stored.history())[kept].equals(pd.DataFrame(whole.history())[kept])
    if case.startswith("reinforced"):
        assert pd.DataFrame(stored.blocks()).equals(pd.DataFrame(whole.blocks()))


def test_the_state_that_is_compared_is_whole_and_moves(uninterrupted):
    """Else the test above would compare nothing."""
    (tensors, _), stored, steps = uninterrupted("reinforced, a draw a step")
    assert {n.split(".", 2)[2] for n in tensors if n.startswith("optimizer.")} == {
        "exp_avg", "exp_avg_sq", "max_exp_avg_sq", "step",
    }  # fmt: skip
    assert any(name.startswith("learner.critics.") for name in tensors)
    second = [name for name in tensors if name.endswith(".exp_avg_sq")]
    maxima = [name.replace("exp_avg_sq", "max_exp_avg_sq") for name in second]
    assert any(not torch.equal(tensors[a], tensors[b]) for a, b in zip(second, maxima, strict=True))
    assert sum(steps.values()) in range(3 * EPOCHS, 4 * EPOCHS + 1)
    assert np.unique(stored.history()["triplet_loss"]).size == EPOCHS
