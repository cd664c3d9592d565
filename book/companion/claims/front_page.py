"""What the book's front page quotes from the scoreboard's notebook: a picture and lines of text."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from book.companion.attention_maps.shut import shut_text
from book.companion.claims import render
from book.companion.claims.board import Entry, scales_of, tally_sentence
from book.companion.claims.judged import observe
from book.companion.critics.curves import summarise_runs
from book.companion.critics.text import reward_parts, silence_of_runs
from book.companion.drawing import to_svg
from book.companion.pages.page import Page
from book.companion.results.table_1 import mean_sentence
from book.companion.schematic import figure
from book.companion.schematic.plan import describe
from book.companion.text.runs import trained_summary
from book.companion.text.tables import Cell, marked_by
from dreal_lib.comparison.rows import NetworkComparison, ScaleComparison
from dreal_lib.records import StoredRecord

NETWORK = "se_resnet50"  # the paper's own example, Fig. 1
ALT = (
    "Flow chart of two blocks of SE-ResNet-50. In each, attention is made from the block's "
    "features and multiplied by them; a critic runs from block to block and judges the attention."
)
QUOTED = (  # statements whose lines the front page shows
    "operations",
    "training-cost",
    "se-resnet-50",
    "critique-follows",
    "more-correct",
    "map-margins",
)


@dataclass(frozen=True)
class Quoted:
    """What another page can show within its own: HTML, and the same as plain text."""

    html: str
    text: str

    def _repr_mimebundle_(self, **_: object) -> dict[str, str]:  # IPython calls it
        return {"text/html": self.html, "text/plain": self.text}


def picture(svg: str, alt: str) -> Quoted:
    """A drawing as an image with its text alternative.

    An image, not markup of the page, so that nothing in it can clash with another drawing; of the
    types that myst-nb takes from another page, HTML alone can hold an SVG.
    """
    data = base64.b64encode(svg.encode()).decode()
    source = f"data:image/svg+xml;base64,{data}"
    html = f'<img class="dark-light" width="100%" alt="{escape(alt)}" src="{source}">'
    return Quoted(html, alt)


def line(text: str, stressed: str = "") -> Quoted:
    """A line of plain text in the type of the page; what `glue:text` shows is bold throughout.

    Args:
        text: Plain.
        stressed: What it begins with, set apart; empty for none.
    """
    head = f"<em>{escape(stressed)}</em>: " if stressed else ""
    html = f"<span>{head}{escape(text, quote=False)}</span>"
    return Quoted(html, f"{stressed}: {text}" if stressed else text)


def line_of(entry: Entry, stored: Sequence[StoredRecord]) -> Quoted:
    """Verdict and result of a statement; if training decides it, at every scale with runs of it.

    Args:
        entry: Of the scoreboard.
        stored: Records of any scale.
    """
    seen = {}
    if entry.statement.recipes:
        seen = {s.name: found for s in scales_of(stored) if (found := observe(s, entry.statement))}
    text = "; ".join(f"{name}: {render.brief(found)}" for name, found in seen.items())
    runs = [run for found in seen.values() for run in found.runs]
    return line(str(marked_by(text, runs) if runs else entry.result), entry.verdict)


def learned(comparison: ScaleComparison) -> dict[str, Cell]:
    """What was learned beside the statements, by name, each marked by the runs that it rests on.

    Args:
        comparison: The runs of Table 1's networks at one scale.
    """
    own, cbam = (
        next(found for found in comparison.networks if found.network == name)
        for name in (NETWORK, "cbam_resnet50")
    )
    averaged = [run for network in comparison.averaged for run in network.runs]
    critics = [run for run in comparison.runs if run.record.method == "reinforced"]
    nothing = f"No run at scale {comparison.scale}."
    return {
        "gain": marked_by(mean_sentence(comparison), averaged),
        "critics": marked_by(silence_of_runs(critics) or nothing, critics),
        "rewards": marked_by(_rewards(own), own.reinforced.runs),
        "gates": marked_by(shut_text(cbam, "spatial", listed=False) or "Not run.", cbam.runs),
    }


def _rewards(network: NetworkComparison) -> str:
    runs = network.reinforced.runs
    if not runs:
        return "Not run."
    return f"{trained_summary(r.record for r in runs)}: {reward_parts(summarise_runs(runs))}"


def keep(view: Page, board: Sequence[Entry]) -> None:
    """Keep the picture, the tally, lines and what was learned for the front page.

    Args:
        view: The scoreboard's page.
        board: What it shows.
    """
    from myst_nb import glue

    plan = describe(NETWORK)
    entries = {entry.statement.id: entry for entry in board}
    kept: dict[str, Quoted] = {
        "schematic": picture(to_svg(figure.method(plan)), ALT),
        "tally": line(tally_sentence(board)),
        **{name: line(str(said)) for name, said in learned(view.comparison).items()},
        **{name: line_of(entries[name], view.stored) for name in QUOTED},
    }
    for name, what in kept.items():
        glue(f"{view.spec.name}_{name}", what, display=False)
