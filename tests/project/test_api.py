"""The API reference lists real modules, and their docstrings agree with their signatures.

Structure, not prose: what is shown has a docstring, its Args are the parameters, and what a
function raises itself is said.
"""

import ast
import re
from pathlib import Path

import pytest
import yaml

from book.companion.sphinx_ext.api_reference import without_markup

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "book" / "api.md").read_text(encoding="utf-8")
SHOWN = re.findall(r"^\.\. automodule:: (\S+)\n((?:   :.*\n)*)", PAGE, re.M)
MODULES = [name for name, _ in SHOWN]
EXCLUDED = {
    (module, name.strip())
    for module, options in SHOWN
    for names in re.findall(r":exclude-members: (.*)", options)
    for name in names.split(",")
}
# What no user calls; any other module of the library stands on the page.
PARTS = {
    "cli",
    "actor_critic.chance", "actor_critic.gate_passes", "actor_critic.gate_prefix",
    "actor_critic.gate_probe", "actor_critic.main_pass", "actor_critic.module_calls",
    "actor_critic.normalization", "actor_critic.replay", "actor_critic.verification",
    "data.batches", "data.boxes", "data.cache", "data.decoding", "data.identity_batches",
    "data.listing", "data.loading", "data.prepared", "data.sampling", "data.summary",
    "diagnosis.drawn_queries", "diagnosis.embedding_cam", "diagnosis.finite_steps",
    "diagnosis.ranked",
    "recipes.own_data", "recipes.plain_yaml", "recipes.sets",
    "retrieval.protocol", "retrieval.similarity",
    "runtime.atomic", "runtime.deadline", "runtime.determinism", "runtime.distributed",
    "runtime.environment", "runtime.modes", "runtime.seeding",
    "tasks.classification", "tasks.retrieval",
    "training.checkpoints", "training.display", "training.memory", "training.monitor",
    "training.optimization", "training.progress", "training.run_folder", "training.run_record",
    "training.trainer",
}  # fmt: skip
MANY = 3  # so many parameters need a list; one or two may be named in the sentence

Function = ast.FunctionDef | ast.AsyncFunctionDef


def source(module: str) -> Path:
    path = ROOT / module.replace(".", "/")
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def public(module: str, tree: ast.Module) -> list[tuple[str, ast.ClassDef | Function, bool]]:
    """(name, definition, is it a method?) of all that the page shows of a module."""
    found = []
    for node in tree.body:
        if not isinstance(node, ast.ClassDef | Function) or node.name.startswith("_"):
            continue
        if (module, node.name) in EXCLUDED:
            continue
        found.append((f"{module}.{node.name}", node, False))
        for inner in node.body if isinstance(node, ast.ClassDef) else []:
            # A method without a docstring is not shown: its class says what it does.
            shown = isinstance(inner, Function) and ast.get_docstring(inner)
            if shown and not inner.name.startswith("_"):
                found.append((f"{module}.{node.name}.{inner.name}", inner, True))
    return found


def parameters(function: Function, method: bool) -> list[str]:
    decorators = {getattr(item, "id", None) for item in function.decorator_list}
    bound = method and "staticmethod" not in decorators
    arguments = function.args
    names = [a.arg for a in [*arguments.posonlyargs, *arguments.args]][1 if bound else 0 :]
    names += [a.arg for a in arguments.kwonlyargs]
    return names + [a.arg for a in (arguments.vararg, arguments.kwarg) if a]


def section(docstring: str, title: str) -> str | None:
    found = re.search(rf"^{title}:\n((?:    .*\n|\n)*)", docstring + "\n", re.M)
    return found and found[1]


def listed(args: str) -> list[str]:
    """Names of an Args section; several may share a description, over line ends too."""
    names = re.findall(r"^    ((?:\*?\w+,\s+)*\*{0,2}\w+): ", args, re.M)
    return [name.strip().lstrip("*") for group in names for name in group.split(",")]


def raises_user_error(function: Function) -> bool:
    raised = [node.exc for node in ast.walk(function) if isinstance(node, ast.Raise) and node.exc]
    return any("UserError" in ast.dump(error) or "unknown_" in ast.dump(error) for error in raised)


def problems(name: str, node: ast.ClassDef | Function, method: bool) -> list[str]:
    docstring = ast.get_docstring(node)
    if not docstring:
        return [f"{name} has no docstring"]
    if isinstance(node, ast.ClassDef):
        return []
    wanted, args, lines = parameters(node, method), section(docstring, "Args"), []
    if args is None:
        pointer = re.search(r"\b[Aa]s (for )?`|arguments (and errors )?as\b", docstring)
        if len(wanted) >= MANY and not pointer:
            lines.append(f"{name} has {len(wanted)} parameters and no Args")
    elif sorted(listed(args)) != sorted(wanted):
        lines.append(f"{name}: Args lists {listed(args)}, the parameters are {wanted}")
    told = section(docstring, "Raises") or "UserError" in docstring or "errors as" in docstring
    if raises_user_error(node) and not told:
        lines.append(f"{name} raises UserError and does not say so")
    if section(docstring, "Returns") and not any(
        isinstance(inner, ast.Return | ast.Yield | ast.YieldFrom) for inner in ast.walk(node)
    ):
        lines.append(f"{name} has Returns, and returns nothing")
    return lines


