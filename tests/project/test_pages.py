"""The text pages of the book say what is so: settings, recipe, code references, commands, code."""

import importlib
import inspect
import re
import shlex
from dataclasses import fields
from pathlib import Path
from typing import get_args, get_type_hints

import pytest
import typer
import yaml

from book.companion.commands import app
from book.companion.pages.catalogue import check_parameters
from book.companion.pages.execute import parse_parameters
from book.companion.text.tables import MARKS
from dreal_lib.recipes import load_recipe, parse_overrides
from dreal_lib.settings.dreal import Settings

ROOT = Path(__file__).resolve().parents[2]
PAGES = ("intro", "method", "open_points", "reproduce", "howto")
TEXT = {name: (ROOT / "book" / f"{name}.md").read_text() for name in PAGES}

# `dreal_lib/actor_critic/reward.py`, `relative_gain`, `mean_map`
REFERENCE = re.compile(r"`(dreal_lib/[\w/.]+)`((?:,\s+`[A-Za-z_][\w.]*`)*)")
COMMAND_BLOCK = re.compile(r"^```console\n(.*?)^```", re.M | re.S)


def code_references(text: str) -> list[tuple[str, list[str]]]:
    """(path, names) of each reference to a file of the library."""
    return [(path, re.findall(r"`([^`]+)`", names)) for path, names in REFERENCE.findall(text)]


def missing_code(path: str, names: list[str]) -> list[str]:
    """What a reference names that does not exist."""
    if not (ROOT / path).is_file():
        return [f"no file {path}"]
    if not path.endswith(".py"):
        return [f"{path} has no names to refer to"] if names else []
    module = importlib.import_module(path.removesuffix(".py").replace("/", "."))
    missing = []
    for name in names:
        found = module
        for part in name.split("."):
            found = getattr(found, part, None)
        # Not what the module merely imports: the reference shall lead to the definition.
        elsewhere = inspect.getmodule(found) not in (module, None)
        if found is None or elsewhere:
            missing.append(f"{path} defines no {name}")
    return missing


def commands(text: str) -> list[list[str]]:
    """The words of each command in the console blocks of a page."""
    blocks = [block.replace("\\\n", " ") for block in COMMAND_BLOCK.findall(text)]
    lines = [line for block in blocks for line in block.splitlines()]
    assert all(line.startswith("$ ") for line in lines), lines
    return [shlex.split(line.removeprefix("$ ")) for line in lines]


def dreal_commands() -> list[list[str]]:
    return [words[1:] for text in TEXT.values() for words in commands(text) if words[0] == "dreal"]


def section(text: str, heading: str) -> str:
    """From a heading of level two to the next."""
    found = re.search(rf"^## {re.escape(heading)}\n(.*?)(?=^## |\Z)", text, re.M | re.S)
    assert found, f"there is no section {heading!r}"
    return found[1]


