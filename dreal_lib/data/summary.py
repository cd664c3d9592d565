"""What was found in a data root, in lines for the user, before anything is trained on it."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from dreal_lib.data.images import ImageSet, shown_size
from dreal_lib.data.listing import left_out_text

_NAMED = 8  # class names in a line
_LOOKED_AT = 200  # headers that are read for the range of sizes


def class_summary(images: ImageSet) -> tuple[str, ...]:
    """Name, classes, images and their sizes; what was left out and why."""
    counts = np.bincount(images.train.labels, minlength=len(images.classes))
    low, high = counts.min(), counts.max()
    spread = f"{low}" if low == high else f"{low} to {high}"
    judged = set(images.val.labels.tolist())
    unjudged = [name for label, name in enumerate(images.classes) if label not in judged]
    lines = [
        f"data: {images.name}, {len(images.classes)} classes ({named(images.classes)}), "
        f"{len(images.train):,} training images ({spread} a class), {len(images.val):,} to judge, "
        f"{sizes_text(images.train.root, images.train.files)}",
        f"no image to judge of: {named(unjudged)}" if unjudged else "",
        left_out_text(images.left_out),
    ]
    return tuple(filter(None, lines))


def identity_summary(
    name: str, counts: str, root: Path, files: Sequence[str], left_out: Counter[str]
) -> tuple[str, ...]:
    """The same for identities, whose `counts` are in words."""
    first = f"data: {name}, {counts}, {sizes_text(root, files)}"
    return tuple(filter(None, (first, left_out_text(left_out))))


def named(names: Sequence[str], most: int = _NAMED) -> str:
    """The names with commas between, and how many more there are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def sizes_text(root: Path, files: Sequence[str]) -> str:
    """The range of sizes, by the headers of some of the files, spread over all of them."""
    places = np.linspace(0, len(files) - 1, min(len(files), _LOOKED_AT), dtype=int)
    chosen = [files[place] for place in places]
    sizes = [size for file in chosen if (size := _size(root / file))]
    if not sizes:
        return "sizes unknown"
    widths, heights = zip(*sizes, strict=True)
    low, high = f"{min(widths)}x{min(heights)}", f"{max(widths)}x{max(heights)}"
    text = f"{low} px" if low == high else f"{low} to {high} px"
    return text if len(chosen) == len(files) else f"{text} ({len(chosen)} looked at)"


def _size(path: Path) -> tuple[int, int] | None:
    try:
        with Image.open(path) as image:
            return shown_size(image)
    except Exception:  # on a damaged file, decoders raise what they like; reading it says so
        return None
