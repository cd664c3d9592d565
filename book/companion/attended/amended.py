"""Figure data of older runs brought up to date, without training: cells in their places.

Runs made before cells were placed by their receptive fields (`dreal_lib.diagnosis.cells`) scored
maps that were resized over the whole image. They kept the cells themselves, so what follows from
cells and objects is computed again: pointing game, energy in the box, IoU, completeness, area.
Deletion and insertion, and the energy of retrieval's pairs, need the trained network or maps that
were not kept; they stay, and `resized` in the settings names them. Runs of retrieval that kept no
identities of their queries get them from the data.

The old scores are first computed again as they were made, and must come out as they stand; else
nothing is written. A record gets the new checksum; nothing else in it changes.

    python -m book.companion.attended.amended RECORDS DATA...
"""

import json
import sys
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from dreal_lib.data.batches import Crops
from dreal_lib.data.boxes import Regions, open_objects, rectangles
from dreal_lib.data.identities import open_identity_set
from dreal_lib.data.images import open_image_set
from dreal_lib.diagnosis import map_scores
from dreal_lib.diagnosis.cells import Cells, spread
from dreal_lib.diagnosis.localization import find_layer, laid
from dreal_lib.diagnosis.receptive_fields import cells_of_layer
from dreal_lib.errors import UserError
from dreal_lib.networks.backbones import create_model, parse_model_name
from dreal_lib.networks.embedding import create_embedding
from dreal_lib.records import Record, StoredRecord, companion_path, find_records, write_figure_data
from dreal_lib.records.arrays import (
    BOXES,
    HEAT_MAPS,
    HEAT_SETTINGS,
    PAIR_ENERGY,
    QUERY_IDENTITY,
    QUERY_PLACE,
    RESIZED,
    SCORE,
    TOP_HEAT,
    heat_settings,
)
from dreal_lib.runtime.atomic import write_text_atomic
from dreal_lib.tasks.retrieval import identity_facts

Arrays = dict[str, np.ndarray]
WITHOUT_NETWORK = ("pointing", "energy", "iou", "completeness", "area")
AGREEMENT = 0.01  # mean distance of an old score from the same one of its half-precision cells


@cache
def cells_of_network(
    task: str, network: str, stem: str, layer: str, size: tuple[int, int]
) -> Cells:
    """Where a network's cells lie: strides and paddings decide, neither width nor weights."""
    torch.manual_seed(0)
    if task == "retrieval":
        model = create_embedding(network, 2, width=4, stem=stem, image_size=size)
    else:
        model = create_model(network, 2, width=4, stem=stem, image_size=size)
    return cells_of_layer(model, find_layer(model, layer), torch.zeros(1, 3, *size))


def cells_of_run(record: Record, arrays: Arrays) -> Cells:
    """Of a run that did not keep them."""
    settings, how = record.settings, heat_settings(arrays)
    attention, depth = parse_model_name(record.network)
    depth = settings["depths"].get(str(depth), depth)
    network = f"{attention}_resnet{depth}" if attention else f"resnet{depth}"
    size = how["image_size"]
    size = (size, size) if isinstance(size, int) else tuple(size)
    return cells_of_network(record.task, network, settings["stem"], how["layer"], size)


def with_cells(record: Record, arrays: Arrays, regions: Regions | None) -> Arrays:
    """A run's arrays with cells in their settings, and the scores that follow from them.

    Raises:
        UserError: The old scores do not come out, so the objects or cells are not the run's.
    """
    how, cells = heat_settings(arrays), cells_of_run(record, arrays)
    kept = [name for name in SCORE.parts_in(arrays) if name not in WITHOUT_NETWORK]
    kept += ["pairs"] if PAIR_ENERGY in arrays else []
    changed = {HEAT_SETTINGS: np.array(json.dumps(how | cells.settings() | {RESIZED: kept}))}
    if HEAT_MAPS in arrays:
        maps = torch.from_numpy(arrays[HEAT_MAPS].astype(np.float32))
        old = _scores(laid(maps, spread(maps.shape[1:], cells.size)), regions, how["threshold"])
        for name, values in old.items():
            _refuse_other(record, name, values, arrays[SCORE.of(name)])
        new = _scores(laid(maps, cells), regions, how["threshold"])
        changed |= {SCORE.of(k): v.numpy().astype(np.float16) for k, v in new.items()}
    return arrays | changed


