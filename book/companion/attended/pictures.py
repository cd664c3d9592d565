"""Test images for a page to show, where it may: figure data hold no pixels.

The embedded sets are rendered, so anybody may show them; they are read from where `dreal prepare`
puts them, or rendered anew. Images of any other set are shown only if the reader
gives the data root, as most carry no licence to pass them on.
"""

import tempfile
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from dreal_lib.errors import UserError
from dreal_lib.records import Record
from dreal_lib.runtime.environment import PROJECT_ROOT

EMBEDDED = "embedded"
PREPARED = PROJECT_ROOT / "build" / "data" / EMBEDDED
FIGURES = "embedded-figures"
PREPARED_FIGURES = PROJECT_ROOT / "build" / "data" / FIGURES


@dataclass(frozen=True)
class Pictures:
    """Images as the network saw them.

    Attributes:
        images: By place in the validation split, (H, W, 3) uint8; empty if none may be shown.
        titles: Of the classes; empty if unknown.
        source: A sentence on where they come from, or why there are none.
    """

    images: dict[int, np.ndarray] = field(default_factory=dict)
    titles: tuple[str, ...] = ()
    source: str = ""


@dataclass(frozen=True)
class RetrievalPictures:
    """Images of an identity set, as they are stored.

    Attributes:
        query, gallery: By place in the split, (H, W, 3) uint8; empty if none may be shown.
        source: As of `Pictures`.
    """

    query: dict[int, np.ndarray] = field(default_factory=dict)
    gallery: dict[int, np.ndarray] = field(default_factory=dict)
    source: str = ""


def find_retrieval_pictures(
    record: Record,
    query: Iterable[int],
    gallery: Iterable[int],
    data_root: Path | None = None,
    *,
    prepared: Path = PREPARED_FIGURES,
) -> RetrievalPictures:
    """The query and gallery images of a retrieval run that a page may show.

    Args:
        record: Of the run; its fingerprint says whether a set is the run's.
        query, gallery: Places in the splits.
        data_root: The reader's own copy of the set, or None.
        prepared: Where the rendered set may lie.

    Raises:
        UserError: `data_root` does not hold the images of the run.
    """
    wanted = (tuple(query), tuple(gallery))
    if data_root is not None:
        found = _read_places(data_root, record, wanted, "Images are read from the data root.")
        if found is None:
            raise UserError(
                f"data_root {data_root} does not hold the images of {record.data.name} that the "
                "run was evaluated on; give the set it was made with"
            )
        return found
    if record.data.name != FIGURES:
        return RetrievalPictures(
            source=f"Images of {record.data.name} are not shown here, as the book passes on "
            "rendered ones alone: maps stand alone. Give `data_root` to see them on your copy."
        )
    if (prepared / "index.csv").is_file():
        found = _read_places(prepared, record, wanted, "Images are rendered ones.")
        if found is not None:
            return found
    return _rendered_figures(record, wanted)


def _rendered_figures(record: Record, wanted: tuple) -> RetrievalPictures:
    from data_prep import embedded_figures
    from data_prep.errors import PreparationError

    with tempfile.TemporaryDirectory() as folder:
        try:
            root = embedded_figures.prepare(Path(folder) / FIGURES, workers=1)
        except PreparationError as error:
            return RetrievalPictures(
                source=f"Images cannot be rendered ({error}): maps stand alone."
            )
        found = _read_places(root, record, wanted, "Images are rendered ones.")
    return found or RetrievalPictures(
        source="The run's images are not those that the generator renders by default: maps stand "
        "alone. Give `data_root` to see them."
    )


def _read_places(
    root: Path, record: Record, wanted: tuple, source: str
) -> RetrievalPictures | None:
    """The images from a data root, or None if it is not the run's set."""
    # Not at the top: they load torch.
    from dreal_lib.data.identities import open_identity_set
    from dreal_lib.data.images import read_image
    from dreal_lib.tasks.retrieval import identity_facts

    images = open_identity_set(root)
    if identity_facts(images).fingerprint != record.data.fingerprint:
        return None
    query, gallery = (
        {place: np.asarray(read_image(root / split.files[place])) for place in places}
        for split, places in zip((images.query, images.gallery), wanted, strict=True)
    )
    return RetrievalPictures(query, gallery, source)


