"""Checksums, and the safe reading and extraction of zip and tar archives.

Only plain files leave an archive. A member whose path would leave the target, a link, a device, an
encrypted or oversized member, a damaged archive: each is refused before anything of it is written.
tar members also pass Python's own `data` filter where the interpreter has it (3.11.4 and later).
"""

import hashlib
import re
import shutil
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from lzma import LZMAError
from pathlib import Path, PurePosixPath
from typing import IO

from data_prep.errors import PreparationError

CHUNK_BYTES = 1 << 20
MEMBER_LIMIT_BYTES = 1 << 28  # one image or text file; larger members can only be streamed
_DAMAGE = (
    tarfile.TarError,
    zipfile.BadZipFile,
    zlib.error,
    LZMAError,
    EOFError,
    NotImplementedError,  # a compression that zipfile does not know
    struct.error,
    ValueError,
)


@dataclass(frozen=True)
class Member:
    """A plain file inside an archive (whose name errors give)."""

    archive: str
    path: PurePosixPath
    size: int
    open: Callable[[], IO[bytes]]
    crc: int | None = None  # of a zip's directory

    def read(self) -> bytes:
        """The whole content.

        Raises:
            PreparationError: It is larger than MEMBER_LIMIT_BYTES, or damaged.
        """
        if self.size > MEMBER_LIMIT_BYTES:
            raise PreparationError(
                f"a member may have {MEMBER_LIMIT_BYTES >> 20} MiB at most; '{self.path}' of "
                f"'{self.archive}' declares {self.size >> 20} MiB; get the archive from its "
                "official home"
            )
        with damage_named(self.archive), self.open() as stream:
            return stream.read()


def digests(path: Path, algorithms: Collection[str] = ("sha256",)) -> dict[str, str]:
    """Hexadecimal digests of a file, read once in chunks.

    Args:
        path: The file.
        algorithms: Names that hashlib knows.

    Raises:
        PreparationError: The file cannot be read.
    """
    sums = {name: hashlib.new(name, usedforsecurity=False) for name in algorithms}
    try:
        with path.open("rb") as stream:
            while chunk := stream.read(CHUNK_BYTES):
                for running in sums.values():
                    running.update(chunk)
    except OSError as error:
        raise PreparationError(
            f"cannot read '{path}': {error.strerror}; check the path and its permissions"
        ) from None
    return {name: running.hexdigest() for name, running in sums.items()}


def verify_checksum(path: Path, expected: str, algorithm: str, home: str) -> str:
    """Compare a file's digest with the known one.

    Args:
        path: The file.
        expected: Hexadecimal digest.
        algorithm: "md5" or "sha256".
        home: Where the file can be had; part of the error.

    Returns:
        The file's sha256.

    Raises:
        PreparationError: The digests differ, or the file cannot be read.
    """
    found = digests(path, {algorithm, "sha256"})
    if found[algorithm] != expected.lower():
        raise PreparationError(
            f"'{path}' is damaged or another version: its {algorithm} is {found[algorithm]}, "
            f"expected {expected}; download it again from {home}"
        )
    return found["sha256"]


def safe_path(name: str, archive: str) -> PurePosixPath:
    """A member's name as a relative path that cannot leave its target.

    Raises:
        PreparationError: The name is absolute, has a "..", a drive, a backslash or an unprintable
            character, or is empty.
    """
    parts = [part for part in name.split("/") if part not in ("", ".")]
    rules = (
        (name.startswith("/"), "is absolute"),
        (".." in parts, "leads out of its folder"),
        ("\\" in name or re.match("[A-Za-z]:", name) is not None, "is a Windows path"),
        (not name.isprintable(), "has unprintable characters"),
        (not parts, "is empty"),
    )
    for broken, what in rules:
        if broken:
            raise PreparationError(
                f"'{archive}' is not safe to extract: the member name {name!r} {what}; get the "
                "archive from its official home"
            )
    return PurePosixPath(*parts)


def _refuse(archive: str, name: str, what: str) -> PreparationError:
    return PreparationError(
        f"'{archive}' is not safe to extract: the member '{name}' is {what}; get the archive from "
        "its official home"
    )


