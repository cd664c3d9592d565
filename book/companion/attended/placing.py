"""How heat maps were laid over their images, in words (`dreal_lib.diagnosis.cells` does it)."""

from collections.abc import Iterable, Mapping

import numpy as np

from dreal_lib.diagnosis.cells import Cells, cells_of, spread
from dreal_lib.records.arrays import RESIZED, heat_settings

Arrays = Mapping[str, np.ndarray]


def resized_scores(runs: Iterable[Arrays], scores: Iterable[str]) -> tuple[str, ...]:
    """Which scores of some runs were measured on maps resized over the whole image.

    Args:
        runs: Their figure data.
        scores: Names of the scores that there are, "pairs" for the energy of retrieval's pairs.
    """
    scores, found = tuple(scores), set()
    for arrays in runs:
        settings = heat_settings(arrays)
        found |= set(settings.get(RESIZED, ())) if "rows" in settings else set(scores)
    return tuple(score for score in scores if score in found)


def placing_sentence(arrays: Arrays, cells: tuple[int, int]) -> str:
    """Where cells stand, and where a library would draw them.

    Args:
        arrays: Figure data of a run.
        cells: Rows and columns of its maps.
    """
    placed = cells_of(heat_settings(arrays), cells)
    evenly = spread(cells, placed.size)
    if placed == evenly:
        return (
            "Maps are spread evenly over the image, as CAM libraries do: these runs did not keep "
            "where their cells lie, or it cannot be told. Behind padded convolutions that is up to "
            "half a cell too far right and down."
        )
    return (
        f"A cell stands at the centre of its receptive field, down the image at {_pixels(placed)}, "
        "as padded convolutions centre them; a map is linear between centres, and beyond them it "
        "keeps the nearest cell's value. CAM libraries resize a map over the whole image: they "
        f"would draw these cells at {_pixels(evenly)}."
    )


def _pixels(cells: Cells) -> str:
    shown = [f"{row:g}" for row in cells.rows]
    return f"pixels {', '.join(shown if len(shown) < 5 else [*shown[:3], '...', shown[-1]])}"
