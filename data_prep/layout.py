"""The one layout that every prepared set has.

    ROOT/manifest.json             what it is, its classes, counts, archives and checksums
    ROOT/SHA256SUMS                one line a file, as `sha256sum --check` reads it
    ROOT/train/CLASS/*, ROOT/val/CLASS/*
    ROOT/boxes.csv                 optional: file,x_min,y_min,x_max,y_max, in pixels of the stored
                                   image, half open; a file with several objects has several rows
    ROOT/masks/...                 optional: as the image's path, .png, 0 or 255

This module writes and verifies the files; `data_prep.staging` puts a set in place whole or not at
all. A ROOT that holds anything but the very set asked for is refused and left alone.
"""

import csv
import hashlib
import io
import json
import os
import secrets
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath

from data_prep.archives import digests
from data_prep.errors import PreparationError

LAYOUT_VERSION = 1
SPLITS = ("train", "val")
MANIFEST = "manifest.json"
SUMS = "SHA256SUMS"
BOXES = "boxes.csv"
_SUMMED = (*SPLITS, "masks", BOXES)  # other files in ROOT, such as a reader's cache, do not count

Box = tuple[int, int, int, int]


def _manifest_text(manifest: Mapping) -> str:
    return json.dumps(manifest, indent=2, ensure_ascii=False) + "\n"


def files_sha256(sums: Mapping[str, str]) -> str:
    """One digest over all files: sha256 of the sorted lines "path<TAB>sha256<NEWLINE>"."""
    lines = "".join(f"{path}\t{digest}\n" for path, digest in sorted(sums.items()))
    return hashlib.sha256(lines.encode()).hexdigest()


class SetWriter:
    """Collects one prepared set: writes its files into `folder` and keeps their checksums.

    Attributes:
        folder: The hidden folder that becomes ROOT.
        notes: Further manifest entries, such as "excluded_duplicates".
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.notes: dict[str, object] = {}
        self._sums: dict[str, str] = {}
        self._boxes: list[tuple[str, Box]] = []
        self._titles: dict[str, str] = {}
        self._images = dict.fromkeys(SPLITS, 0)

    def add_class(self, name: str, title: str) -> None:
        """Declare a class by its folder name and the title that people read."""
        self._titles[_one_part(name)] = title

    def add_image(self, split: str, class_name: str, file_name: str, content: bytes) -> str:
        """Store one image file as it is.

        Returns:
            Its path relative to ROOT, with forward slashes.

        Raises:
            PreparationError: The name is taken or not a plain file name.
        """
        if split not in SPLITS or class_name not in self._titles:
            raise PreparationError(
                f"an image needs a split of {SPLITS} and a declared class; got {split!r} and "
                f"{class_name!r} for '{file_name}'; the archive does not have the expected format"
            )
        path = f"{split}/{class_name}/{_one_part(file_name)}"
        self._store(path, content)
        self._images[split] += 1
        return path

    def add_box(self, image: str, box: Box) -> None:
        """Note one object's box (x_min, y_min, x_max, y_max), half open, of a stored image."""
        self._boxes.append((image, box))

    def add_mask(self, image: str, content: bytes) -> None:
        """Store the PNG mask of an image that was added as `image`."""
        self._store(str(PurePosixPath("masks", image).with_suffix(".png")), content)

    def _store(self, path: str, content: bytes) -> None:
        destination = self.folder / path
        destination.parent.mkdir(parents=True, exist_ok=True)
        try:
            with destination.open("xb") as stream:
                stream.write(content)
        except FileExistsError:
            raise PreparationError(
                f"two files of the set have the path '{path}'; the archive does not have the "
                "expected format: get it again from its official home"
            ) from None
        self._sums[path] = hashlib.sha256(content).hexdigest()

    def finish(self, name: str, source: str, settings: Mapping, archives: list[dict]) -> None:
        """Write boxes.csv, SHA256SUMS and, last, manifest.json."""
        for split in SPLITS:
            if not self._images[split]:
                raise PreparationError(
                    f"{name}: no image for the split '{split}' was found; check that the source "
                    "is the official one"
                )
        if self._boxes:
            table = io.StringIO()
            writer = csv.writer(table, lineterminator="\n")
            writer.writerow(("file", "x_min", "y_min", "x_max", "y_max"))
            writer.writerows((file, *box) for file, box in sorted(self._boxes))
            self._store(BOXES, table.getvalue().encode())
        sums = sorted(self._sums.items())
        (self.folder / SUMS).write_text(
            "".join(f"{digest}  {path}\n" for path, digest in sums), encoding="utf-8"
        )
        manifest = {
            "layout_version": LAYOUT_VERSION,
            "name": name,
            "source": source,
            "settings": dict(settings),
            "classes": [{"name": n, "title": t} for n, t in sorted(self._titles.items())],
            "splits": {split: {"images": self._images[split]} for split in SPLITS},
            "archives": archives,
            **self.notes,
            "files_sha256": files_sha256(self._sums),
        }
        write_manifest(self.folder, manifest)


