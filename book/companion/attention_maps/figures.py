"""Figures of attention maps: Figs. 2 and 3, spatial maps, and measures by block.

Drawn from `loaded` and `spatial`; colours and style are those of `book.companion.drawing`.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize, to_rgb
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from book.companion.attention_maps.changes import MEASURES
from book.companion.attention_maps.loaded import Attention, MapStatistics, Shown
from book.companion.attention_maps.measures import measure
from book.companion.attention_maps.spatial import REWARD_MEASURES
from book.companion.drawing import (
    FAINT,
    INK,
    MOST_COLUMNS,
    PALETTE,
    STYLE,
    WIDTH_INCHES,
    block_grid,
    fading,
)
from book.companion.papers.names import block_of, block_title, depth
from dreal_lib.comparison.rows import METHODS
from dreal_lib.errors import UserError

# More points than this make a heavy SVG that no screen resolves: the curves become an image in it.
MOST_VECTOR_CHANNELS = 4000
IMAGE_DPI = 200


def channel_distributions(shown: Shown) -> Figure:
    """Figs. 2 and 3: mean attention of each channel and a shade, baseline above reinforced.

    Args:
        shown: Blocks, seed and shade, from `loaded.last_blocks` or `all_blocks`.

    Returns:
        A row of pairs (or several) a stage; the two of a pair share their axes. A map that a run
        lacks leaves a box that says so.

    Raises:
        UserError: If there is no map.
    """
    _refuse_empty(shown.maps)
    grid = block_grid(shown.maps)
    channels = sum(
        found.mean.size
        for method in METHODS
        for name in shown.maps
        if (found := shown.statistics(method, name)) is not None
    )
    with mpl.rc_context(STYLE):
        figure = Figure(
            figsize=(WIDTH_INCHES, 0.4 + (2.5 if len(grid) == 1 else 1.9) * len(grid)),
            layout="constrained",
            dpi=IMAGE_DPI,
        )
        for name, pair in _panels(figure, grid):
            _pair(pair, shown, name, channels > MOST_VECTOR_CHANNELS)
        figure.supxlabel("channel index", fontsize=8)
        figure.supylabel("attention", fontsize=8)
        return figure


def _panels(figure: Figure, grid: list[list[str]]) -> Iterator[tuple[str, Sequence[Axes]]]:
    """A pair of named panels a block, baseline above reinforced."""
    columns = max(map(len, grid))
    axes = figure.subplots(2 * len(grid), columns, squeeze=False)
    for row, names in enumerate(grid):
        pairs = axes[2 * row : 2 * row + 2]
        for axis, method in zip(pairs[:, 0], METHODS, strict=True):
            axis.set_ylabel(method, color=PALETTE[method], fontweight="bold", fontsize=7)
        for axis in pairs[:, len(names) :].flat:
            axis.remove()
        for column, name in enumerate(names):
            _name_panel(pairs[0, column], name, columns)
            yield name, pairs[:, column]


def _pair(axes: Sequence[Axes], shown: Shown, name: str, as_image: bool) -> None:
    limits = []
    for axis, method in zip(axes, METHODS, strict=True):
        found = shown.statistics(method, name)
        if found is None:
            _missing(axis)
            continue
        half, channel = shown.half_width(found), np.arange(found.mean.size)
        # Attention lies between 0 and 1; only a shade could reach beyond.
        low, high = (np.clip(found.mean + side, 0, 1) for side in (-half, half))
        colour = PALETTE[method]
        shade = axis.fill_between(channel, low, high, color=colour, alpha=0.35, linewidth=0)
        width = 0.7 if found.mean.size <= 128 else 0.45
        (line,) = axis.plot(channel, found.mean, color=colour, linewidth=width)
        shade.set_rasterized(as_image)
        line.set_rasterized(as_image)
        limits.append((low.min(), high.max(), found.mean.size))
    if limits:
        low, high = min(limit[0] for limit in limits), max(limit[1] for limit in limits)
        room, channels = 0.05 * max(high - low, 0.02), max(limit[2] for limit in limits)
        for axis in axes:
            axis.set(ylim=(low - room, high + room), xlim=(0, channels))
            axis.set_xticks([0, channels // 2, channels])
            axis.yaxis.set_major_locator(MaxNLocator(3))
    axes[0].tick_params(labelbottom=False)


def _name_panel(axis: Axes, name: str, columns: int) -> None:
    """The paper's name and ours, side by side or, in narrow panels, one above the other."""
    narrow = columns > 4
    pad = 11 if narrow else 3
    axis.set_title(block_title(name), loc="left", fontweight="bold", fontsize=7.5, pad=pad)
    place = {"xy": (0, 1), "ha": "left"} if narrow else {"xy": (1, 1), "ha": "right"}
    axis.annotate(
        block_of(name),
        **place,
        xycoords="axes fraction",
        xytext=(0, 3),
        textcoords="offset points",
        fontsize=6,
        va="bottom",
    )


