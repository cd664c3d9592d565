"""Which images Figs. 4 and 5 show: drawn at random under a rule that stands on the page.

The paper does not say how its images were chosen; so that nobody's taste decides, groups are
defined beforehand and images are drawn within them by seed.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from book.companion.attended.pictures import find_pictures
from book.companion.attended.scores import Pair, ScoreComparison, compare_scores
from book.companion.text.tables import columns_first, entries_of
from dreal_lib.diagnosis.cells import Cells, cells_of
from dreal_lib.records.arrays import (
    BOXES,
    CLASS_LABELS,
    CLASS_TITLES,
    HEAT_MAPS,
    OBJECT_SHARE,
    RIGHT,
    heat_settings,
)

PER_GROUP = 4  # images shown of each group
DRAW_SEED = 0
OUTCOMES = ("right in both", "right in reinforced alone", "right in baseline alone")
SIZES = ("smallest quarter", "middle half", "largest quarter")

Groups = dict[str, np.ndarray]


@dataclass(frozen=True)
class Shown:
    """One image: its place in the validation split, class, maps (h, w), box and pixels.

    `box` (x_min, y_min, x_max, y_max, half open) and `pixels` (H, W, 3) uint8 may be None.
    """

    index: int
    title: str
    baseline: np.ndarray
    reinforced: np.ndarray
    box: tuple[int, int, int, int] | None
    pixels: np.ndarray | None


@dataclass(frozen=True)
class Grid:
    """What a figure shows.

    Attributes:
        groups: Images by group; a group may be empty.
        cells: Where the maps' cells lie in what the network saw.
        rule: How images were chosen.
        source: Where pictures come from, or why there are none.
    """

    groups: dict[str, tuple[Shown, ...]]
    cells: Cells
    rule: str
    source: str

    @property
    def titles(self) -> str:
        """The classes of the images, by group."""
        return "; ".join(
            f"{name}: {', '.join(item.title for item in shown) or 'none'}"
            for name, shown in self.groups.items()
        )

    def __len__(self) -> int:
        """How many images are shown; there may be none where few were evaluated."""
        return sum(map(len, self.groups.values()))


def outcome_groups(pair: Pair) -> Groups:
    """Validation images by who predicts them right, each (N,) bool; wrong in both is no group."""
    before, after = pair.baseline[RIGHT], pair.reinforced[RIGHT]
    return dict(zip(OUTCOMES, (before & after, ~before & after, before & ~after), strict=True))


def size_groups(pair: Pair) -> Groups:
    """Validation images by the object's share of the image, each (N,) bool; {} without objects."""
    if not pair.has_objects:
        return {}
    share = pair.baseline[OBJECT_SHARE].astype(float)
    if not np.isfinite(share).any():
        return {}
    low, high = np.nanquantile(share, (0.25, 0.75))
    # NaN (no known object) compares as false, so it is in no group.
    groups = (share <= low, (share > low) & (share < high), (share >= high) & (share > low))
    return dict(zip(SIZES, groups, strict=True))


def scores_by_size(pairs: Sequence[Pair]) -> dict[str, list[ScoreComparison]]:
    """Scores of the images of each group of `size_groups`; {} without objects."""
    groups = size_groups(pairs[0]) if pairs else {}
    return {name: compare_scores(pairs, member) for name, member in groups.items()}


def draw(
    groups: Mapping[str, np.ndarray],
    labels: np.ndarray,
    count: int = PER_GROUP,
    seed: int = DRAW_SEED,
    skipped: int = 0,
) -> dict[str, tuple[int, ...]]:
    """Images of each group, each of another class.

    Args:
        groups: By name, which images belong to it, (N,) bool.
        labels: (N,).
        count: How many of each group; fewer if it has fewer classes.
        seed: Of the draw.
        skipped: So many draws are left out, as another figure shows them.
    """
    chosen = {}
    for number, (name, member) in enumerate(groups.items()):
        generator = np.random.default_rng([seed, number])
        classes = generator.permutation(np.unique(labels[member]))
        drawn = [int(generator.choice(np.flatnonzero(member & (labels == c)))) for c in classes]
        chosen[name] = tuple(drawn[skipped : skipped + count])
    return chosen