def all_problems(module: str) -> list[str]:
    tree = ast.parse(source(module).read_text(encoding="utf-8"))
    lines = [] if ast.get_docstring(tree) else [f"{module} has no header"]
    return lines + [line for item in public(module, tree) for line in problems(*item)]


def test_each_module_stands_once_below_its_heading():
    assert len(MODULES) > 20
    assert len(set(MODULES)) == len(MODULES)
    assert re.findall(r"^### `([\w.]+)`$", PAGE, re.M) == MODULES
    assert not [module for module in MODULES if not source(module).is_file()]


def modules_of(package: str) -> set[str]:
    """Those that define something: all but the faces, `__init__.py`."""
    files = (ROOT / package).rglob("*.py")
    names = (path.relative_to(ROOT).with_suffix("").parts for path in files)
    return {".".join(parts) for parts in names if parts[-1] != "__init__"}


def behind_the_faces(package: str) -> set[str]:
    """The modules from which a package's `__init__.py` takes the names that it offers."""
    found = set()
    for path in (ROOT / package).rglob("__init__.py"):
        text = path.read_text(encoding="utf-8")
        offered = re.findall(r'"(\w+)"', "".join(re.findall(r"__all__ = \[(.*?)\]", text, re.S)))
        for node in ast.parse(text).body:
            for alias in node.names if isinstance(node, ast.ImportFrom) else ():
                if alias.name in offered or alias.asname == alias.name:
                    found.add(node.module)
    return found


def test_every_module_stands_on_the_page_or_is_a_part_that_no_user_calls():
    parts = {f"dreal_lib.{name}" for name in PARTS}
    shown = {name for name in MODULES if name.startswith("dreal_lib.")}
    assert parts - modules_of("dreal_lib") == set()
    assert modules_of("dreal_lib") - parts - shown == set()
    assert shown & parts == set()


def test_what_a_package_offers_stands_on_the_page():
    assert behind_the_faces("dreal_lib") - set(MODULES) == set()


def test_what_is_left_out_by_name_exists():
    for module, name in EXCLUDED - {(module, "model_config") for module in MODULES}:
        assert f"class {name}" in source(module).read_text()


@pytest.mark.parametrize("module", MODULES)
def test_docstrings_agree_with_signatures(module: str):
    lines = all_problems(module)
    assert not lines, "\n".join(lines)


@pytest.mark.parametrize(
    ("code", "problem"),
    [
        ("def f(a): ...", "has no docstring"),
        ("class C: ...", "has no docstring"),
        ('def f(a, b, c):\n    """Does."""', "3 parameters and no Args"),
        ('def f(a, b):\n    """Does.\n\n    Args:\n        a: X.\n    """', "Args lists"),
        ('def f(a):\n    """Does.\n\n    Args:\n        a, b: X.\n    """', "Args lists"),
        ('def f(a):\n    """Does."""\n    raise UserError("no")', "does not say so"),
        ('def f():\n    """Does.\n\n    Returns:\n        One.\n    """', "returns nothing"),
    ],
)
def test_a_bad_docstring_is_found(code: str, problem: str):
    (node,) = ast.parse(code).body
    (line,) = problems("f", node, False)
    assert problem in line


@pytest.mark.parametrize(
    "code",
    [
        'def f(a, b):\n    """The sum of a and b."""\n    return a + b',
        'def f(a, *, b, c=1):\n    """Does.\n\n    Args:\n        a,\n            b: X.\n'
        '        c: Y: z.\n\n    Raises:\n        UserError: No.\n    """\n'
        '    raise UserError("no")',
        'def f(a, b, c):\n    """Does; arguments as `g`."""',
    ],
)
def test_a_good_docstring_passes(code: str):
    (node,) = ast.parse(code).body
    assert problems("f", node, False) == []


@pytest.mark.parametrize(
    ("plain", "shown"),
    [
        ("h = o*tanh(c), |Q| < 1", r"h = o\*tanh(c), \|Q\| < 1"),
        ("`a*b` and *a* of x_", r"``a*b`` and \*a\* of x\_"),
        ("``a|b`` stays code", "``a|b`` stays code"),
        ("a_name and \\d", "a_name and \\\\d"),
        ("Args:\n    a,\n        b: X\n    c: Y", "Args:\n    a, b: X\n    c: Y"),
        ("Args:\n    a: X, y,\n        and z.", "Args:\n    a: X, y,\n        and z."),
        ("a: S. The rest. Eq. 1", "a: S\\. The rest. Eq. 1"),
        ("code `over\nlines` too*", "code ``over\nlines`` too\\*"),
    ],
)
def test_docstrings_are_shown_as_they_stand(plain: str, shown: str):
    assert "\n".join(without_markup(plain.split("\n"))) == shown


def test_the_book_reads_docstrings_by_the_extension():
    settings = yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf-8"))
    extensions = settings["sphinx"]["config"]["extensions"]
    assert {
        "sphinx.ext.autodoc",
        "sphinx.ext.napoleon",
        "book.companion.sphinx_ext.api_reference",
    } <= set(extensions)
