"""Where the cells of a heat map lie in the image, and the map laid over the image accordingly.

A cell answers for what its receptive field is centred on. A padded convolution of stride 2 centres
its cells at 0, 2, 4, so five of them put the cells of a ResNet at 0, 32, 64, not at 16, 48, 80. CAM
libraries resize the map over the whole image and so draw it half a cell too far right and down:
16 pixels in 224, a sixth of an image of three cells.

Between centres a map is interpolated linearly; outside them it keeps the nearest cell's value. So
the strip of up to half a stride (or, on the far side, more than half) that no cell is centred near
repeats its neighbour.

Letters: N maps, h, w cells, H, W pixels.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Cells:
    """Centres of a map's cells in pixels of the network's input, pixel 0 being centred at 0.

    Attributes:
        rows, columns: Increasing, h and w of them.
        size: H and W of the network's input.
        traced: Whether they were followed through the network; else spread evenly, as libraries do.
    """

    rows: tuple[float, ...]
    columns: tuple[float, ...]
    size: tuple[int, int]
    traced: bool = True

    def settings(self) -> dict[str, object]:
        """For `HEAT_SETTINGS`, beside `image_size`."""
        return {"rows": self.rows, "columns": self.columns, "traced": self.traced}

    def weights(self, drawn: tuple[int, int] | None = None) -> tuple[np.ndarray, np.ndarray]:
        """What each cell gives to each row (H, h) and column (W, w); float32, rows sum to 1.

        Args:
            drawn: Rows and columns of another picture of the same image; None for its own pixels.
        """
        made = []
        for centres, side, wanted in zip(
            (self.rows, self.columns), self.size, drawn or self.size, strict=True
        ):
            places = (np.arange(wanted) + 0.5) * side / wanted - 0.5
            cells = [np.interp(places, centres, unit) for unit in np.eye(len(centres))]
            made.append(np.stack(cells, axis=1).astype(np.float32))
        return made[0], made[1]

    def laid(self, maps: np.ndarray, drawn: tuple[int, int] | None = None) -> np.ndarray:
        """Maps (..., h, w) over the image, (..., H, W), or over a picture of it (`weights`)."""
        rows, columns = self.weights(drawn)
        return rows @ np.asarray(maps, dtype=np.float32) @ columns.T


def spread(cells: Sequence[int], size: Sequence[int]) -> Cells:
    """Cells (h, w) spread evenly over an image (H, W), as CAM libraries lay them."""
    rows, columns = (
        tuple(((np.arange(count) + 0.5) * side / count - 0.5).tolist())
        for count, side in zip(cells, size, strict=True)
    )
    return Cells(rows, columns, (size[0], size[1]), traced=False)


def cells_of(settings: Mapping[str, object], cells: Sequence[int]) -> Cells:
    """As a run's `HEAT_SETTINGS` say; spread evenly where they say nothing.

    Args:
        settings: From `dreal_lib.records.arrays.heat_settings`.
        cells: h and w of its maps.
    """
    size = settings["image_size"]
    size = (size, size) if isinstance(size, int) else tuple(size)
    if "rows" not in settings:
        return spread(cells, size)
    rows, columns = (tuple(settings[name]) for name in ("rows", "columns"))
    return Cells(rows, columns, size, bool(settings["traced"]))