def rule_text(
    groups: Mapping[str, np.ndarray],
    pair_seed: int,
    count: int = PER_GROUP,
    seed: int = DRAW_SEED,
    skipped: int = 0,
) -> str:
    """The rule in words, with each group's size."""
    sizes = ", ".join(f"{name} ({int(member.sum())} images)" for name, member in groups.items())
    places = f"{skipped + 1} to {skipped + count}"
    return (
        f"Images are drawn at random (seed {seed}), from the runs of seed {pair_seed}: in each of "
        f"the groups {sizes} the classes are shuffled, one image is drawn of each, and those at "
        f"places {places} are shown; fewer if the group has fewer classes."
    )


def outcome_grid(
    pairs: Sequence[Pair], data_root: Path | None = None, skipped: int = 0
) -> Grid | None:
    """Images right in both or in one network alone, of the first pair; None without maps."""
    return _grid(pairs[0], outcome_groups(pairs[0]), data_root, skipped) if _maps(pairs) else None


def size_grid(pairs: Sequence[Pair], data_root: Path | None = None) -> Grid | None:
    """Images of small, middling and large objects; without objects the next ones by outcome."""
    groups = size_groups(pairs[0]) if _maps(pairs) else {}
    if not groups:
        return outcome_grid(pairs, data_root, skipped=PER_GROUP)
    return _grid(pairs[0], groups, data_root)


def _maps(pairs: Sequence[Pair]) -> bool:
    return bool(pairs) and pairs[0].has_maps


def _grid(pair: Pair, groups: Groups, data_root: Path | None, skipped: int = 0) -> Grid:
    labels = pair.baseline[CLASS_LABELS]
    chosen = draw(groups, labels, skipped=skipped)
    wanted = [index for indices in chosen.values() for index in indices]
    boxes = pair.baseline.get(BOXES)
    pictures = find_pictures(pair.record, labels, wanted, data_root, boxes=boxes)
    titles = pictures.titles or tuple(pair.baseline.get(CLASS_TITLES, ()))
    return Grid(
        groups={
            name: tuple(_shown(pair, index, titles, pictures.images.get(index)) for index in some)
            for name, some in chosen.items()
        },
        cells=cells_of(heat_settings(pair.baseline), pair.baseline[HEAT_MAPS].shape[1:]),
        rule=rule_text(groups, pair.seed, skipped=skipped),
        source=pictures.source,
    )


def _shown(pair: Pair, index: int, titles: Sequence[str], pixels: np.ndarray | None) -> Shown:
    label = int(pair.baseline[CLASS_LABELS][index])
    boxes = pair.baseline.get(BOXES)
    known = boxes is not None and boxes[index, 0] >= 0
    return Shown(
        index=index,
        title=str(titles[label]) if label < len(titles) else f"class {label}",
        baseline=pair.baseline[HEAT_MAPS][index].astype(np.float32),
        reinforced=pair.reinforced[HEAT_MAPS][index].astype(np.float32),
        box=tuple(int(edge) for edge in boxes[index]) if known else None,
        pixels=pixels,
    )


def choice_sentences(grid: Grid | None) -> list[str]:
    """How images were chosen and where they come from; nothing without a figure."""
    if grid is None:
        return ["There are no maps to choose images for."]
    empty = [f"No image is {name}." for name, shown in grid.groups.items() if not shown]
    return [grid.rule, grid.source, *empty]


def of_grid(grid: Grid) -> pd.DataFrame:
    """The heat maps of Figs. 4 and 5, a row a cell, `grid.cells` saying where it lies.

    Args:
        grid: From `book.companion.attended.chosen`.

    Returns:
        Columns group, image (its place in the validation split), title, x_min, y_min, x_max, y_max
        (the object's box, pixels; empty if unknown), row, column, y, x (the cell's centre, pixels),
        baseline and reinforced (shares of the map's maximum).
    """
    tables = []
    for group, images in grid.groups.items():
        for item in images:
            box = dict(zip(("x_min", "y_min", "x_max", "y_max"), item.box or [""] * 4, strict=True))
            cells = entries_of(baseline=item.baseline, reinforced=item.reinforced)
            places = {
                "y": np.take(grid.cells.rows, cells["row"]),
                "x": np.take(grid.cells.columns, cells["column"]),
            }
            facts = {"group": group, "image": item.index, "title": item.title}
            tables.append(cells.assign(**facts, **box, **places))
    together = pd.concat(tables, ignore_index=True)
    first = ("group", "image", "title", "x_min", "y_min", "x_max", "y_max")
    return columns_first(together, *first, "row", "column", "y", "x")
