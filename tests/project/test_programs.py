"""Benchmarks and the soak test, which `make test` does not run, still fit the library."""

import importlib.util
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
PROGRAMS = sorted([*TESTS.glob("benchmarks/*.py"), TESTS / "soak.py"])


@pytest.mark.parametrize("path", PROGRAMS, ids=lambda path: path.stem)
def test_a_program_finds_what_it_imports(path, monkeypatch):
    monkeypatch.syspath_prepend(str(path.parent))  # as where it is started
    known = set(sys.modules)
    spec = importlib.util.spec_from_file_location(f"program_{path.stem}", path)
    try:
        spec.loader.exec_module(importlib.util.module_from_spec(spec))
    finally:
        for name in set(sys.modules) - known:
            if Path(getattr(sys.modules[name], "__file__", None) or "").parent == path.parent:
                del sys.modules[name]  # e.g. `measuring`
