"""Which files a run or a page depends on, read from the code's own imports.

A batch makes again what a change can have changed, and nothing else: pages are no part of a run,
one task's code is none of the other's, and a page is made by what its notebook imports.
"""

import ast
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

from book.companion.pages.catalogue import Specification, check_parameters
from book.companion.reproduction.backlog import rows_like
from dreal_lib.recipes import TASKS
from dreal_lib.runtime.environment import PROJECT_ROOT

PACKAGE = PROJECT_ROOT / "dreal_lib"


def imported_names(tree: ast.AST, parts: tuple[str, ...]) -> set[str]:
    """Absolute dotted names that a file imports, lazy imports included, those for types alone not.

    Args:
        tree: The parsed file.
        parts: The package that holds the file, ("dreal_lib", "recipes") for a file in recipes/.
    """
    names = set()
    for node in _executed(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = parts[: len(parts) - node.level + 1] if node.level else ()
            stem = ".".join((*base, node.module) if node.module else base)
            names |= {f"{stem}.{alias.name}" for alias in node.names}
    return names


def _executed(tree: ast.AST) -> Iterator[ast.AST]:
    """All nodes, without what stands under `if TYPE_CHECKING:`."""
    for node in ast.iter_child_nodes(tree):
        yield node
        typing_only = isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        inner = ast.Module(node.orelse, []) if typing_only else node
        yield from _executed(inner)


def imported_files(path: Path, root: Path = PROJECT_ROOT) -> set[Path]:
    """The files below `root` that a file of it needs for its imports.

    Of a package whose `__init__.py` does nothing but hand on names, the modules that the names used
    come from; of any other the `__init__.py` too. And data: YAML files beside the file that it
    names.
    """
    tree = _parsed(path)
    parts = path.relative_to(root).parts[:-1]
    found = {path.with_name(name) for name in _texts(tree) if name.endswith(".yaml")}
    found = {file for file in found if file.is_file()}
    for name in imported_names(tree, parts):
        found |= _files_of_name(name, root)
    return found - {path}


def _files_of_name(name: str, root: Path) -> set[Path]:
    """Where a dotted name leads: a module and the packages above it that do something."""
    words = name.split(".")
    found: set[Path] = set()
    for length in range(1, len(words) + 1):
        place = root.joinpath(*words[:length])
        init = place / "__init__.py"
        if init.is_file():
            if not _hands_on(init):
                found.add(init)
            elif length == len(words):  # the package itself, for who knows which of its names
                found |= {init, *imported_files(init, root)}
            elif not _exists(place / words[length]):  # a name of the package itself
                found |= {init, *_files_of_handed_on(init, words[length], root)}
        elif place.with_suffix(".py").is_file():
            found.add(place.with_suffix(".py"))
    return found


def _files_of_handed_on(init: Path, name: str, root: Path) -> set[Path]:
    parts = init.relative_to(root).parts[:-1]
    for node in _parsed(init).body:
        if isinstance(node, ast.ImportFrom) and any(
            name == (alias.asname or alias.name) for alias in node.names
        ):
            return {
                file
                for source in imported_names(ast.Module([node], []), parts)
                for file in _files_of_name(source, root)
            }
    return set()


def _hands_on(init: Path) -> bool:
    """Whether a file holds nothing but a docstring, imports and `__all__`."""
    return all(
        isinstance(node, ast.Import | ast.ImportFrom)
        or (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant))
        or (isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__")
        for node in _parsed(init).body
    )


def _exists(place: Path) -> bool:
    return place.is_dir() or place.with_suffix(".py").is_file()


def _texts(tree: ast.AST) -> set[str]:
    constants = (node.value for node in ast.walk(tree) if isinstance(node, ast.Constant))
    return {value for value in constants if isinstance(value, str) and "/" not in value}


def _parsed(path: Path) -> ast.Module:
    return _parse(path, path.stat().st_mtime_ns)


@cache
def _parse(path: Path, _mtime: int) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def files_reached(
    first: Path, without: Iterable[Path] = (), root: Path = PROJECT_ROOT
) -> list[Path]:
    """A file and all that it imports, directly or not, sorted; `without` is not entered."""
    found: set[Path] = set()
    left_out, waiting = set(without), [first]
    while waiting:
        path = waiting.pop()
        if path not in found | left_out:
            found.add(path)
            # A face was followed for the names that are used of it.
            face = path.name == "__init__.py" and _hands_on(path)
            if path.suffix == ".py" and not face:
                waiting += imported_files(path, root)
    return sorted(found)


def files_of_a_run(task: str, row: str, profile: str, variant: str | None) -> list[Path]:
    """Source files that decide a run: its code, and of the recipes those it is made from."""
    recipes = PACKAGE / "recipes"
    others = {recipes / f"{name}.py" for name in TASKS if name != task}
    others.add(recipes / "sets.py")  # decides where a run is recorded, not what it is
    used = [recipes / f"{row}.yaml", recipes / "profiles" / task / f"{profile}.yaml"]
    used += [recipes / "variants" / task / f"{variant}.yaml"] if variant else []
    # A task's module is imported by its name, so that no other task's is.
    starts = (PACKAGE / "training" / "runs.py", PACKAGE / "tasks" / f"{task}.py")
    return sorted({file for start in starts for file in files_reached(start, others)}) + used


def rows_of_records(page: Specification) -> list[str]:
    """The rows whose records a page reads: those that it shows, and those it compares them with."""
    return rows_like(page.read(check_parameters(page.name, {}).network))


def files_of_a_page(page: Specification) -> list[Path]:
    """What a page is made from: code, recipes of its rows, committed records, benchmarks.

    A record names the checksums of its companions, and so stands for them.
    """
    rows = rows_of_records(page)
    records = (f"book/records/*/{row}/seed*.json" for row in rows)
    data = [file for pattern in (*records, *page.files) for file in PROJECT_ROOT.glob(pattern)]
    notebooks = PROJECT_ROOT / "book" / "notebooks"
    code = files_reached(notebooks / f"{page.name}.py")
    code += files_reached(PROJECT_ROOT / "book" / "companion" / "pages" / "execute.py")
    recipes = [PACKAGE / "recipes" / f"{row}.yaml" for row in rows]
    return sorted({*code, *recipes, *data})
