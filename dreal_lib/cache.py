"""Small sets, decoded once into memory-mapped arrays.

A cache is a folder with `train.npy` and `val.npy` (uint8, (N, side, side, 3)) and `cache.json`,
written last. It is used again only if the listing of the files (names, sizes, times) and the side
are those it was made from; otherwise it is made anew.
"""

import hashlib
import json
import os
import shutil
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from torchvision.transforms.v2 import functional as vision

from dreal_lib.errors import UserError
from dreal_lib.images import (
    ImageSet,
    Split,
    content_fingerprint,
    listing_stamp,
    read_image,
)


@dataclass(frozen=True)
class CachedSet:
    """Decoded images of a set.

    Attributes:
        images: By split ("train", "val"), memory-mapped uint8 (N, side, side, 3).
        labels: By split, int64 (N,).
        fingerprint: Hash of the files' names and contents.
        rebuilt: Why the cache was made anew, or "" if it was used as it was.
    """

    images: dict[str, np.ndarray]
    labels: dict[str, np.ndarray]
    fingerprint: str
    rebuilt: str


def open_cache(images: ImageSet, side: int, folder: str | Path) -> CachedSet:
    """The decoded images, from the cache if it is fresh.

    Args:
        images: The listed set.
        side: The shorter side is resized to so many pixels, then the centre square is cut out.
        folder: Where caches are kept; this set's own folder is made below it.

    Raises:
        UserError: An image cannot be decoded; no space or no permission to write.
    """
    splits = {"train": images.train, "val": images.val}
    root = str(images.train.root.resolve())
    key = hashlib.sha256(f"{root}\t{images.classes}\t{side}".encode()).hexdigest()[:16]
    target = Path(folder) / f"{images.name}-{side}px-{key}"
    stamps = {name: listing_stamp(split) for name, split in splits.items()}
    rebuilt = _why_not_fresh(target, stamps, splits, side)
    if rebuilt:
        _write_cache(target, splits, stamps, side)
    facts = json.loads((target / "cache.json").read_text())
    return CachedSet(
        images={name: np.load(target / f"{name}.npy", mmap_mode="r") for name in splits},
        labels={name: split.labels for name, split in splits.items()},
        fingerprint=facts["fingerprint"],
        rebuilt=rebuilt,
    )


def _why_not_fresh(target: Path, stamps: dict, splits: dict[str, Split], side: int) -> str:
    try:
        facts = json.loads((target / "cache.json").read_text())
    except (OSError, ValueError):
        return "there was none"
    if facts.get("stamps") != stamps:
        return "the files have changed"
    for name, split in splits.items():
        try:
            shape = np.load(target / f"{name}.npy", mmap_mode="r").shape
        except (OSError, ValueError):
            return f"its {name}.npy is damaged"
        if shape != (len(split), side, side, 3):
            return f"its {name}.npy has another shape"
    return ""


def _write_cache(target: Path, splits: dict[str, Split], stamps: dict, side: int) -> None:
    hashes: dict[str, str] = {}
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
        try:
            for name, split in splits.items():
                hashes |= _decode(split, side, partial / f"{name}.npy")
            facts = {"stamps": stamps, "fingerprint": content_fingerprint(hashes)}
            (partial / "cache.json").write_text(json.dumps(facts))
            shutil.rmtree(target, ignore_errors=True)
            os.replace(partial, target)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    except OSError as error:
        raise UserError(
            f"cannot write the image cache {target} ({error.strerror}); free space there or "
            f"choose another folder with --cache"
        ) from None


def _decode(split: Split, side: int, path: Path) -> dict[str, str]:
    array = np.lib.format.open_memmap(path, "w+", np.uint8, (len(split), side, side, 3))

    def decode(index: int) -> tuple[str, str]:
        file = split.root / split.files[index]
        image = vision.resize(read_image(file), [side], antialias=True)
        array[index] = np.asarray(vision.center_crop(image, [side, side]))
        return split.files[index], hashlib.sha256(file.read_bytes()).hexdigest()

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        hashes = dict(pool.map(decode, range(len(split))))
    array.flush()
    return hashes
