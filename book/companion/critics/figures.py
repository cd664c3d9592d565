"""Fig. 6, drawn from block curves (`records.BLOCK_COLUMNS`).

It follows the paper's: critique and reward of each attention module against the epoch, a row a
stage. Beside it stands what the paper does not show: the reward's two parts, and how well each
critic does. Several runs (seeds) are drawn one by one: a mean over critics of which some answer 0
is a curve that none has.
"""

from collections.abc import Mapping, Sequence

import matplotlib as mpl
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.colors import Colormap
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

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
from book.companion.papers.names import maps_by_stage, paper_block_name, stage_name
from dreal_lib.errors import UserError

THIN = 0.9  # a line of one of several runs


def critique_and_reward(blocks: pd.DataFrame) -> Figure:
    """Fig. 6: mean critique and mean reward of each attention map, over the same images.

    Args:
        blocks: Block curves of one or several seeds (column `seed`, if several).

    Returns:
        One panel a map, a row of panels (or several) a stage; where each stage has one map, all
        share a row. Of each quantity a line a seed.

    Raises:
        UserError: If there is nothing to draw.
    """
    _refuse_empty(blocks)
    with mpl.rc_context(STYLE):
        panels = block_grid(list(dict.fromkeys(blocks["map"])))
        figure, axes = _panel_grid(panels)
        for name, axis in axes.items():
            curves = blocks[blocks["map"] == name]
            axis.axhline(0, color=FAINT, linewidth=0.5, zorder=0)
            for quantity in ("critique", "reward"):
                _curve(axis, curves, f"{quantity}_mean", PALETTE[quantity])
        labels = {"critique": "critique Q", "reward": "reward R"}
        _legend(figure, labels, seeds=len(_by_seed(blocks)))
        return figure


def reward_parts(blocks: pd.DataFrame) -> Figure:
    """The two parts of the mean reward: share predicted right, and relative gain on those.

    Args:
        blocks: Block curves, as for `critique_and_reward`.

    Returns:
        The share of images predicted right beside the mean reward over these alone, a panel a
        stage, a line a map and seed (dashed: spatial), labelled by the block's index where a stage
        has several.

    Raises:
        UserError: If there is nothing to draw.
    """
    _refuse_empty(blocks)
    with mpl.rc_context(STYLE):
        stages = maps_by_stage(list(dict.fromkeys(blocks["map"])))
        figure = Figure(figsize=(WIDTH_INCHES, 2.3), layout="constrained")
        axes = figure.subplots(1, len(stages) + 1, width_ratios=[1.25] + [1] * len(stages))
        share, *gains = axes
        _curve(share, _over_maps(blocks), "right_share", PALETTE["right_share"])
        share.set(ylim=(0, 1), ylabel="share of the images")
        share.set_title("predicted right", loc="left", fontweight="bold")
        for axis, (stage, maps) in zip(gains, stages.items(), strict=True):
            axis.axhline(0, color=FAINT, linewidth=0.5, zorder=0)
            _gain_lines(axis, blocks, maps)
            axis.set_title(stage_name(stage), loc="left", fontweight="bold")
        gains[0].set_ylabel("mean reward on these")
        _share_limits(gains)
        for axis, maps in zip(gains, stages.values(), strict=True):
            _end_labels(axis, blocks, maps)
        for axis in axes:
            axis.xaxis.set_major_locator(MaxNLocator(3, integer=True))
            axis.set_xlim(blocks["epoch"].min(), blocks["epoch"].max() + 1e-9)
        figure.supxlabel("epoch", fontsize=8)
        return figure


