"""The layout of an identity set: open-set retrieval, where training and test share no identity.

    ROOT/index.csv       file,identity,camera,split: one row an image, paths relative to ROOT
    ROOT/manifest.json   what it is, its counts, archives and checksums
    ROOT/SHA256SUMS      one line a file, as `sha256sum --check` reads it
    ROOT/train/*, ROOT/query/*, ROOT/gallery/*
    ROOT/masks/...       optional: as the image's path, .png, 0 or 255

Identity and camera are text; the camera is empty in every row of a set without cameras. Identity
`-1` marks junk in the gallery, which is dropped before ranking. As in the class-folder layout, a
set appears whole or not at all, and a ROOT that holds anything else is refused and left alone.
"""

import csv
import hashlib
import io
import os
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from tqdm import tqdm

from data_prep.archives import Member, digests, require_room, safe_path
from data_prep.errors import PreparationError
from data_prep.layout import (
    LAYOUT_VERSION,
    SUMS,
    SetWriter,
    already_prepared,
    files_sha256,
    write_manifest,
)
from data_prep.staging import new_set

INDEX = "index.csv"
SPLITS = ("train", "query", "gallery")
COLUMNS = ("file", "identity", "camera", "split")
JUNK = "-1"


@dataclass(frozen=True)
class Entry:
    """One row of index.csv.

    Attributes:
        file: Path relative to ROOT, with forward slashes; by custom below a folder of its split.
        identity: Who or what it shows; "-1" for junk.
        camera: Which camera saw it; "" in a set without cameras.
        split: "train", "query" or "gallery".
    """

    file: str
    identity: str
    camera: str
    split: str


@dataclass(frozen=True)
class IdentityImage:
    """One image to be stored.

    Attributes:
        entry: Its row.
        content: The bytes of the image file; or a file, which is hard-linked where that is
            possible and copied where not; or a member of an open zip archive.
        mask: The bytes of its PNG mask, if it has one.
    """

    entry: Entry
    content: bytes | Path | Member
    mask: bytes | None = None


def write_identity_set(
    out: Path,
    name: str,
    source: str,
    images: Iterable[IdentityImage],
    *,
    settings: Mapping,
    archives: Sequence[Mapping] = (),
    notes: Mapping | None = None,
    total: int | None = None,
    needed_bytes: int = 0,
) -> Path:
    """Prepare an identity set in `out`, whole or not at all.

    Args:
        out: An absent or empty folder, or one that holds this very set already.
        name: The set's name.
        source: Where it comes from, in words.
        images: Its images; consumed one by one, and not at all where the set is there already.
        settings: What shaped it; a second call with the same settings finds it.
        archives: [{"file", "sha256"}] of the archives it was made from.
        notes: Further manifest entries, such as "generator".
        total: How many images there are, for the progress bar.
        needed_bytes: Room to ask for before the first image is stored.

    Returns:
        `out`.

    Raises:
        PreparationError: `out` holds something else, a rule of `check_entries` is broken, two
            files have one path, or the disk is full.
    """
    out = Path(out)
    archives = [dict(record) for record in archives]
    if already_prepared(out, name, settings, archives):
        return out
    with new_set(out, name, source, settings, archives, IdentityWriter) as writer:
        writer.notes.update(notes or {})
        require_room(writer.folder, needed_bytes, name)
        for image in tqdm(images, desc="storing", unit="image", total=total, disable=None):
            writer.add(image)
    return out