@contextmanager
def damage_named(archive: str) -> Iterator[None]:
    """Turn the many errors of a damaged or missing archive into one PreparationError."""
    try:
        yield
    except PreparationError:
        raise
    except (FileNotFoundError, IsADirectoryError, PermissionError) as error:
        raise PreparationError(
            f"cannot open '{error.filename or archive}': {error.strerror}; check the path and its "
            "permissions"
        ) from None
    except (*_DAMAGE, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # the disk's trouble, not the archive's
        reason = str(error).partition("\n")[0].rstrip(":") or type(error).__name__
        raise PreparationError(
            f"'{archive}' is damaged or truncated ({reason}); delete it and get it again from its "
            "official home"
        ) from None


@contextmanager
def open_zip(archive: Path) -> Iterator[dict[str, Member]]:
    """The plain files of a zip archive by path, all checked; they can be read in the block.

    Raises:
        PreparationError: A member is unsafe or there twice, or the archive is damaged.
    """
    with ExitStack() as stack:
        with damage_named(archive.name):
            opened = stack.enter_context(zipfile.ZipFile(archive))
            listed = [_zip_member(opened, info, archive.name) for info in opened.infolist()]
        found = {}
        for member in filter(None, listed):
            if found.setdefault(str(member.path), member) is not member:
                raise _refuse(archive.name, str(member.path), "there twice")
        yield found


def _zip_member(opened: zipfile.ZipFile, info: zipfile.ZipInfo, archive: str) -> Member | None:
    if info.is_dir():
        return None
    # Not info.filename: zipfile has already cut that name at a NUL character.
    path = safe_path(info.orig_filename, archive)
    if stat.S_IFMT(info.external_attr >> 16) not in (0, stat.S_IFREG):
        raise _refuse(archive, info.filename, "a link or a device, not a plain file")
    if info.flag_bits & 1:
        raise _refuse(archive, info.filename, "encrypted")
    return Member(archive, path, info.file_size, lambda: opened.open(info), info.CRC)


def tar_members(
    source: Path | IO[bytes], name: str = "", require_end: bool = True
) -> Iterator[Member]:
    """The plain files of a tar archive (any compression), each checked; open them in order.

    Args:
        source: The archive, or a stream of one archive inside another.
        name: What errors call it; the file's name where `source` is a path.
        require_end: Refuse an archive without end marker, which a truncated one lacks. Not needed
            where a checksum was verified.

    Raises:
        PreparationError: At the first unsafe member, or when the archive is damaged.
    """
    name = name or Path(getattr(source, "name", source)).name
    options = {"name": source} if isinstance(source, Path) else {"fileobj": source}
    with damage_named(name), tarfile.open(mode="r:*", **options) as opened:
        for info in opened:
            if info.isdir():
                continue
            path = safe_path(info.name, name)
            if not info.isreg() or info.issparse():
                raise _refuse(name, info.name, "a link, a device or sparse, not a plain file")
            if hasattr(tarfile, "data_filter"):
                try:
                    tarfile.data_filter(info, "target")
                except tarfile.FilterError as error:
                    raise _refuse(name, info.name, f"refused by Python ({error})") from None
            yield Member(name, path, info.size, lambda info=info: opened.extractfile(info))
        if require_end:
            opened.fileobj.seek(opened.offset)
            if opened.fileobj.read(tarfile.BLOCKSIZE) != tarfile.NUL * tarfile.BLOCKSIZE:
                raise tarfile.ReadError("the end marker is missing")
            while opened.fileobj.read(CHUNK_BYTES):  # gzip compares its checksum at the very end
                pass


def members(archive: Path) -> Iterator[Member]:
    """The plain files of a zip or tar archive, told apart by their content."""
    with damage_named(archive.name):
        is_zip = zipfile.is_zipfile(archive)
        with archive.open("rb") as stream:
            is_zip = is_zip or stream.read(4) == b"PK\x03\x04"  # a zip cut short has no directory
    if not is_zip:
        yield from tar_members(archive)
        return
    with open_zip(archive) as found:
        yield from found.values()


def require_room(folder: Path, needed_bytes: int, what: str) -> None:
    """Refuse what would not fit on the disk; this also bounds archives that unpack to anything.

    Raises:
        PreparationError: Less than `needed_bytes` is free where `folder` lies.
    """
    free = shutil.disk_usage(folder).free
    if needed_bytes > free:
        raise PreparationError(
            f"no space left: {what} needs {needed_bytes >> 20} MiB and {folder} has "
            f"{free >> 20} MiB free; free some space or choose another output folder"
        )


def extract(archive: Path, target: Path, prefix: str = "") -> None:
    """Extract the plain files of a zip or tar archive below `target`.

    All names and sizes are checked before the first file is written; an existing file is never
    replaced. On an error the files written so far stay: extract into a folder of your own.

    Args:
        archive: The archive.
        target: An existing folder.
        prefix: Extract only members whose path starts with it.

    Raises:
        PreparationError: The archive is unsafe or damaged, or does not fit on the disk.
    """
    total = 0
    for member in members(archive):
        total += member.size
        require_room(target, total, archive.name)  # at once: a bomb is not read to its end
    with damage_named(archive.name):
        for member in members(archive):
            if not str(member.path).startswith(prefix):
                continue
            destination = target / member.path
            destination.parent.mkdir(parents=True, exist_ok=True)
            try:
                with member.open() as stream, destination.open("xb") as written:
                    shutil.copyfileobj(stream, written, CHUNK_BYTES)
            except FileExistsError:
                raise _refuse(archive.name, str(member.path), "there twice") from None
