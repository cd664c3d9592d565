"""Input: images per second of each path, and the share of a training step spent waiting.

- Cached: the decoded set, memory-mapped, augmented as a batch on the device, at the size of profile
  `smoke`, whose steps are small: the waiting share is measured there, with a baseline step and with
  a reinforced one.
- Streamed: JPEG files of 500 x 375 pixels through torchvision's v2 transforms to 224 px, one worker
  for each core.
- Decoded on the device: the same files by `--decode device`, whose workers read and no more; on a
  CPU one thread then decodes and cuts.
- nvJPEG: the same files decoded on the GPU, where there is one, and nothing else.

Images are smoothed noise in a temporary folder. The clock counts, as waiting uses no processor; so
the machine must have nothing else to do.

    python tests/benchmarks/input.py [--out build/benchmarks/input.json]
"""

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
from measuring import CUDA
from PIL import Image
from torchvision.io import decode_jpeg, read_file

from dreal_lib.actor_critic.baseline import Baseline
from dreal_lib.actor_critic.reinforcement import reinforce
from dreal_lib.data.batches import CachedBatches, Crops, StreamedBatches, loaded
from dreal_lib.data.cache import CachedSet
from dreal_lib.data.decoding import loaded_on_device
from dreal_lib.data.images import Split
from dreal_lib.networks.backbones import create_model
from dreal_lib.recipes import load_recipe
from dreal_lib.runtime.environment import PROJECT_ROOT

OUT = PROJECT_ROOT / "build" / "benchmarks" / "input.json"
DEVICE = torch.device("cuda" if CUDA else "cpu")
CLASSES, FILES = 8, 128


def photographs(root: Path, count: int) -> Split:
    """JPEG files of a photograph's size and compressibility."""
    generator, files = np.random.default_rng(0), []
    for index in range(count):
        coarse = Image.fromarray(generator.integers(0, 256, (24, 32, 3), dtype=np.uint8))
        files.append(f"{index}.jpg")
        coarse.resize((500, 375), Image.Resampling.BICUBIC).save(root / files[-1], quality=90)
    labels = np.arange(count) % CLASSES
    return Split(root, tuple(files), labels, tuple(map(str, range(CLASSES))))


def cached(root: Path, side: int, count: int = 1024) -> CachedSet:
    pixels = np.random.default_rng(0).integers(0, 256, (count, side, side, 3), dtype=np.uint8)
    np.save(root / "cache.npy", pixels)
    images = {"train": np.load(root / "cache.npy", mmap_mode="r")}
    return CachedSet(images, {"train": np.arange(count) % CLASSES}, "", "")


def speed(batches: Iterable) -> float:
    """Images per second; the first batch, which starts the workers, is left out."""
    count, start = 0, None
    for images, _ in batches:
        if start is not None:
            count += len(images)
        start = start or time.perf_counter()
    if CUDA:
        torch.cuda.synchronize()
    return count / (time.perf_counter() - start)


def waiting(batches: CachedBatches, learner: torch.nn.Module, steps: int = 20) -> float:
    """Median over steps of the share of a step that is spent before its batch is there."""
    shares, source, optimizer = [], batches.epoch(), torch.optim.SGD(learner.parameters(), 1e-3)
    for _ in range(steps):
        start = time.perf_counter()
        images, labels = next(source)
        ready = time.perf_counter()
        optimizer.zero_grad()
        learner.training_step(images, labels).loss.backward()
        optimizer.step()
        if CUDA:
            torch.cuda.synchronize()
        shares.append((ready - start) / (time.perf_counter() - start))
    return statistics.median(shares[2:])


def nvjpeg(split: Split) -> float:
    """Images per second of decoding alone, on the GPU."""
    raw = [read_file(str(split.root / file)) for file in split.files]
    decode_jpeg(raw, device="cuda")
    torch.cuda.synchronize()
    start = time.perf_counter()
    decode_jpeg(raw, device="cuda")
    torch.cuda.synchronize()
    return len(raw) / (time.perf_counter() - start)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=OUT)
    options = parser.parse_args()
    if not CUDA:
        torch.set_num_threads(1)  # as in step.py: on a busy machine threads wait for one another
    recipe, workers = load_recipe("table_1/se_resnet50_reinforced", "smoke"), os.cpu_count() or 1
    crops = Crops(recipe.image_size, recipe.resize, recipe.smallest_area)
    with tempfile.TemporaryDirectory() as folder:
        small = CachedBatches(
            cached(Path(folder), recipe.resize), "train", crops, recipe.batch_size, DEVICE,
            channels_last=recipe.channels_last,
        )  # fmt: skip
        files = photographs(Path(folder), FILES)
        large, on_device = (
            StreamedBatches(files, True, Crops(224, 256), 16, DEVICE, workers=workers, load=load)
            for load in (loaded, loaded_on_device)
        )
        torch.manual_seed(0)
        model = create_model(recipe.trained_model, CLASSES, width=recipe.width, stem=recipe.stem)
        model.to(DEVICE, memory_format=torch.channels_last)
        found = {
            "images_per_second": {
                "cached": speed(small.epoch()),
                "streamed": speed(large.epoch()),
                "on_device": speed(on_device.epoch()),
            },
            "waiting_share": {
                "baseline": waiting(small, Baseline(model)),
                "reinforced": waiting(small, reinforce(model)),
            },
        }
        if CUDA:
            found["images_per_second"]["nvjpeg"] = nvjpeg(files)
    for path, value in found["images_per_second"].items():
        print(f"{value:9.0f} images/s  {path}")
    for step, share in found["waiting_share"].items():
        print(f"{100 * share:8.1f} % of a {step} step of profile smoke spent waiting for its batch")
    facts = {"device": DEVICE.type, "workers": workers, "cores": os.cpu_count()}
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(facts | found, indent=2) + "\n")
    print(f"written: {options.out}")


if __name__ == "__main__":
    main()
