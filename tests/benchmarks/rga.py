"""What RGA costs a training step: as released, factorised, and the plain network, in one run.

The re-id network of Table 2 (ResNet-50, last stride 1) with an attention module after each stage,
at 256x128 px with random weights: forward, loss and backward. "Released" makes the affinity matrix
of every module, as the authors' code does; its maps are not expanded to the size of the features,
so it is no straw man. Times are medians of rounds that alternate, on one thread of a CPU; peak
memory is the most that torch has allocated at one time, gradients included.

    python tests/benchmarks/rga.py [--batch 8] [--rounds 5] [--out build/benchmarks/rga.json]
"""

import argparse
import json
import platform
from pathlib import Path

import torch
from measuring import CUDA, operations, peak_bytes, ratios
from torch import nn

from dreal_lib.attention.rga import SpatialThenChannel
from dreal_lib.networks.backbones import STAGES
from dreal_lib.networks.embedding import EmbeddingNet, create_embedding
from dreal_lib.runtime.environment import PROJECT_ROOT

OUT = PROJECT_ROOT / "build" / "benchmarks" / "rga.json"
DEVICE = "cuda" if CUDA else "cpu"
IDENTITIES = 751
FORMS = {"released": "direct", "factorised": "cheaper"}
# Time and peak memory of the factorised form over the plain network's, and time over the released.
TIME_BAR, MEMORY_BAR, OVER_RELEASED_BAR = 1.45, 1.35, 0.55


def stage_sizes(image_size: tuple[int, int]) -> list[tuple[int, int]]:
    """(H, W) behind each stage: a quarter, an eighth, and twice a sixteenth of the image."""
    return [tuple(-(-side // scale) for side in image_size) for scale in (4, 8, 16, 16)]


def network(form: str | None, image_size: tuple[int, int], depth: int, width: int) -> EmbeddingNet:
    """The re-id network, with RGA-SC after each stage if a form is named."""
    torch.manual_seed(0)
    model = create_embedding(f"resnet{depth}", IDENTITIES, width=width)
    if form:
        for index, size in enumerate(stage_sizes(image_size)):
            attention = SpatialThenChannel(4 * width * 2**index, size, form=form)
            stage = model.get_submodule(STAGES[index])
            model.add_module(STAGES[index], nn.Sequential(*stage, attention))
    return model.to(DEVICE)


class Bench:
    """The three networks and one batch."""

    def __init__(self, batch: int, image_size: tuple[int, int], depth: int = 50, width: int = 64):
        forms = {"plain": None, **FORMS}
        self.models = {k: network(form, image_size, depth, width) for k, form in forms.items()}
        self.images = torch.randn(batch, 3, *image_size, device=DEVICE)
        self.labels = torch.arange(batch, device=DEVICE) % IDENTITIES

    def step(self, name: str) -> None:
        """Forward, identification loss, backward; a step of the optimizer is the same for all."""
        model = self.models[name]
        model.zero_grad(set_to_none=True)
        out = model(self.images)
        loss = nn.functional.cross_entropy(out.logits, self.labels)
        (loss + out.before_neck.square().mean()).backward()

    def work(self, name: str):
        """A step, as a function without arguments."""
        return lambda: self.step(name)


def measure(bench: Bench, rounds: int) -> list[dict[str, object]]:
    """A row for each network: operations, time and peak memory, over the plain network's."""
    works = {name: bench.work(name) for name in bench.models}
    times = ratios(works, "plain", rounds)
    for model in bench.models.values():
        model.zero_grad(set_to_none=True)
    flops, peaks = {}, {}
    for name, work in works.items():
        flops[name], peaks[name] = operations(work), None
        bench.models[name].zero_grad(set_to_none=True)
        peaks[name] = peak_bytes(work)
        bench.models[name].zero_grad(set_to_none=True)
    return [
        {
            "network": name,
            "operations": flops[name] / flops["plain"],
            "time": times[name],
            "memory": peaks[name] / peaks["plain"],
            "peak_memory_mib": peaks[name] / 2**20,
        }
        for name in works
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--image-size", type=int, nargs=2, default=(256, 128))
    parser.add_argument("--depth", type=int, default=50)
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--out", type=Path, default=OUT)
    options = parser.parse_args()
    if not CUDA:
        torch.set_num_threads(1)
    bench = Bench(options.batch, tuple(options.image_size), options.depth, options.width)
    rows = measure(bench, options.rounds)
    for row in rows:
        ratios_ = "".join(f"{row[kind]:12.3f}" for kind in ("operations", "time", "memory"))
        print(f"{row['network']:12}{ratios_}{row['peak_memory_mib']:10.0f} MiB")
    by_name = {row["network"]: row for row in rows}
    factorised = by_name["factorised"]
    over_released = factorised["time"] / by_name["released"]["time"]
    print(f"time over plain <= {TIME_BAR}: {factorised['time']:.3f}")
    print(f"time over released <= {OVER_RELEASED_BAR}: {over_released:.3f}")
    print(f"peak memory over plain <= {MEMORY_BAR}: {factorised['memory']:.3f}")
    facts = {
        "network": f"resnet{options.depth}, width {options.width}",
        "image_size": options.image_size,
        "device": torch.cuda.get_device_name() if CUDA else platform.machine(),
        "batch": options.batch,
        "rounds": options.rounds,
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "time_over_released": over_released,
    }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(facts | {"rows": rows}, indent=2) + "\n")
    print(f"written: {options.out}")


if __name__ == "__main__":
    main()