def find_pictures(
    record: Record,
    labels: np.ndarray,
    wanted: Iterable[int],
    data_root: Path | None = None,
    *,
    boxes: np.ndarray | None = None,
    prepared: Path = PREPARED,
) -> Pictures:
    """The validation images of a run that a page may show.

    Args:
        record: Of the run.
        labels: Of its validation images, (N,), from its figure data.
        wanted: Places in the validation split.
        data_root: The reader's own copy of the set, or None.
        boxes: The objects' rectangles that the run saw, (N, 4), from its figure data: images
            rendered anew must have the same.
        prepared: Where the embedded set may lie.

    Raises:
        UserError: `data_root` does not hold the images of the run.
    """
    wanted = list(wanted)
    if data_root is not None:
        found = _read(data_root, record, labels, wanted, "Images are read from the data root.")
        if found is None:
            raise UserError(
                f"data_root {data_root} does not hold the {len(labels)} validation images of "
                f"{record.data.name} that the run was evaluated on; give the set it was made with"
            )
        return found
    if record.data.name != EMBEDDED:
        return Pictures(
            source=f"Images of {record.data.name} are not shown here, as they may not be passed "
            "on: maps stand alone. Give `data_root` to see them on your copy."
        )
    if (prepared / "manifest.json").is_file():
        found = _read(prepared, record, labels, wanted, "Images are rendered ones.")
        if found is not None:
            return found
    return _rendered(record, labels, wanted, boxes)


def _rendered(
    record: Record, labels: np.ndarray, wanted: list[int], boxes: np.ndarray | None
) -> Pictures:
    """Renders the validation images again: each depends on its number alone."""
    from data_prep import embedded
    from data_prep.errors import PreparationError

    with tempfile.TemporaryDirectory() as folder:
        try:
            # Of training images as few as there can be; only their classes are needed.
            root = embedded.prepare(
                Path(folder) / EMBEDDED, train_images=10, val_images=max(10, len(labels)), workers=1
            )
        except PreparationError as error:
            return Pictures(source=f"Images cannot be rendered ({error}): maps stand alone.")
        found = _read(root, record, labels, wanted, "Images are rendered ones.", whole=False)
        if found is not None and (boxes is None or _same_boxes(root, record, wanted, boxes)):
            return found
    return Pictures(
        source="The run's images are not those that the generator renders by default: maps stand "
        "alone. Give `data_root` to see them."
    )


def _read(
    root: Path,
    record: Record,
    labels: np.ndarray,
    wanted: list[int],
    source: str,
    whole: bool = True,
) -> Pictures | None:
    """The images from a data root, or None if it is not the run's set."""
    # Not at the top: they load torch, which a page without pictures can do without.
    from dreal_lib.data.boxes import cut
    from dreal_lib.data.images import open_image_set, read_image

    images = open_image_set(root, record.settings.get("classes"))
    if len(images.val) != len(labels) or not np.array_equal(images.val.labels, labels):
        return None
    if whole and not _same_files(root, images, record):
        return None
    crops, squared = _cutting(record)
    pixels = {
        index: np.asarray(cut(read_image(root / images.val.files[index]), crops, squared))
        for index in wanted
    }
    return Pictures(pixels, images.titles, source)


def _cutting(record: Record):
    """How the run's images were cut: `Crops`, and whether to a square first."""
    from dreal_lib.data.batches import Crops

    settings = record.settings
    return Crops(settings["image_size"], settings["resize"]), settings["decoded_cache"]


def _same_boxes(root: Path, record: Record, wanted: list[int], boxes: np.ndarray) -> bool:
    from dreal_lib.data.boxes import open_objects, rectangles
    from dreal_lib.data.images import open_image_set

    crops, squared = _cutting(record)
    split = open_image_set(root, record.settings.get("classes")).val
    objects = open_objects(split, crops, squared=squared)
    return objects is not None and all(
        np.array_equal(rectangles(objects.regions(index, 1).box)[0].numpy(), boxes[index])
        for index in wanted
    )


def _same_files(root: Path, images, record: Record) -> bool:
    """Whether the checksums that came with the set give the run's fingerprint; true without any."""
    from dreal_lib.data.images import content_fingerprint

    sums = root / "SHA256SUMS"
    if not sums.is_file() or not record.settings["decoded_cache"]:
        return True
    lines = (line.split(maxsplit=1) for line in sums.read_text().splitlines() if line.strip())
    by_file = {name.strip().lstrip("*"): digest for digest, name in lines}
    files = (*images.train.files, *images.val.files)
    if not by_file.keys() >= set(files):
        return False
    return content_fingerprint({file: by_file[file] for file in files}) == record.data.fingerprint
