"""Small sets, decoded once into memory-mapped arrays.

A cache is a folder with `train.npy` and `val.npy` (uint8, (N, side, side, 3)) and `cache.json`,
written last. It is used again only if the listing of the files (names, sizes, times) and the side
are those it was made from; otherwise it is made anew. Of several runs that start together, one
makes it and the others wait.
"""

import fcntl
import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
from torchvision.transforms.v2 import functional as vision

from dreal_lib.data.images import ImageSet, Split, content_fingerprint, listing_stamp, read_image
from dreal_lib.errors import UserError

VERSION = 2  # raise it when the same files are decoded to other pixels; 2 turns images by EXIF


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
    name = re.sub(r"[^A-Za-z0-9_-]", "_", images.name)  # it may come from a manifest
    target = Path(folder) / f"{name}-{side}px-{key}"
    stamps = {name: listing_stamp(split) for name, split in splits.items()}
    rebuilt = _why_not_fresh(target, stamps, splits, side)
    if rebuilt:
        with _writing_to(target):
            rebuilt = _why_not_fresh(target, stamps, splits, side)  # made while we waited?
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
    except FileNotFoundError:
        return "there was none"
    except (OSError, ValueError):
        return "its cache.json is damaged"
    if not isinstance(facts, dict) or not isinstance(facts.get("fingerprint"), str):
        return "its cache.json is damaged"
    if facts.get("version") != VERSION:
        return "it was made by an earlier version"
    if facts.get("stamps") != stamps:
        return "the files have changed"
    for name, split in splits.items():
        try:
            array = np.load(target / f"{name}.npy", mmap_mode="r")
        except (OSError, ValueError, EOFError):
            return f"its {name}.npy is damaged"
        if array.shape != (len(split), side, side, 3) or array.dtype != np.uint8:
            return f"its {name}.npy has another shape"
    return ""


@contextmanager
def _writing_to(target: Path) -> Iterator[None]:
    """Lets one process at a time write a cache; an error in doing so names the remedy."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        path = target.with_name(f".{target.name}.lock")
        while True:
            with open(path, "w") as lock:
                _lock(lock, target)
                if not _is(lock, path):  # whom we waited for took it away
                    continue
                try:
                    yield
                finally:
                    path.unlink(missing_ok=True)
                return
    except OSError as error:
        raise UserError(
            f"cannot write the image cache {target} ({error.strerror or error}); free space there "
            f"or choose another folder with --cache"
        ) from None


def _is(file: IO[str], path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), os.stat(path))
    except FileNotFoundError:
        return False


def _lock(file: IO[str], target: Path) -> None:
    try:
        fcntl.flock(file, fcntl.LOCK_EX)  # given back when the file is closed, or we die
    except OSError as error:
        raise UserError(
            f"the file system of the image cache {target} has no locks "
            f"({error.strerror or error}); choose a folder on a local disk with --cache"
        ) from None


def _write_cache(target: Path, splits: dict[str, Split], stamps: dict, side: int) -> None:
    partial = target.with_name(f".{target.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)  # of a process that was killed
    needed = sum(map(len, splits.values())) * side**2 * 3
    free = shutil.disk_usage(target.parent).free
    if needed > free:
        raise UserError(
            f"the decoded images need {needed / 2**30:.1f} GiB in {target.parent}, which has "
            f"{free / 2**30:.1f}; choose another folder with --cache, a smaller --set resize, or "
            f"--set decoded_cache=false"
        )
    partial.mkdir()
    try:
        hashes: dict[str, str] = {}
        for name, split in splits.items():
            hashes |= _decode(split, side, partial / f"{name}.npy")
        facts = {"version": VERSION, "stamps": stamps, "fingerprint": content_fingerprint(hashes)}
        (partial / "cache.json").write_text(json.dumps(facts))
        shutil.rmtree(target, ignore_errors=True)
        os.replace(partial, target)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _decode(split: Split, side: int, path: Path) -> dict[str, str]:
    """Writes the images of a split to an .npy file; returns the SHA-256 of each source file."""

    def decode(file: str) -> tuple[np.ndarray, str]:
        image = vision.resize(read_image(split.root / file), [side], antialias=True)
        pixels = np.asarray(vision.center_crop(image, [side, side]))
        return pixels, hashlib.sha256((split.root / file).read_bytes()).hexdigest()

    header = {"descr": "|u1", "fortran_order": False, "shape": (len(split), side, side, 3)}
    hashes = {}
    with open(path, "wb") as out, ThreadPoolExecutor(os.cpu_count()) as pool:
        # Written in order, not mapped: on a full disk a write fails, a mapped page kills.
        np.lib.format.write_array_header_1_0(out, header)
        # Few at a time: what is decoded ahead of the writer lies in memory.
        ahead = 4 * (os.cpu_count() or 1)
        for start in range(0, len(split.files), ahead):
            files = split.files[start : start + ahead]
            for file, (pixels, value) in zip(files, pool.map(decode, files), strict=True):
                out.write(pixels.tobytes())
                hashes[file] = value
    return hashes
