"""`dreal reproduce` killed for real (`kill -9`) and called again: real Snakefile, fake training.

A copy of the project runs with a program `dreal` that trains nothing: it locks the run's folder as
the real one does, says when it begins and ends, holds where it is told to, and leaves a record that
was written before.
"""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from synthetic_records import write_run

from book.companion.reproduction.backlog import rows_of
from book.companion.reproduction.one_batch import BATCH, holders

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="finds processes in /proc")

ROOT = Path(__file__).resolve().parents[2]
ROWS = rows_of("table_3", None)
PATIENCE_SECONDS = 120

# An interpreter of its own, beside which the fake programs are found; the check of the scale would
# load torch, which takes longer than all the rest.
FRONT = """
import sys
sys.executable = "bin/python"
from book.companion import commands
from book.companion.reproduction import workflow
workflow.load_recipe = lambda row, profile, variant: None
workflow.refuse_records_of_other_images = lambda *places: None
commands.main()
"""

DREAL = """
import fcntl, shutil, sys, time
from pathlib import Path

def say(word):
    with open("said.txt", "a") as file:
        file.write(f"{word} {row}\\n")

def held(where):
    while Path(f"hold.{where}.{number}").exists():
        time.sleep(0.02)

command, row, *words = sys.argv[1:]
if command == "prepare":
    Path(words[0]).mkdir(parents=True)
    Path(words[0], "manifest.json").write_text("{}")
elif command == "execute":
    Path(words[0]).parent.mkdir(parents=True, exist_ok=True)
    Path(words[0]).write_text("{}")
elif command == "train":
    options = dict(zip(words[::2], words[1::2]))
    folder = Path(options["--run"])
    folder.mkdir(parents=True, exist_ok=True)
    lock = open(folder / "run.lock", "a+")
    try:
        fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        say("overlap")
        sys.exit(2)
    say("begin")
    number = Path("said.txt").read_text().count("begin ")
    held("before")
    target = Path("build/records/smoke", row)
    target.mkdir(parents=True, exist_ok=True)
    for path in sorted(Path("prepared/smoke", row).iterdir()):
        shutil.copy(path, target)
    held("after")
    say("end")
"""
BOOK = "mkdir -p build/book/_build/html && touch build/book/_build/html/index.html"


def write_program(path: Path, text: str) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)


class Project:
    """A copy of the project, and the batches that were started in it."""

    def __init__(self, folder: Path):
        self.folder = folder
        for package in ("dreal_lib", "data_prep", "book/companion"):
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(ROOT / package, folder / package, ignore=ignored)
        pages = ("_toc.yml", "references.bib", "intro.md", "notebooks/fig_6.py")
        for place in ("book/_style", "book/_vendor", "book/notebooks"):
            (folder / place).mkdir(parents=True)
        for file in ("Snakefile", "_config.yml", *(f"book/{page}" for page in pages)):
            shutil.copy(ROOT / file, folder / file)
        write_program(folder / "bin" / "python", f'#!/bin/sh\nexec {sys.executable} "$@"\n')
        write_program(folder / "bin" / "dreal", f"#!{sys.executable} -ES\n{DREAL}")
        write_program(folder / "bin" / "jupyter-book", f"#!/bin/sh\n{BOOK}\n")
        for row in ROWS:
            write_run(folder / "prepared", row)
        self.batches: list[subprocess.Popen] = []

    def start(self, *words: str) -> subprocess.Popen:
        """A batch of Table 3, one run at a time, in a process group of its own."""
        log = self.folder / f"batch{len(self.batches)}.log"
        command = ["reproduce", "--only", "table_3", "--jobs", "1", *words]
        with open(log, "w") as out:
            batch = subprocess.Popen(
                [sys.executable, "-c", FRONT, *command],
                cwd=self.folder,
                env=os.environ | {"PYTHONPATH": str(self.folder), "OMP_NUM_THREADS": "1"},
                stdout=out,
                stderr=out,
                start_new_session=True,
            )
        batch.log = log
        self.batches.append(batch)
        return batch

    def hold(self, number: int, where: str = "before") -> None:
        """The training that begins as this one shall wait, before or after writing its record."""
        (self.folder / f"hold.{where}.{number}").touch()

    def release(self, number: int, where: str = "before") -> None:
        (self.folder / f"hold.{where}.{number}").unlink()

    def said(self, word: str) -> list[str]:
        """The rows of which the trainings said this, in order."""
        path = self.folder / "said.txt"
        lines = path.read_text().splitlines() if path.exists() else []
        return [line.split()[1] for line in lines if line.startswith(f"{word} ")]

    def at_work(self) -> list[int]:
        return holders(self.folder / "build" / BATCH)

    def end(self) -> None:
        for batch in self.batches:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(batch.pid, signal.SIGKILL)
            batch.wait()


