"""Images of identities seen by cameras, for open-set retrieval: training, query and gallery.

Two forms are read. ROOT/index.csv has one row an image with the columns file, identity, camera and
split; `data_prep` writes it, and a user's own set needs no more than it. Without an index, the
folders ROOT/{train,query,gallery}/IDENTITY/ are read, and there are no cameras. Identity -1 marks
junk in the gallery, which evaluation drops. No identity may be in training and in test.
"""

import csv
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np

from dreal_lib.data.images import read_manifest, set_name
from dreal_lib.data.listing import images_in, is_file, is_folder, refuse_unwritable, subfolders
from dreal_lib.errors import UserError, unknown_choice

INDEX = "index.csv"
SPLITS = ("train", "query", "gallery")
COLUMNS = ("file", "identity", "camera", "split")
JUNK = "-1"
_NAMED = 3  # examples that an error names


@dataclass(frozen=True)
class IdentitySplit:
    """The images of one split.

    Attributes:
        root: The data root.
        files: Paths relative to `root`, in the index's order; in sorted order for folders.
        identities: Number of each image's identity, -1 for junk, int64, (N,).
        cameras: Number of each image's camera, int64, (N,); None for a set without cameras.
    """

    root: Path
    files: tuple[str, ...]
    identities: np.ndarray
    cameras: np.ndarray | None

    def __len__(self) -> int:
        return len(self.files)


@dataclass(frozen=True)
class IdentitySet:
    """A data root for open-set retrieval.

    Training identities are numbered from 0 in the sorted order of their names. Query and gallery
    share a numbering of their own, from 0 as well; cameras have one for the whole set.

    Attributes:
        name: From the manifest, else the folder's name.
        train: Training images; an identity may have a single one.
        query: Queries; those without a match in the gallery are skipped by evaluation.
        gallery: What is searched, junk included.
        identity_names: Names of the training identities, by number.
        test_names: Names of the identities of query and gallery, by number.
    """

    name: str
    train: IdentitySplit
    query: IdentitySplit
    gallery: IdentitySplit
    identity_names: tuple[str, ...]
    test_names: tuple[str, ...] = ()


class _Row(NamedTuple):
    file: str
    identity: str
    camera: str
    split: str


def open_identity_set(root: str | Path) -> IdentitySet:
    """Reads the listing of a data root; the images are not decoded.

    Args:
        root: Folder with index.csv, or with train/IDENTITY, query/IDENTITY and gallery/IDENTITY.

    Raises:
        UserError: There is neither; a column, a value or a file is missing; a path leaves `root`
            or is there twice; a split is empty; an identity is in training and in test; junk is
            outside the gallery; only some rows name a camera, or all name the same one; or no
            query has a match.
    """
    root = Path(root)
    refuse_unwritable(root)
    index = root / INDEX
    where = index if is_file(index) else root
    rows = _read_index(root) if is_file(index) else _read_folders(root)
    members = {split: [row for row in rows if row.split == split] for split in SPLITS}
    _check_splits(where, members)
    _check_cameras(where, rows)
    camera_numbers = _numbered(row.camera for row in rows) if rows[0].camera else None
    trained = _numbered(row.identity for row in members["train"])
    tested = _numbered(row.identity for row in (*members["query"], *members["gallery"]))
    numbers = {"train": trained, "query": tested, "gallery": tested}
    splits = {s: _split(root, members[s], numbers[s], camera_numbers) for s in SPLITS}
    _check_matches(where, splits["query"], splits["gallery"])
    return IdentitySet(
        name=set_name(root, read_manifest(root)),
        **splits,
        identity_names=tuple(trained),
        test_names=tuple(tested),
    )


def _numbered(names: Sequence[str]) -> dict[str, int]:
    return {name: number for number, name in enumerate(sorted(set(names) - {JUNK}))}


def _split(
    root: Path, rows: list[_Row], numbers: dict[str, int], camera_numbers: dict[str, int] | None
) -> IdentitySplit:
    cameras = None
    if camera_numbers is not None:
        cameras = np.array([camera_numbers[row.camera] for row in rows], dtype=np.int64)
    identities = [-1 if row.identity == JUNK else numbers[row.identity] for row in rows]
    files = tuple(row.file for row in rows)
    return IdentitySplit(root, files, np.array(identities, dtype=np.int64), cameras)


