"""How the benchmarks measure: time in rounds that alternate, operations, and peak memory."""

import statistics
import time
from collections.abc import Callable

import torch
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

CUDA = torch.cuda.is_available()


def seconds(work: Callable[[], object]) -> float:
    """Of the clock on a GPU, whose work is waited for; of the processor without one."""
    clock = time.perf_counter if CUDA else time.process_time
    start = clock()
    work()
    if CUDA:
        torch.cuda.synchronize()
    return clock() - start


def ratios(works: dict[str, Callable], reference: str, rounds: int) -> dict[str, float]:
    """Time of each work over that of the reference: the median of rounds in which all take turns.

    The first round is a warm-up.
    """
    taken = [{name: seconds(work) for name, work in works.items()} for _ in range(rounds + 1)][1:]
    return {name: statistics.median(t[name] / t[reference] for t in taken) for name in works}


def operations(work: Callable[[], object]) -> int:
    """Floating-point operations of matrix products and convolutions, as torch counts them."""
    with FlopCounterMode(display=False) as counter:
        work()
    return counter.get_total_flops()


def peak_bytes(work: Callable[[], object]) -> int:
    """The most that torch has allocated at one time for `work`, beyond what was there before."""
    if CUDA:
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        work()
        return torch.cuda.max_memory_allocated() - before
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiled:
        work()
    events = profiled.profiler.kineto_results.events()
    changes = sorted((e.start_ns(), e.nbytes()) for e in events if e.name() == "[memory]")
    held = peak = 0
    for _, change in changes:
        held += change
        peak = max(peak, held)
    return peak
