"""Attention, the method and the ranking can be used where nothing but torch is installed."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

BLOCKING = """
import importlib.metadata, re, sys

def needs(name, found):
    found.add(name)
    for line in importlib.metadata.requires(name) or []:
        needed = re.match(r"[\\w.-]+", line)[0]
        if "extra ==" not in line and needed not in found:
            try:
                needs(needed, found)
            except importlib.metadata.PackageNotFoundError:
                pass
    return found

of = importlib.metadata.packages_distributions()
allowed = {re.sub("[_.]", "-", name).lower() for name in needs("torch", {"numpy"})}

class Blocker:
    def find_spec(self, name, path=None, target=None):
        owners = {re.sub("[_.]", "-", owner).lower() for owner in of.get(name.split(".")[0], ())}
        if owners and not owners & (allowed | {"dreal-companion"}):
            raise ModuleNotFoundError(f"blocked: {name}", name=name)

sys.meta_path.insert(0, Blocker())
"""


def test_they_import_with_torch_alone():
    names = ("attention", "actor_critic", "retrieval")
    code = BLOCKING + "".join(f"import dreal_lib.{name}\n" for name in names)
    code += """
for other in ("torchvision", "scipy", "pydantic"):
    try:
        __import__(other)
    except ModuleNotFoundError as error:
        assert str(error) == f"blocked: {other}", error
    else:
        raise AssertionError(f"{other} is not blocked")
print(sorted(n for n in sys.modules if n.startswith("dreal_lib.attention."))[:1])
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "dreal_lib.attention.actor" in done.stdout
