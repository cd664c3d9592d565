"""What the book's front page quotes from the scoreboard's notebook: a picture and lines of text."""

import base64
from collections.abc import Sequence
from html import escape

import numpy as np
import pandas as pd

from book.companion.attention_maps.loaded import load
from book.companion.attention_maps.measures import BOUNDS, measure
from book.companion.claims.board import (
    TRAINED,
    Entry,
    at_every_scale,
    reproduced_sentence,
    tally_sentence,
)
from book.companion.critics import curves
from book.companion.drawing import to_svg
from book.companion.pages.page import Page
from book.companion.results import table_1
from book.companion.schematic import figure
from book.companion.schematic import text as schematic_text
from book.companion.schematic.plan import describe
from book.companion.text.tables import Marked, signed
from dreal_lib.comparison.rows import ScaleComparison
from dreal_lib.records import StoredRecord

NETWORK = "se_resnet50"  # the paper's own example, Fig. 1
QUOTED = (  # statements whose lines the front page shows
    "operations",
    "training-cost",
    "se-resnet-50",
    "critique-follows",
    "more-correct",
    "map-margins",
)


class Picture:
    """A drawing that another page can show: an image with its text alternative.

    Args:
        svg: The drawing.
        alt: What a reader who does not see it needs to know.
    """

    def __init__(self, svg: str, alt: str):
        self.svg, self.alt = svg, alt

    def _repr_mimebundle_(self, **_: object) -> dict[str, str]:  # IPython calls it
        # An image, not markup of the page, so that nothing in it can clash with another drawing;
        # of the types that myst-nb takes from another page, HTML alone can hold an SVG.
        data = base64.b64encode(self.svg.encode()).decode()
        source = f"data:image/svg+xml;base64,{data}"
        tag = f'<img class="dark-light" width="100%" alt="{escape(self.alt)}" src="{source}">'
        return {"text/html": tag, "text/plain": self.alt}


class Line:
    """A line of text that another page can show within its own, in the type of that page.

    What `glue:text` shows is bold throughout.

    Args:
        text: Plain.
        stressed: What it begins with, set apart; empty for none.
    """

    def __init__(self, text: str, stressed: str = ""):
        self.text, self.stressed = text, stressed

    def __str__(self) -> str:
        return f"{self.stressed}: {self.text}" if self.stressed else self.text

    def _repr_mimebundle_(self, **_: object) -> dict[str, str]:  # IPython calls it
        head = f"<em>{escape(self.stressed)}</em>: " if self.stressed else ""
        html = f"<span>{head}{escape(self.text, quote=False)}</span>"
        return {"text/html": html, "text/plain": str(self)}


def schematic() -> Picture:
    """The method in one picture, drawn from the library's own network and critics."""
    plan = describe(NETWORK)
    return Picture(to_svg(figure.method(plan)), schematic_text.alt_text(plan))


def line_of(entry: Entry, stored: Sequence[StoredRecord]) -> Line:
    """Verdict and result of a statement; if training decides it, at every scale with runs of it.

    Args:
        entry: Of the scoreboard.
        stored: Records of any scale.
    """
    if entry.statement.measure not in TRAINED:
        return Line(str(entry.result), entry.verdict)
    seen = at_every_scale(stored, entry.statement)
    text = "; ".join(f"{name}: {found.result}" for name, found in seen.items())
    runs = [run for found in seen.values() for run in found.runs]
    shown = Marked(text, runs[0].origin) if runs else entry.result
    return Line(str(shown), entry.verdict)


def gain_sentence(comparison: ScaleComparison) -> str:
    """What may be said of top-1 at one scale, over its networks.

    Args:
        comparison: The runs of that scale.
    """
    said = table_1.verdicts(comparison)[0]
    runs = comparison.runs
    return str(Marked(said, runs[0].origin)) if runs else said


def critics_sentence(comparison: ScaleComparison) -> str:
    """How many critics end silent, in all reinforced runs of one scale.

    Args:
        comparison: The runs of that scale.
    """
    runs = [run for network in comparison.networks for run in network.reinforced.runs]
    if not runs:
        return f"No run at scale {comparison.scale} yet."
    silent, total = curves.silent_critics(runs)
    count = Marked(f"{silent} of {total} critics", runs[0].origin)
    return f"Scale {comparison.scale}, all reinforced runs: {count}."


def rewards_sentence(comparison: ScaleComparison) -> str:
    """How much of the reward's change is accuracy, for `NETWORK` at one scale.

    Args:
        comparison: The runs of that scale.
    """
    network = next(n for n in comparison.networks if n.network == NETWORK)
    runs = network.reinforced.runs
    if not runs:
        return f"{network.label} was not run at scale {comparison.scale} yet."
    frames = [pd.DataFrame(run.blocks()).assign(seed=run.record.seed) for run in runs]
    found = curves.summarise_curves(pd.concat(frames, ignore_index=True))
    rise = float(np.mean([s.last_reward - s.first_reward for s in found]))
    accuracy = float(np.mean([s.last_accuracy_part - s.first_accuracy_part for s in found]))
    said = f"it changes by {signed(rise)}, {signed(accuracy)} of it by accuracy alone"
    return f"{network.label} at scale {comparison.scale}: {Marked(said, runs[0].origin)}."


def gates_sentence(comparison: ScaleComparison) -> str:
    """How many of CBAM's spatial maps are as good as shut, by method, at one scale.

    Args:
        comparison: The runs of that scale.
    """
    network = next(n for n in comparison.networks if n.network == "cbam_resnet50")
    pairs = [
        [run for run in row.runs if run.record.seed in network.seeds]
        for row in (network.baseline, network.reinforced)
    ]
    attention = load(*pairs, kind="spatial")
    if attention is None:
        return f"{network.label} was not run at scale {comparison.scale} yet."
    frame = measure(attention)
    texts = []
    for method, rows in frame.groupby("method", sort=True):
        shut = int((rows["level"] <= BOUNDS[0]).sum())
        texts.append(f"{shut} of {len(rows)} {method}")
    counts = Marked(", ".join(texts), pairs[0][0].origin)
    return f"{network.label} at scale {comparison.scale}, maps of all blocks and seeds: {counts}."


def keep(view: Page, board: Sequence[Entry]) -> None:
    """Keep the picture, the tally, lines and what was learned for the front page.

    Args:
        view: The scoreboard's page.
        board: What it shows.
    """
    from myst_nb import glue

    kept: dict[str, Picture | Line] = {
        "schematic": schematic(),
        "tally": Line(f"{tally_sentence(board)} {reproduced_sentence(board)}"),
        "critics": Line(critics_sentence(view.comparison)),
        "gain": Line(gain_sentence(view.comparison)),
        "rewards": Line(rewards_sentence(view.comparison)),
        "gates": Line(gates_sentence(view.comparison)),
    }
    entries = {entry.statement.id: entry for entry in board}
    kept |= {name: line_of(entries[name], view.stored) for name in QUOTED}
    for name, what in kept.items():
        glue(f"{view.spec.name}_{name}", what, display=False)