def spatial_means(shown: Shown) -> Figure:
    """Mean spatial map of each block, less its own level, baseline above reinforced.

    Args:
        shown: Blocks and seed, from `loaded.all_blocks` of spatial maps.

    Returns:
        All maps in one scale of colour; below each its level and its range. A map that a run lacks
        leaves a box that says so.

    Raises:
        UserError: If there is no map.
    """

    def relief(found: MapStatistics) -> np.ndarray:
        return found.mean - found.mean.mean()

    def text(found: MapStatistics) -> str:
        return _range_text(found.mean)

    return _heat_maps(shown, relief, text, "mean attention, less the map's level", both_ways=True)


def spatial_deviations(shown: Shown) -> Figure:
    """Standard deviation over images at each place of each spatial map; as `spatial_means`."""

    def deviation(found: MapStatistics) -> np.ndarray:
        return np.sqrt(found.variance)

    def text(found: MapStatistics) -> str:
        return _range_text(deviation(found))

    return _heat_maps(shown, deviation, text, "standard deviation over images", both_ways=False)


def _range_text(values: np.ndarray) -> str:
    return f"{values.mean():.3f} ({values.min():.3f}\N{EN DASH}{values.max():.3f})"


def _heat_maps(
    shown: Shown,
    values_of: Callable[[MapStatistics], np.ndarray],
    text_of: Callable[[MapStatistics], str],
    label: str,
    both_ways: bool,
) -> Figure:
    _refuse_empty(shown.maps)
    grid = block_grid(shown.maps)
    columns = max(map(len, grid))
    found = [shown.statistics(method, name) for method in METHODS for name in shown.maps]
    most = max(float(np.abs(values_of(item)).max()) for item in found if item is not None)
    most = max(most, 1e-6)  # maps that are all flat need a scale too
    # Clear is zero, so that a flat map has the page's own ground.
    colours = fading(PALETTE["reward"], PALETTE["critique"] if both_ways else None)
    scale = Normalize(-most if both_ways else 0.0, most)
    with mpl.rc_context(STYLE):
        height = 0.6 + 2 * len(grid) * (WIDTH_INCHES / max(columns, 4) + 0.05)
        figure = Figure(figsize=(WIDTH_INCHES, height), layout="constrained")
        for name, pair in _panels(figure, grid):
            for axis, method in zip(pair, METHODS, strict=True):
                item = shown.statistics(method, name)
                if item is None:
                    _missing(axis)
                    axis.set_box_aspect(1)
                    continue
                axis.imshow(values_of(item), cmap=colours, norm=scale, interpolation="nearest")
                axis.set(xticks=[], yticks=[])
                axis.set_xlabel(text_of(item), fontsize=6.5, labelpad=2)
                axis.spines[["top", "right"]].set_visible(True)
        bar = figure.colorbar(
            ScalarMappable(scale, colours), ax=list(figure.axes), location="bottom", aspect=50
        )
        bar.set_label(label)
        bar.outline.set_visible(False)
        return figure


