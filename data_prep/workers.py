"""Making many pictures in several processes, in order, with clean ends.

Each process makes every N-th picture and hands it over by a pipe of its own. There is no queue and
no lock that an interrupted process could leave taken (the executor of `concurrent.futures` has
both, and could wait for ever after Ctrl-C), so that ending is: kill them, and wait.
"""

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.connection import Connection
from typing import Any, TypeVar

from data_prep.errors import PreparationError

Job = TypeVar("Job")
Made = TypeVar("Made")

_ENDING = {signal.SIGINT, signal.SIGTERM}


def processors() -> int:
    """Processors that this process may use, which can be fewer than the machine has."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@contextmanager
def made_in_order(
    make: Callable[[Job], Made], jobs: Sequence[Job], workers: int
) -> Iterator[Iterator[Made]]:
    """What `make` makes of each job, in their order, in this process or in several.

    Args:
        make: A module's function of numpy and Pillow alone.
        jobs: Its arguments.
        workers: Processes; none is left when the block ends, however it ends.

    Raises:
        PreparationError: One of several processes was killed.
    """
    if workers == 1:
        yield map(make, jobs)
        return
    # Workers use numpy and Pillow alone, so forking is safe, and quicker than a fresh start.
    context = multiprocessing.get_context("fork" if sys.platform == "linux" else "spawn")
    started: list[tuple[multiprocessing.Process, Connection]] = []
    try:
        for first in range(min(workers, len(jobs))):
            with _ending_put_off():
                started.append(_started(context, make, jobs[first::workers]))
        yield _in_turn([pictures for _, pictures in started], len(jobs))
    finally:
        with _ending_put_off():
            for process, pictures in started:
                process.kill()
                pictures.close()
            for process, _ in started:
                process.join()


@contextmanager
def _ending_put_off() -> Iterator[None]:
    """Ctrl-C and a polite kill wait, also for a process that is started meanwhile."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _ENDING)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _started(
    context: Any, make: Callable, jobs: Sequence
) -> tuple[multiprocessing.Process, Connection]:
    pictures, out = context.Pipe(duplex=False)
    process = context.Process(target=_work, args=(make, jobs, out), daemon=True)
    process.start()
    out.close()  # else its end would not be the end of the pipe
    return process, pictures


def _work(make: Callable, jobs: Sequence, out: Connection) -> None:
    # Ctrl-C reaches the whole process group; the parent alone answers it, and ends the others.
    # Until here, both signals are blocked.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _ENDING)
    # A parent that is killed cannot end it, and it would work on.
    threading.Thread(target=_end_with_the_parent, daemon=True).start()
    for job in jobs:
        try:
            made = make(job)
        except Exception as error:  # whatever it is, it is the parent's to raise
            out.send((None, error))
            return
        out.send((made, None))


def _end_with_the_parent() -> None:
    multiprocessing.parent_process().join()
    os._exit(1)


def _in_turn(pipes: Sequence[Connection], count: int) -> Iterator[Any]:
    for number in range(count):
        try:
            made, error = pipes[number % len(pipes)].recv()
        except (EOFError, OSError):
            raise PreparationError(
                f"one of {len(pipes)} rendering processes was killed, perhaps for want of memory; "
                "try fewer workers"
            ) from None
        if error is not None:
            raise error
        yield made
