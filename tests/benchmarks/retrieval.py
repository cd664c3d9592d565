"""What ranking a gallery costs, as ratios within one run: `python tests/benchmarks/retrieval.py`.

`evaluate` against the matrix product and a full `torch.argsort`, on Market-1501's shape; peak extra
memory in a process of its own; with --large on MSMT17's shape, too, where the full matrix and its
order would take 11 GiB and nothing is left to compare with. Rounds alternate, medians count, for
the clock and (on a CPU) for the processor's time, which other programs disturb less. Random
features: nothing in the ranking is easy.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch

from dreal_lib.retrieval.protocol import METRICS
from dreal_lib.retrieval.ranking import evaluate
from dreal_lib.retrieval.reranking import Reranking
from dreal_lib.runtime.environment import PROJECT_ROOT

OUT = PROJECT_ROOT / "build" / "benchmarks" / "retrieval.json"
MIB = 2**20
# queries, gallery, ids, cameras, peak extra memory allowed
SHAPES = {
    "market1501": (3368, 15913, 751, 6, 500),
    "msmt17": (11659, 82161, 3060, 15, 1536),
}
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def draw(queries: int, gallery: int, ids: int, cameras: int) -> tuple:
    generator = torch.Generator().manual_seed(0)
    features = [torch.randn(n, 256, generator=generator) for n in (queries, gallery)]
    numbers = [
        torch.randint(high, (n,), generator=generator)
        for high in (ids, cameras)
        for n in (queries, gallery)
    ]
    return (*(part.to(DEVICE) for part in features), *numbers)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--large", action="store_true", help="MSMT17's shape, too (minutes)")
    parser.add_argument("--rerank", action="store_true", help="re-ranking, too (minutes)")
    parser.add_argument("--memory-of", nargs=2, help=argparse.SUPPRESS)  # in a process of its own
    options = parser.parse_args()
    if options.memory_of:
        print(json.dumps(alone(*options.memory_of)))
        return
    found = {"device": DEVICE, "threads": torch.get_num_threads(), "rounds": options.rounds}
    found["market1501"] = {metric: compare(metric, options.rounds) for metric in METRICS}
    found["memory_mib"] = {}
    tasks = [(shape, "cosine") for shape in SHAPES][: 2 if options.large else 1]
    tasks += [("market1501", "euclidean")] + [("market1501", "rerank")] * options.rerank
    for shape, task in tasks:
        seconds, mib = run_alone(shape, task)
        found["memory_mib"][f"{shape} {task}"] = {"peak_extra_mib": mib, "wall_seconds": seconds}
        allowed = "" if task == "rerank" else f" (at most {SHAPES[shape][4]})"
        print(f"{mib:6.0f}  MiB of peak extra memory, {shape}, {task}{allowed}; {seconds:.1f} s")
    OUT.parent.mkdir(parents=True, exist_ok=True)
    OUT.write_text(json.dumps(found, indent=2))
    print(f"written: {OUT.relative_to(PROJECT_ROOT)}")


def compare(metric: str, rounds: int) -> dict[str, float]:
    """Ratios of `evaluate` to matrix product and argsort, after a round of both to warm up."""
    data = draw(*SHAPES["market1501"][:4])

    def reference() -> None:
        (data[0] @ data[1].T).argsort(dim=1)

    times = [
        (cost(lambda: evaluate(*data, metric=metric)), cost(reference)) for _ in range(rounds + 1)
    ][1:]
    ratios = {}
    for number, clock in enumerate(("wall", "processor")[: 1 if DEVICE == "cuda" else 2]):
        ratios[clock] = statistics.median(own[number] / full[number] for own, full in times)
        print(f"{ratios[clock]:6.3f}  {clock} time to product and argsort, {metric} (at most 1)")
    ratios["evaluate_wall_seconds"] = statistics.median(own[0] for own, _ in times)
    ratios["reference_wall_seconds"] = statistics.median(full[0] for _, full in times)
    return ratios


def cost(work: Callable) -> tuple[float, float]:
    """Seconds of the clock, the GPU waited for, and of the processor."""
    start, used = time.perf_counter(), time.process_time()
    work()
    if DEVICE == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start, time.process_time() - used


def run_alone(shape: str, task: str) -> list[float]:
    command = [sys.executable, __file__, "--memory-of", shape, task]
    return json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def alone(shape: str, task: str) -> tuple[float, float]:
    """Wall seconds and peak extra memory in MiB, of the device that does the work."""
    arguments = {"rerank": Reranking()} if task == "rerank" else {"metric": task}
    evaluate(*draw(50, 100, 3, 2), **arguments)  # loads what is loaded once
    data = draw(*SHAPES[shape][:4])
    before = peak()
    seconds, _ = cost(lambda: evaluate(*data, **arguments))
    return seconds, peak() - before


def peak() -> float:
    if DEVICE == "cuda":
        return torch.cuda.max_memory_allocated() / MIB
    status = Path("/proc/self/status")
    if status.exists():  # Linux, whose ru_maxrss starts from the parent's
        return int(status.read_text().split("VmHWM:")[1].split()[0]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / MIB  # macOS, in bytes


if __name__ == "__main__":
    main()
