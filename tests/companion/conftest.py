"""A page's code cells run here: the same calls as in a kernel, without starting one."""

import jupytext
import pytest

from book.companion.pages import execute, page


@pytest.fixture
def shown(monkeypatch):
    """What a page displays, as (bundle, metadata)."""
    displayed = []
    monkeypatch.setattr(page, "_display", lambda bundle, meta: displayed.append((bundle, meta)))
    return displayed


@pytest.fixture
def run_page(shown):
    """Runs the code cells of a page, with parameters, and returns all the text that it shows."""

    def run(name, **parameters):
        namespace: dict[str, object] = {}
        for cell in jupytext.read(execute.FOLDER / f"{name}.py").cells:
            if cell.cell_type == "code":
                exec(cell.source, namespace)
                if "parameters" in cell.metadata.get("tags", []):
                    namespace.update(parameters)
        return "\n".join(bundle["text/plain"] for bundle, _ in shown)

    return run
