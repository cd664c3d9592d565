"""The retrieval figure: which images come first, are they right, and where the network looks.

Appendix B.2 supposes that reinforced attention is taken from misleading regions. Pictures are
chosen at random (`dreal_lib.diagnosis.ranked` keeps queries drawn from the data's fingerprint; of
these the first of each outcome is shown); `book.companion.attended.mask_energy` measures the claim.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from book.companion.attended.pictures import Pictures, find_retrieval_pictures
from book.companion.attended.placing import placing_sentence
from book.companion.results.retrieval_rows import LABELS, SetsComparison, by_method
from book.companion.text.tables import NOTHING, Cell, Marked, Origin, Table
from dreal_lib.diagnosis.cells import Cells, cells_of
from dreal_lib.records import StoredRecord
from dreal_lib.records.arrays import (
    AVERAGE_PRECISION,
    FIRST_RANK,
    KEPT_CAMERA,
    KEPT_MATCHES,
    KEPT_PLACE,
    QUERY_HEAT,
    QUERY_PLACE,
    TOP,
    TOP_CAMERA,
    TOP_HEAT,
    TOP_RIGHT,
    TOP_SIMILARITY,
    heat_settings,
)

Arrays = Mapping[str, np.ndarray]

OUTCOMES = ("right in both", "wrong, then right", "right, then wrong")  # then: + reinforce


@dataclass(frozen=True)
class Panel:
    """One image: its map (h, w) of maximum 1, pixels (H, W, 3) uint8 or None, camera or -1.

    `cells` says where the map's cells lie. A gallery image also has its similarity, and whether it
    is right; a query has neither.
    """

    heat: np.ndarray
    cells: Cells
    pixels: np.ndarray | None
    camera: int
    similarity: float = float("nan")
    right: bool | None = None


@dataclass(frozen=True)
class Strip:
    """What one network finds for a query.

    Attributes:
        method: "baseline", "attention" or "reinforced".
        query: The query.
        top: The first gallery images, nearest first.
        first_rank: Of the first right image in the whole gallery.
        precision: Average precision (step sum) of this query.
    """

    method: str
    query: Panel
    top: tuple[Panel, ...]
    first_rank: int
    precision: float

    @property
    def found(self) -> int:
        """Right images among the first."""
        return sum(bool(panel.right) for panel in self.top)


@dataclass(frozen=True)
class Shown:
    """One query of the figure.

    Attributes:
        outcome: Of `OUTCOMES`; in words `answered`.
        place, camera: Of the query; a camera is -1 in a set without.
        matches: Right images in the gallery.
        size: Of what the network saw, (H, W), pixels.
        strips: One a method.
    """

    outcome: str
    place: int
    camera: int
    matches: int
    size: tuple[int, int]
    strips: tuple[Strip, ...]

    @property
    def answered(self) -> str:
        """The outcome in words that name the networks."""
        methods = [strip.method for strip in self.strips]
        return _answered(self.outcome, "attention" if "attention" in methods else "baseline")


@dataclass(frozen=True)
class Lists:
    """All that the figures show.

    Attributes:
        by_outcome: A query for each outcome; None where no kept query has it.
        sentences: How they were chosen, and where pictures come from.
        origins: Of the runs, by method.
        scale: Of the runs; empty without any.
    """

    by_outcome: Mapping[str, Shown | None]
    sentences: tuple[str, ...]
    origins: Mapping[str, Origin] = field(default_factory=dict)
    scale: str = ""


def load(comparison: SetsComparison, shown_seed: int | str = "first", data_root=None) -> Lists:
    """The queries to show of the page's data set.

    + reinforce is set against + attention or, where that was not run, against the baseline.

    Args:
        comparison: Of one data set.
        shown_seed: Of the runs whose lists are shown; "first": the first that there is.
        data_root: The reader's own copy of the set, or None.

    Raises:
        UserError: The runs kept other queries, figure data are damaged, or `data_root` is not the
            runs' set.
    """
    (part,) = comparison.parts
    runs = {
        method: {run.record.seed: run for run in row.runs}
        for method, row in by_method(part).items()
    }
    first = next((m for m in ("attention", "baseline") if runs[m].keys() & runs["reinforced"]), "")
    seeds = sorted(runs[first].keys() & runs["reinforced"].keys()) if first else []
    seed = next((s for s in seeds if shown_seed in ("first", s)), None)
    if seed is None:
        return _nothing("There is no pair of runs to choose queries from yet.")
    chosen = {method: by_seed[seed] for method, by_seed in runs.items() if seed in by_seed}
    arrays = {method: run.figure_data() for method, run in chosen.items()}
    if not all(TOP_HEAT in found for found in arrays.values()):
        return _nothing(
            "These runs hold no maps: they were made without pytorch-grad-cam, or before ranked "
            "lists were kept. Run them again to see them."
        )
    if not same_places(arrays, KEPT_PLACE):
        return _nothing(
            "These runs were made on different images, so their answers cannot be set against each "
            "other. Run them on one set to see them."
        )
    groups = _outcomes(arrays[first], arrays["reinforced"])
    drawn = {name: next(iter(np.flatnonzero(group)), None) for name, group in groups.items()}
    wanted = [number for number in drawn.values() if number is not None]
    pictures = _pictures(chosen["reinforced"], arrays, wanted, data_root)
    return Lists(
        {
            name: None if number is None else _shown(name, int(number), arrays, pictures)
            for name, number in drawn.items()
        },
        (
            _rule(groups, first, seed),
            pictures.source,
            placing_sentence(arrays["reinforced"], arrays["reinforced"][QUERY_HEAT].shape[1:]),
        ),
        {method: run.origin for method, run in chosen.items()},
        comparison.scale,
    )


def _nothing(reason: str) -> Lists:
    return Lists(dict.fromkeys(OUTCOMES), (reason,))


def same_places(arrays: Mapping[str, Arrays], *names: str) -> bool:
    """Whether all runs kept the same images; else they cannot be set against each other."""
    first, *others = arrays.values()
    return all(np.array_equal(first[name], other[name]) for other in others for name in names)


def _outcomes(first: Arrays, second: Arrays) -> dict[str, np.ndarray]:
    before, after = (arrays[TOP_RIGHT][:, 0] for arrays in (first, second))
    return dict(zip(OUTCOMES, (before & after, ~before & after, before & ~after), strict=True))


def _answered(outcome: str, first: str) -> str:
    before, after = LABELS[first], LABELS["reinforced"]
    words = (
        f"that both {before} and {after} answer right",
        f"that {before} answers wrong and {after} right",
        f"that {before} answers right and {after} wrong",
    )
    return dict(zip(OUTCOMES, words, strict=True))[outcome]


def _rule(groups: Mapping[str, np.ndarray], first: str, seed: int) -> str:
    total = len(next(iter(groups.values())))
    sizes = "; ".join(
        f"{int(group.sum())} {_answered(name, first)}" for name, group in groups.items()
    )
    wrong = total - sum(int(group.sum()) for group in groups.values())
    return (
        f"Every run keeps the same {total} queries, drawn at random from the data's fingerprint. "
        f"A query is answered right if the nearest image is. Of seed {seed} there are {sizes}; "
        f"{wrong} that both answer wrong. Of each of the first three the query drawn first is "
        "shown."
    )


def _pictures(
    run: StoredRecord, arrays: Mapping[str, Arrays], wanted: Sequence[int], data_root
) -> Pictures:
    tops = np.concatenate([found[TOP][wanted].ravel() for found in arrays.values()])
    queries = next(iter(arrays.values()))[KEPT_PLACE][wanted].tolist()
    gallery = sorted(set(tops[tops >= 0].tolist()))
    return find_retrieval_pictures(run.record, queries, gallery, data_root)


def _shown(outcome: str, number: int, arrays: Mapping[str, Arrays], pictures: Pictures) -> Shown:
    one = arrays["reinforced"]
    height, width = heat_settings(one)["image_size"]
    return Shown(
        outcome=outcome,
        place=int(one[KEPT_PLACE][number]),
        camera=int(one[KEPT_CAMERA][number]),
        matches=int(one[KEPT_MATCHES][number]),
        size=(height, width),
        strips=tuple(_strip(method, number, found, pictures) for method, found in arrays.items()),
    )


def _strip(method: str, number: int, arrays: Arrays, pictures: Pictures) -> Strip:
    place = int(arrays[KEPT_PLACE][number])
    cells = cells_of(heat_settings(arrays), arrays[QUERY_HEAT].shape[1:])
    top = tuple(
        Panel(
            arrays[TOP_HEAT][number, rank].astype(np.float32),
            cells,
            pictures.gallery.get(int(gallery)),
            int(arrays[TOP_CAMERA][number, rank]),
            float(arrays[TOP_SIMILARITY][number, rank]),
            bool(arrays[TOP_RIGHT][number, rank]),
        )
        for rank, gallery in enumerate(arrays[TOP][number])
        if gallery >= 0
    )
    query = Panel(
        arrays[QUERY_HEAT][number].astype(np.float32),
        cells,
        pictures.images.get(place),
        int(arrays[KEPT_CAMERA][number]),
    )
    (valid,) = np.flatnonzero(arrays[QUERY_PLACE] == place)
    return Strip(
        method,
        query,
        top,
        int(arrays[FIRST_RANK][valid]),
        float(arrays[AVERAGE_PRECISION][valid]),
    )


def lists_table(lists: Lists) -> Table:
    """The numbers of the queries shown."""
    rows: list[tuple[Cell, ...]] = [
        (
            shown.answered.removeprefix("that "),
            Marked(LABELS[strip.method], lists.origins[strip.method], lists.scale),
            str(strip.first_rank),
            f"{strip.found} of {len(strip.top)}",
            str(shown.matches),
            f"{100 * strip.precision:.1f}",
        )
        for shown in lists.by_outcome.values()
        if shown is not None
        for strip in shown.strips
    ]
    columns = ("Query", "Network", "First right at", "Right", "In the gallery", "AP")
    return Table.of(columns, rows, words=2, instead=NOTHING)


def of_query(shown: Shown) -> pd.DataFrame:
    """A query's ranked lists, a row an image.

    Args:
        shown: From `book.companion.attended.ranked_lists`.

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
