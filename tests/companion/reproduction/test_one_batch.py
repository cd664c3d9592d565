"""The lock of a batch: one at a time, and nothing beside what a killed one left behind."""

import errno
import fcntl
import os
import subprocess
import sys
import time

import pytest

from book.companion.reproduction.one_batch import BATCH, FRONT, holders, only_one
from dreal_lib.errors import OutOfTime, UserError

SLEEP = [sys.executable, "-ES", "-c", "import time; print('up', flush=True); time.sleep(600)"]
# As Snakemake and its shell do: a child of the child, which keeps nothing but the standard input.
NESTED = [sys.executable, "-ES", "-c", f"import subprocess; subprocess.run({SLEEP!r})"]
linux = pytest.mark.skipif(sys.platform != "linux", reason="finds processes in /proc")


@pytest.fixture
def child():
    """Function that starts a process with a standard input and returns when it is up."""
    started = []

    def start(stdin, command=SLEEP):
        process = subprocess.Popen(command, stdin=stdin, stdout=subprocess.PIPE)
        started.append(process)
        assert process.stdout.readline() == b"up\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()
        process.stdout.close()


def test_a_second_batch_is_refused_while_the_first_goes_on(tmp_path):
    notes = []
    with (
        only_one(tmp_path / "build", note=notes.append),
        pytest.raises(UserError, match="another `dreal reproduce` is at work"),
        only_one(tmp_path / "build", note=notes.append),
    ):
        pass
    with only_one(tmp_path / "build", note=notes.append):
        pass
    assert notes == []


def test_a_batch_waits_for_a_process_that_was_left_behind(tmp_path, child):
    notes = []
    with only_one(tmp_path) as lock:
        left = child(lock)
    with (
        pytest.raises(OutOfTime, match="the same command goes on"),
        only_one(tmp_path, time.time() - 1, notes.append),
    ):
        pass
    (note,) = notes
    assert "processes of a batch that was killed are still at work" in note
    if sys.platform == "linux":
        assert note.endswith(f"(to stop them: kill {left.pid})")

    def end_it(text):
        left.kill()
        left.wait()

    with only_one(tmp_path, time.time() + 60, end_it):
        assert left.returncode is not None


@linux
def test_a_grandchild_is_waited_for_too(tmp_path, child):
    with only_one(tmp_path) as lock:
        shell = child(lock, NESTED)
        (grandchild,) = set(holders(tmp_path / BATCH)) - {shell.pid}
    shell.kill()
    shell.wait()
    assert holders(tmp_path / BATCH) == [grandchild]
    with pytest.raises(OutOfTime), only_one(tmp_path, time.time() - 1, lambda text: None):
        pass
    subprocess.run(["kill", "-9", str(grandchild)], check=True)
    with only_one(tmp_path, time.time() + 60, lambda text: None):
        pass


def test_a_child_without_the_lock_is_not_waited_for(tmp_path, child):
    """What renders images gets another input, as its processes can outlive their parent."""
    with only_one(tmp_path):
        child(subprocess.DEVNULL)
    with only_one(tmp_path, note=pytest.fail):
        pass


def test_the_front_alone_holds_its_own_lock(tmp_path, child):
    with only_one(tmp_path) as lock:
        child(lock)
        assert holders(tmp_path / FRONT) == []
    with pytest.raises(OutOfTime), only_one(tmp_path, time.time() - 1, lambda text: None):
        pass  # not refused: the front is gone


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "build").write_text("a file")
    with pytest.raises(UserError, match="cannot write to"), only_one(tmp_path / "build"):
        pass


def test_a_file_system_without_locks_is_one_line(tmp_path, monkeypatch):
    def flock(file, operation):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", flock)
    with pytest.raises(UserError, match=r"has no locks .*local disk"), only_one(tmp_path):
        pass