class IdentityWriter(SetWriter):
    """Collects one identity set: writes its files into `folder` and keeps their checksums."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._entries: list[Entry] = []

    def add(self, image: IdentityImage) -> None:
        """Store one image, and its mask where it has one.

        Raises:
            PreparationError: Its path is taken or leaves ROOT.
        """
        path = str(safe_path(image.entry.file, "the set"))
        if path != image.entry.file:
            raise PreparationError(
                f"a path in {INDEX} must be plain, without '.' and doubled slashes; got "
                f"'{image.entry.file}'; write '{path}'"
            )
        if isinstance(image.content, Path):
            self._store_file(path, image.content)
        else:
            content = image.content
            self._store(path, content if isinstance(content, bytes) else content.read())
        if image.mask is not None:
            self.add_mask(path, image.mask)
        self._entries.append(image.entry)

    def _store_file(self, path: str, original: Path) -> None:
        destination = self.folder / path
        destination.parent.mkdir(parents=True, exist_ok=True)
        if destination.exists():
            raise PreparationError(f"two files of the set have the path '{path}'; rename one")
        original = original.resolve()  # a link to a picture is stored as the picture
        try:
            os.link(original, destination)
        except OSError:  # another file system, or one without hard links
            shutil.copyfile(original, destination)
        self._sums[path] = digests(destination)["sha256"]

    def finish(self, name: str, source: str, settings: Mapping, archives: list[dict]) -> None:
        """Check the rows, write index.csv, SHA256SUMS and, last, manifest.json."""
        check_entries(name, self._entries)
        self._store(INDEX, index_text(self._entries).encode())
        (self.folder / SUMS).write_text(
            "".join(f"{digest}  {path}\n" for path, digest in sorted(self._sums.items())),
            encoding="utf-8",
        )
        manifest = {
            "layout_version": LAYOUT_VERSION,
            "name": name,
            "source": source,
            "settings": dict(settings),
            "splits": split_counts(self._entries),
            "archives": archives,
            **self.notes,
            "files_sha256": files_sha256(self._sums),
        }
        write_manifest(self.folder, manifest)


def index_text(entries: Iterable[Entry]) -> str:
    """The text of index.csv: by split, then by file."""
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(COLUMNS)
    ordered = sorted(entries, key=lambda entry: (SPLITS.index(entry.split), entry.file))
    writer.writerows((entry.file, entry.identity, entry.camera, entry.split) for entry in ordered)
    return table.getvalue()


def split_counts(entries: Iterable[Entry]) -> dict[str, dict[str, int]]:
    """Images and identities of each split; junk is no identity, and is counted where it occurs."""
    counts = {}
    entries = list(entries)
    for split in SPLITS:
        identities = [entry.identity for entry in entries if entry.split == split]
        junk = identities.count(JUNK)
        counts[split] = {"images": len(identities), "identities": len(set(identities) - {JUNK})}
        if junk:
            counts[split]["junk"] = junk
    return counts


def check_entries(name: str, entries: Sequence[Entry]) -> None:
    """Hold the rows to the layout's rules, so that what is written can be read.

    Raises:
        PreparationError: A split is unknown or empty, an identity is empty or lies in training and
            in test, junk is in training or among the queries, a file is there twice, or only some
            rows name a camera.
    """
    for entry in entries:
        if entry.split not in SPLITS or not entry.identity:
            raise PreparationError(
                f"{name}: a row needs an identity and a split of {', '.join(SPLITS)}; got {entry}; "
                "correct what makes the rows"
            )
    members = {split: [entry for entry in entries if entry.split == split] for split in SPLITS}
    for split in SPLITS:
        if not members[split]:
            raise PreparationError(
                f"{name}: no image for the split '{split}' was found; check that the source is "
                "the whole set"
            )
    for split in ("train", "query"):
        if junk := [entry.file for entry in members[split] if entry.identity == JUNK]:
            raise PreparationError(
                f"{name}: junk (identity {JUNK}) belongs into the gallery alone; the split "
                f"'{split}' has {len(junk)} such images, the first '{junk[0]}'; remove them"
            )
    trained = {entry.identity for entry in members["train"]}
    tested = {entry.identity for entry in (*members["query"], *members["gallery"])}
    if both := sorted(trained & tested):
        raise PreparationError(
            f"{name}: no identity may lie in training and in test; {len(both)} do, such as "
            f"{', '.join(both[:3])}; check that the source's splits were not mixed"
        )
    _check_files_and_cameras(name, entries)


def _check_files_and_cameras(name: str, entries: Sequence[Entry]) -> None:
    seen: set[str] = set()
    for entry in entries:
        if str(PurePosixPath(entry.file)) in seen:
            raise PreparationError(
                f"{name}: a file may have one row; '{entry.file}' has two; remove one"
            )
        seen.add(str(PurePosixPath(entry.file)))
    without = [entry.file for entry in entries if not entry.camera]
    if without and len(without) < len(entries):
        raise PreparationError(
            f"{name}: every image needs a camera, or none; {len(without)} have none, the first "
            f"'{without[0]}'; name its camera, or leave all of them empty"
        )


def sha256_of_rows(entries: Iterable[Entry]) -> str:
    """sha256 of the index's text: equal where two sets have the same rows."""
    return hashlib.sha256(index_text(entries).encode()).hexdigest()
