"""A Sphinx extension: what a reader of the book can take from a page, as files beside it.

Below each figure its drawing (SVG) and the numbers drawn (CSV); below each table its cells (CSV);
at the end of a page its notebook and the source of that. The links are made when the book is built,
so that they need no script and no network.
"""

import csv
import io
import json
import shutil
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from book.companion.text.foreign import harmless
from dreal_lib.runtime.environment import PROJECT_ROOT

if TYPE_CHECKING:
    from docutils import nodes
    from sphinx.application import Sphinx

FOLDER = "notebooks/"  # pages of which something can be taken
SOURCES = PROJECT_ROOT / "book" / "notebooks"


def setup(app: "Sphinx") -> dict[str, Any]:
    """What Sphinx calls on the extension.

    Args:
        app: The build.
    """
    app.connect("doctree-resolved", _offer)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def _offer(app: "Sphinx", page: "nodes.document", name: str) -> None:
    if app.builder.format != "html" or not name.startswith(FOLDER):
        return
    from docutils import nodes

    offer = _Offer(Path(app.outdir) / "_downloads", PurePosixPath(name).name)
    notebook = Path(app.srcdir) / f"{name}.ipynb"
    numbers = dict(numbers_of(json.loads(notebook.read_text(encoding="utf-8"))))
    for figure in page.findall(nodes.figure):
        label, image = figure["ids"][0], figure.next_node(nodes.image)
        links = [offer.copy(Path(app.srcdir) / image["uri"], f"{label}.svg", "SVG")]
        if label in numbers:
            links.append(offer.write(f"{label}.csv", numbers[label], "CSV"))
        _append(figure.next_node(nodes.caption), links)
    for table in page.findall(nodes.table):
        if table["ids"] and (title := table.next_node(nodes.title)):
            link = offer.write(f"{table['ids'][0]}.csv", table_as_csv(table), "CSV")
            _append(title, [link])
    links = [offer.copy(notebook, notebook.name, notebook.name)]
    source = SOURCES / f"{offer.page}.py"
    if source.exists():
        links.append(offer.copy(source, source.name, source.name))
    end = nodes.paragraph("", "This page as a notebook, and its source:", classes=["downloads"])
    _append(end, links)
    page.next_node(nodes.section).append(end)


def numbers_of(notebook: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """The numbers of a notebook's figures: pairs of a figure's label and its CSV.

    Args:
        notebook: The parsed .ipynb.
    """
    for cell in notebook["cells"]:
        # Where myst-nb looks for it, and `notebooks.py` has put it.
        label = cell["metadata"].get("mystnb", {}).get("figure", {}).get("name")
        for output in cell.get("outputs", ()):
            if label and (text := output.get("data", {}).get("text/csv")):
                yield label, "".join(text)


def table_as_csv(table: "nodes.table") -> str:
    """The cells of a table as they are read, a line a row, its head first.

    Args:
        table: Of a resolved document.
    """
    from docutils import nodes

    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    for row in table.findall(nodes.row):
        writer.writerow([harmless(_plain(e.astext())) for e in row.findall(nodes.entry)])
    return text.getvalue()


def _plain(text: str) -> str:
    # A true minus and unbroken spaces are for the eye; a spreadsheet reads neither.
    return text.replace("\N{NO-BREAK SPACE}", " ").replace("\N{MINUS SIGN}", "-")


class _Offer:
    """Puts one page's files into the book, and makes the links to them."""

    def __init__(self, root: Path, page: str):
        self.folder, self.page = root / page, page
        self.folder.mkdir(parents=True, exist_ok=True)

    def write(self, name: str, text: str, shown: str) -> "nodes.Node":
        (self.folder / name).write_text(text, encoding="utf-8")
        return self._link(name, shown)

    def copy(self, file: Path, name: str, shown: str) -> "nodes.Node":
        shutil.copyfile(file, self.folder / name)
        return self._link(name, shown)

    def _link(self, name: str, shown: str) -> "nodes.Node":
        from docutils import nodes
        from sphinx import addnodes

        # Sphinx writes it with the attribute `download`, relative to the folder of downloads.
        return addnodes.download_reference(
            "", "", nodes.literal("", shown), filename=f"{self.page}/{name}", reftarget=name
        )


def _append(node: "nodes.Element", links: list["nodes.Node"]) -> None:
    from docutils import nodes

    for link in links:
        node += [nodes.Text(" "), link]
