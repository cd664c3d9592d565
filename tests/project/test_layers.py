"""Imports point downwards, folder by folder; the library knows nothing of the book."""

import ast
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from book.companion.reproduction.dependencies import imported_names

ROOT = Path(__file__).resolve().parents[2]

# The floors of each package, lowest first. A folder (or a file beside the folders) imports from its
# own floor or a lower one, never in a circle. A new file needs no entry here, a new folder does.
FLOORS = {
    "dreal_lib": (
        {"errors"},
        {"runtime", "settings", "attention", "retrieval"},
        {"actor_critic", "networks", "data"},
        {"recipes", "records", "diagnosis"},
        {"tasks", "comparison"},
        {"training"},
        {"cli"},
    ),
    "book.companion": (
        {"papers"},
        {"text", "sphinx_ext"},
        {"drawing"},
        {"pages", "results"},
        {"attended", "attention_maps", "critics", "schematic"},
        {"claims", "reproduction"},
        {"commands"},
    ),
}


def import_graph(root: Path, package: str) -> dict[str, set[str]]:
    """Each folder or file at the top of a package and those of it that it imports.

    The package's own name stands for its `__init__.py`, the door for those outside.
    """
    folder = root.joinpath(*package.split("."))
    graph: dict[str, set[str]] = {}
    for path in sorted(folder.rglob("*.py")):
        place = path.relative_to(folder).parts[0].removesuffix(".py")
        parts = (*package.split("."), *path.relative_to(folder).parts[:-1])
        inside = graph.setdefault(place, set())
        for name in imported_names(ast.parse(path.read_text(encoding="utf-8")), parts):
            if name.startswith(f"{package}."):
                top = name.removeprefix(f"{package}.").split(".")[0]
                known = (folder / top).is_dir() or (folder / f"{top}.py").is_file()
                inside.add(top if known else "__init__")
        inside.discard(place)
    return graph


def violations(graph: dict[str, set[str]], floors: tuple[set[str], ...]) -> list[str]:
    """One line for each import that the floors do not allow, and for each place not on them."""
    floor = {place: number for number, places in enumerate(floors) for place in places}
    inner = {place: targets for place, targets in graph.items() if place != "__init__"}
    lines = [f"{place} stands on no floor of FLOORS" for place in sorted(inner.keys() - floor)]
    for place, targets in sorted(inner.items()):
        for target in sorted(targets):
            if target == "__init__":
                lines.append(f"{place} goes through the outside's door; import from the module")
            elif floor.get(target, -1) > floor.get(place, len(floors)):
                lines.append(f"{place} imports {target}, which stands above it")
    try:
        TopologicalSorter(inner).prepare()
    except CycleError as error:
        lines.append(f"imports in a circle: {' -> '.join(reversed(error.args[1]))}")
    return lines


def strangers(root: Path, folder: str, unknown: tuple[str, ...]) -> list[str]:
    """The files below a folder that import what they must not know."""
    found = []
    for path in sorted((root / folder).rglob("*.py")):
        parts = path.relative_to(root).parts[:-1]
        names = imported_names(ast.parse(path.read_text(encoding="utf-8")), parts)
        if any(f"{name}.".startswith(f"{far}.") for name in names for far in unknown):
            found.append(str(path.relative_to(root)))
    return found


def write_files(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


@pytest.mark.parametrize("package", FLOORS)
def test_imports_point_downwards(package):
    lines = violations(import_graph(ROOT, package), FLOORS[package])
    assert not lines, "\n".join(lines)


@pytest.mark.parametrize("package", FLOORS)
def test_no_floor_has_a_place_that_is_not_there(package):
    places = [place for floor in FLOORS[package] for place in floor]
    assert sorted(places) == sorted(import_graph(ROOT, package).keys() - {"__init__"})


def test_the_library_knows_nothing_of_the_book_and_data_prep_nothing_of_either():
    assert strangers(ROOT, "dreal_lib", ("book",)) == []
    assert strangers(ROOT, "data_prep", ("book", "dreal_lib")) == []


def test_at_most_four_modules_stand_beside_the_library_s_packages():
    assert len(list((ROOT / "dreal_lib").glob("*.py"))) <= 4


def test_an_upward_import_a_circle_and_a_new_folder_are_found(tmp_path):
    root = write_files(
        tmp_path,
        {
            "dreal_lib/__init__.py": "",
            "dreal_lib/data/images.py": "def f():\n    from dreal_lib.training.trainer import t\n",
            "dreal_lib/training/a.py": "import dreal_lib.data.images\nfrom ..networks import r",
            "dreal_lib/networks/__init__.py": "from dreal_lib.data import images\n",
            "dreal_lib/data/cache.py": "from dreal_lib import networks\n",
            "dreal_lib/shiny/new.py": "",
        },
    )
    graph = import_graph(root, "dreal_lib")
    assert graph["data"] == {"training", "networks"}
    assert graph["training"] == {"data", "networks"}
    unknown, upward, circle = violations(graph, FLOORS["dreal_lib"])
    assert unknown == "shiny stands on no floor of FLOORS"
    assert upward == "data imports training, which stands above it"
    assert {"data", "networks"} <= set(circle.removeprefix("imports in a circle: ").split(" -> "))


def test_the_front_door_and_a_stranger_are_found(tmp_path):
    root = write_files(
        tmp_path,
        {
            "dreal_lib/cli.py": "from dreal_lib import reinforce\nimport torch\n",
            "dreal_lib/errors.py": "def f():\n    import book.companion.pages\n",
        },
    )
    (front_door,) = violations(import_graph(root, "dreal_lib"), FLOORS["dreal_lib"])
    assert front_door == "cli goes through the outside's door; import from the module"
    assert strangers(root, "dreal_lib", ("book",)) == ["dreal_lib/errors.py"]
