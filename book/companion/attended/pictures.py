"""Test images for a page to show, where it may: figure data hold no pixels.

The embedded sets are rendered, so anybody may show them; they are read from where `dreal prepare`
puts them, or rendered anew. Images of any other set are shown only if the reader
gives the data root, as most carry no licence to pass them on.
"""

import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from book.companion.text.foreign import plain
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
        images: By place in the validation split, or among the queries, (H, W, 3) uint8; empty if
            none may be shown.
        gallery: The same of a gallery.
        titles: Of the classes; empty if unknown.
        source: A sentence on where they come from, or why there are none.
    """

    images: dict[int, np.ndarray] = field(default_factory=dict)
    gallery: dict[int, np.ndarray] = field(default_factory=dict)
    titles: tuple[str, ...] = ()
    source: str = ""


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

    def read(root: Path, anew: bool = False) -> Pictures | None:
        found = _read(root, record, labels, wanted, whole=not anew)
        checked = found is not None and anew and boxes is not None
        return None if checked and not _same_boxes(root, record, wanted, boxes) else found

    def render(out: Path) -> Path:
        from data_prep import embedded

        # Each image depends on its number alone; of the training ones their classes are needed.
        most = max(10, len(labels))
        return embedded.prepare(out, train_images=10, val_images=most, workers=1)

    what = f"the {len(labels)} validation images of {record.data.name}"
    return _find(record, read, data_root, prepared, render, what)


def find_retrieval_pictures(
    record: Record,
    query: Iterable[int],
    gallery: Iterable[int],
    data_root: Path | None = None,
    *,
    prepared: Path = PREPARED_FIGURES,
) -> Pictures:
    """The query and gallery images of a retrieval run that a page may show, as they are stored.

    Args:
        record: Of the run; its fingerprint says whether a set is the run's.
        query, gallery: Places in the splits.
        data_root: The reader's own copy of the set, or None.
        prepared: Where the rendered set may lie.

    Raises:
        UserError: `data_root` does not hold the images of the run.
    """
    wanted = (tuple(query), tuple(gallery))

    def read(root: Path, anew: bool = False) -> Pictures | None:
        return _read_places(root, record, wanted)

    def render(out: Path) -> Path:
        from data_prep import embedded_figures

        return embedded_figures.prepare(out, workers=1)

    return _find(record, read, data_root, prepared, render, f"the images of {record.data.name}")


def _find(
    record: Record,
    read: Callable[..., Pictures | None],
    data_root: Path | None,
    prepared: Path,
    render: Callable[[Path], Path],
    what: str,
) -> Pictures:
    """The reader's own copy, else the rendered set where it lies, else rendered anew."""
    from data_prep.errors import PreparationError

    if data_root is not None:
        found = read(data_root)
        if found is None:
            raise UserError(
                f"data_root {data_root} does not hold {what} that the run was evaluated on; give "
                "the set it was made with"
            )
        return replace(found, source="Images are read from the data root.")
    if record.data.name not in (EMBEDDED, FIGURES):
        return Pictures(
            source=f"Images of {plain(record.data.name)} are not shown here, as they may not be "
            "passed on: maps stand alone. Give `data_root` to see them on your copy."
        )
    made = any((prepared / name).is_file() for name in ("index.csv", "manifest.json"))
    found = read(prepared) if made else None
    if found is None:
        with tempfile.TemporaryDirectory() as folder:
            try:
                found = read(render(Path(folder) / record.data.name), anew=True)
            except PreparationError as error:
                return Pictures(source=f"Images cannot be rendered ({error}): maps stand alone.")
    if found is None:
        return Pictures(
            source="The run's images are not those that the generator renders by default: maps "
            "stand alone. Give `data_root` to see them."
        )
    return replace(found, source="Images are rendered ones.")


def _read_places(root: Path, record: Record, wanted: tuple) -> Pictures | None:
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
    return Pictures(query, gallery)


def _read(
    root: Path,
    record: Record,
    labels: np.ndarray,
    wanted: list[int],
    whole: bool,
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
    return Pictures(pixels, titles=images.titles)


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
