"""Making many pictures in several processes, in order, with clean ends."""

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import TypeVar

from data_prep.errors import PreparationError

Job = TypeVar("Job")
Made = TypeVar("Made")


def processors() -> int:
    """Processors that this process may use, which can be fewer than the machine has."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _follow_the_parent() -> None:
    # Ctrl-C reaches the whole process group; the parent alone answers it, and ends the pool.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    # A parent that is killed cannot end it, and a worker would wait for its next job for ever.
    threading.Thread(target=_end_with_the_parent, daemon=True).start()


def _end_with_the_parent() -> None:
    multiprocessing.parent_process().join()
    os._exit(1)


class _Signals:
    """Handlers of Ctrl-C and the like put off until a safe moment, `attend`.

    An exception that a handler raises within the pool's own code can leave one of its locks taken,
    and its end then waits for ever.
    """

    def __init__(self) -> None:
        self._seen: list[int] = []
        self._handlers: dict[int, Callable] = {}

    def __enter__(self) -> "_Signals":
        if threading.current_thread() is threading.main_thread():  # no other may set handlers
            for number in (signal.SIGINT, signal.SIGTERM):
                handler = signal.getsignal(number)
                if callable(handler):
                    self._handlers[number] = handler
                    signal.signal(number, lambda number, frame: self._seen.append(number))
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)

    def attend(self) -> None:
        """Runs the handlers of what has come since."""
        while self._seen:
            number = self._seen.pop(0)
            self._handlers[number](number, None)


@contextmanager
def made_in_order(
    make: Callable[[Job], Made], jobs: Sequence[Job], workers: int
) -> Iterator[Iterator[Made]]:
    """What `make` makes of each job, in their order, in this process or in several.

    Args:
        make: A module's function of numpy and Pillow alone.
        jobs: Its arguments.
        workers: Processes.

    Raises:
        PreparationError: One of several processes was killed.
    """
    if workers == 1:
        yield map(make, jobs)
        return
    # Workers use numpy and Pillow alone, so forking is safe, and quicker than a fresh start.
    context = multiprocessing.get_context("fork" if sys.platform == "linux" else "spawn")
    with _Signals() as signals:
        pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_follow_the_parent)
        try:
            yield _attentive(pool.map(make, jobs, chunksize=16), signals)
        except BrokenProcessPool:
            raise PreparationError(
                f"one of {workers} rendering processes was killed, perhaps for want of memory; try "
                "fewer workers"
            ) from None
        finally:
            pool.shutdown(cancel_futures=True)
    signals.attend()


def _attentive(results: Iterator[Made], signals: _Signals) -> Iterator[Made]:
    signals.attend()
    for made in results:
        yield made
        signals.attend()
