"""What the book's front page quotes from the scoreboard's notebook: a picture and lines of text."""

import base64
from collections.abc import Sequence
from html import escape

from dreal_lib import schematic_figure, schematic_text
from dreal_lib.figures import to_svg
from dreal_lib.page import Page
from dreal_lib.schematic import describe
from dreal_lib.scoreboard import Entry, in_short, tally_sentence

NETWORK = "se_resnet50"  # the paper's own example, Fig. 1


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


def schematic() -> Picture:
    """The method in one picture, drawn from the library's own network and critics."""
    plan = describe(NETWORK)
    return Picture(to_svg(schematic_figure.method(plan)), schematic_text.alt_text(plan))


def keep(view: Page, board: Sequence[Entry]) -> None:
    """Keep the picture, the tally and each statement's line for the front page.

    Args:
        view: The scoreboard's page.
        board: What it shows.
    """
    from myst_nb import glue

    glue(f"{view.name}_schematic", schematic(), display=False)
    view.glue("tally", tally_sentence(board))
    for name, text in in_short(board).items():
        view.glue(name, text)
