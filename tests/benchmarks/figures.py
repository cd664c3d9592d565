"""What the figures' data cost, as ratios within one run: `make benchmark`.

Attention statistics against plain inference, Grad-CAM against a forward and backward pass, and the
statistics' memory over more images, all on se_resnet50 at 224 px. Not timed tests: machines are
noisy, so each pair is measured in turn several times and the median of the ratios counts. On a CPU
the processor's time counts, all threads together, which other programs disturb less than the clock.
"""

import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch

from dreal_lib.actor_critic.blocks import find_maps
from dreal_lib.diagnosis.evaluation import diagnose, evaluate
from dreal_lib.diagnosis.localization import localize
from dreal_lib.networks.backbones import create_model
from dreal_lib.runtime.environment import PROJECT_ROOT

OUT = PROJECT_ROOT / "build" / "benchmarks" / "figures.json"


def main(rounds: int = 5, batch_size: int = 16, batch_count: int = 4) -> None:
    torch.manual_seed(0)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = create_model("se_resnet50").to(device).eval()
    maps = find_maps(model, ("layer1", "layer2", "layer3", "layer4"))
    batch = (
        torch.randn(batch_size, 3, 224, 224, device=device),
        torch.randint(1000, (batch_size,), device=device),
    )
    batches = [batch] * batch_count

    def forward_backward() -> None:
        for images, labels in batches:
            torch.nn.functional.cross_entropy(model(images), labels).backward()

    ratios = {
        "throughput of attention statistics to plain inference (at least 0.95)": 1
        / ratio(
            lambda: diagnose(model, batches, maps, rewards=False),
            lambda: evaluate(model, batches),
            rounds,
        ),
        "time of Grad-CAM to forward-backward (at most 3)": ratio(
            lambda: localize(model, batches), forward_backward, rounds
        ),
        "memory of the statistics, 8 times the images (1 is flat)": memory(model, maps, batch, 8)
        / memory(model, maps, batch, 1),
    }
    for name, value in ratios.items():
        print(f"{value:6.3f}  {name}")
    OUT.parent.mkdir(parents=True, exist_ok=True)
    OUT.write_text(json.dumps({"device": device, "rounds": rounds, "ratios": ratios}, indent=2))
    print(f"written: {Path(OUT).relative_to(PROJECT_ROOT)}")


def ratio(measured: Callable, reference: Callable, rounds: int) -> float:
    """Median over rounds of the two times' ratio, after a warm-up of both."""
    measured(), reference()
    return statistics.median(seconds(measured) / seconds(reference) for _ in range(rounds))


def seconds(work: Callable) -> float:
    """Of the clock on a GPU, whose work is waited for; of the processor without one."""
    clock = time.perf_counter if torch.cuda.is_available() else time.process_time
    start = clock()
    work()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return clock() - start


def memory(model: torch.nn.Module, maps: tuple, batch: tuple, count: int) -> float:
    """Bytes of the tensors that the statistics keep for each map, after `count` batches."""
    found = diagnose(model, [batch] * count, maps, rewards=False)
    kept = [m.mean for m in found.moments.values()] + [m.squares for m in found.moments.values()]
    kept += [c.sums for c in found.class_means.values()]
    return float(sum(tensor.numel() * tensor.element_size() for tensor in kept))


if __name__ == "__main__":
    main(*(int(word) for word in sys.argv[1:]))
