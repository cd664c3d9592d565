"""Executing a notebook from its py:percent source (or .ipynb), and keeping what comes out clean.

papermill runs a notebook with a misspelt parameter and only warns; here it is refused before
anything runs. What is written holds no times, so that two executions of the same thing are equal.
"""

import ast
import contextlib
import logging
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from book.companion.pages.catalogue import PAGES, check_parameters
from dreal_lib.errors import UserError, unknown_choice
from dreal_lib.runtime.atomic import write_text_atomic
from dreal_lib.runtime.environment import PROJECT_ROOT

FOLDER = PROJECT_ROOT / "book" / "notebooks"
MATPLOTLIB = PROJECT_ROOT / "build" / "cache" / "matplotlib"
KERNEL = {"display_name": "Python 3", "language": "python", "name": "python3"}


def execute_notebook(
    source: Path | str, out: Path | str, parameters: Mapping[str, object] | None = None
) -> None:
    """Execute a notebook and write it whole, or write nothing.

    Args:
        source: A jupytext py:percent file or an .ipynb.
        out: The executed .ipynb; may be the source itself.
        parameters: Values for the names in the notebook's parameters cell.

    Raises:
        UserError: An unknown parameter, a wrong type, no such notebook, or a cell that failed; one
            line.
    """
    source, out = Path(source), Path(out)
    if out.suffix != ".ipynb":
        raise UserError(f"an executed notebook is an .ipynb; got {out}; try {out.stem}.ipynb")
    notebook = _read(source)
    with tempfile.TemporaryDirectory() as folder:
        prepared, executed = Path(folder) / f"{source.stem}.ipynb", Path(folder) / "executed.ipynb"
        _write(notebook, prepared)
        given = _checked(source, prepared, dict(parameters or {}))
        notebook = _execute(source, prepared, executed, given)
    _clean(notebook)
    _write(notebook, out)


def parse_parameters(texts: Sequence[str]) -> dict[str, object]:
    """["profile=smoke", "shown_seed=1"] as a dict, of the values that `papermill -p` would give.

    A list of such values in brackets is a list, which papermill takes by its -y alone.

    Raises:
        UserError: A text without "=".
    """
    given = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals:
            raise UserError(f"a parameter is NAME=VALUE; got {text!r}; try -p profile=smoke")
        if value.startswith("[") and value.endswith("]"):
            items = value[1:-1].split(",") if value[1:-1].strip() else []
            given[name.strip()] = [_typed(item.strip()) for item in items]
        else:
            given[name.strip()] = _typed(value)
    return given


def _typed(text: str) -> object:
    if text in ("True", "False", "None"):
        return ast.literal_eval(text)
    for kind in (int, float):
        with contextlib.suppress(ValueError):
            return kind(text)
    return text


def refresh(names: Sequence[str] = tuple(PAGES)) -> list[Path]:
    """Make the committed notebooks again, from their sources and the committed records.

    Args:
        names: Which, by name.

    Raises:
        UserError: As `execute_notebook`; or if a cell printed to stderr, which no committed
            notebook may hold.
    """
    written = []
    for name in names:
        if name not in PAGES:
            raise unknown_choice("notebook", name, PAGES)
        with tempfile.TemporaryDirectory() as folder:
            made = Path(folder) / f"{name}.ipynb"
            execute_notebook(FOLDER / f"{name}.py", made)
            _refuse_stderr(name, _read(made))
            written.append(FOLDER / f"{name}.ipynb")
            write_text_atomic(written[-1], made.read_text(encoding="utf-8"))
    return written


def _read(path: Path) -> Any:
    import jupytext

    if path.suffix not in (".py", ".ipynb"):
        raise UserError(f"a notebook is a .py or an .ipynb; got {path}")
    try:
        notebook = jupytext.read(path)
    except OSError as error:
        raise UserError(f"cannot read notebook {path}: {error.strerror or error}") from None
    except ValueError as error:
        raise UserError(f"{path} is no notebook ({str(error).splitlines()[0]})") from None
    notebook.metadata.setdefault("kernelspec", KERNEL)
    return notebook


