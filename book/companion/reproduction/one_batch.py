"""One batch at a time in a checkout, also after some of its processes were killed.

Two locks of BSD (flock) on two files. The first is the front's own, the process that a user
started; no child inherits it. The second is handed on as standard input, which Snakemake and the
shell leave to their children: it is held until the last process of the batch has ended, even if the
front and Snakemake were killed (`kill -9`) before it.
"""

import contextlib
import fcntl
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from dreal_lib.errors import OutOfTime, UserError

FRONT, BATCH = ".reproduce.lock", ".batch.lock"
_POLL_SECONDS = 0.5


def _to_stderr(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


@contextmanager
def only_one(
    folder: Path, deadline: float | None = None, note: Callable[[str], None] = _to_stderr
) -> Iterator[IO[str]]:
    """Keeps other batches out of a folder, and waits for what a killed one left behind.

    Args:
        folder: Made if it is not there.
        deadline: Until when to wait, as `time.time()` counts; None for as long as it takes.
        note: Called with a line for the user before a wait.

    Yields:
        An empty file, to be the standard input of every process of the batch.

    Raises:
        UserError: Another batch is going on, or the folder cannot be written to.
        OutOfTime: The deadline came first.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        front, batch = open(folder / FRONT, "w"), open(folder / BATCH, "a+")
    except OSError as error:
        raise UserError(
            f"cannot write to {folder}: {error.strerror or error}; free some space, or allow "
            "writing there"
        ) from None
    with front, batch:
        if not _taken(front):
            raise UserError(
                f"another `dreal reproduce` is at work in {folder}; wait for it or stop it"
            )
        if not _taken(batch):
            note(_left_behind(folder / BATCH))
            _wait_for(batch, deadline)
        yield batch


def holders(path: Path) -> list[int]:
    """The processes that have a file as their standard input; empty where /proc does not tell."""
    found = []
    for stdin in Path("/proc").glob("[0-9]*/fd/0"):
        with contextlib.suppress(OSError):  # ended meanwhile, or another user's
            if os.path.samefile(stdin, path):
                found.append(int(stdin.parts[2]))
    return sorted(found)


def _taken(file: IO[str]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        raise UserError(
            f"the file system of {file.name} has no locks ({error.strerror or error}); put the "
            "checkout on a local disk"
        ) from None
    return True


def _wait_for(file: IO[str], deadline: float | None) -> None:
    while not _taken(file):
        if deadline is not None and time.time() >= deadline:
            raise OutOfTime(
                "time was up before a killed batch's last processes ended; the same command goes on"
            )
        time.sleep(_POLL_SECONDS)


def _left_behind(path: Path) -> str:
    numbers = " ".join(str(pid) for pid in holders(path))
    stop = f" (to stop them: kill {numbers})" if numbers else ""
    return f"processes of a batch that was killed are still at work; waiting for them{stop}"
