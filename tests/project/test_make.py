"""The Makefile and .ci/run, as far as they can be tried without installing anything."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A folder with all that `make setup` reads."""
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, tmp_path / name)
    return tmp_path


def make(folder: Path, *arguments: str) -> subprocess.CompletedProcess:
    command = ["make", "--no-print-directory", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def script(path: Path, text: str) -> Path:
    path.write_text(f"#!/usr/bin/env bash\n{text}\n")
    path.chmod(0o755)
    return path


def test_help_is_the_default_and_lists_every_target():
    listing = make(ROOT)
    assert listing.returncode == 0
    targets = (
        "help setup reproduce reproduce-all test book pdf browser chromium benchmark soak "
        "notebooks archive wheel clean"
    ).split()
    assert [line.split()[0] for line in listing.stdout.splitlines()] == targets


def test_an_old_python_is_refused_in_one_line(checkout: Path):
    old = script(checkout / "old", '[ "$1" = --version ] && { echo Python 3.9.2; exit; }; exit 1')
    result = make(checkout, "setup", f"PYTHON={old}")
    assert result.returncode != 0
    first, *rest = result.stderr.splitlines()
    assert first.startswith(f"Python 3.11 or newer is needed; '{old}' answers 'Python 3.9.2'")
    assert len(rest) == 1  # make's own
    assert not (checkout / ".venv").exists()


def test_setup_is_done_again_only_if_the_pins_change(checkout: Path):
    stamp = checkout / ".venv" / ".installed"
    stamp.parent.mkdir()
    stamp.touch()
    newest = stamp.stat().st_mtime
    os.utime(checkout / "pyproject.toml", (newest - 10, newest - 10))
    os.utime(checkout / "constraints.txt", (newest - 10, newest - 10))
    assert "Nothing to be done" in make(checkout, "setup").stdout
    os.utime(checkout / "constraints.txt", (newest + 10, newest + 10))
    assert "uv pip install" in make(checkout, "-n", "setup").stdout


def test_clean_keeps_the_environment(checkout: Path):
    (checkout / ".venv").mkdir()
    (checkout / "build").mkdir()
    assert make(checkout, "clean").returncode == 0
    assert (checkout / ".venv").exists()
    assert not (checkout / "build").exists()


@pytest.mark.parametrize("failing", [None, "setup", "test", "wheel", "browser"])
def test_ci_run_reports_each_step_and_fails_with_any(tmp_path: Path, failing: str | None):
    (tmp_path / ".ci").mkdir()
    shutil.copy(ROOT / ".ci" / "run", tmp_path / ".ci" / "run")
    script(tmp_path / "make", f'echo "made $2"; [ "$2" != "{failing}" ]')
    result = subprocess.run(
        [tmp_path / ".ci" / "run"],
        env={"PATH": f"{tmp_path}:{os.environ['PATH']}", "CI": "true"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    steps = (
        ["setup"]
        if failing == "setup"
        else ["setup", "chromium", "test", "wheel", "reproduce", "browser"]
    )
    made = [line.split()[1] for line in result.stdout.splitlines() if line.startswith("made ")]
    assert made == steps
    assert (result.returncode == 0) == (failing is None)
    last = result.stdout.splitlines()[-1]
    assert last == (".ci/run passed" if failing is None else f".ci/run FAILED: make {failing}")
