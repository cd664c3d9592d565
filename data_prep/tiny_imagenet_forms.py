"""The forms in which Tiny-ImageNet comes, each read into one list of photographs.

- official: `tiny-imagenet-200.zip` of Stanford's course CS231n, with boxes;
- pack: zips with an `index.csv` (file, split, wnid, name, duplicate, git_blob_sha1), of which
  several hold different classes of the same set;
- array: one `.npz` with the JPEG bytes end to end, smaller pictures.

The official set holds byte-identical files under two labels. All of a group are left out in each
form: found by comparison in the official one, flagged in the others.
"""

import csv
import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from data_prep.archives import MEMBER_LIMIT_BYTES, Member, damage_named, open_zip, safe_path
from data_prep.errors import PreparationError
from data_prep.layout import SPLITS, Box

BASE = "tiny-imagenet-200"
OFFICIAL_SIDE = 64  # pixels
_ARRAYS = ("data", "offsets", "label", "is_val", "is_dup", "name", "wnids", "words")


@dataclass(frozen=True)
class Photo:
    """One image: where it belongs, how large it is and how to get its bytes."""

    split: str
    wnid: str
    file_name: str
    size: int
    read: Callable[[], bytes]
    box: Box | None = None


@dataclass
class Collection:
    """What an archive offers: its classes' titles, its usable photographs, and the others."""

    titles: dict[str, str]
    photos: list[Photo] = field(default_factory=list)
    duplicates: list[str] = field(default_factory=list)  # the wnid of each photograph left out


@contextmanager
def open_collection(archives: Sequence[Path]) -> Iterator[tuple[str, Collection]]:
    """Open archives of one form; photographs can be read in the block.

    Yields:
        The form ("official", "pack" or "array") and the collection.

    Raises:
        PreparationError: The archives are of no known form or of different ones, or damaged.
    """
    with ExitStack() as stack:
        if archives[0].suffix == ".npz" and len(archives) == 1:
            yield "array", read_array(archives[0])
            return
        zips = [stack.enter_context(open_zip(archive)) for archive in archives]
        if len(zips) == 1 and f"{BASE}/wnids.txt" in zips[0]:
            yield "official", read_official(zips[0], archives[0].name)
        elif all("index.csv" in members for members in zips):
            names = [archive.name for archive in archives]
            yield "pack", read_packs(dict(zip(names, zips, strict=True)))
        else:
            raise PreparationError(
                f"{', '.join(archive.name for archive in archives)}: give the official "
                f"{BASE}.zip alone, or zips that each hold an index.csv, or one .npz"
            )


def _lines(members: Mapping[str, Member], path: str, archive: str) -> list[str]:
    if path not in members:
        raise PreparationError(
            f"'{archive}' lacks '{path}'; delete it and get it again from its official home"
        )
    with damage_named(archive):
        return members[path].read().decode().splitlines()


def _fields(line: str, count: int, path: str, archive: str) -> list[str]:
    parts = line.rstrip().split("\t")
    if len(parts) != count:
        raise PreparationError(
            f"'{path}' of '{archive}' should have {count} fields a line; got {line[:80]!r}; get "
            "the archive again from its official home"
        )
    return parts


def _half_open(corners: Sequence[str], archive: str) -> Box:
    """The archive's corners name the last pixel inside (0 to 63); ours the first one outside."""
    with damage_named(archive):
        x_min, y_min, x_max, y_max = (int(corner) for corner in corners)
    return x_min, y_min, min(x_max + 1, OFFICIAL_SIDE), min(y_max + 1, OFFICIAL_SIDE)


def read_official(members: Mapping[str, Member], archive: str) -> Collection:
    """Labelled photographs of the official zip; its unlabelled test images are left alone."""
    wnids = [line for line in _lines(members, f"{BASE}/wnids.txt", archive) if line]
    words = f"{BASE}/words.txt"
    rows = (_fields(line, 2, words, archive) for line in _lines(members, words, archive) if line)
    names = dict(rows)
    found = Collection({wnid: names.get(wnid, wnid).split(",")[0] for wnid in wnids})
    candidates = list(_official_photos(members, wnids, archive))
    repeated = _repeated([member for _, member in candidates])
    for photo, member in candidates:
        if member.path in repeated:
            found.duplicates.append(photo.wnid)
        else:
            found.photos.append(photo)
    return found


def _official_photos(
    members: Mapping[str, Member], wnids: Sequence[str], archive: str
) -> Iterator[tuple[Photo, Member]]:
    tables = [(f"train/{wnid}/{wnid}_boxes.txt", wnid) for wnid in wnids]
    tables.append(("val/val_annotations.txt", None))
    for table, owner in tables:
        split = "train" if owner else "val"
        for line in _lines(members, f"{BASE}/{table}", archive):
            parts = _fields(line, 5 if owner else 6, table, archive)
            file_name, wnid = parts[0], owner or parts[1]
            folder = f"train/{wnid}/images" if owner else "val/images"
            member = members.get(f"{BASE}/{folder}/{file_name}")
            if member is None or wnid not in wnids:
                raise PreparationError(
                    f"'{archive}' lacks '{folder}/{file_name}' or the class '{wnid}', which "
                    f"'{table}' lists; get the archive again from its official home"
                )
            box = _half_open(parts[-4:], archive)
            yield (
                Photo(split, wnid, file_name, member.size, member.read, box),
                member,
            )


