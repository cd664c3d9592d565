"""One environment in four files: pyproject.toml, constraints.txt, environment.yml, README.md."""

import re
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]


def direct_requirements() -> list[Requirement]:
    """Everything that pyproject.toml asks for, extras included."""
    lines = [*PROJECT["dependencies"], *(line for extra in EXTRAS.values() for line in extra)]
    return [Requirement(line) for line in lines]


def pinned_versions() -> dict[str, str]:
    """Canonical name to version, of every line of constraints.txt; a line of another form fails."""
    pins = {}
    for line in (ROOT / "constraints.txt").read_text().splitlines():
        match = re.fullmatch(r"([A-Za-z0-9._-]+)==([A-Za-z0-9.!+_-]+)( ;.*)?", line)
        assert match, f"constraints.txt: not a plain pin: {line!r}"
        pins[canonicalize_name(match[1])] = match[2]
    return pins


def documented_dependencies(readme: str) -> set[tuple[str, str]]:
    """(extra, package), "" without one, by the table under README's heading 'Dependencies'."""
    section = re.search(r"^## Dependencies\n(.*?)(?=^## |\Z)", readme, re.M | re.S)
    assert section, "README.md has no section 'Dependencies'"
    return {
        (extra, canonicalize_name(name))
        for extras, names in re.findall(r"^\| ([^|]*?) ?\| (`[^|]+`) \|", section[1], re.M)
        for extra in re.findall(r"`([^`]+)`", extras) or [""]
        for name in re.findall(r"`([^`]+)`", names)
    }


@pytest.mark.parametrize("requirement", direct_requirements(), ids=lambda r: r.name)
def test_pin_satisfies_pyproject(requirement: Requirement):
    pins = pinned_versions()
    name = canonicalize_name(requirement.name)
    assert name in pins, f"constraints.txt has no pin of {name}; compile it again"
    assert requirement.specifier.contains(pins[name], prereleases=True), (
        f"constraints.txt pins {name}=={pins[name]}, pyproject.toml asks for {requirement}"
    )


def test_conda_environment_is_that_of_pyproject():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    python, pip, pip_section = environment["dependencies"]
    assert pip == "pip"
    version = re.fullmatch(r"python=(\d+\.\d+)", python)
    assert version, f"environment.yml: expected python=X.Y, got {python}"
    assert version[1] == PROJECT["requires-python"].removeprefix(">=")
    constraints, editable = pip_section["pip"]  # no other entry
    assert constraints == "-c constraints.txt"
    extras = re.fullmatch(r"-e \.\[([a-z,]+)\]", editable)
    assert extras, f"environment.yml: expected -e .[extras], got {editable}"
    assert sorted(extras[1].split(",")) == sorted(EXTRAS)


def test_make_installs_every_extra():
    installed = re.findall(r'-e "\.\[([a-z,]+)\]"', (ROOT / "Makefile").read_text())
    assert installed, "the Makefile installs no extras"
    assert all(sorted(extras.split(",")) == sorted(EXTRAS) for extras in installed)


def test_readme_gives_a_reason_for_every_dependency():
    asked = {"": PROJECT["dependencies"], **EXTRAS}
    wanted = {
        (extra, canonicalize_name(Requirement(line).name))
        for extra, lines in asked.items()
        for line in lines
    }
    documented = documented_dependencies((ROOT / "README.md").read_text())
    assert documented == wanted, (
        f"README.md, Dependencies: missing {sorted(wanted - documented)}, "
        f"not in pyproject.toml {sorted(documented - wanted)}"
    )


def test_readme_states_the_supported_versions():
    readme = (ROOT / "README.md").read_text()
    torch = next(r for r in direct_requirements() if r.name == "torch")
    assert f"Python {PROJECT['requires-python'].removeprefix('>=')} or newer" in readme
    assert f"torch {str(torch.specifier).removeprefix('>=')} or newer" in readme
