"""Heat maps over images, in the grid of the paper's Figs. 4 and 5: baseline over reinforced.

Maps are drawn in inferno, whose lightness rises evenly and so reads with any colour vision, over
the image in grey, so that all colour is the map's. An image that may not be shown leaves its bare
heat map. The frame is the object's box, where it is known.
"""

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke
from PIL import Image

from book.companion.attended.chosen import Grid, Shown
from book.companion.drawing import PALETTE, STYLE
from dreal_lib.diagnosis.cells import Cells
from dreal_lib.errors import UserError

MAP = "inferno"
HEAT_SHARE = 0.7  # of a map's maximum in the mixed colours; elsewhere the image shows through more
SIDE = 96  # pixels of a drawn panel
PANEL_INCHES = 1.3
FRAME = "#ffffff"


def draw_grid(grid: Grid) -> Figure:
    """Pairs of heat maps, a band of two rows a group, ground-truth class below.

    Args:
        grid: From `book.companion.attended.chosen`.

    Raises:
        UserError: If there is nothing to draw.
    """
    groups = {name: shown for name, shown in grid.groups.items() if shown}
    if not groups:
        raise UserError("no image was chosen, so there is nothing to draw; see the rule's groups")
    columns = max(len(shown) for shown in groups.values())
    with mpl.rc_context(STYLE):
        band_inches, bar_inches = 2 * PANEL_INCHES + 0.35, 0.5
        size = (0.9 + PANEL_INCHES * columns, band_inches * len(groups) + bar_inches)
        figure = Figure(figsize=size, layout="constrained")
        heights = [*[band_inches] * len(groups), bar_inches]
        *bands, foot = figure.subfigures(len(heights), 1, height_ratios=heights)
        for band, (name, shown) in zip(bands, groups.items(), strict=True):
            band.suptitle(name, x=0.02, ha="left", fontsize=9, fontweight="bold")
            _band(band.subplots(2, columns, squeeze=False), shown, grid.cells)
        scale = ScalarMappable(mpl.colors.Normalize(0, 1), MAP)
        bar = figure.colorbar(scale, cax=foot.subplots(), orientation="horizontal")
        bar.set_label("share of the map's maximum")
        bar.outline.set_visible(False)
        return figure


def heat(
    attention: np.ndarray,
    cells: Cells,
    pixels: np.ndarray | None,
    size: int | tuple[int, int] = SIDE,
) -> np.ndarray:
    """A map in colour, over the grey of an image if there is one.

    Args:
        attention: (h, w), from 0 to 1.
        cells: Where its cells lie.
        pixels: (H, W, 3) uint8, or None.
        size: Of what comes out: a side, or rows and columns.

    Returns:
        (rows, columns, 3) uint8.
    """
    rows, columns = (size, size) if isinstance(size, int) else size
    large = cells.laid(attention, (rows, columns)).clip(0, 1)
    colours = mpl.colormaps[MAP](large)[..., :3]
    if pixels is not None:
        picture = Image.fromarray(pixels).convert("L")
        grey = np.asarray(picture.resize((columns, rows), Image.Resampling.BICUBIC))[..., None]
        share = HEAT_SHARE * (0.5 + 0.5 * large[..., None])
        colours = share * colours + (1 - share) * grey / 255
    return np.round(colours * 255).astype(np.uint8)


def _band(axes: np.ndarray, shown: tuple[Shown, ...], cells: Cells) -> None:
    for row, method in zip(axes, ("baseline", "reinforced"), strict=True):
        for axis, item in zip(row, shown, strict=False):
            axis.imshow(heat(getattr(item, method), cells, item.pixels), interpolation="none")
            axis.set(xticks=[], yticks=[])
            axis.spines[:].set_visible(False)
            _frame(axis, item, SIDE / cells.size[0])
        for axis in row[len(shown) :]:
            axis.axis("off")
        row[0].set_ylabel(method, color=PALETTE[method], fontsize=8)
    for axis, item in zip(axes[1], shown, strict=False):
        axis.set_xlabel(_short(item.title), fontsize=8, parse_math=False)


def _frame(axis: Axes, item: Shown, scale: float) -> None:
    if item.box is None:
        return
    x_min, y_min, x_max, y_max = (edge * scale - 0.5 for edge in item.box)
    frame = Rectangle((x_min, y_min), x_max - x_min, y_max - y_min, fill=False)
    frame.set(edgecolor=FRAME, linewidth=1.0, linestyle="-")
    # A dark seam beside the light line, so that it shows on light and dark parts.
    frame.set_path_effects([withStroke(linewidth=2.2, foreground="#000000")])
    axis.add_patch(frame)


def _short(title: str, most: int = 22) -> str:
    """The first of a class's names (ImageNet gives several), cut if it is long."""
    first = title.split(",")[0]
    return first if len(first) <= most else first[: most - 1] + "…"
