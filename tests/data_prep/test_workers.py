"""Processes that make pictures: in order, and gone when the one that started them is."""

import os
import random
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from data_prep.errors import PreparationError
from data_prep.workers import made_in_order

ENDLESS = r"""
import os, time
from data_prep.workers import made_in_order

def make(job):
    # One write, so that two processes' lines cannot mix (print writes its end apart if unbuffered).
    os.write(1, f"{os.getpid()}\n".encode())
    time.sleep(600)

if __name__ == "__main__":
    with made_in_order(make, range(40), 2) as results:
        list(results)
"""


def square(number: int) -> int:
    return number * number


@pytest.mark.parametrize("workers", [1, 2])
def test_results_come_in_the_order_of_the_jobs(workers: int):
    with made_in_order(square, range(50), workers) as results:
        assert list(results) == [number * number for number in range(50)]


def killed(number: int) -> int:
    os.kill(os.getpid(), signal.SIGKILL)


def refused(number: int) -> int:
    raise PreparationError(f"number {number} is refused")


@pytest.mark.parametrize(("make", "error"), [(killed, "2 rendering"), (refused, "number 0 is")])
def test_an_end_or_an_error_of_a_worker_is_said(make, error: str):
    with pytest.raises(PreparationError, match=error), made_in_order(make, range(9), 2) as results:
        list(results)


def alive(pid: int) -> bool:
    """Whether a process runs; one that nobody has waited for (a zombie) does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_workers_end_when_their_parent_is_killed(tmp_path: Path):
    script = tmp_path / "endless.py"
    script.write_text(ENDLESS)
    root = Path(__file__).resolve().parents[2]
    parent = subprocess.Popen(
        [sys.executable, script],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(root)},
    )
    try:
        with parent.stdout:
            workers = [int(parent.stdout.readline()) for _ in range(2)]
        assert all(alive(pid) for pid in workers)
    finally:
        parent.kill()
        parent.wait()
    # They end at once; the time is for a busy machine.
    deadline = time.monotonic() + 30
    while any(alive(pid) for pid in workers) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(alive(pid) for pid in workers)


BUSY = r"""
import os, sys, time
from data_prep.workers import made_in_order

def make(job):
    end = time.monotonic() + 0.002
    while time.monotonic() < end:
        pass
    return bytes(5000)

if __name__ == "__main__":
    try:
        os.write(1, b"begins")
        with made_in_order(make, range(100000), 3) as results:
            for made in results:
                pass
    except KeyboardInterrupt:
        sys.exit(130)
"""


def interrupted(script: Path, number: int) -> float:
    """Seconds until a group of processes has ended after Ctrl-C at a moment drawn by chance."""
    process = subprocess.Popen(
        [sys.executable, script],
        stdout=subprocess.PIPE,
        start_new_session=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])},
    )
    try:
        process.stdout.read(1)
        # Half of them while processes are being started, which takes some milliseconds each.
        time.sleep(random.Random(number).choice((0.03, 0.3)) * random.Random(-number).random())
        begun = time.monotonic()
        os.killpg(process.pid, signal.SIGINT)
        process.communicate(timeout=30)  # until the last process that could write has ended
        assert process.returncode == 130
        return time.monotonic() - begun
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()


@pytest.mark.skipif(sys.platform != "linux", reason="forks")
def test_an_interruption_at_any_moment_ends_all_processes(tmp_path: Path):
    script = tmp_path / "busy.py"
    script.write_text(BUSY)
    with ThreadPoolExecutor(6) as pool:
        took = list(pool.map(lambda number: interrupted(script, number), range(30)))
    assert max(took) < 10
