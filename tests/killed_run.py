"""Runs in processes that are made to be killed: forked from one that has torch imported already.

Run as a program it is that process: it takes orders from `Nursery`, a line of JSON each.
"""

import json
import os
import signal
import subprocess
import sys
import time
import traceback
from pathlib import Path

import torch

if __name__ == "__main__":  # a program has its own folder on the path, but not the project's
    sys.path.insert(1, str(Path(__file__).resolve().parents[1]))

from tiny_images import tiny_recipe

from dreal_lib.training import runs
from dreal_lib.training.progress import Pace

torch.set_num_threads(1)  # no pool of threads, which a fork would not copy

MOMENTS = ("half written", "written", "between the names", "in place")


class Nursery:
    """Starts runs in milliseconds and says how they ended; use as a context."""

    def __enter__(self) -> "Nursery":
        self.server = subprocess.Popen(
            [sys.executable, __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        )
        self.server.stdout.readline()  # it has imported everything
        return self

    def __exit__(self, *_) -> None:
        self.server.communicate()  # closes its input, which ends it

    def start(self, **arguments) -> int:
        """The process of a new run; arguments of `train`."""
        return self._ask({"start": {k: _plain(v) for k, v in arguments.items()}})

    def end_of(self, pid: int, timeout: float = 120) -> int | None:
        """Its exit status (negative: the signal), or None if it is still at work."""
        return self._ask({"wait": pid, "timeout": timeout})

    def _ask(self, order: dict):
        self.server.stdin.write(json.dumps(order) + "\n")
        self.server.stdin.flush()
        return json.loads(self.server.stdout.readline())


def _plain(value):
    return str(value) if isinstance(value, Path) else value


def serve() -> None:
    """Takes orders until there are no more."""
    print("ready", flush=True)
    for line in sys.stdin:
        order = json.loads(line)
        answer = start(order["start"]) if "start" in order else end_of(**order)
        print(json.dumps(answer), flush=True)


def start(arguments: dict) -> int:
    """Forks a run."""
    pid = os.fork()
    if pid:
        return pid
    os.dup2(2, 1)  # the answers' pipe is the parent's
    status = 1
    try:
        train(**arguments)
        status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(status)


def end_of(wait: int, timeout: float) -> int | None:
    """The exit status of a run, if it comes in time."""
    until = time.monotonic() + timeout
    while True:
        pid, status = os.waitpid(wait, os.WNOHANG)
        if pid:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() >= until:
            return None
        time.sleep(0.002)


def kill_in_a_write(moment: str, after: int) -> None:
    """Lets this process be killed within one of its checkpoint writes.

    Args:
        moment: One of `MOMENTS`.
        after: How many checkpoints are written in peace.
    """
    die = lambda: os.kill(os.getpid(), signal.SIGKILL)  # noqa: E731
    fsync, replace, seen = os.fsync, os.replace, [0]

    def counted(file):
        if os.path.isdir(f"/proc/self/fd/{file}"):  # the last act of a checkpoint
            if seen[0] == after and moment == "in place":
                die()
            seen[0] += 1
        elif seen[0] == after and moment in ("half written", "written"):
            if moment == "half written":
                os.ftruncate(file, os.fstat(file).st_size // 2)
            die()
        return fsync(file)

    def renamed(source, target):
        replace(source, target)
        if seen[0] == after and moment == "between the names" and "previous" in str(target):
            die()

    os.fsync, os.replace = counted, renamed


def train(
    data: str, place: str, row: str, changes: dict, moment: str | None = None, after: int = 0
) -> None:
    """A run with a checkpoint after every step; everything it leaves lies below `place`."""
    place = Path(place)
    if moment is not None:
        kill_in_a_write(moment, after)
    with open(place.parent / f"{place.name}.notes", "a") as notes:
        runs.run(
            tiny_recipe(row, **changes),
            Path(data),
            place / "run",
            place / "records",
            device=torch.device("cpu"),
            cache=place.parent / "cache",
            workers=0,
            pace=Pace(checkpoint_minutes=1e-9),
            note=lambda text: print(text, file=notes, flush=True),
        )


if __name__ == "__main__":
    serve()