def critique_quality(blocks: pd.DataFrame) -> Figure:
    """How well each critic does over the epochs: correlation, error, saturation.

    Args:
        blocks: Block curves, as for `critique_and_reward`.

    Returns:
        Three maps of colour, a line of cells a seed of an attention map, from shallow above to deep
        below; empty cells are undefined (a constant critique has no correlation).

    Raises:
        UserError: If there is nothing to draw.
    """
    _refuse_empty(blocks)
    ink, blue = PALETTE["critique"], PALETTE["reward"]
    columns = {
        "correlation": ("correlation with R", fading(blue, ink), -1.0, 1.0),
        "critique_rmse": ("error of Q (RMSE)", fading(ink), 0.0, None),
        "saturated_share": ("share saturated", fading(ink), 0.0, 1.0),
    }
    with mpl.rc_context(STYLE):
        maps, seeds = list(dict.fromkeys(blocks["map"])), list(_by_seed(blocks))
        height = max(0.17, 0.08 * len(seeds)) * len(maps)
        figure = Figure(figsize=(WIDTH_INCHES, 1.25 + height), layout="constrained")
        axes = figure.subplots(1, 3, sharey=True)
        for axis, (column, (title, colours, low, high)) in zip(axes, columns.items(), strict=True):
            table = _cells_by_seed(blocks, maps, column)
            image = _cells(axis, table, colours, low, high)
            for place in range(1, len(maps) if len(seeds) > 1 else 1):
                axis.axhline(place * len(seeds) - 0.5, color=FAINT, linewidth=0.5)
            axis.set_title(title, loc="left", fontweight="bold")
            figure.colorbar(image, ax=axis, location="bottom", shrink=0.9, aspect=30)
        middles = [(place + 0.5) * len(seeds) - 0.5 for place in range(len(maps))]
        axes[0].set_yticks(middles, [paper_block_name(name) for name in maps])
        figure.supxlabel("epoch", fontsize=8)
        return figure


def _refuse_empty(blocks: pd.DataFrame) -> None:
    if blocks.empty:
        raise UserError("there are no block curves to draw; run a reinforced recipe first")


def _panel_grid(panels: list[list[str]]) -> tuple[Figure, dict[str, Axes]]:
    columns = max(len(row) for row in panels)
    height = 1.35 if columns > 2 else 1.6
    figure = Figure(figsize=(WIDTH_INCHES, 0.55 + height * len(panels)), layout="constrained")
    grid = figure.subplots(len(panels), columns, sharex=True, sharey=True, squeeze=False)
    axes = {}
    for row, names in zip(grid, panels, strict=True):
        for axis, name in zip(row, names, strict=False):
            axes[name] = axis
            roomy = columns <= 2 or name.count(".") == 1  # room for both names of a CBAM map
            size = 8 if roomy else 7
            axis.set_title(
                paper_block_name(name), loc="left", fontweight="bold", fontsize=size, pad=3
            )
            if roomy:
                axis.set_title(name, loc="right", fontsize=6.5, pad=3)
        for axis in row[len(names) :]:
            axis.remove()
    for column in range(columns):
        # The lowest panel of a column carries the epochs, also where a stage is shorter.
        lowest = max(index for index, names in enumerate(panels) if column < len(names))
        grid[lowest][column].tick_params(labelbottom=True)
        grid[lowest][column].xaxis.set_major_locator(MaxNLocator(4, integer=True))
    figure.supxlabel("epoch", fontsize=8)
    figure.supylabel("critique, reward", fontsize=8)
    return figure, axes


def _by_seed(blocks: pd.DataFrame) -> dict[int, pd.DataFrame]:
    """The curves of each run; one alone may have no column `seed`."""
    if "seed" not in blocks:
        return {0: blocks}
    return {int(seed): curves for seed, curves in blocks.groupby("seed", sort=True)}


def _curve(axis: Axes, curves: pd.DataFrame, column: str, colour: str, dashed: bool = False):
    """A quantity against the epoch, a line a seed, thinner if several."""
    runs = _by_seed(curves)
    line = {"color": colour, "linestyle": "--" if dashed else "-", "markersize": 3}
    if len(runs) > 1:
        line["linewidth"] = THIN
    for run in runs.values():
        run = run.sort_values("epoch")
        axis.plot(run["epoch"], run[column], marker="o" if len(run) == 1 else None, **line)