def _read_index(root: Path) -> list[_Row]:
    index = root / INDEX
    try:
        with index.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.DictReader(stream, strict=True)
            missing = [name for name in COLUMNS if name not in (reader.fieldnames or ())]
            if missing and ";" in "".join(reader.fieldnames or ()):
                raise UserError(f"{index} has semicolons between its columns; write it with commas")
            if missing:
                raise UserError(
                    f"{index} must have the columns {','.join(COLUMNS)}; it lacks "
                    f"{','.join(missing)}; add it to the first line (camera may be left empty)"
                )
            rows = [_row(index, reader.line_num, record) for record in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"cannot read {index} ({reason}); write it as CSV in UTF-8") from None
    twice = [file for file, count in Counter(row.file for row in rows).items() if count > 1]
    if twice:
        raise UserError(
            f"a file may have one row in {index}; {len(twice)} have more, such as {twice[0]}; "
            f"remove the others, or copy an image that shall be query and gallery"
        )
    for row in rows:
        if not is_file(root / row.file):
            raise UserError(f"{index} lists {row.file}, which is not in {root}; add the file")
    return rows


def _row(index: Path, line: int, record: dict) -> _Row:
    if None in record or None in record.values():
        raise UserError(
            f"line {line} of {index} has another number of columns than its first line; quote a "
            f'value that has a comma in it with "'
        )
    values = {name: record[name].strip() for name in COLUMNS}
    path = PurePosixPath(values["file"])
    if not path.parts or path.is_absolute() or ".." in path.parts or "\\" in values["file"]:
        raise UserError(
            f"a file in {index} must be a path inside {index.parent}, with forward slashes; line "
            f"{line} has {values['file']!r}; move the image there"
        )
    if not values["identity"]:
        raise UserError(f"line {line} of {index} has no identity; name who or what it shows")
    if values["split"] not in SPLITS:
        raise unknown_choice(f"split in line {line} of {index}", values["split"], SPLITS)
    return _Row(**{**values, "file": str(path)})


def _read_folders(root: Path) -> list[_Row]:
    missing = [split for split in SPLITS if not is_folder(root / split)]
    if missing:
        raise UserError(
            f"{root} holds neither {INDEX} (columns {','.join(COLUMNS)}) nor the folder "
            f"{missing[0]}/ with a folder for each identity; write one of them, or run "
            f"`dreal prepare` for a known set"
        )
    rows = []
    for split in SPLITS:
        for identity in subfolders(root / split):
            found = images_in(root / split / identity).images
            rows += [_Row(f"{split}/{identity}/{file}", identity, "", split) for file in found]
    return rows


def _check_splits(where: Path, members: dict[str, list[_Row]]) -> None:
    for split in SPLITS:
        if not members[split]:
            raise UserError(
                f"{where} has no image in the split {split}; every set needs {', '.join(SPLITS)}"
            )
        junk = [row.file for row in members[split] if row.identity == JUNK]
        if junk and split != "gallery":
            raise UserError(
                f"identity {JUNK} (junk) may be in the gallery alone; {where} has {len(junk)} in "
                f"{split}, such as {junk[0]}; remove them"
            )
    trained = {row.identity for row in members["train"]}
    tested = {row.identity for row in (*members["query"], *members["gallery"])}
    both = sorted(trained & tested)
    if both:
        raise UserError(
            f"no identity may be in training and in test; {where} has {len(both)} in both, such "
            f"as {', '.join(both[:_NAMED])}; move each to one side"
        )
    if len(trained) < 2:
        raise UserError(
            f"training needs at least two identities; {where} has one, {trained.pop()}; add others"
        )


def _check_cameras(where: Path, rows: list[_Row]) -> None:
    without = [row.file for row in rows if not row.camera]
    if without and len(without) < len(rows):
        raise UserError(
            f"every image needs a camera, or none; {len(without)} of {len(rows)} in {where} have "
            f"none, such as {without[0]}; fill the column or leave it empty in every row"
        )
    cameras = {row.camera for row in rows}
    if not without and len(cameras) == 1:
        raise UserError(
            f"matches of a query's own camera are dropped, and {where} has one camera only, "
            f"{cameras.pop()}; leave the camera column empty in every row"
        )


def _check_matches(where: Path, query: IdentitySplit, gallery: IdentitySplit) -> None:
    if query.cameras is None:
        has_match = np.isin(query.identities, gallery.identities)
    else:
        seen: dict[int, set[int]] = {}
        for identity, camera in zip(gallery.identities, gallery.cameras, strict=True):
            seen.setdefault(int(identity), set()).add(int(camera))
        pairs = zip(query.identities.tolist(), query.cameras.tolist(), strict=True)
        has_match = [bool(seen.get(identity, set()) - {camera}) for identity, camera in pairs]
    if not np.any(has_match):
        rule = "" if query.cameras is None else " seen by another camera"
        raise UserError(
            f"a query needs an image of its identity{rule} in the gallery; none of the "
            f"{len(query)} queries of {where} has one; add such images or correct the identities"
        )