def _write(notebook: Any, path: Path) -> None:
    import nbformat

    write_text_atomic(path, nbformat.writes(notebook, version=4) + "\n")


def _checked(source: Path, prepared: Path, given: dict[str, object]) -> dict[str, object]:
    import papermill

    known = papermill.inspect_notebook(str(prepared))
    for name, value in given.items():
        if name not in known:
            raise unknown_choice(f"parameter of {source.name}", name, known or ["(none)"])
        if source.stem not in PAGES:
            _refuse_other_type(name, value, known[name]["default"])
    if source.stem in PAGES:
        check_parameters(source.stem, given)
    return given


def _refuse_other_type(name: str, value: object, default: str) -> None:
    try:
        wanted = type(ast.literal_eval(default))
    except (ValueError, SyntaxError):
        return  # a computed default tells no type
    if wanted is not type(None) and not isinstance(value, wanted):
        raise UserError(
            f"parameter {name} must be {wanted.__name__}, as its default {default}; got {value!r}"
        )


def _execute(source: Path, prepared: Path, executed: Path, given: dict[str, object]) -> Any:
    import nbformat
    import papermill

    logging.getLogger("papermill").setLevel(logging.ERROR)
    try:
        with _without_own_settings(executed.parent):
            papermill.execute_notebook(
                str(prepared),
                str(executed),
                given,
                kernel_name="python3",
                progress_bar=False,
                # A note that the kernel listens on a local port is nothing to warn each reader of.
                extra_arguments=["--IPKernelApp.log_level=ERROR"],
            )
    except papermill.PapermillExecutionError as error:
        reason = " ".join(str(error.evalue).split())
        kind = "" if error.ename == "UserError" else f"{error.ename}: "
        raise UserError(f"{source.name}: {kind}{reason}") from None
    return nbformat.read(executed, as_version=4)


@contextlib.contextmanager
def _without_own_settings(folder: Path) -> Iterator[None]:
    """Keeps a reader's kernels, settings and start-up files out, and needs no writable home.

    Args:
        folder: For what Jupyter and IPython write meanwhile.
    """
    names = ("IPYTHONDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR")
    own = {name: str(folder / name.lower()) for name in names}
    own["MPLCONFIGDIR"] = str(MATPLOTLIB)  # kept: making its list of fonts takes seconds
    dropped = ("JUPYTER_PATH", "JUPYTER_CONFIG_PATH", "MATPLOTLIBRC", "MPLBACKEND")
    before = {name: os.environ.pop(name, None) for name in (*own, *dropped)}
    os.environ.update(own)
    try:
        MATPLOTLIB.mkdir(parents=True, exist_ok=True)
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


def _clean(notebook: Any) -> None:
    """Take out what differs from one execution to the next, and lift what myst-nb wants to see."""
    notebook.metadata.pop("papermill", None)
    notebook.metadata.get("language_info", {}).pop("version", None)
    for index, cell in enumerate(notebook.cells):
        cell["id"] = f"cell-{index:02d}"  # else a random one each time
        for volatile in ("papermill", "execution"):
            cell.metadata.pop(volatile, None)
        for output in cell.get("outputs", []):
            # myst-nb reads caption and alt text from the cell, but only its output knows them.
            lifted = output.get("metadata", {}).pop("mystnb", None)
            if lifted:
                cell.metadata["mystnb"] = {**cell.metadata.get("mystnb", {}), **lifted}


def _refuse_stderr(name: str, notebook: Any) -> None:
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            if output.get("name") == "stderr":
                line = output["text"].strip().splitlines()[-1]
                raise UserError(f"{name} printed to stderr ({line}); mend that before committing")


if __name__ == "__main__":
    import sys

    try:
        for path in refresh(sys.argv[1:] or tuple(PAGES)):
            print(path.relative_to(PROJECT_ROOT))
    except UserError as error:
        sys.exit(f"dreal: {error}")
