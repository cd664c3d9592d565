"""Labelled images in class folders: root/train/CLASS/file and root/val/CLASS/file.

This is the layout that `data_prep` writes, and a user's own images need no more than it. A
`manifest.json` beside the two folders adds the set's name and the classes' titles. Greyscale,
palette and CMYK images are converted to RGB.
"""

import hashlib
import io
import json
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image

from dreal_lib.errors import UserError

SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".webp", ".ppm", ".tif", ".tiff"}


@dataclass(frozen=True)
class Split:
    """The images of one split.

    Attributes:
        root: The data root.
        files: Paths relative to `root`, sorted.
        labels: Index of each image's class, int64, (N,).
        classes: Names of the class folders, sorted.
    """

    root: Path
    files: tuple[str, ...]
    labels: np.ndarray
    classes: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.files)

    def chosen(self, indices: np.ndarray) -> "Split":
        """The images at these places alone."""
        files = tuple(self.files[i] for i in indices)
        return replace(self, files=files, labels=self.labels[indices])


@dataclass(frozen=True)
class ImageSet:
    """A data root: its name, splits, and the titles of its classes."""

    name: str
    train: Split
    val: Split
    titles: tuple[str, ...]

    @property
    def classes(self) -> tuple[str, ...]:
        return self.train.classes


def open_image_set(root: str | Path, classes: int | None = None) -> ImageSet:
    """Lists the images of a data root.

    Args:
        root: Folder with train/CLASS and val/CLASS.
        classes: Keep the first so many classes in sorted order; None for all.

    Raises:
        UserError: A folder is missing or empty, or a class is in val and not in train.
    """
    root = Path(root)
    names = _class_folders(root, "train")
    unknown = sorted(set(_class_folders(root, "val")) - set(names))
    if unknown:
        raise UserError(
            f"class folder val/{unknown[0]} of {root} has no train/{unknown[0]}; "
            f"add training images for it or remove it"
        )
    if classes is not None and not 2 <= classes <= len(names):
        raise UserError(f"classes must be from 2 to {len(names)} for {root}; got {classes}")
    kept = tuple(names[:classes])
    manifest = read_manifest(root)
    titles = {item["name"]: item.get("title", item["name"]) for item in manifest.get("classes", [])}
    return ImageSet(
        name=manifest.get("name") or root.resolve().name,
        train=_list_split(root, "train", kept),
        val=_list_split(root, "val", kept),
        titles=tuple(titles.get(name, name) for name in kept),
    )


def _class_folders(root: Path, split: str) -> list[str]:
    folder = root / split
    if not folder.is_dir():
        raise UserError(
            f"no folder {folder}; images belong into {root}/train/CLASS and {root}/val/CLASS "
            f"(`dreal prepare` makes it from a known data set)"
        )
    names = sorted(p.name for p in folder.iterdir() if p.is_dir() and not p.name.startswith("."))
    if not names:
        raise UserError(f"{folder} holds no class folders; put images into {folder}/CLASS")
    return names


def _list_split(root: Path, split: str, classes: tuple[str, ...]) -> Split:
    files, labels = [], []
    for label, name in enumerate(classes):
        folder = root / split / name
        found = sorted(p for p in folder.glob("*") if is_image(p))
        if not found and split == "train":
            raise UserError(f"class folder {folder} holds no image; add some or remove it")
        files += [p.relative_to(root).as_posix() for p in found]
        labels += [label] * len(found)
    if not files:
        raise UserError(f"{root / split} holds no image; put some into {root / split}/CLASS")
    return Split(root, tuple(files), np.asarray(labels, dtype=np.int64), classes)


def is_image(path: Path) -> bool:
    """Whether a file is to be read as an image, by its name."""
    # Hidden files: some systems leave "._name.jpg" beside each file they copy, which is no image.
    return path.suffix.lower() in SUFFIXES and not path.name.startswith(".") and path.is_file()


def read_manifest(root: Path) -> dict:
    """The manifest of a data root, {} without one.

    Raises:
        UserError: It is damaged, or its classes are no list of names and titles.
    """
    path = root / "manifest.json"
    if not path.exists():
        return {}
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path} is not readable JSON ({error}); prepare the set again") from None
    classes = manifest.get("classes", []) if isinstance(manifest, dict) else None
    if not isinstance(classes, list) or not all(
        isinstance(item, dict) and "name" in item for item in classes
    ):
        raise UserError(
            f"{path} is no manifest (an object whose classes are a list of names and titles); "
            f"prepare the set again, or remove it"
        )
    return manifest


def read_image(path: Path) -> Image.Image:
    """Decodes an image to RGB.

    Raises:
        UserError: It cannot be decoded, or has more than 8 bits a channel (Pillow would clip it to
            white); with the file's name.
    """
    try:
        with Image.open(path) as image:
            if image.mode == "F" or image.mode.startswith("I"):
                raise ValueError(f"mode {image.mode}, not 8 bits a channel")
            if image.mode == "P":  # with transparency, Pillow wants the detour
                return image.convert("RGBA").convert("RGB")
            return image.convert("RGB")
    except Exception as error:  # on a damaged file, decoders raise what they like
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(
            f"cannot decode image {path} ({reason}); replace or remove the file"
        ) from None


def read_plain_jpeg(path: Path) -> bytes | None:
    """The bytes of a JPEG file that any decoder understands alike: grey, or RGB kept as YCbCr.

    None for every other file, also one that cannot be read: `read_image` says what is wrong.
    """
    try:
        content = path.read_bytes()
        with Image.open(io.BytesIO(content), formats=["JPEG"]) as image:  # reads the header alone
            kept_as_rgb = image.info.get("adobe_transform") == 0
            plain = image.format == "JPEG" and image.mode in ("L", "RGB") and not kept_as_rgb
    except Exception:  # on a damaged file, decoders raise what they like
        return None
    return content if plain else None


def listing_stamp(split: Split) -> str:
    """A hash of names, sizes and modification times: changes when a file does, costs no reading."""
    digest = hashlib.sha256()
    for file in split.files:
        status = (split.root / file).stat()
        digest.update(f"{file}\t{status.st_size}\t{status.st_mtime_ns}\n".encode())
    return digest.hexdigest()


def content_fingerprint(file_hashes: dict[str, str]) -> str:
    """A hash of names and contents (sha256 by relative path), the same on every machine."""
    lines = sorted(f"{file}\t{value}\n" for file, value in file_hashes.items())
    return hashlib.sha256("".join(lines).encode()).hexdigest()