def _scores(maps: Tensor, regions: Regions | None, threshold: float) -> dict[str, Tensor]:
    found = {"area": map_scores.area(maps, threshold)}
    if regions is None:
        return found
    return found | {
        "pointing": map_scores.pointing(maps, regions.box),
        "energy": map_scores.energy(maps, regions.box),
        "iou": map_scores.iou(maps, regions.shape, threshold),
        "completeness": map_scores.completeness(maps, regions.shape, threshold),
    }


def _refuse_other(record: Record, name: str, values: Tensor, stated: np.ndarray) -> None:
    apart = np.abs(values.numpy() - stated.astype(np.float32))
    if np.isnan(values.numpy()).sum() != np.isnan(stated).sum() or np.nanmean(apart) > AGREEMENT:
        raise UserError(
            f"{name} of {record.scale} {record.recipe} seed {record.seed} does not come out as it "
            f"stands (mean distance {np.nanmean(apart):.3f}); give the data that it was made on"
        )


def regions_of(record: Record, arrays: Arrays, roots: Sequence[Path]) -> Regions | None:
    """The objects of a run's validation images; None if it knew none.

    Raises:
        UserError: None of the folders holds them.
    """
    if BOXES not in arrays:
        return None
    crops = Crops(record.settings["image_size"], record.settings["resize"])
    for root in roots:
        if (root / "val").is_dir():
            split = open_image_set(root, record.settings["classes"]).val
            objects = open_objects(split, crops, squared=record.settings["decoded_cache"])
            if objects is not None and len(split) == len(arrays[BOXES]):
                regions = objects.regions(0, len(split))
                if np.array_equal(rectangles(regions.box).numpy(), arrays[BOXES]):
                    return regions
    raise UserError(f"no folder given holds the objects of {record.data.name}; prepare the set")


def identities_of(record: Record, arrays: Arrays, roots: Sequence[Path]) -> Arrays:
    """The identity of each valid query; unchanged if they are there.

    Raises:
        UserError: None of the folders holds the run's set.
    """
    if QUERY_IDENTITY in arrays:
        return arrays
    for root in roots:
        if (root / "index.csv").is_file():
            images = open_identity_set(root)
            if identity_facts(images).fingerprint == record.data.fingerprint:
                found = images.query.identities[arrays[QUERY_PLACE]].astype(np.int32)
                return arrays | {QUERY_IDENTITY: found}
    raise UserError(f"no folder given holds the set {record.data.name} of the run; prepare it")


def amend(run: StoredRecord, roots: Sequence[Path]) -> bool:
    """Writes a run's figure data and checksum anew where they are of the older kind.

    Returns:
        Whether anything was written.
    """
    arrays, record = dict(run.figure_data()), run.record
    changed = arrays
    if {HEAT_MAPS, TOP_HEAT} & arrays.keys() and "rows" not in heat_settings(arrays):
        changed = with_cells(record, arrays, regions_of(record, arrays, roots))
    if record.task == "retrieval":
        changed = identities_of(record, changed, roots)
    if changed is arrays:
        return False
    before = record.files.figure_data.sha256
    companion = write_figure_data(companion_path(run.path, "figure_data"), changed)
    # As text, so that an older record stays in its older form.
    write_text_atomic(run.path, run.path.read_text().replace(before, companion.sha256))
    return True


def main(records: str, *data: str, say: Callable[[str], None] = print) -> None:
    """Amends every record of a folder that has figure data, and says which."""
    for run in find_records(records):
        if run.record.files.figure_data is not None and amend(run, [Path(root) for root in data]):
            say(f"amended {run.path}")


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except UserError as error:
        sys.exit(f"error: {error}")