def _repeated(images: Sequence[Member]) -> set:
    """Paths of the files whose content occurs more than once."""
    alike = defaultdict(list)
    for image in images:  # the directory's checksums spare reading all of them
        alike[image.size, image.crc].append(image)
    repeated = set()
    for group in alike.values():
        if len(group) > 1:
            contents = [image.read() for image in group]
            repeated |= {
                i.path for i, c in zip(group, contents, strict=True) if contents.count(c) > 1
            }
    return repeated


def read_packs(packs: Mapping[str, Mapping[str, Member]]) -> Collection:
    """Photographs of one or more packs; each file is compared with its checksum when read."""
    found = Collection({})
    for archive, members in packs.items():
        for row in csv.DictReader(_lines(members, "index.csv", archive)):
            try:
                wnid, path, split = row["wnid"], row["file"], row["split"]
                title, repeated, digest = row["name"], row["duplicate"], row["git_blob_sha1"]
            except KeyError as error:
                raise PreparationError(
                    f"index.csv of '{archive}' lacks the column {error}; get the pack again"
                ) from None
            if path not in members or split not in SPLITS:
                raise PreparationError(
                    f"index.csv of '{archive}' lists '{path}' of split '{split}', which the pack "
                    "does not hold; get the pack again"
                )
            found.titles[wnid] = title
            if repeated != "0":
                found.duplicates.append(wnid)
                continue
            member = members[path]
            read = _checked_reader(member, digest)
            found.photos.append(Photo(split, wnid, member.path.name, member.size, read))
    return found


def _checked_reader(member: Member, git_blob_sha1: str) -> Callable[[], bytes]:
    def read() -> bytes:
        content = member.read()
        # git hashes a file's content behind this header.
        blob = hashlib.sha1(b"blob %d\0" % len(content), usedforsecurity=False)
        blob.update(content)
        if blob.hexdigest() != git_blob_sha1:
            raise PreparationError(
                f"'{member.path}' of '{member.archive}' does not have the checksum that index.csv "
                "gives; get the pack again"
            )
        return content

    return read


def read_array(archive: Path) -> Collection:
    """Photographs of the .npz form; nothing in it is unpickled."""
    with open_zip(archive) as members:  # names and sizes before numpy allocates anything
        too_large = [name for name, member in members.items() if member.size > MEMBER_LIMIT_BYTES]
    if too_large:
        raise PreparationError(f"'{archive.name}': '{too_large[0]}' is too large; get it again")
    with damage_named(archive.name), np.load(archive, allow_pickle=False) as arrays:
        absent = [name for name in _ARRAYS if name not in arrays]
        if absent:
            raise PreparationError(
                f"'{archive.name}' lacks the arrays {absent}; give the file that has {_ARRAYS}"
            )
        table = {name: arrays[name] for name in _ARRAYS}
    count, data, offsets = len(table["label"]), table["data"], table["offsets"]
    sizes_fit = all(len(table[name]) == count for name in ("is_val", "is_dup", "name"))
    ordered = len(offsets) == count + 1 and offsets[0] >= 0 and bool((np.diff(offsets) > 0).all())
    labels_fit = (
        count > 0 and 0 <= table["label"].min() and table["label"].max() < len(table["wnids"])
    )
    if not (sizes_fit and ordered and labels_fit and offsets[-1] <= len(data)):
        raise PreparationError(
            f"the arrays of '{archive.name}' contradict each other; get it again"
        )
    return _array_photos(archive.name, table)


def _array_photos(archive: str, table: Mapping[str, np.ndarray]) -> Collection:
    with damage_named(archive):
        wnids = [str(safe_path(wnid.decode(), archive)) for wnid in table["wnids"].tolist()]
        titles = [word.decode() for word in table["words"].tolist()]
        file_names = [name.decode() for name in table["name"].tolist()]
        found = Collection(dict(zip(wnids, titles, strict=True)))
    data, offsets = table["data"], table["offsets"].tolist()
    rows = zip(
        table["label"].tolist(), table["is_val"].tolist(), table["is_dup"].tolist(), strict=True
    )
    for i, (label, is_val, is_duplicate) in enumerate(rows):
        if is_duplicate:
            found.duplicates.append(wnids[label])
            continue
        first, last = offsets[i], offsets[i + 1]
        found.photos.append(
            Photo(
                SPLITS[int(is_val)],
                wnids[label],
                file_names[i],
                last - first,
                lambda first=first, last=last: data[first:last].tobytes(),
            )
        )
    return found