@pytest.fixture
def project(tmp_path):
    project = Project(tmp_path / "project")
    yield project
    project.end()


def until(condition, batch: subprocess.Popen | None = None) -> None:
    """Waits; a batch that ends meanwhile ends the test with what it said."""
    late = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        said = batch.log.read_text() if batch else "nothing"
        assert batch is None or batch.poll() is None, said
        assert time.monotonic() < late, said
        time.sleep(0.02)


def assert_everything_is_made(project: Project, batch: subprocess.Popen) -> None:
    assert batch.wait(PATIENCE_SECONDS) == 0, batch.log.read_text()
    assert set(project.said("end")) == set(ROWS)
    assert project.said("overlap") == []
    for row in ROWS:
        assert (project.folder / "build" / "records" / "smoke" / row / "seed0.json").exists()
    assert (project.folder / "build/book/_build/html/index.html").exists()
    assert project.at_work() == []


def test_a_batch_killed_with_all_its_processes_goes_on(project):
    project.hold(3, "after")
    first = project.start()
    records = "build/records/smoke/*/*/seed0.json"
    until(lambda: len(list(project.folder.glob(records))) == 3, first)
    os.killpg(first.pid, signal.SIGKILL)
    first.wait()
    until(lambda: not project.at_work())
    project.release(3, "after")
    done, changed, killed = project.said("begin")
    assert project.said("end") == [done, changed]

    # A dry run counts the interrupted run, though its record is there, and one that is out of date.
    recipe = project.folder / "dreal_lib" / "recipes" / f"{changed}.yaml"
    before = recipe.read_text()
    recipe.write_text(f"{before}# changed\n")
    plan = project.start("--dry-run")
    assert plan.wait(PATIENCE_SECONDS) == 0, plan.log.read_text()
    lines = [line for line in plan.log.read_text().splitlines() if "seed 0: about" in line]
    assert sorted(line.split()[0] for line in lines) == sorted(set(ROWS) - {done})
    for row in (changed, killed):
        assert any(f"{row} seed 0: about 1 min 02 s (one re-run run" in line for line in lines)
    recipe.write_text(before)

    second = project.start()
    assert_everything_is_made(project, second)
    assert sorted(project.said("begin")) == sorted([*ROWS, killed])
    assert "still at work" not in second.log.read_text()


def test_a_batch_whose_front_was_killed_is_waited_for_and_goes_on(project):
    project.hold(2)
    project.hold(3)
    first = project.start()
    until(lambda: len(project.said("begin")) == 2, first)
    first.kill()
    first.wait()
    second = project.start()
    until(lambda: "are still at work" in second.log.read_text(), second)
    left = project.at_work()
    assert f"kill {' '.join(map(str, left))}" in second.log.read_text()

    # Snakemake lives on and trains on; the second batch begins nothing beside it.
    project.release(2)
    until(lambda: len(project.said("begin")) == 3, second)
    assert len(project.said("end")) == 2

    # Without Snakemake, the training alone keeps the second batch waiting.
    (snakemake,) = [
        pid
        for pid in project.at_work()
        if b"snakemake\0--cores" in Path(f"/proc/{pid}/cmdline").read_bytes()
    ]
    os.kill(snakemake, signal.SIGKILL)
    until(lambda: snakemake not in project.at_work(), second)
    time.sleep(1)  # two looks at the lock
    assert project.at_work()
    assert len(project.said("begin")) == 3
    project.release(3)
    assert_everything_is_made(project, second)
    # Nobody took down that the third had ended: it goes on from its last checkpoint, the end.
    *finished, orphan = project.said("begin")[:3]
    assert sorted(project.said("begin")) == sorted([*ROWS, orphan])
    assert finished == project.said("end")[:2]
