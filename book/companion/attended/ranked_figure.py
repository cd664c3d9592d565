"""The retrieval figure: a query, its ranked lists by network, a heat map below each image.

Right and wrong differ in three ways: the frame's colour, its line (solid or dashed) and a sign.
"""

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from PIL import Image

from book.companion.attended.overlays import heat
from book.companion.attended.ranked_lists import Panel, Shown, Strip
from book.companion.drawing import FAINT, INK, PALETTE, STYLE, WIDTH_INCHES
from book.companion.results.retrieval_rows import LABELS
from dreal_lib.errors import UserError

RIGHT, WRONG = "#3a6fb0", "#c0561f"
TICK, CROSS = "\N{CHECK MARK}", "\N{BALLOT X}"
CELL_ROWS = 56  # pixels of a drawn image

# In widths of an image.
STEP, LIST_START = 1.12, 1.45
TITLE, FOOT, GAP = 0.42, 0.62, 0.12


def draw_query(shown: Shown) -> Figure:
    """One query and what each network finds for it.

    Args:
        shown: From `book.companion.attended.ranked_lists`.

    Raises:
        UserError: If no network's list is given.
    """
    if not shown.strips:
        raise UserError("there is no ranked list to draw; run a row of Table 2 first")
    tall = shown.size[0] / shown.size[1]
    has_pixels = any(p.pixels is not None for s in shown.strips for p in (s.query, *s.top))
    rows = 2 if has_pixels else 1
    strip_height = TITLE + rows * tall + GAP * (rows - 1) + FOOT
    columns = max(len(strip.top) for strip in shown.strips)
    width, height = LIST_START + STEP * columns, strip_height * len(shown.strips)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(WIDTH_INCHES, WIDTH_INCHES * height / width))
        axis = figure.add_axes((0, 0, 1, 1))
        axis.set(xlim=(-0.05, width), ylim=(height, 0))
        axis.axis("off")
        for number, strip in enumerate(shown.strips):
            _strip(axis, strip, number * strip_height, tall, has_pixels)
        return figure


def _strip(axis: Axes, strip: Strip, top: float, tall: float, has_pixels: bool) -> None:
    colour = PALETTE.get(strip.method, INK)
    text = f"first right at rank {strip.first_rank}, {strip.found} of {len(strip.top)} right"
    axis.text(0, top + 0.3, LABELS[strip.method], color=colour, fontweight="bold", fontsize=8)
    axis.text(LIST_START, top + 0.3, text, color=INK, fontsize=7.5)
    _panel(axis, strip.query, 0.0, top + TITLE, tall, has_pixels)
    for rank, panel in enumerate(strip.top):
        _panel(axis, panel, LIST_START + STEP * rank, top + TITLE, tall, has_pixels)


def _panel(
    axis: Axes, panel: Panel, left: float, top: float, tall: float, has_pixels: bool
) -> None:
    """An image above its heat map, in one frame."""
    size = (CELL_ROWS, max(1, round(CELL_ROWS / tall)))
    place = top
    if has_pixels:
        if panel.pixels is not None:
            picture = Image.fromarray(panel.pixels).resize(size[::-1], Image.Resampling.LANCZOS)
            _image(axis, np.asarray(picture), left, place, tall)
        place += tall + GAP
    _image(axis, heat(panel.heat, panel.cells, panel.pixels, size), left, place, tall)
    bottom = place + tall
    colour = {None: FAINT, True: RIGHT, False: WRONG}[panel.right]
    frame = Rectangle((left, top), 1, bottom - top, fill=False, edgecolor=colour, zorder=3)
    frame.set(linewidth=1.6, linestyle=(0, (2.5, 1.5)) if panel.right is False else "-")
    axis.add_patch(frame)
    words = "query"
    if panel.right is not None:
        words = f"{TICK if panel.right else CROSS} {panel.similarity:.2f}"
    middle = left + 0.5
    axis.text(middle, bottom + 0.26, words, color=colour, fontsize=6.5, ha="center")
    if panel.camera >= 0:
        axis.text(middle, bottom + 0.5, f"c{panel.camera}", color=INK, fontsize=6, ha="center")


def _image(axis: Axes, pixels: np.ndarray, left: float, top: float, tall: float) -> None:
    extent = (left, left + 1, top + tall, top)
    axis.imshow(pixels, extent=extent, aspect="auto", interpolation="none")
    axis.set_autoscale_on(False)
