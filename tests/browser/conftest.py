"""A built book, a browser, and what one visit of each page shows; skipped where one is lacking.

`DREAL_BOOK` names the folder of the built pages, as `make browser` does; without it no test runs.
"""

import contextlib
import functools
import http.server
import os
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from browser.visits import Visitor

ROOT = Path(__file__).resolve().parents[2]
NAMED = os.environ.get("DREAL_BOOK", "")
SITE = (ROOT / NAMED).resolve()
SOURCES = ("book/*.md", "book/*.yml", "book/_style/*", "book/notebooks/*.py", "_config.yml")
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
PAGES = sorted(
    path.relative_to(SITE).as_posix()
    for path in (SITE.rglob("*.html") if NAMED else ())
    # The theme's templates lie among the static files; index.html leads on to the first page.
    if "_static" not in path.parts and path != SITE / "index.html"
)


def lacking() -> str:
    """Why there is no book to look at; "" if there is one."""
    if not NAMED:
        return "DREAL_BOOK names no built book; run `make browser`"
    index = SITE / "searchindex.js"  # the last thing that a build writes
    if not index.is_file():
        return f"no built book in {SITE}; run `make browser`"
    newest = max((path for rule in SOURCES for path in ROOT.glob(rule)), key=_changed)
    if _changed(newest) > _changed(index):
        return f"the book in {SITE} is older than {newest.relative_to(ROOT)}; run `make browser`"
    return ""


def _changed(path: Path) -> float:
    return path.stat().st_mtime


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "page_name" in metafunc.fixturenames:
        metafunc.parametrize("page_name", PAGES or ["no page"], scope="module")


@pytest.fixture(scope="session")
def site() -> Path:
    """The folder of the built pages."""
    if reason := lacking():
        pytest.skip(reason)
    return SITE


@pytest.fixture(scope="session")
def browser(site: Path) -> Iterator:
    """One Chromium for all tests."""
    executable = next(filter(None, map(shutil.which, BROWSERS)), None)
    if executable is None:
        pytest.skip("no Chromium is installed")
    sync_playwright = pytest.importorskip("playwright.sync_api").sync_playwright
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def visitor(browser) -> Iterator[Visitor]:
    """A reader on a desk, whose visits notice what goes wrong."""
    visitor = Visitor(browser)
    yield visitor
    visitor.close()


@pytest.fixture(scope="session")
def address(site: Path) -> Iterator[str]:
    """Of a local server of the built pages, with a slash at the end."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    handler = functools.partial(Quiet, directory=str(site))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}/"
        server.shutdown()
        thread.join()


@pytest.fixture
def phone(browser) -> Iterator[Visitor]:
    """The same reader with a phone."""
    with contextlib.closing(Visitor(browser, width=390, height=844)) as visitor:
        yield visitor
