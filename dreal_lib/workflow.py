"""`dreal reproduce`: a front of the Snakefile, which is the engine."""

import fcntl
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

from dreal_lib.environment import PROJECT_ROOT
from dreal_lib.errors import UserError
from dreal_lib.recipes import load_recipe, recipe_names

BOOK = Path("build/book/_build/html/index.html")


def reproduce(
    *,
    profile: str,
    variant: str | None,
    everything: bool,
    seeds: str,
    data: Path | None,
    jobs: int,
    dry_run: bool,
) -> int:
    """Makes what is missing or out of date: data, runs, notebooks, book.

    Args:
        profile, variant: The scale.
        everything: Every row, instead of one baseline / reinforced pair.
        seeds: Comma-separated.
        data: Prepared images; the embedded data by default, which suit profile smoke alone.
        jobs: Runs at a time.
        dry_run: Only say what would be run.

    Returns:
        Snakemake's exit status.

    Raises:
        UserError: Bad arguments, no checkout, or another reproduction under way in it.
    """
    load_recipe(
        recipe_names()[0], profile, variant
    )  # refuses an unknown scale before anything runs
    if not all(seed.isdecimal() for seed in seeds.split(",")):
        raise UserError(f"seeds are whole numbers with commas between; got {seeds!r}; try 0,1,2")
    if data is None and profile != "smoke":
        raise UserError(
            f"profile {profile!r} needs images; prepare them (`dreal prepare --help`) and give "
            f"their folder with --data"
        )
    if not (PROJECT_ROOT / "Snakefile").exists():
        raise UserError("`dreal reproduce` needs a checkout of the project with its Snakefile")
    config = {"profile": profile, "variant": variant or "", "seeds": seeds}
    config["rows"] = "all" if everything else "pair"
    if data is not None:
        config["data"] = str(data.resolve())
    command = [sys.executable, "-m", "snakemake", "--cores", str(jobs)]
    command += ["--directory", str(PROJECT_ROOT), "--snakefile", str(PROJECT_ROOT / "Snakefile")]
    # Our own lock, unlike Snakemake's, is gone when its holder is killed.
    command += ["--nolock", "--rerun-incomplete", "--show-failed-logs", "--quiet", "rules", "host"]
    command += ["--dry-run"] if dry_run else []
    command += ["--config", *(f"{key}={value}" for key, value in config.items())]
    with nullcontext() if dry_run else _only_one(PROJECT_ROOT / "build"):
        status = subprocess.run(command, env=_environment(), check=False).returncode
    if status == 0 and not dry_run:
        print(f"the book: {PROJECT_ROOT / BOOK}")
    return status


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
