"""Zip archives of object sets: their checksums, and a pack's index.csv."""

import csv
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

from data_prep.archives import Member, damage_named, digests, verify_checksum
from data_prep.errors import PreparationError
from data_prep.layout import SUMS

INDEX = "index.csv"


def find_zips(source: Path, patterns: Sequence[Sequence[str]], home: str) -> list[Path]:
    """The zip itself, or the zips in a folder that the first successful set of patterns finds.

    Args:
        source: A zip file or a folder.
        patterns: In order of preference, the patterns of one form's files.
        home: Where the set can be had; part of the error.

    Raises:
        PreparationError: Nothing is found.
    """
    if source.is_file():
        return [source]
    for form in patterns:
        if found := sorted(path for pattern in form for path in source.glob(pattern)):
            return found
    wanted = " or ".join(name for form in patterns for name in form)
    raise PreparationError(f"no {wanted} at '{source}'; get the set from {home} and give its path")


def archive_record(archive: Path, home: str, md5: str | None = None) -> dict[str, str]:
    """An archive's name and sha256, compared with a known md5 or a list that lies beside it.

    Raises:
        PreparationError: The checksum differs, or the file cannot be read.
    """
    listed = _listed_sums(archive.parent).get(archive.name)
    if md5 is not None:
        sha256 = verify_checksum(archive, md5, "md5", home)
    elif listed is not None:
        sha256 = verify_checksum(archive, listed, "sha256", f"where {SUMS} comes from")
    else:
        sha256 = digests(archive)["sha256"]
    return {"file": archive.name, "sha256": sha256}


def _listed_sums(folder: Path) -> dict[str, str]:
    listing = folder / SUMS
    if not listing.is_file():
        return {}
    rows = (line.split() for line in listing.read_text(errors="replace").splitlines())
    return {row[1].lstrip("*"): row[0] for row in rows if len(row) == 2}


def index_rows(
    members: Mapping[str, Member], archive: str, columns: Sequence[str]
) -> list[dict[str, str]]:
    """The rows of a pack's index.csv without those that it marks as duplicates.

    Args:
        members: The pack's files.
        archive: Its name, for errors.
        columns: Columns that each row must have, "file" among them.

    Raises:
        PreparationError: A column is absent, or a row's file is.
    """
    with damage_named(archive):
        rows = list(csv.DictReader(members[INDEX].read().decode().splitlines()))
    for row in rows:
        absent = [column for column in columns if not row.get(column)]
        if absent:
            raise PreparationError(
                f"{INDEX} of '{archive}' lacks {', '.join(absent)} in a row; get the pack again"
            )
        if row["file"] not in members:
            raise PreparationError(
                f"{INDEX} of '{archive}' lists '{row['file']}', which the pack does not hold; get "
                "the pack again"
            )
    return [row for row in rows if row.get("duplicate", "0") == "0"]


def read_checked(member: Member, sha256: str) -> bytes:
    """The bytes of a pack's file, compared with the checksum that index.csv gives.

    Raises:
        PreparationError: They differ.
    """
    content = member.read()
    if hashlib.sha256(content).hexdigest() != sha256:
        raise PreparationError(
            f"'{member.path}' of '{member.archive}' does not have the checksum that {INDEX} gives; "
            "get the pack again"
        )
    return content
