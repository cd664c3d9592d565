"""What a user's import or command loads, and that the core needs no extra."""

import json
import re
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
HEAVY = ("torch", "torchvision", "numpy", "PIL", "pydantic", "yaml", "tqdm", "rich")

BLOCK = """
import sys

class Without:
    def __init__(self, finder):
        self.finder = finder

    def find_spec(self, name, *where):
        return None if name.partition(".")[0] in BLOCKED else self.finder.find_spec(name, *where)

    def __getattr__(self, name):
        return getattr(self.finder, name)

sys.meta_path[:] = map(Without, sys.meta_path)
"""

IMPORT_ALL = """
import importlib, pkgutil
import data_prep, dreal_lib

names = [m.name for p in (dreal_lib, data_prep)
         for m in pkgutil.walk_packages(p.__path__, p.__name__ + ".")]
assert len(names) > 100, names
for name in names:
    importlib.import_module(name)
"""

NAME_THEIR_EXTRA = """
import torch
from dreal_lib.diagnosis.localization import explaining
from dreal_lib.errors import UserError
from dreal_lib.retrieval import Reranking
from dreal_lib.tasks.losses import BatchHardTriplet

network = torch.nn.Sequential()
network.add_module("layer4", torch.nn.Sequential(torch.nn.Identity()))
for extra, use in (
    ("retrieval", BatchHardTriplet),
    ("retrieval", Reranking),
    ("book", explaining(network).__enter__),
):
    try:
        use()
    except UserError as error:
        assert f"dreal-companion[{extra}]" in str(error), error
    else:
        raise AssertionError(use)
"""


def run(code: str, *arguments: str) -> str:
    """Its standard output, in a process of its own that has to succeed."""
    command = [sys.executable, "-c", code, *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def modules_of(requirements: list[str]) -> set[str]:
    """Top-level modules of the distributions that some requirements name."""
    wanted = {re.match(r"[\w-]+", line)[0].replace("_", "-").lower() for line in requirements}
    return {
        module
        for module, names in packages_distributions().items()
        if wanted & {name.replace("_", "-").lower() for name in names}
    }


def test_the_core_needs_no_extra_and_the_method_torch_and_numpy_alone():
    extras = [line for extra in PROJECT["optional-dependencies"].values() for line in extra]
    core = modules_of(PROJECT["dependencies"])
    absent = modules_of(extras) - core
    assert {"pandas", "scipy", "tensorboard", "pytorch_metric_learning", "matplotlib"} <= absent
    others = core - modules_of(["torch", "numpy"])
    assert {"torchvision", "pydantic", "yaml", "PIL", "typer"} <= others
    # One process after the other state: importing torch takes most of the time.
    method = "import dreal_lib.attention, dreal_lib.actor_critic, dreal_lib.retrieval\n"
    blocked = f"BLOCKED = {absent | others!r}\n{BLOCK}{method}BLOCKED = {absent!r}\n"
    run(blocked + IMPORT_ALL + NAME_THEIR_EXTRA)


COMMAND = """
import json, pathlib, sys
from book.companion import commands
import dreal_lib.runtime.environment as environment
environment.PROJECT_ROOT = pathlib.Path("nowhere")
try:
    commands.main()
except SystemExit:
    print(json.dumps(sorted(sys.modules)))
"""


@pytest.mark.parametrize("words", ["--help", "train --help", "reproduce --help", "--version"])
def test_help_loads_nothing_heavy(words):
    # Without the line that takes a checkout away: that module loads pydantic.
    code = "".join(line for line in COMMAND.splitlines(True) if "environment" not in line)
    *said, loaded = run(code, *words.split()).splitlines()
    assert said
    heavy = set(HEAVY) if words.startswith("--") else set(HEAVY) - {"pydantic"}  # typer's own
    assert not heavy & set(json.loads(loaded))


@pytest.mark.parametrize(
    "words", ["reproduce", "execute book/notebooks/fig_6.py out.ipynb", "archive out.zip"]
)
def test_a_command_that_needs_a_checkout_says_so_before_it_loads_torch(words):
    done = subprocess.run(
        [sys.executable, "-c", COMMAND, *words.split()],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert f"`dreal {words.split()[0]}` needs a checkout" in done.stderr
    assert done.stderr.count("\n") == 1
    assert not {"torch", "numpy"} & set(json.loads(done.stdout))


def test_importing_the_library_loads_nothing_heavy():
    loaded = run("import json, sys, dreal_lib; print(json.dumps(sorted(sys.modules)))")
    assert not {*HEAVY, "typer"} & set(json.loads(loaded))
