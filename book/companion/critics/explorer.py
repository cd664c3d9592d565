"""The curves of Fig. 6, to pick a block from and to read values off: what the book's script draws.

A notebook shows a `CurveExplorer` as the value of a cell. What it holds is data, as JSON, and a
sentence for readers whose browser runs no scripts; `book/_style/curve_explorer.js` draws it, in
the book alone. The figure beside it shows the same curves and needs no script.
"""

import json
from dataclasses import dataclass

import pandas as pd

from book.companion.drawing import PALETTE
from book.companion.papers.names import paper_block_name
from dreal_lib.errors import UserError

QUANTITIES = ("critique", "reward")
DECIMALS = 4  # more than a reader can use, and the same on every machine

WITHOUT_SCRIPTS = (
    "In the book, with scripts allowed, this is where to pick a block and to read its critique and "
    "reward epoch by epoch. The figure above shows the same curves, the table below their ends."
)


@dataclass(frozen=True, eq=False)
class CurveExplorer:
    """Curves that a page of the book lets its reader pick and read.

    Attributes:
        blocks: Block curves (`records.BLOCK_COLUMNS`), of several seeds if there is a column
            `seed`; empty without runs.
    """

    blocks: pd.DataFrame

    def __repr__(self) -> str:
        maps = self.blocks["map"].nunique() if len(self.blocks) else 0
        return f"<curves of {maps} attention maps, to be picked in the book>"

    def _repr_html_(self) -> str:
        if self.blocks.empty:
            return "<p>No run, no curve to pick.</p>"
        # Names of blocks are checked, and none could end the script.
        data = json.dumps(curve_data(self.blocks), separators=(",", ":")).replace("<", "\\u003c")
        return (
            '<div class="curve-explorer" role="group" aria-label="Curves of one block">\n'
            f"<p>{WITHOUT_SCRIPTS}</p>\n"
            f'<script type="application/json">{data}</script>\n</div>'
        )


def curve_data(blocks: pd.DataFrame) -> dict[str, object]:
    """Mean critique and reward by map, run and epoch, ready for JSON; no mean over runs.

    Args:
        blocks: As `CurveExplorer.blocks`.

    Returns:
        `seeds`, of the runs; `colours`, by quantity; `maps`, in the network's order, each with
        `name`, `label` (the paper's name first), `epochs`, and by quantity a list a seed of the
        values at these epochs, None where a value is undefined or that run has no such epoch.

    Raises:
        UserError: If there are no curves, or a map's name is none.
    """
    if blocks.empty:
        raise UserError("there are no block curves to pick from; run a reinforced recipe first")
    blocks = blocks if "seed" in blocks else blocks.assign(seed=0)
    seeds = sorted(set(blocks["seed"]))
    return {
        "seeds": [int(seed) for seed in seeds],
        "colours": {quantity: PALETTE[quantity] for quantity in QUANTITIES},
        "maps": [
            _one_map(name, blocks[blocks["map"] == name], seeds)
            for name in dict.fromkeys(blocks["map"])
        ],
    }


def _one_map(name: str, curves: pd.DataFrame, seeds: list[int]) -> dict[str, object]:
    by_run = curves.set_index(["epoch", "seed"])
    values = {q: by_run[f"{q}_mean"].unstack("seed").sort_index() for q in QUANTITIES}
    return {
        "name": name,
        "label": f"{paper_block_name(name)} ({name})",
        "epochs": [int(epoch) for epoch in values[QUANTITIES[0]].index],
        **{
            quantity: [_rounded(of_run) for _, of_run in table.reindex(columns=seeds).items()]
            for quantity, table in values.items()
        },
    }


def _rounded(values: pd.Series) -> list[float | None]:
    # Adding zero keeps a negative zero out of the file.
    return [None if pd.isna(value) else round(float(value), DECIMALS) + 0.0 for value in values]
