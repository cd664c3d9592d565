"""Visits of a page in a browser: what failed, what stands there, whether it can be seen."""

import io
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
from PIL import Image

AXE = Path(__file__).parent / "vendor" / "axe-core" / "axe.min.js"
LOCAL = ("file:", "data:", "blob:", "http://127.0.0.1:")
MATHJAX_READY = "() => window.MathJax?.startup?.promise?.then(() => true)"

# MathJax leaves unbalanced braces as they are, marks other errors, sets unknown macros in red.
BAD_FORMULA = (
    ".math:not(:has(mjx-container)), [data-mjx-error], "
    "mjx-container g[data-mml-node=mtext][fill=red]"
)
FIGURES = ".bd-article img:not(.toggler), .bd-article figure svg"  # a toggler folds a list

# What sticks out to the right, unless a box of its own scrolls or cuts it.
STICKING_OUT = """() => {
  const wide = document.documentElement.clientWidth + 1;
  const own = (e) => getComputedStyle(e).overflowX !== "visible"
    || getComputedStyle(e).position === "fixed";
  const boxed = (e) => e && e !== document.body && (own(e) || boxed(e.parentElement));
  const out = [...document.querySelectorAll("body *")].filter(
    (e) => e.getBoundingClientRect().right > wide && !boxed(e.parentElement));
  const scroll = Math.max(document.documentElement.scrollWidth, document.body.scrollWidth);
  return scroll <= wide ? [] :
    [`${scroll} px wide`, ...out.slice(0, 5).map((e) => `${e.tagName}.${e.className}`)];
}"""

REFERENCES = """() => ({
  ids: [...document.querySelectorAll("[id], a[name]")].map((e) => e.id || e.name),
  links: [...document.querySelectorAll("a[href]")].map((a) => a.href),
})"""

VIOLATIONS = """async (rules) => {
  const only = rules.length ? { runOnly: { type: "rule", values: rules } } : {};
  // It would fetch style sheets, which a browser refuses on file://.
  const options = { resultTypes: ["violations"], preload: false, ...only };
  const { violations } = await axe.run(document, options);
  return violations
    .filter((v) => ["serious", "critical"].includes(v.impact))
    .flatMap((v) => v.nodes.map((n) => `${v.id}: ${n.target.join(" ")}: `
      + `${[...n.any, ...n.all, ...n.none].map((c) => c.message)[0] ?? v.help}`));
}"""


END_ANIMATIONS = """() => document.getAnimations().forEach((a) => {
  try { a.finish(); } catch { a.cancel(); }  // one without an end cannot be finished
})"""


@dataclass
class Visit:
    """What one page showed.

    Attributes:
        problems: Errors of scripts, on the console, and of requests; requests to other machines.
        formulae: How many places for a formula there are, how many were set, how many badly.
        figures: (source, scheme, width, height, share of inked pixels) of each, in both schemes.
        ids: What can be linked to.
        links: Where links lead.
        violations: Serious and critical ones of accessibility.
        sticking_out: What makes the page wider than a phone.
    """

    problems: list[str] = field(default_factory=list)
    formulae: tuple[int, int, int] = (0, 0, 0)
    figures: list[tuple[str, str, float, float, float]] = field(default_factory=list)
    ids: set[str] = field(default_factory=set)
    links: list[str] = field(default_factory=list)
    violations: list[str] = field(default_factory=list)
    sticking_out: list[str] = field(default_factory=list)


