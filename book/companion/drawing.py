"""What all figures of the book share: colours, style, and the SVG that comes out.

Figures are SVG with a transparent ground whose ink follows a light or a dark page.
"""

import io
import re
from collections.abc import Sequence

import matplotlib as mpl
from matplotlib.colors import Colormap, LinearSegmentedColormap, to_rgba
from matplotlib.figure import Figure

from book.companion.papers.names import maps_by_stage

# One colour for one thing, everywhere in the book. After Okabe and Ito, and Tol's sets, told apart
# with any colour vision; each has a contrast of 3 or more against a white and a near-black page.
PALETTE = {
    "critique": "#d55e00",
    "reward": "#0072b2",
    "right_share": "#997700",
    "relative_gain": "#00926a",
    "baseline": "#7a7f87",
    "reinforced": "#aa4499",
}
INK = "#5f6670"  # axes and text; INK_ON_DARK takes its place on a dark page
INK_ON_DARK = "#c3c9d1"
FAINT = "#8a919c"
DARK_PAGE = "#121212"  # the dark ground of the book's theme

WIDTH_INCHES = 7.0
MOST_COLUMNS = 6
# Not of a figure; the backend is whoever's the process is.
_NOT_STYLE = ("backend", "interactive", "toolbar", "timezone", "webagg", "date.epoch")
# Whole, beginning with matplotlib's own defaults: a reader's matplotlibrc shall not show.
STYLE = {
    name: value for name, value in mpl.rcParamsDefault.items() if not name.startswith(_NOT_STYLE)
} | {
    "svg.hashsalt": "dreal",  # the same drawing gives the same bytes
    "svg.fonttype": "path",
    "font.family": "DejaVu Sans",  # comes with matplotlib, so every machine has it
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.labelsize": 8,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 8,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "axes.edgecolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.linewidth": 0.6,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "lines.linewidth": 1.4,
    "lines.solid_capstyle": "round",
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "savefig.facecolor": "none",
    "axes.unicode_minus": True,
}


def to_svg(figure: Figure) -> str:
    """The figure as SVG: the same bytes for the same drawing, ink that follows the page."""
    buffer = io.StringIO()
    with mpl.rc_context(STYLE):
        figure.savefig(
            buffer, format="svg", metadata={"Date": None, "Creator": None}, transparent=True
        )
    # An <img> takes the colour scheme of the page around it. The ground is dark only then, in
    # case something puts a light one behind a picture in a dark page.
    dark = f".ground {{ fill: {DARK_PAGE} }}" + "".join(
        f'[style*="{kind}: {INK}"] {{ {kind}: {INK_ON_DARK} !important }}'
        for kind in ("fill", "stroke")
    )
    added = (
        f"<style>@media (prefers-color-scheme: dark) {{ {dark} }}</style>"
        '<rect class="ground" width="100%" height="100%" fill="none"/>'
    )
    return re.sub(r"(<svg\b[^>]*>)", lambda match: match[1] + added, buffer.getvalue(), count=1)


def block_grid(maps: Sequence[str]) -> list[list[str]]:
    """Rows of panels: a stage begins a new row and takes several if it is long."""
    stages = list(maps_by_stage(maps).values())
    if all(len(stage) == 1 for stage in stages):
        return [[name for stage in stages for name in stage]]
    return [
        stage[start : start + MOST_COLUMNS]
        for stage in stages
        for start in range(0, len(stage), MOST_COLUMNS)
    ]


def fading(colour: str, below_zero: str | None = None) -> Colormap:
    """From clear to a colour, so that nothing is the page's own ground; grey is undefined."""
    stops = [] if below_zero is None else [to_rgba(below_zero, 1.0)]
    stops += [to_rgba(colour if below_zero is None else FAINT, 0.0), to_rgba(colour, 1.0)]
    colours = LinearSegmentedColormap.from_list("fading", stops)
    return colours.with_extremes(bad=to_rgba(FAINT, 0.45))
