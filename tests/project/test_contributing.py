"""CONTRIBUTING.md and the hooks name what there is."""

import re
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
TOP = ("dreal_lib/", "book/", "tests/", "data_prep/", ".ci/", ".github/")


def named_paths(text: str) -> list[str]:
    """Paths in backticks, but for patterns such as NAME.py."""
    spans = re.findall(r"`([^`\s]+)`", text)
    top_files = [span for span in spans if re.fullmatch(r"[\w.-]+\.(md|toml|txt|yml|yaml)", span)]
    paths = [span for span in spans if span.startswith(TOP)] + top_files
    return [path for path in paths if not re.search(r"\b(NAME|TABLE|NETWORK_METHOD)\b", path)]


def test_every_path_exists():
    paths = named_paths(TEXT)
    assert len(paths) > 30
    assert not [path for path in paths if not (ROOT / path).exists()]


def test_a_missing_path_is_found():
    assert named_paths("`dreal_lib/no.py`, `no.yml`, `book/NAME.py`, `reinforce`") == [
        "dreal_lib/no.py",
        "no.yml",
    ]


def test_every_target_exists():
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M)
    named = re.findall(r"`make ([a-z-]+)`", TEXT)
    assert len(set(named)) >= 5
    assert set(named) <= set(targets)


def test_every_page_with_a_table_or_figure_of_the_paper_is_on_the_map():
    pages = {path.stem for path in (ROOT / "book" / "notebooks").glob("*.py")}
    wanted = {page for page in pages if re.match(r"(table|fig)_\d", page)}
    assert wanted <= set(re.findall(r"book/notebooks/(\w+)\.py", TEXT))


def test_hooks_are_local_and_name_what_there_is():
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))
    assert [repo["repo"] for repo in hooks["repos"]] == ["local"]
    for hook in hooks["repos"][0]["hooks"]:
        assert hook["language"] == "system"
        assert hook["entry"].startswith(".venv/bin/")
        files = re.findall(r"tests/\S+\.py", hook["entry"])
        assert not [path for path in files if not (ROOT / path).is_file()]


def test_the_launch_buttons_would_open_the_committed_notebooks():
    repository = yaml.safe_load((ROOT / "_config.yml").read_text())["repository"]
    pages = re.findall(r"file: (notebooks/\w+)", (ROOT / "book" / "_toc.yml").read_text())
    if not pages:
        pytest.fail("the contents name no notebook")
    folder = ROOT / repository["path_to_book"]
    assert not [page for page in pages if not (folder / f"{page}.py").is_file()]
