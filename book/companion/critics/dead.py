"""How critics die: initialisation, learning rate and cells (the grid of `book/plan_critics.md`)."""

from collections.abc import Sequence
from dataclasses import dataclass

import matplotlib as mpl
import pandas as pd
from matplotlib.figure import Figure

from book.companion.critics.curves import SATURATED_SHARE
from book.companion.drawing import FAINT, PALETTE, STYLE, WIDTH_INCHES
from book.companion.papers.names import stage_name
from book.companion.text.tables import NOTHING, Marked, Origin, Table, defined, signed
from dreal_lib.comparison.rows import RowsComparison, compare_rows
from dreal_lib.records import StoredRecord

JUDGED_EPOCH = 2  # the last in which all rows have the same learning rate; fixed in the plan
SEEDS = 3


@dataclass(frozen=True)
class Way:
    """One cell of the grid: how the critics of a row start and learn."""

    row: str
    init: str
    rate: str
    cells: int

    @property
    def recipe(self) -> str:
        return f"evidence/se_resnet38_{self.row}"

    @property
    def label(self) -> str:
        cells = "one cell" if self.cells == 1 else f"{self.cells} cells"
        return f"{self.init}, {self.rate}, {cells}"


GRID = (
    Way("reinforced", "pytorch", "lr", 1),
    Way("slow", "pytorch", "lr / 100", 1),
    Way("fan_in", "fan_in", "lr", 1),
    Way("remedied", "fan_in", "lr / 100", 1),
    Way("cells16", "pytorch", "lr", 16),
    Way("cells16_slow", "pytorch", "lr / 100", 16),
    Way("cells16_fan_in", "fan_in", "lr", 16),
    Way("cells16_remedied", "fan_in", "lr / 100", 16),
)


def compare_ways(
    stored: Sequence[StoredRecord], profile: str, variant: str | None
) -> RowsComparison:
    """Sorts records into the grid; errors as `compare_rows`'s."""
    return compare_rows(stored, profile, variant, (way.recipe for way in GRID))


def load_critics(comparison: RowsComparison) -> pd.DataFrame:
    """The judged epoch of each block, seeds of the plan alone; empty without runs.

    Returns:
        `records.BLOCK_COLUMNS` with `way` (its label), `seed` and `stage`.
    """
    found = [
        pd.DataFrame(run.blocks()).assign(way=way.label, seed=run.record.seed)
        for way in GRID
        for run in comparison.by_recipe[way.recipe].runs
        if run.record.seed < SEEDS
    ]
    if not found:
        return pd.DataFrame()
    blocks = pd.concat(found, ignore_index=True)
    blocks = blocks[blocks["epoch"] == JUDGED_EPOCH]
    return blocks.assign(stage=blocks["map"].str.partition(".")[0])


def dead_critics(blocks: pd.DataFrame) -> pd.Series:
    """Whether each critic is dead, by way, seed and stage: saturated in each of its blocks."""
    return blocks.groupby(["way", "seed", "stage"], sort=False)["saturated_share"].min() > (
        SATURATED_SHARE
    )


def death_table(blocks: pd.DataFrame, origin: Origin, scale: str) -> Table:
    """A line a way: dead critics of how many, by stage, and how the living ones answer."""
    if blocks.empty:
        return Table((), ())
    dead, rows = dead_critics(blocks), []
    stages = sorted(blocks["stage"].unique())
    for way in GRID:
        of_way = blocks[blocks["way"] == way.label]
        if of_way.empty:
            rows.append((way.init, way.rate, str(way.cells), *[NOTHING] * (len(stages) + 5)))
            continue
        gone = dead[way.label]
        rows.append(
            (
                Marked(way.init, origin, scale),
                way.rate,
                str(way.cells),
                str(of_way["seed"].nunique()),
                *(_count(gone.xs(stage, level="stage")) for stage in stages),
                _count(gone),
                signed(of_way["critique_mean"].mean()),
                signed(of_way["reward_mean"].mean()),
                defined(of_way["correlation"].mean(), with_sign=True),
            )
        )
    columns = ("Initialisation", "Rate", "Cells", "n", *map(stage_name, stages), "Dead", "Mean Q")
    columns += ("Mean R", "Q-R, images")
    return Table.of(columns, rows, words=2)


def death_sentences(blocks: pd.DataFrame) -> list[str]:
    """The answer first: what kills critics, by the counts of each way."""
    if blocks.empty:
        return []
    dead = dead_critics(blocks)
    said = []
    for way in GRID:
        if way.label in dead.index.get_level_values("way"):
            said.append(f"**{way.label}**: {_count(dead[way.label])} critics are dead.")
        else:
            said.append(f"**{way.label}**: not run yet.")
    return said


def saturated_shares(blocks: pd.DataFrame) -> Figure:
    """Share of the images on which each block's critic is saturated: a line a way, a dot a run."""
    ways = [way.label for way in GRID if way.label in set(blocks["way"])]
    maps = list(dict.fromkeys(blocks["map"]))
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(WIDTH_INCHES, 0.7 + 0.32 * len(ways)), layout="constrained")
        axis = figure.subplots()
        for place, way in enumerate(ways):
            of_way = blocks[blocks["way"] == way]
            shift = of_way["map"].map({name: i for i, name in enumerate(maps)}) / len(maps) - 0.5
            axis.scatter(
                of_way["saturated_share"],
                place + 0.8 * shift,
                s=7,
                color=PALETTE["critique"],
                alpha=0.6,
                linewidth=0,
            )
            axis.axhline(place + 0.5, color=FAINT, linewidth=0.3)
        axis.axvline(SATURATED_SHARE, color=FAINT, linewidth=0.8, linestyle="--")
        axis.set_yticks(range(len(ways)), ways)
        axis.set(ylim=(len(ways) - 0.5, -0.5), xlim=(-0.02, 1.02))
        axis.set_xlabel(f"share of the images of epoch {JUDGED_EPOCH} on which it is saturated")
        return figure


def alt_text(blocks: pd.DataFrame) -> str:
    """The same in words."""
    medians = blocks.groupby("way", sort=False)["saturated_share"].median()
    return "Median share of images on which a critic is saturated. " + " ".join(
        f"{way}: {share:.2f}." for way, share in medians.items()
    )


def _count(dead: pd.Series) -> str:
    return f"{int(dead.sum())} of {len(dead)}"
