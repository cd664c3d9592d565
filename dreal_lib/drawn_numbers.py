"""The numbers behind each figure, as tables that a reader can take away (`dreal_lib.downloads`).

Each function takes what the figure's own drawing function takes. Figures of tables (curves) need
none. Maps are written entry by entry; pixels of images are never written.
"""

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from dreal_lib import ranked_lists
from dreal_lib.attention_measures import measure
from dreal_lib.channel_attention import Attention, MapStatistics, Shown
from dreal_lib.chosen_images import Grid
from dreal_lib.compare import METHODS
from dreal_lib.spatial_attention import Rewards

if TYPE_CHECKING:
    from dreal_lib.schematic import Schematic  # it loads torch, which no other page needs

AXES = {1: ("channel",), 2: ("row", "column")}


def of_maps(shown: Shown) -> pd.DataFrame:
    """Attention maps over the validation images, a row an entry.

    Args:
        shown: Channel maps (C,) of Figs. 2 and 3, or spatial ones (H, W).

    Returns:
        Columns map, method, seed, channel (or row and column), mean, variance.
    """
    tables = [
        _entries(found).assign(map=name, method=method, seed=shown.seed)
        for name in shown.maps
        for method in METHODS
        if (found := shown.statistics(method, name)) is not None
    ]
    return _first(pd.concat(tables, ignore_index=True), "map", "method", "seed")


def _entries(found: MapStatistics) -> pd.DataFrame:
    return _flat(mean=found.mean, variance=found.variance)


def _flat(**arrays: np.ndarray) -> pd.DataFrame:
    """Arrays of one shape, a row an entry, with its place."""
    shape = next(iter(arrays.values())).shape
    places = dict(zip(AXES[len(shape)], np.indices(shape).reshape(len(shape), -1), strict=True))
    return pd.DataFrame(places | {name: array.ravel() for name, array in arrays.items()})


def of_measures(attention: Attention) -> pd.DataFrame:
    """What Fig. 3's second figure draws: every measure of every map; see `measure`."""
    return measure(attention)


def of_grid(grid: Grid) -> pd.DataFrame:
    """The heat maps of Figs. 4 and 5, a row a cell.

    Args:
        grid: From `dreal_lib.chosen_images`.

    Returns:
        Columns group, image (its place in the validation split), title, x_min, y_min, x_max, y_max
        (the object's box, pixels; empty if unknown), row, column, baseline and reinforced (shares
        of the map's maximum).
    """
    tables = []
    for group, images in grid.groups.items():
        for item in images:
            box = dict(zip(("x_min", "y_min", "x_max", "y_max"), item.box or [""] * 4, strict=True))
            cells = _flat(baseline=item.baseline, reinforced=item.reinforced)
            tables.append(cells.assign(group=group, image=item.index, title=item.title, **box))
    together = pd.concat(tables, ignore_index=True)
    return _first(together, "group", "image", "title", "x_min", "y_min", "x_max", "y_max")


def of_rewards(rewards: Rewards) -> pd.DataFrame:
    """Bypass rewards by method, seed and map; columns as `Rewards.frame`."""
    return rewards.frame


def of_query(shown: ranked_lists.Shown) -> pd.DataFrame:
    """A query's ranked lists, a row an image.

    Args:
        shown: From `dreal_lib.ranked_lists`.

    Returns:
        Columns method, query (its place in the split), rank (from 1), similarity, right, camera
        (empty in a set without cameras).
    """
    rows = [
        {
            "method": strip.method,
            "query": shown.place,
            "rank": rank,
            "similarity": panel.similarity,
            "right": panel.right,
            "camera": panel.camera if panel.camera >= 0 else "",
        }
        for strip in shown.strips
        for rank, panel in enumerate(strip.top, start=1)
    ]
    return pd.DataFrame(rows)


def of_schematic(plan: "Schematic") -> pd.DataFrame:
    """The shapes that Fig. 1 and its page show, a row an attention map.

    Args:
        plan: From `dreal_lib.schematic.describe`.

    Returns:
        Columns map, block, kind, actor, state, descriptor, action, reduced (shapes for one image,
        "64x56x56"), critic, input_size (of the critic).
    """
    rows = [
        {
            "map": item.name,
            "block": item.block,
            "kind": item.kind,
            "actor": item.actor,
            **{
                name: "x".join(str(size) for size in getattr(item, name))
                for name in ("state", "descriptor", "action", "reduced")
            },
            "critic": critic.name,
            "input_size": critic.input_size,
        }
        for critic in plan.critics
        for item in critic.maps
    ]
    return pd.DataFrame(rows)


def _first(table: pd.DataFrame, *columns: str) -> pd.DataFrame:
    return table[[*columns, *(name for name in table.columns if name not in columns)]]