def _one_part(name: str) -> str:
    if name in ("", ".", "..") or "/" in name or "\\" in name or not name.isprintable():
        raise PreparationError(
            f"a file or class name must be one plain path component; got {name!r}; get the "
            "archive from its official home"
        )
    return name


def write_manifest(root: Path, manifest: Mapping) -> None:
    """Write ROOT/manifest.json so that a reader sees the old or the new one, never a part."""
    partial = root / f".{MANIFEST}.{secrets.token_hex(4)}"
    try:
        with partial.open("x", encoding="utf-8") as stream:
            stream.write(_manifest_text(manifest))
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(partial, root / MANIFEST)
    finally:
        partial.unlink(missing_ok=True)


def read_manifest(root: Path) -> dict:
    """The manifest of a prepared set.

    Raises:
        PreparationError: There is none, or it is not one of this layout's version.
    """
    try:
        manifest = json.loads((root / MANIFEST).read_text(encoding="utf-8"))
        version = manifest["layout_version"]
    except FileNotFoundError:
        raise PreparationError(
            f"'{root}' is not a prepared set: it has no {MANIFEST}; prepare one with one of the "
            "data_prep modules"
        ) from None
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise PreparationError(
            f"cannot read '{root / MANIFEST}' ({error}); prepare the set again in a new folder"
        ) from None
    if version != LAYOUT_VERSION:
        raise PreparationError(
            f"'{root}' has layout version {version!r}, this program reads {LAYOUT_VERSION}; "
            "prepare the set again in a new folder"
        )
    return manifest


def already_prepared(
    root: Path, name: str, settings: Mapping, archives: list[dict] | None = None
) -> bool:
    """Whether `root` already holds this very set; False where it is free (absent or empty).

    Args:
        root: Where the set shall lie.
        name: The set's name in its manifest.
        settings: The settings that shape the set; compared with the manifest's.
        archives: The archives' records; not compared when None.

    Raises:
        PreparationError: Something else is there; it is left alone.
    """
    if not root.exists() or (root.is_dir() and not any(root.iterdir())):
        return False
    remedy = "choose another folder, or remove this one yourself"
    if not root.is_dir():
        raise PreparationError(f"'{root}' is a file, not a folder; {remedy}")
    if not (root / MANIFEST).exists():
        raise PreparationError(f"'{root}' is not empty and not a prepared set; {remedy}")
    manifest = read_manifest(root)
    wanted = {"name": name, "settings": json.loads(json.dumps(dict(settings)))}
    if archives is not None:
        wanted["archives"] = archives
    for key, value in wanted.items():
        if manifest.get(key) != value:
            raise PreparationError(
                f"'{root}' holds another prepared set: its {key} is "
                f"{_short(manifest.get(key))}, asked for {_short(value)}; {remedy}"
            )
    return True


def _short(value: object) -> str:
    text = json.dumps(value)
    return text if len(text) <= 160 else text[:157] + "..."


def _stored_files(root: Path, sums: Mapping[str, str]) -> Iterable[str]:
    # Identity sets name their own folders.
    for top in {*_SUMMED, *(path.partition("/")[0] for path in sums)}:
        place = root / top
        if place.is_file():
            yield top
        for folder, _, files in os.walk(place):
            inside = Path(folder).relative_to(root).as_posix()
            yield from (f"{inside}/{file}" for file in files)


def verify(root: Path) -> dict:
    """Recompute every checksum of a prepared set.

    Returns:
        The manifest.

    Raises:
        PreparationError: Naming the first file, in sorted order, that is missing, changed or not
            of the set, or the list of checksums where that itself was changed.
    """
    manifest = read_manifest(root)
    try:
        lines = (root / SUMS).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise PreparationError(
            f"cannot read '{root / SUMS}' ({error}); prepare the set again in a new folder"
        ) from None
    sums = {path: digest for digest, _, path in (line.partition("  ") for line in lines)}
    if files_sha256(sums) != manifest.get("files_sha256"):
        raise PreparationError(
            f"'{root / SUMS}' and {MANIFEST} do not belong together; prepare the set again in a "
            "new folder"
        )
    present = set(_stored_files(root, sums))
    for path in sorted(present | sums.keys()):
        if path not in present:
            problem = "is missing"
        elif path not in sums:
            problem = "is not of the set"
        elif digests(root / path)["sha256"] != sums[path]:
            problem = "was changed"
        else:
            continue
        raise PreparationError(
            f"'{root / path}' {problem}; restore it, or prepare the set again in a new folder"
        )
    return manifest
