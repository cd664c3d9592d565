"""`dreal reproduce`: a front of the Snakefile, which is the engine."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO

from book.companion.reproduction.backlog import Run, by_information, missing, rows_of
from book.companion.reproduction.estimates import estimate, plan_lines
from book.companion.reproduction.one_batch import only_one
from book.companion.reproduction.planned_runs import read_planned
from dreal_lib.errors import UserError
from dreal_lib.recipes import load_recipe
from dreal_lib.records import find_records, record_path, scale_name
from dreal_lib.runtime.deadline import EX_TEMPFAIL, LONGEST_LEAD_SECONDS, VARIABLE, deadline_after
from dreal_lib.runtime.environment import PROJECT_ROOT

BOOK = Path("build/book/_build/html/index.html")
RERUNS = "notebooks/reruns.html"  # the page that sets each run beside the record of its seed
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

    A batch of which some processes were killed is waited for, then continued.

    Args:
        profile, variant: The scale.
        rows: See `book.companion.reproduction.backlog.rows_of`.
        seeds: Comma-separated; one that is given twice counts once.
        data: Prepared images; rendered ones by default, which suit profile smoke alone.
        jobs: Runs at a time; 0: one for each core, or one where there is a GPU to share.
        dry_run: Only say what would be run, and about how long the training would take.
        only_missing: Instead, train the rows that have no record, neither a committed one nor one
            made here, most informative first (`book.companion.reproduction.backlog`); no notebooks,
            no book.
        max_minutes: Stop training in time; what is left is for another call.

    Returns:
        Snakemake's exit status, or `EX_TEMPFAIL` if the time was up first.

    Raises:
        UserError: Bad arguments, or another reproduction under way in it.
        OutOfTime: The time was up before a killed batch's processes had ended.
    """
    numbers = _checked(profile, variant, rows, seeds, data, jobs)
    cores, gpu = os.cpu_count() or 1, _has_gpu()
    jobs = jobs or (1 if gpu else cores)
    deadline = deadline_after(max_minutes)
    # Runs on a GPU share the cores beside it, which feed it; else each has one.
    threads = max(cores // jobs, 1) if gpu else 1
    batch = _Batch(profile, variant, numbers, rows, data, jobs, deadline, threads)
    if dry_run:
        return _plan(batch, only_missing)
    with only_one(PROJECT_ROOT / "build", deadline) as lock:
        held = replace(batch, lock=lock)
        return _train_missing(held) if only_missing else _make_everything(held)


def _checked(
    profile: str, variant: str | None, rows: str, seeds: str, data: Path | None, jobs: int
) -> tuple[int, ...]:
    """The seeds, each once; bad input is refused before anything runs."""
    load_recipe(rows_of(rows, data)[0], profile, variant)  # refuses an unknown scale
    if not all(seed.isdecimal() for seed in seeds.split(",")):
        raise UserError(f"seeds are whole numbers with commas between; got {seeds!r}; try 0,1,2")
    if jobs < 0:
        raise UserError(f"--jobs is how many runs go on at a time; got {jobs}; try 2, or 0 for all")
    if data is None and profile != "smoke":
        raise UserError(
            f"profile {profile!r} needs images; prepare them (`dreal prepare --help`) and give "
            f"their folder with --data"
        )
    if data is not None and not data.is_dir():
        raise UserError(
            f"--data {str(data)!r} is no folder; prepare the images (`dreal prepare --help`)"
        )
    return tuple(dict.fromkeys(int(seed) for seed in seeds.split(",")))


def _has_gpu() -> bool:
    import torch  # not at the top: it takes a second, which a refusal need not

    return torch.cuda.is_available()


@dataclass(frozen=True)
class _Batch:
    """What calls of Snakemake in one batch share.

    `threads` are those of each of `jobs` runs; `lock` is the standard input of all processes, see
    `book.companion.reproduction.one_batch`.
    """

    profile: str
    variant: str | None
    seeds: tuple[int, ...]
    rows: str
    data: Path | None
    jobs: int
    deadline: float | None
    threads: int = 1
    lock: IO[str] | None = None

    def runs(self, rows: str) -> list[Run]:
        """Those of some rows (see `rows_of`), most informative first."""
        return by_information(product(rows_of(rows, self.data), self.seeds))

    def snakemake(self, arguments: list[str], **more: str) -> int:
        """Its exit status, or `EX_TEMPFAIL` if it ended because time was up.

        Args:
            arguments: Of the command line.
            more: Of the Snakefile's configuration.
        """
        config = {"profile": self.profile, "variant": self.variant or "", "rows": self.rows, **more}
        config["seeds"] = ",".join(map(str, self.seeds))
        if self.data is not None:
            config["data"] = str(self.data.resolve())
        config["train_threads"] = str(self.threads)
        cores = str(self.jobs * self.threads)
        command = [sys.executable, "-m", "snakemake", *arguments, "--cores", cores]
        command += [
            "--directory",
            str(PROJECT_ROOT),
            "--snakefile",
            str(PROJECT_ROOT / "Snakefile"),
        ]
        # Our own lock, unlike Snakemake's, is gone when all who hold it have ended.
        command += ["--nolock", "--rerun-incomplete", "--show-failed-logs"]
        command += ["--quiet", "rules", "host"]
        environment = _environment()
        if self.deadline is not None:
            environment[VARIABLE] = repr(self.deadline)
        build = PROJECT_ROOT / "build"
        build.mkdir(exist_ok=True)  # a dry run may be the first to come here
        with TemporaryDirectory(dir=build) as folder:
            # As JSON: --config reads values as YAML, cuts a path at ` #` and makes 10 of `010`. In
            # build/, which a cluster's machines see too.
            path = Path(folder) / "batch.json"
            path.write_text(json.dumps(config))
            command += ["--configfile", str(path)]
            done = subprocess.run(command, env=environment, stdin=self.lock, check=False)
        status = done.returncode
        return EX_TEMPFAIL if status and self.time_is_up() else status

    def time_is_up(self) -> bool:
        """Or so nearly that a run may have stopped for it."""
        return self.deadline is not None and time.time() >= self.deadline - LONGEST_LEAD_SECONDS


def _make_everything(batch: _Batch) -> int:
    if batch.deadline is not None:
        status = batch.snakemake(_record_files(batch.runs(batch.rows), batch))
        if status:
            return status
        if batch.time_is_up():
            return EX_TEMPFAIL
    status = batch.snakemake([])
    if status == 0:
        print(f"the book: {PROJECT_ROOT / BOOK}")
        print(f"did you get what we got? {PROJECT_ROOT / BOOK.parent / RERUNS}")
    return status


def _train_missing(batch: _Batch) -> int:
    runs = _missing(batch)
    # In the order of what they tell, which Snakemake alone would not keep.
    for first in range(0, len(runs), batch.jobs):
        status = batch.snakemake(_record_files(runs[first : first + batch.jobs], batch))
        if status:
            return status
        if batch.time_is_up() and first + batch.jobs < len(runs):
            return EX_TEMPFAIL
    return 0


def _missing(batch: _Batch) -> list[Run]:
    roots = [PROJECT_ROOT / folder for folder in (RECORDED, MADE_HERE)]
    every = batch.runs("all" if batch.rows == "pair" else batch.rows)
    runs = missing(every, batch.profile, batch.variant, roots)
    print(f"{len(runs)} of {len(every)} runs have no record", flush=True)
    return runs


def _plan(batch: _Batch, only_missing: bool) -> int:
    """Says what would be run, and about how long the training would take."""
    if only_missing:
        runs = _missing(batch)
    else:
        with TemporaryDirectory() as folder:
            planned = Path(folder) / "runs.jsonl"
            status = batch.snakemake(["--dry-run"], planned=str(planned))
            if status:
                return status
            runs = by_information(read_planned(planned))
    scale = scale_name(batch.profile, batch.variant)
    made_here = find_records(
        PROJECT_ROOT / MADE_HERE, profile=batch.profile, variant=batch.variant, origin="re-run"
    )
    committed = find_records(PROJECT_ROOT / RECORDED, profile=batch.profile, variant=batch.variant)
    estimates = [estimate(*run, scale, [*made_here, *committed]) for run in runs]
    print(*plan_lines(estimates, batch.jobs), sep="\n")
    return 0


def _record_files(runs: Iterable[Run], batch: _Batch) -> list[str]:
    return [str(record_path(MADE_HERE, batch.profile, batch.variant, *run)) for run in runs]


def _environment() -> dict[str, str]:
    # The rules call `dreal` and `jupyter-book` by name, also when .venv is not activated.
    programs = str(Path(sys.executable).parent)
    # A profile is for a cluster, where `snakemake` is called itself; a home need not be writable.
    kept = {name: value for name, value in os.environ.items() if name != "SNAKEMAKE_PROFILE"}
    caches = {"XDG_CACHE_HOME": str(PROJECT_ROOT / "build" / "cache")}
    path = programs + os.pathsep + os.environ.get("PATH", "")
    return {**kept, **caches, "PATH": path}