class Visitor:
    """One tab, whose `problems` list what goes wrong in it."""

    def __init__(self, browser: Any, width: int = 1280, height: int = 900) -> None:
        self.size = {"width": width, "height": height}
        self.context = browser.new_context(
            viewport=self.size, reduced_motion="reduce", color_scheme="light"
        )
        self.page = self.context.new_page()
        self.problems: list[str] = []
        self._listen()

    def _listen(self) -> None:
        page, note = self.page, self.problems.append
        page.on("pageerror", lambda error: note(f"script: {error}"))
        page.on("requestfailed", lambda request: note(f"request failed: {request.url}"))
        page.on("response", lambda r: note(f"{r.status}: {r.url}") if r.status >= 400 else None)
        page.on("console", lambda m: note(f"console: {m.text}") if m.type == "error" else None)
        page.on("request", lambda r: None if r.url.startswith(LOCAL) else note(f"asks {r.url}"))

    def close(self) -> None:
        self.context.close()

    def open(self, url: str) -> Any:
        """The page, with its formulae set."""
        self.problems.clear()
        self.page.emulate_media(color_scheme="light", media="screen")
        self.page.set_viewport_size(self.size)
        self.page.goto(url)
        if self.page.locator("script[src*=mathjax]").count() and self.page.locator(".math").count():
            self.page.wait_for_function(MATHJAX_READY, timeout=20_000)
        return self.page

    def visit(self, url: str, screenshots: Path) -> Visit:
        """Open a page and look at it in both themes, and on a phone.

        Args:
            url: Where.
            screenshots: Where to leave them; the beginning of the files' names.
        """
        page = self.open(url)
        page.add_script_tag(content=AXE.read_text())
        found = page.evaluate(REFERENCES)
        visit = Visit(ids=set(found["ids"]), links=found["links"])
        visit.formulae = tuple(
            page.locator(kind).count() for kind in (".math", "mjx-container svg", BAD_FORMULA)
        )
        screenshots.parent.mkdir(parents=True, exist_ok=True)
        for scheme, rules in (("light", []), ("dark", ["color-contrast"])):
            self.turn(scheme)
            visit.figures += [(*figure[:1], scheme, *figure[1:]) for figure in self._figures()]
            visit.violations += [f"{scheme}: {v}" for v in page.evaluate(VIOLATIONS, rules)]
            _shoot(page, f"{screenshots}-{scheme}.jpg")
        page.set_viewport_size({"width": 390, "height": 844})
        page.evaluate(END_ANIMATIONS)  # sidebars slide out
        visit.sticking_out = page.evaluate(STICKING_OUT)
        _shoot(page, f"{screenshots}-phone.jpg")
        visit.problems = list(self.problems)
        return visit

    def turn(self, scheme: str) -> None:
        """To the light or the dark theme, as the reader's system would."""
        self.page.emulate_media(color_scheme=scheme)
        self.page.wait_for_function(f"() => document.documentElement.dataset.theme === '{scheme}'")
        # Colours fade over; reduced motion does not stop all of the theme's. They are ended and not
        # waited for: that of a button which nobody sees may never end of its own accord.
        self.page.evaluate(END_ANIMATIONS)

    def _figures(self) -> list[tuple[str, float, float, float]]:
        figures = []
        for element in self.page.locator(FIGURES).all():
            box = element.bounding_box() or {"width": 0.0, "height": 0.0}
            seen = box["width"] * box["height"] > 0 and element.is_visible()
            ink = ink_share(element.screenshot(type="png")) if seen else 0.0
            source = urlsplit(element.get_attribute("src") or "svg").path.rsplit("/", 1)[-1]
            figures.append((source, box["width"], box["height"], ink))
        return figures


def ink_share(png: bytes) -> float:
    """Share of the pixels that stand out from the commonest colour; 0 for a blank picture.

    Args:
        png: A screenshot.
    """
    pixels = np.asarray(Image.open(io.BytesIO(png)).convert("RGB"), dtype=np.int64)
    codes = pixels @ np.array([1 << 16, 1 << 8, 1])
    values, counts = np.unique(codes, return_counts=True)
    ground = values[counts.argmax()]
    ground = np.array([ground >> 16, (ground >> 8) & 255, ground & 255])
    return float((np.abs(pixels - ground).max(axis=-1) > 48).mean())


def _shoot(page: Any, path: str) -> None:
    page.screenshot(path=path, full_page=True, type="jpeg", quality=60)
