"""A soak: a tiny training killed a thousand times, also within checkpoint writes, and damaged.

    python tests/soak.py                     1000 cycles
    python tests/soak.py --minutes 5         as many as fit

A cycle starts the run, which goes on from its last checkpoint, and kills it (SIGKILL): at a random
moment, or at a chosen point of a checkpoint write. Every so often a byte of the last checkpoint is
flipped between two cycles. A run that reaches its end must hold what an uninterrupted one holds,
to the last bit; then the next begins. Prints the figures and writes build/benchmarks/soak.json.
"""

import argparse
import hashlib
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from dataclasses import asdict
from pathlib import Path

sys.path.insert(1, str(Path(__file__).resolve().parents[1]))

import numpy as np
import torch
from killed_run import MOMENTS, end_of, kill_in_a_write
from tiny_images import tiny_recipe

from dreal_lib.data.batches import CachedBatches, Crops
from dreal_lib.data.cache import CachedSet
from dreal_lib.diagnosis.evaluation import evaluate
from dreal_lib.runtime.atomic import write_text_atomic
from dreal_lib.tasks.classification import create_learner
from dreal_lib.training.progress import Pace
from dreal_lib.training.run_folder import CHECKPOINT, PREVIOUS, locked
from dreal_lib.training.trainer import Trainer

OUT = Path("build/benchmarks/soak.json")
CPU = torch.device("cpu")
SEEDS = 5  # runs of as many seeds take turns
IN_A_WRITE, FLIPPED = 1 / 3, 1 / 10  # shares of the cycles
LONGEST_LIFE_SECONDS = 0.8
ROW, EPOCHS, STEPS = "se_resnet50_reinforced", 8, 3


def images() -> CachedSet:
    """Random images of three classes, each with a colour of its own."""
    chance, splits = np.random.default_rng(0), {"train": 26, "val": 6}
    labels = {name: np.arange(count) % 3 for name, count in splits.items()}
    pixels = {n: chance.integers(0, 160, (count, 20, 20, 3)) for n, count in splits.items()}
    for name, label in labels.items():
        pixels[name][np.arange(len(label)), ..., label] += 90
    return CachedSet({n: p.astype(np.uint8) for n, p in pixels.items()}, labels, "f" * 64, "")


def train(cached: CachedSet, folder: Path, seed: int) -> str:
    """Trains to the end and gives a hash of all that is decided; notes what it does in a log."""
    recipe = tiny_recipe(ROW, epochs=EPOCHS)
    crops = Crops(recipe.image_size, recipe.resize, recipe.smallest_area)
    source, val = (
        CachedBatches(cached, split, crops, recipe.batch_size, seed=seed)
        for split in ("train", "val")
    )
    learner = create_learner(recipe, 3, CPU, seed)

    def judge(_: int) -> dict[str, float]:
        return asdict(evaluate(learner.actor, val.epoch()))

    with locked(folder), open(folder / "log", "a") as log:

        def say(word: str) -> None:
            print(word.split()[0], file=log, flush=True)

        trainer = Trainer(
            learner, recipe, source, judge, folder, seed,
            listener=lambda progress, steps, row: say("epoch" if row else "step"),
            pace=Pace(checkpoint_minutes=1e-9),
            note=lambda text: say("refused"),
        )  # fmt: skip
        progress = trainer.run()
    times = ("wall_seconds", "images_per_second")
    rows = [{k: v for k, v in row.items() if k not in times} for row in progress.history]
    digest = hashlib.sha256(json.dumps([rows, progress.blocks], sort_keys=True).encode())
    for name, tensor in sorted(learner.state_dict().items()):
        digest.update(name.encode() + tensor.contiguous().numpy().tobytes())
    return digest.hexdigest()


def begin(cached: CachedSet, folder: Path, seed: int, moment: str | None, after: int) -> int:
    """The process of a cycle."""
    pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        if moment is not None:
            kill_in_a_write(moment, after)
        (folder.parent / "result").write_text(train(cached, folder, seed))
        status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(status)


def flip(path: Path, chance: random.Random) -> None:
    """Damages one bit of a file."""
    content = bytearray(path.read_bytes())
    content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
    path.write_bytes(content)


def cycle(cached: CachedSet, folder: Path, seed: int, chance: random.Random) -> Counter:
    """One start and its end."""
    figures = Counter(cycles=1)
    moment = chance.choice(MOMENTS) if chance.random() < IN_A_WRITE else None
    pid = begin(cached, folder, seed, moment, chance.randrange(4))
    life = 60.0 if moment else chance.random() * LONGEST_LIFE_SECONDS
    status = end_of(pid, life)
    if status is None:
        os.kill(pid, signal.SIGKILL)
        status = end_of(pid, 60)
    if status not in (0, -signal.SIGKILL):
        raise SystemExit(f"a run ended with status {status}; see above")
    figures["kills"] = int(status != 0)
    figures["kills_in_a_write"] = int(status != 0 and moment is not None)
    last = folder / CHECKPOINT
    if status and last.exists() and (folder / PREVIOUS).exists() and chance.random() < FLIPPED:
        flip(last, chance)
        figures["bytes_flipped"] = 1
    return figures


def soak(place: Path, cycles: int, minutes: float) -> dict:
    """The figures of as many cycles as asked for, or as fit."""
    cached, chance, began = images(), random.Random(0), time.monotonic()
    expected: dict[int, str] = {}
    figures, folder, result = Counter(), place / "run", place / "result"
    seed = 0
    while figures["cycles"] < cycles and time.monotonic() - began < 60 * minutes:
        if seed not in expected:
            end_of(begin(cached, place / "whole", seed, None, 0), 600)
            expected[seed] = result.read_text()
            shutil.rmtree(place / "whole")
            result.unlink()
        figures += cycle(cached, folder, seed, chance)
        if result.exists():
            words = Counter((folder / "log").read_text().split())
            figures += Counter(
                runs_finished=1,
                runs_equal=int(result.read_text() == expected[seed]),
                checkpoints_refused=words["refused"],
                steps_done_again=words["step"] - EPOCHS * STEPS,
                steps=EPOCHS * STEPS,
            )
            result.unlink()
            shutil.rmtree(folder)
            seed = (seed + 1) % SEEDS
    return dict(figures) | {"seconds": round(time.monotonic() - began, 1)}


def main() -> int:
    """Status 0 if nothing was lost."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cycles", type=int, default=1000)
    parser.add_argument("--minutes", type=float, default=120, help="stop after so long")
    parser.add_argument("--out", type=Path, default=OUT)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        figures = soak(Path(place), options.cycles, options.minutes)
    for name, value in figures.items():
        print(f"{name:22} {value}")
    write_text_atomic(options.out, json.dumps(figures, indent=2) + "\n")
    lost = figures.get("runs_finished", 0) - figures.get("runs_equal", 0)
    print("nothing was lost" if not lost else f"{lost} run(s) ended differently")
    return int(lost > 0)


if __name__ == "__main__":
    sys.exit(main())