def table_rows(text: str) -> list[list[str]]:
    """Cells of the rows of the first table, without its head."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def settings_rows() -> dict[str, tuple[str, str]]:
    """Default and choices of each setting, as the page prints them."""
    rows = table_rows(section(TEXT["open_points"], "All settings at a glance"))
    return {re.match(r"{ref}`(\w+)", row[0])[1]: (row[1], row[2]) for row in rows}


def test_every_setting_and_no_other_is_listed():
    assert set(settings_rows()) == {field.name for field in fields(Settings)}


@pytest.mark.parametrize("field", fields(Settings), ids=lambda field: field.name)
def test_default_and_choices_of_a_setting_are_listed(field):
    default, choices = settings_rows()[field.name]
    assert default == f"`{field.default}`"
    literal = [c for c in get_args(get_type_hints(Settings)[field.name]) if isinstance(c, str)]
    if literal:
        assert choices == ", ".join(f"`{choice}`" for choice in literal)
    else:
        assert "number" in choices


def test_every_setting_has_its_own_section():
    headings = " ".join(re.findall(r"^### (.*)", TEXT["open_points"], re.M))
    assert not {field.name for field in fields(Settings)} - set(re.findall(r"`(\w+)`", headings))


def test_every_choice_is_explained_in_its_section():
    sections = re.split(r"^### ", TEXT["open_points"], flags=re.M)[1:]
    for name, (_, choices) in settings_rows().items():
        (explained,) = (text for text in sections if f"`{name}`" in text.splitlines()[0])
        body = explained.split("\n", 1)[1]
        assert not [c for c in re.findall(r"`\w+`", choices) if f"({c})" not in body], name


def test_recipe_values_are_those_of_the_paper_profile():
    recipe = load_recipe("table_1/se_resnet50_reinforced", "paper").model_dump(mode="json")
    text = section(TEXT["open_points"], "The training recipe")
    named = dict(re.findall(r"`(\w+): ([^`]+)`", text))
    named.pop("key")  # the example of the form
    assert len(named) >= 10
    assert {key: yaml.safe_load(value) for key, value in named.items()} == {
        key: recipe.get(key) for key in named
    }


@pytest.mark.parametrize("page", PAGES)
def test_code_that_a_page_refers_to_exists(page):
    missing = [line for ref in code_references(TEXT[page]) for line in missing_code(*ref)]
    assert not missing, "\n".join(missing)


def test_every_equation_of_the_paper_has_a_number_and_code_below():
    parts = re.split(r"^\$\$ \(eq-[a-z-]+\)$", TEXT["method"], flags=re.M)
    assert len(parts) == 11  # Sphinx numbers them in this order, the paper 1 to 10
    # Eqs. 2 and 3, 5 and 6, and 8 to 10 share a reference.
    with_code = [bool(re.search(r"^Code: ", text, re.M)) for text in parts[1:]]
    assert with_code == [True, False, True, True, False, True, True, False, False, True]


def test_a_wrong_reference_is_found():
    text = (
        "Code: `dreal_lib/actor_critic/reward.py`, `relative_gain`,\n`no_such`; "
        "`dreal_lib/nowhere.py`, `x`."
    )
    missing = [line for ref in code_references(text) for line in missing_code(*ref)]
    assert missing == [
        "dreal_lib/actor_critic/reward.py defines no no_such",
        "no file dreal_lib/nowhere.py",
    ]
    # imported there, defined elsewhere
    assert missing_code("dreal_lib/training/trainer.py", ["Recipe"])
    assert missing_code("dreal_lib/actor_critic/critic.py", ["RecurrentCritic.nothing"])


def parse(words: list[str]) -> dict:
    """Parameters of a `dreal` command, which is not run."""
    command = typer.main.get_command(app)
    while hasattr(command, "get_command"):  # a group; some import a command when it is looked up
        name, *words = words
        found = command.get_command(None, name)
        if found is None:
            raise LookupError(f"no command {name}")
        command = found
    return command.make_context(command.name, list(words)).params


def problem_of(words: list[str]) -> str:
    """What is wrong with a `dreal` command, without its first word; "" if nothing is."""
    try:
        given = parse(words)
        overrides = parse_overrides(given.get("overrides") or [])
        row = given.get("recipe", "table_1/se_resnet50_baseline")
        load_recipe(row, given.get("profile") or "smoke", given.get("variant"), overrides)
        if "notebook" in given:
            check_parameters(given["notebook"].stem, parse_parameters(given["parameters"]))
    except Exception as error:  # of several kinds: ours, and those of Typer's parser
        return str(error)
    return ""


def test_pages_show_commands():
    assert len(dreal_commands()) > 10


@pytest.mark.parametrize("words", dreal_commands(), ids=" ".join)
def test_dreal_commands_are_spelt_right(words):
    assert problem_of(words) == ""


@pytest.mark.parametrize(
    ("line", "named"),
    [
        ("train table_1/x --data D", "table_1/x"),
        ("train table_1/se_resnet50_baseline --data D --sed 1", "--sed"),
        ("train table_1/se_resnet50_baseline --data D --set epoch=3", "epoch"),
        ("prepair embedded D", "prepair"),
        ("prepare embeded D", "embeded"),
        ("reproduce --variant one_core", "one_core"),
        ("execute fig_6.py out.ipynb -p result=rerun", "result"),
    ],
)
def test_a_misspelt_command_is_found(line, named):
    assert named in problem_of(line.split())


def test_make_targets_exist():
    listed = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M)
    inline = re.findall(r"`make ([a-z-]+)`", " ".join(TEXT.values()))
    shown = [w[1] for text in TEXT.values() for w in commands(text) if w[0] == "make"]
    assert shown
    assert not set(inline + shown) - set(listed)


def test_marks_are_explained_as_they_are_used():
    rows = table_rows(section(TEXT["intro"], "How to read it"))[: len(MARKS)]
    assert {row[1]: row[0] for row in rows} == MARKS