def _over_maps(blocks: pd.DataFrame) -> pd.DataFrame:
    """The share predicted right over all images that any block was evaluated on, by seed."""
    keys = ["epoch"] + (["seed"] if "seed" in blocks else [])
    right = (blocks["right_share"] * blocks["images"]).groupby([blocks[k] for k in keys]).sum()
    images = blocks.groupby(keys)["images"].sum()
    return (right / images).rename("right_share").reset_index()


def _gain_lines(axis: Axes, blocks: pd.DataFrame, maps: Sequence[str]) -> None:
    """One line a map, darker with depth."""
    shades = sns.light_palette(PALETTE["relative_gain"], len(maps) + 2)[2:]
    for name, shade in zip(maps, shades, strict=True):
        curves = blocks[blocks["map"] == name]
        _curve(axis, curves, "reward_right_mean", shade, dashed=name.endswith(".spatial"))


def _end_labels(axis: Axes, blocks: pd.DataFrame, maps: Sequence[str]) -> None:
    """The block's index at the end of its highest line, moved apart where these end close by."""
    last = blocks[blocks["epoch"] == blocks["epoch"].max()]
    ends = last.groupby("map")["reward_right_mean"].max().reindex(maps).dropna()
    ends = ends.groupby(lambda name: name.split(".")[1]).max().sort_values()
    if len({name.split(".")[1] for name in maps}) == 1:
        return  # nothing to tell apart
    if len(ends) > MOST_COLUMNS:  # only the outermost have room
        ends = ends.iloc[[0, -1]]
    low, high = axis.get_ylim()
    place = -np.inf
    for index, end in ends.items():
        place = max(end, place + 0.06 * (high - low))
        axis.annotate(
            index,
            (1, place),
            xycoords=("axes fraction", "data"),
            xytext=(2, 0),
            textcoords="offset points",
            fontsize=6.5,
            va="center",
            annotation_clip=False,
        )


def _share_limits(axes: Sequence[Axes]) -> None:
    low = min(axis.get_ylim()[0] for axis in axes)
    high = max(axis.get_ylim()[1] for axis in axes)
    for axis in axes:
        axis.set_ylim(low, high)
    for axis in axes[1:]:
        axis.tick_params(labelleft=False)


def _cells_by_seed(blocks: pd.DataFrame, maps: Sequence[str], column: str) -> pd.DataFrame:
    """A quantity by (map, seed) and epoch, every epoch from the first to the last."""
    runs = pd.concat(_by_seed(blocks), names=["run"])
    table = runs.reset_index("run").set_index(["map", "run", "epoch"])[column].unstack("epoch")
    rows = pd.MultiIndex.from_product([maps, list(_by_seed(blocks))])
    return table.reindex(index=rows, columns=range(table.columns.min(), table.columns.max() + 1))


def _cells(
    axis: Axes, table: pd.DataFrame, colours: Colormap, low: float, high: float | None
) -> AxesImage:
    axis.xaxis.set_major_locator(MaxNLocator(4, integer=True))
    first, last = table.columns.min(), table.columns.max()
    return axis.imshow(
        np.ma.masked_invalid(table.to_numpy(dtype=float)),
        aspect="auto",
        interpolation="nearest",
        cmap=colours,
        vmin=low,
        vmax=high,
        extent=(first - 0.5, last + 0.5, len(table) - 0.5, -0.5),
    )


def _legend(figure: Figure, labels: Mapping[str, str], seeds: int) -> None:
    handles: list[Artist] = [
        Line2D([], [], color=PALETTE[key], label=text) for key, text in labels.items()
    ]
    if seeds > 1:
        handles.append(Line2D([], [], color=INK, linewidth=THIN, label=f"a line a seed ({seeds})"))
    figure.legend(handles=handles, loc="outside upper left", ncols=len(handles), frameon=False)
