"""The wheel holds every file of the packages and asks for little; `make wheel` tries it out."""

import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import dreal_lib

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("dreal_lib", "data_prep", "book/companion")
CORE = {
    "torch", "torchvision", "numpy", "pillow", "pydantic", "pyyaml", "safetensors", "tqdm", "typer",
}  # fmt: skip


def packaged_files() -> list[str]:
    return sorted(
        path.relative_to(ROOT).as_posix()
        for package in PACKAGES
        for path in (ROOT / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    )


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> zipfile.ZipFile:
    """Built from a copy: setuptools would leave folders in the checkout."""
    copy = tmp_path_factory.mktemp("source")
    for name in (*packaged_files(), "pyproject.toml", "README.md", "LICENSE"):
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, copy / name)
    build = "from setuptools.build_meta import build_wheel; build_wheel('out')"
    subprocess.run([sys.executable, "-c", build], cwd=copy, capture_output=True, check=True)
    return zipfile.ZipFile(next((copy / "out").glob("*.whl")))


def test_every_file_of_the_packages_is_in_the_wheel(wheel):
    held = {name for name in wheel.namelist() if ".dist-info/" not in name}
    assert held == set(packaged_files())
    assert sum(name.endswith(".yaml") for name in held) > 40
    assert "data_prep/two_cores_wnids.txt" in held


def test_without_extras_it_needs_nine_packages(wheel):
    (metadata,) = (name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
    text = wheel.read(metadata).decode()
    core = re.findall(r"^Requires-Dist: ([\w-]+)[^;\n]*$", text, re.M)
    assert set(core) == CORE
    assert f"\nVersion: {dreal_lib.__version__}\n" in text
