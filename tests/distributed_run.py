"""What `torchrun` starts in tests: one of two processes. Not a test itself.

torchrun --nproc-per-node 2 tests/distributed_run.py curves PLACE DATA
torchrun --nproc-per-node 2 tests/distributed_run.py killed WORDS OF dreal
"""

import json
import os
import signal
import sys
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch

if __name__ == "__main__":  # a program has its own folder on the path, but not the project's
    sys.path.insert(1, str(Path(__file__).resolve().parents[1]))

from tiny_images import tiny_recipe

from book.companion import commands
from dreal_lib.data.batches import CachedBatches, Crops
from dreal_lib.data.cache import CachedSet
from dreal_lib.diagnosis.evaluation import evaluate
from dreal_lib.errors import Interrupted
from dreal_lib.runtime import distributed
from dreal_lib.tasks.classification import create_learner
from dreal_lib.training import runs
from dreal_lib.training.checkpoints import save_checkpoint
from dreal_lib.training.trainer import Trainer

CPU = torch.device("cpu")
ROWS = {
    "se": ("se_resnet50_reinforced", {}),
    "cbam": ("cbam_resnet50_reinforced", {"dreal": {"bypass_draw": "epoch"}}),
    "baseline": ("srm_resnet50_baseline", {}),
}


class Doubled:
    """Batches in float64."""

    def __init__(self, batches: CachedBatches):
        self.batches = batches

    def __len__(self) -> int:
        return len(self.batches)

    def epoch(self, epoch: int = 0, start: int = 0):
        return ((images.double(), labels) for images, labels in self.batches.epoch(epoch, start))

    def part(self):
        return ((images.double(), labels) for images, labels in self.batches.part())


def parts_of(name: str):
    """Recipe, learner in float64, batches to train on and to judge (11 images: an odd number)."""
    row, changes = ROWS[name]
    recipe, chance = tiny_recipe(row, **changes), np.random.default_rng(0)
    splits = {"train": 26, "val": 11}
    pixels = {
        n: chance.integers(0, 255, (c, 20, 20, 3)).astype(np.uint8) for n, c in splits.items()
    }
    labels = {n: np.arange(count) % 3 for n, count in splits.items()}
    cached = CachedSet(pixels, labels, "f" * 64, "")
    crops = Crops(recipe.image_size, recipe.resize, recipe.smallest_area)
    train, val = (
        Doubled(CachedBatches(cached, split, crops, recipe.batch_size)) for split in splits
    )
    return recipe, create_learner(recipe, 3, CPU, 0).double(), train, val


def trainer_of(name: str, folder: Path, listen=None) -> Trainer:
    recipe, learner, train, val = parts_of(name)
    trainer = Trainer(
        learner, recipe, train, lambda _: asdict(evaluate(learner.actor, val.part())),
        folder,
    )  # fmt: skip
    if listen is not None:
        trainer.listener = lambda *event: listen(trainer, *event)
    return trainer


def only_the_second_asks(trainer, progress, steps, row):
    """Asks one process alone to stop, at the second epoch's first step."""
    if row is None and (progress.epoch, progress.step) == (1, 1):
        trainer.stop_requested = distributed.rank() == 1


def curves(place: Path, data: Path) -> None:
    """Trains every row, once more in two pieces, and a whole run to a record."""
    for name in ROWS:
        trainer = trainer_of(name, place / name)
        progress = trainer.run()
        keep(trainer, place / f"{name}.json")
        if name == "baseline":
            continue
        try:
            trainer_of(name, place / "pieces" / name, only_the_second_asks).run()
        except Interrupted:
            trainer = trainer_of(name, place / "pieces" / name)
        assert (trainer.progress.epoch, trainer.progress.step) == (1, 1)
        trainer.run()
        keep(trainer, place / "pieces" / f"{name}.json")
        assert progress.images == trainer.progress.images == 48
    runs.run(
        tiny_recipe("se_resnet50_reinforced"), data, place / "whole", place / "records",
        device=CPU, cache=place / "cache", workers=0,
    )  # fmt: skip


def keep(trainer: Trainer, path: Path) -> None:
    """Rows and, beside them, weights of each process."""
    rows = {"history": trainer.progress.history, "blocks": trainer.progress.blocks}
    if distributed.rank() == 0:
        path.write_text(json.dumps(rows))
    save_checkpoint(
        path.with_suffix(f".{distributed.rank()}.safetensors"), trainer.learner.state_dict(), {}
    )


def killed(words: list[str]) -> None:
    """`dreal`, of which the second process is killed in the second epoch, the first time."""
    step = Trainer._step

    def fatal(self, images, labels):
        if (distributed.rank(), self.progress.epoch, self.progress.step) == (1, 1, 1):
            if os.environ["TORCHELASTIC_RESTART_COUNT"] == "0":
                os.kill(os.getpid(), signal.SIGKILL)
        step(self, images, labels)

    Trainer._step = fatal
    sys.argv = ["dreal", *words]
    commands.main()


if __name__ == "__main__":
    torch.set_num_threads(1)
    if sys.argv[1] == "killed":
        killed(sys.argv[2:])
    else:
        with distributed.joined(CPU):
            curves(Path(sys.argv[2]), Path(sys.argv[3]))
