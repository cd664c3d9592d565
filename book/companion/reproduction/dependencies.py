"""Which files a run depends on, read from the code's own imports.

A batch runs again what a change can have changed, and nothing else: pages and figures are no part
of a run, and one task's code is none of the other's.
"""

import ast
from pathlib import Path

from dreal_lib.recipes import TASKS
from dreal_lib.runtime.environment import PROJECT_ROOT

PACKAGE = PROJECT_ROOT / "dreal_lib"


def imported_names(tree: ast.AST, parts: tuple[str, ...]) -> set[str]:
    """Absolute dotted names that a file imports, lazy imports included.

    Args:
        tree: The parsed file.
        parts: The package that holds the file, ("dreal_lib", "recipes") for a file in recipes/.
    """
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = parts[: len(parts) - node.level + 1] if node.level else ()
            stem = ".".join((*base, node.module) if node.module else base)
            names |= {f"{stem}.{alias.name}" for alias in node.names}
    return names


def imported_files(path: Path, root: Path = PROJECT_ROOT) -> set[Path]:
    """The files below `root` that a file of it imports: modules, and the packages they lie in."""
    parts = path.relative_to(root).parts[:-1]
    found = set()
    for name in imported_names(ast.parse(path.read_text(encoding="utf-8")), parts):
        words = name.split(".")
        for length in range(1, len(words) + 1):
            place = root.joinpath(*words[:length])
            candidates = (place.with_suffix(".py"), place / "__init__.py")
            found |= {candidate for candidate in candidates if candidate.is_file()}
    return found - {path}


def files_reached(first: Path, without: set[Path] = frozenset(), root: Path = PROJECT_ROOT):
    """A file and all that it imports, directly or not, sorted; `without` is not entered."""
    found: set[Path] = set()
    waiting = [first]
    while waiting:
        path = waiting.pop()
        if path not in found | without:
            found.add(path)
            waiting += imported_files(path, root)
    return sorted(found)


def files_of_a_run(task: str, row: str, profile: str, variant: str | None) -> list[Path]:
    """Source files that decide a run: its code, and of the recipes those it is made from."""
    recipes = PACKAGE / "recipes"
    others = {recipes / f"{name}.py" for name in TASKS if name != task}
    used = [recipes / f"{row}.yaml", recipes / "profiles" / task / f"{profile}.yaml"]
    used += [recipes / "variants" / task / f"{variant}.yaml"] if variant else []
    # A task's module is imported by its name, so that no other task's is.
    starts = (PACKAGE / "training" / "runs.py", PACKAGE / "tasks" / f"{task}.py")
    return sorted({file for start in starts for file in files_reached(start, others)}) + used
