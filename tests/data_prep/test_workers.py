"""Processes that make pictures: in order, and gone when the one that started them is."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

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
