"""Labelled images in class folders: root/train/CLASS/file and root/val/CLASS/file.

This is the layout that `data_prep` writes, and a user's own images need no more than it. A
`manifest.json` beside the two folders adds the set's name and the classes' titles. Greyscale,
palette and CMYK images are converted to RGB.
"""

import hashlib
import io
import json
from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from PIL import Image

from dreal_lib.data.listing import (
    file_status,
    images_in,
    is_file,
    is_folder,
    refuse_unwritable,
    subfolders,
)
from dreal_lib.errors import UserError

# How a viewer turns a stored image, by the number of EXIF's Orientation.
_TURNED = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_ORIENTATION = 0x0112


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
    """A data root: its name, splits, and the titles of its classes.

    `left_out` counts what else lies in the class folders, by kind (`dreal_lib.data.listing`).
    """

    name: str
    train: Split
    val: Split
    titles: tuple[str, ...]
    left_out: Counter[str] = field(default_factory=Counter)

    @property
    def classes(self) -> tuple[str, ...]:
        return self.train.classes


def open_image_set(root: str | Path, classes: int | None = None) -> ImageSet:
    """Lists the images of a data root.

    Args:
        root: Folder with train/CLASS and val/CLASS.
        classes: Keep the first so many classes in sorted order; None for all.

    Raises:
        UserError: A folder is missing, empty or cannot be read, a name is not UTF-8, or a class is
            in val and not in train.
    """
    root = Path(root)
    refuse_unwritable(root)
    if is_file(root / "wnids.txt") and is_file(root / "val" / "val_annotations.txt"):
        raise UserError(
            f"{root} is Tiny-ImageNet as its zip unpacks, with its val images in one folder; give "
            f"--data what `dreal prepare tiny-imagenet OUT tiny-imagenet-200.zip` makes of it"
        )
    names = _class_folders(root, "train")
    unknown = sorted(set(_class_folders(root, "val")) - set(names))
    if unknown:
        raise UserError(
            f"class folder val/{unknown[0]} of {root} has no train/{unknown[0]}; "
            f"add training images for it or remove it"
        )
    if len(names) < 2:
        raise UserError(
            f"{root / 'train'} holds one class folder, {names[0]!r}, and there is nothing to tell "
            f"apart; add a folder for each other class"
        )
    if classes is not None and not 2 <= classes <= len(names):
        raise UserError(f"classes must be from 2 to {len(names)} for {root}; got {classes}")
    kept = tuple(names[:classes])
    manifest = read_manifest(root)
    titles = {item["name"]: item.get("title", item["name"]) for item in manifest.get("classes", [])}
    left_out: Counter[str] = Counter()
    return ImageSet(
        name=set_name(root, manifest),
        train=_list_split(root, "train", kept, left_out),
        val=_list_split(root, "val", kept, left_out),
        titles=tuple(titles.get(name, name) for name in kept),
        left_out=left_out,
    )


def _class_folders(root: Path, split: str) -> list[str]:
    folder = root / split
    if not is_folder(folder):
        raise UserError(
            f"no folder {folder}; images belong into {root}/train/CLASS and {root}/val/CLASS "
            f"(`dreal prepare` makes it from a known data set)"
        )
    names = subfolders(folder)
    if not names:
        raise UserError(f"{folder} holds no class folders; put images into {folder}/CLASS")
    return names