def _refuse_empty(maps: Sequence[str]) -> None:
    if not maps:
        raise UserError("there is no attention map to draw; run the recipe of an attention network")


def _missing(axis: Axes) -> None:
    """A box in place of a map that a run lacks."""
    axis.set(xticks=[], yticks=[], facecolor=(*to_rgb(FAINT), 0.15))
    axis.text(0.5, 0.5, "missing", transform=axis.transAxes, ha="center", va="center", color=INK)


def measures_by_block(
    frame: pd.DataFrame, labels: Mapping[str, str], levels: Mapping[str, float]
) -> Figure:
    """Measures of every map, from shallow to deep, baseline beside reinforced.

    Args:
        frame: A row for each method, seed and map, as from `measures.measure`.
        labels: Title of the panel of each measure (a column of the frame).
        levels: Where a panel has a dotted line, by measure.

    Returns:
        A panel a measure: a dot a seed, a line through their means.

    Raises:
        UserError: If there is no map.
    """
    names = [] if frame.empty else sorted(set(frame["map"]), key=depth)
    _refuse_empty(names)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(WIDTH_INCHES, 2.4), layout="constrained")
        axes = figure.subplots(1, len(labels), squeeze=False)[0]
        for axis, (quantity, label) in zip(axes, labels.items(), strict=True):
            for method, place in zip(METHODS, (-0.08, 0.08), strict=True):
                _dots(axis, frame[frame["method"] == method], names, quantity, method, place)
            if quantity in levels:
                axis.axhline(levels[quantity], color=FAINT, linewidth=0.8, linestyle=":")
            if not (frame[quantity] < 0).any():
                axis.set_ylim(0, 1.08 * max(frame[quantity].max(), levels.get(quantity, 0)))
            axis.set_title(label, loc="left", fontweight="bold")
            _block_ticks(axis, names)
        handles = axes[0].get_legend_handles_labels()
        figure.legend(*handles, loc="outside upper left", ncols=2, frameon=False)
        return figure


def attention_by_block(attention: Attention) -> Figure:
    """`measures_by_block` of the three measures that the claims are about."""
    labels = {name: MEASURES[name] for name in ("spread", "fluctuation", "class_share")}
    levels = {} if np.isnan(attention.chance) else {"class_share": attention.chance}
    return measures_by_block(measure(attention), labels, levels)


def rewards_by_block(rewards: pd.DataFrame) -> Figure:
    """`measures_by_block` of the mean bypass reward, and of the shares helped and hurt."""
    return measures_by_block(rewards, REWARD_MEASURES, {"reward": 0.0})


def _dots(
    axis: Axes, rows: pd.DataFrame, names: list[str], quantity: str, method: str, place: float
) -> None:
    by_map = rows.groupby("map")[quantity]
    means = by_map.mean().reindex(names)
    places = np.arange(len(names)) + place
    colour = PALETTE[method]
    axis.plot(places, means, color=colour, linewidth=1.0, label=method)
    where = {name: spot for name, spot in zip(names, places, strict=True)}
    axis.plot(
        [where[name] for name in rows["map"]],
        rows[quantity],
        linestyle="none",
        marker="o",
        markersize=3,
        markeredgewidth=0,
        color=colour,
        alpha=0.75,
    )


def _block_ticks(axis: Axes, names: Sequence[str]) -> None:
    crowded = len(names) > MOST_COLUMNS
    # Where blocks are many, the first of each stage is named.
    shown = [i for i, n in enumerate(names) if not crowded or n.split(".")[1] == "0"]
    titles = [block_title(names[i]) for i in shown]
    axis.set_xticks(shown, titles, fontsize=6.5, rotation=60 if crowded else 0)
    axis.set_xlim(-0.5, len(names) - 0.5)
    axis.yaxis.set_major_locator(MaxNLocator(4))
