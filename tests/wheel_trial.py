"""The wheel as a user has it: in an environment of its own, a row trained and evaluated.

Run by `make wheel`. Packages are pinned by constraints.txt and come from uv's cache where they can.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
ROW = "table_1/se_resnet50_baseline"
SIZE = (
    "--set",
    "epochs=1",
    "--set",
    "batch_size=8",
    "--set",
    "image_size=32",
    "--set",
    "resize=32",
)

# Run by the new environment's Python: a tiny folder of made-up images.
IMAGES = """
import numpy, pathlib, sys
from PIL import Image
chance = numpy.random.default_rng(0)
for split, count in (("train", 8), ("val", 3)):
    for label in ("a", "b"):
        folder = pathlib.Path(sys.argv[1], split, label)
        folder.mkdir(parents=True)
        for index in range(count):
            pixels = chance.integers(0, 255, (40, 40, 3), dtype=numpy.uint8)
            Image.fromarray(pixels).save(folder / f"{index}.png")
"""


def run(*command, folder: Path) -> str:
    """Its standard output; an environment without PYTHONPATH, so that no checkout is seen."""
    clean = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    words = list(map(str, command))
    return subprocess.run(
        words, cwd=folder, env=clean, stdout=subprocess.PIPE, text=True, check=True
    ).stdout


def build(folder: Path) -> Path:
    """The wheel, from a copy: setuptools would leave folders in the checkout."""
    for name in ("dreal_lib", "data_prep", "book/companion"):
        skipped = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / name, folder / "source" / name, ignore=skipped)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder / "source" / name)
    code = "from setuptools.build_meta import build_wheel; print(build_wheel('..'))"
    return folder / run(sys.executable, "-c", code, folder=folder / "source").split()[-1]


def main() -> None:
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        uv = Path(sys.executable).with_name("uv")
        run(uv, "venv", "--quiet", "--python", sys.executable, "own", folder=folder)
        python, dreal = (folder / "own" / "bin" / name for name in ("python", "dreal"))
        pins = ROOT / "constraints.txt"
        install = (uv, "pip", "install", "--quiet", "--python", python, "-c", pins, build(folder))
        run(*install, folder=folder)
        shutil.rmtree(folder / "source")
        print(run(dreal, "--version", folder=folder), end="")
        run(python, "-c", IMAGES, "images", folder=folder)
        print(run(dreal, "train", ROW, "--data", "images", *SIZE, folder=folder), end="")
        (weights,) = (folder / "build" / "runs").rglob("weights.safetensors")
        said = run(dreal, "evaluate", weights, "--data", "images", folder=folder)
        print(said, end="")
        assert "top-1 error" in said
        refused = subprocess.run(
            [dreal, "reproduce"], cwd=folder, capture_output=True, text=True, check=False
        )
        assert refused.returncode == 2, refused
        assert "needs a checkout" in refused.stderr, refused


if __name__ == "__main__":
    main()