def _list_split(root: Path, split: str, classes: tuple[str, ...], left_out: Counter[str]) -> Split:
    files, labels = [], []
    for label, name in enumerate(classes):
        folder = root / split / name
        if split == "val" and not is_folder(folder):  # a class need not be judged
            continue
        listed = images_in(folder)
        found = listed.images
        left_out += listed.left_out
        if not found and split == "train":
            raise UserError(f"class folder {folder} holds no image; add some or remove it")
        files += [f"{split}/{name}/{file}" for file in found]
        labels += [label] * len(found)
    if not files:
        raise UserError(f"{root / split} holds no image; put some into {root / split}/CLASS")
    return Split(root, tuple(files), np.asarray(labels, dtype=np.int64), classes)


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
    except (OSError, ValueError, RecursionError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{path} is not readable JSON ({reason}); prepare the set again") from None
    classes = manifest.get("classes", []) if isinstance(manifest, dict) else None
    if not isinstance(classes, list) or not all(
        isinstance(item, dict)
        and _shows(item.get("name"))
        and _shows(item.get("title", item["name"]))
        for item in classes
    ):
        raise UserError(
            f"{path} is no manifest (an object whose classes are a list of names and titles); "
            f"prepare the set again, or remove it"
        )
    name = manifest.get("name", "")
    if name != "" and not _shows(name):
        raise UserError(
            f"the name in {path} must be one line of text; got {str(name)[:80]!r}; mend it, or "
            f"prepare the set again"
        )
    return manifest


def set_name(root: Path, manifest: dict) -> str:
    """What a data root is called: as its manifest says, else as its folder.

    Raises:
        UserError: The folder's name has a character that cannot be shown, an end of a line say.
    """
    name = manifest.get("name") or root.resolve().name or "data"
    if not _shows(name):
        raise UserError(
            f"the folder {str(root)!a} has a character in its name that cannot be shown; rename it"
        )
    return name


def _shows(text: object) -> bool:
    return isinstance(text, str) and text.isprintable()


def read_image(path: Path) -> Image.Image:
    """Decodes an image to RGB, turned as its EXIF says, as viewers show it.

    torchvision's ImageFolder does not turn; none of the sets that `data_prep` knows needs it.

    Raises:
        UserError: It cannot be decoded, or has more than 8 bits a channel (Pillow would clip it to
            white); with the file's name.
    """
    try:
        with Image.open(path) as image:
            if image.mode == "F" or image.mode.startswith("I"):
                raise ValueError(f"mode {image.mode}, not 8 bits a channel")
            # With transparency in a palette, Pillow wants the detour.
            rgb = (image.convert("RGBA") if image.mode == "P" else image).convert("RGB")
            turn = _TURNED.get(_orientation(image))
            return rgb if turn is None else rgb.transpose(turn)
    except Exception as error:  # on a damaged file, decoders raise what they like
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(
            f"cannot decode image {path} ({reason}); replace or remove the file"
        ) from None


def shown_size(image: Image.Image) -> tuple[int, int]:
    """(width, height) of an opened image as it is shown, before it is decoded."""
    width, height = image.size
    return (height, width) if _orientation(image) in (5, 6, 7, 8) else (width, height)


def _orientation(image: Image.Image) -> int:
    try:
        return image.getexif().get(_ORIENTATION, 1)
    except Exception:  # of damaged EXIF; the image is shown as it is stored
        return 1


def read_plain_jpeg(path: Path) -> bytes | None:
    """The bytes of a JPEG file that any decoder understands alike: grey, or RGB kept as YCbCr,
    and not to be turned.

    None for every other file, also one that cannot be read: `read_image` says what is wrong.
    """
    try:
        content = path.read_bytes()
        with Image.open(io.BytesIO(content), formats=["JPEG"]) as image:  # reads the header alone
            kept_as_rgb = image.info.get("adobe_transform") == 0
            plain = image.format == "JPEG" and image.mode in ("L", "RGB") and not kept_as_rgb
            plain = plain and _orientation(image) not in _TURNED
    except Exception:  # on a damaged file, decoders raise what they like
        return None
    return content if plain else None


def listing_stamp(split: Split) -> str:
    """A hash of names, sizes and modification times: changes when a file does, costs no reading."""
    digest = hashlib.sha256()
    for file in split.files:
        status = file_status(split.root / file)
        digest.update(f"{file}\t{status.st_size}\t{status.st_mtime_ns}\n".encode())
    return digest.hexdigest()


def content_fingerprint(file_hashes: dict[str, str]) -> str:
    """A hash of names and contents (sha256 by relative path), the same on every machine."""
    lines = sorted(f"{file}\t{value}\n" for file, value in file_hashes.items())
    return hashlib.sha256("".join(lines).encode()).hexdigest()
