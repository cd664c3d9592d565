"""`dreal reproduce`: a front of the Snakefile, which is the engine."""

import fcntl
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from dreal_lib.backlog import Run, by_information, missing, rows_of
from dreal_lib.deadline import EX_TEMPFAIL, LONGEST_LEAD_SECONDS, VARIABLE, deadline_after
from dreal_lib.environment import PROJECT_ROOT
from dreal_lib.errors import UserError
from dreal_lib.recipes import load_recipe
from dreal_lib.records import record_path

BOOK = Path("build/book/_build/html/index.html")
RECORDED, MADE_HERE = Path("book/records"), Path("build/records")


def reproduce(
    *,
    profile: str,
    variant: str | None,
    rows: str,
    seeds: str,
    data: Path | None,
    jobs: int,
    dry_run: bool,
    only_missing: bool = False,
    max_minutes: float | None = None,
) -> int:
    """Makes what is missing or out of date: data, runs, notebooks, book.

    Args:
        profile, variant: The scale.
        rows: See `dreal_lib.backlog.rows_of`.
        seeds: Comma-separated.
        data: Prepared images; rendered ones by default, which suit profile smoke alone.
        jobs: Runs at a time.
        dry_run: Only say what would be run.
        only_missing: Instead, train the rows that have no record, neither a committed one nor one
            made here, most informative first (`dreal_lib.backlog`); no notebooks, no book.
        max_minutes: Stop training in time; what is left is for another call.

    Returns:
        Snakemake's exit status, or `EX_TEMPFAIL` if the time was up first.

    Raises:
        UserError: Bad arguments, no checkout, or another reproduction under way in it.
    """
    numbers = _checked(profile, variant, rows, seeds, data)
    batch = _Batch(profile, variant, seeds, rows, data, jobs, deadline_after(max_minutes))
    with nullcontext() if dry_run else _only_one(PROJECT_ROOT / "build"):
        if only_missing:
            return _train_missing(batch, numbers, dry_run)
        if batch.deadline is not None and not dry_run:
            runs = by_information(rows_of(rows, data), numbers)
            status = batch.snakemake(_record_files(runs, batch))
            if status:
                return status
            if batch.time_is_up():
                return EX_TEMPFAIL
        status = batch.snakemake(["--dry-run"] if dry_run else [])
    if status == 0 and not dry_run:
        print(f"the book: {PROJECT_ROOT / BOOK}")
    return status


def _checked(
    profile: str, variant: str | None, rows: str, seeds: str, data: Path | None
) -> list[int]:
    """The seeds; bad input is refused before anything runs."""
    load_recipe(rows_of(rows, data)[0], profile, variant)  # refuses an unknown scale
    if not all(seed.isdecimal() for seed in seeds.split(",")):
        raise UserError(f"seeds are whole numbers with commas between; got {seeds!r}; try 0,1,2")
    if data is None and profile != "smoke":
        raise UserError(
            f"profile {profile!r} needs images; prepare them (`dreal prepare --help`) and give "
            f"their folder with --data"
        )
    if not (PROJECT_ROOT / "Snakefile").exists():
        raise UserError("`dreal reproduce` needs a checkout of the project with its Snakefile")
    return [int(seed) for seed in seeds.split(",")]


@dataclass(frozen=True)
class _Batch:
    """What calls of Snakemake in one batch share."""

    profile: str
    variant: str | None
    seeds: str
    rows: str
    data: Path | None
    jobs: int
    deadline: float | None

    def snakemake(self, arguments: list[str]) -> int:
        """Its exit status, or `EX_TEMPFAIL` if it ended because time was up."""
        config = {"profile": self.profile, "variant": self.variant or "", "seeds": self.seeds}
        config["rows"] = self.rows
        if self.data is not None:
            config["data"] = str(self.data.resolve())
        command = [sys.executable, "-m", "snakemake", *arguments, "--cores", str(self.jobs)]
        command += [
            "--directory",
            str(PROJECT_ROOT),
            "--snakefile",
            str(PROJECT_ROOT / "Snakefile"),
        ]
        # Our own lock, unlike Snakemake's, is gone when its holder is killed.
        command += ["--nolock", "--rerun-incomplete", "--show-failed-logs"]
        command += ["--quiet", "rules", "host"]
        command += ["--config", *(f"{key}={value}" for key, value in config.items())]
        environment = _environment()
        if self.deadline is not None:
            environment[VARIABLE] = repr(self.deadline)
        status = subprocess.run(command, env=environment, check=False).returncode
        return EX_TEMPFAIL if status and self.time_is_up() else status

    def time_is_up(self) -> bool:
        """Or so nearly that a run may have stopped for it."""
        return self.deadline is not None and time.time() >= self.deadline - LONGEST_LEAD_SECONDS


def _train_missing(batch: _Batch, seeds: list[int], dry_run: bool) -> int:
    roots = [PROJECT_ROOT / folder for folder in (RECORDED, MADE_HERE)]
    wanted = "all" if batch.rows == "pair" else batch.rows
    every = by_information(rows_of(wanted, batch.data), seeds)
    runs = missing(every, batch.profile, batch.variant, roots)
    print(f"{len(runs)} of {len(every)} runs have no record")
    if dry_run:
        for row, seed in runs:
            print(f"{row} seed {seed}")
        return 0
    # In the order of what they tell, which Snakemake alone would not keep.
    for first in range(0, len(runs), batch.jobs):
        status = batch.snakemake(_record_files(runs[first : first + batch.jobs], batch))
        if status:
            return status
        if batch.time_is_up() and first + batch.jobs < len(runs):
            return EX_TEMPFAIL
    return 0


def _record_files(runs: list[Run], batch: _Batch) -> list[str]:
    return [str(record_path(MADE_HERE, batch.profile, batch.variant, *run)) for run in runs]


def _environment() -> dict[str, str]:
    # The rules call `dreal` and `jupyter-book` by name, also when .venv is not activated.
    programs = str(Path(sys.executable).parent)
    return {**os.environ, "PATH": programs + os.pathsep + os.environ.get("PATH", "")}


@contextmanager
def _only_one(folder: Path) -> Iterator[None]:
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / ".reproduce.lock", "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(
                f"another `dreal reproduce` is at work in {folder}; wait for it or stop it"
            ) from None
        yield
