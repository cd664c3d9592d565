"""What lies in a data root's folders: no file is missed silently, and every name can be written.

A folder or file that cannot be listed is an error of one line, never an image less; files that are
no images by their names are counted (`Found.left_out`).
"""

import os
import stat
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from dreal_lib.errors import UserError

SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".webp", ".ppm", ".tif", ".tiff"}


@dataclass(frozen=True)
class Found:
    """The images of one folder.

    Attributes:
        images: Their names, sorted.
        left_out: How often each other kind of entry was passed by, e.g. {".gif": 2, "folder": 1};
            hidden files do not count.
    """

    images: list[str]
    left_out: Counter[str] = field(default_factory=Counter)


def subfolders(folder: Path) -> list[str]:
    """Names of the folders in a folder, sorted, but for hidden ones.

    Raises:
        UserError: It cannot be listed, or a name is not UTF-8.
    """
    return [name for name in _names(folder) if is_folder(folder / name)]


def images_in(folder: Path) -> Found:
    """The images in a folder.

    Raises:
        UserError: It cannot be listed, or a name is not UTF-8.
    """
    images, left_out = [], Counter()
    for name in _names(folder):
        path = folder / name
        kind = path.suffix.lower()
        if kind in SUFFIXES and is_file(path):
            images.append(name)
        elif is_folder(path):
            left_out["folder"] += 1
        elif is_file(path):
            left_out[kind or "no ending"] += 1
        else:
            left_out["broken link"] += 1
    return Found(images, left_out)


def left_out_text(left_out: Counter[str]) -> str:
    """What was passed by, for the user; "" if nothing was."""
    if not left_out:
        return ""
    kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(left_out.items()))
    why = f"read are {' '.join(sorted(SUFFIXES))}"
    if left_out["folder"]:
        why += ", not one folder deeper"
    return f"left out of the folders: {kinds} ({why})"


def file_status(path: Path) -> os.stat_result:
    """Size and times of a file.

    Raises:
        UserError: They cannot be read.
    """
    try:
        return os.stat(path)
    except OSError as error:
        raise _untold(path, error) from None


def is_file(path: Path) -> bool:
    """Whether there is such a file; links are followed.

    Raises:
        UserError: That cannot be told, for want of a permission for instance.
    """
    mode = _mode(path)
    return mode is not None and stat.S_ISREG(mode)


def is_folder(path: Path) -> bool:
    """As `is_file`, of a folder."""
    mode = _mode(path)
    return mode is not None and stat.S_ISDIR(mode)


def refuse_unwritable(name: str | Path, where: Path | None = None) -> None:
    """Refuses a name that no record could hold.

    Raises:
        UserError: It is not UTF-8.
    """
    try:
        str(name).encode("utf-8")
    except UnicodeEncodeError:
        place = f" in {str(where)!a}" if where else ""
        raise UserError(
            f"the name {ascii(os.fsencode(name))[1:]}{place} is not UTF-8; rename it (convmv does "
            f"it for many)"
        ) from None


def _names(folder: Path) -> list[str]:
    """In the order of paths; hidden ones are left out."""
    # Some systems leave "._name.jpg" beside each file they copy, which is no image.
    try:
        with os.scandir(folder) as entries:
            names = [entry.name for entry in entries if not entry.name.startswith(".")]
    except OSError as error:
        raise _untold(folder, error) from None
    for name in names:
        refuse_unwritable(name, folder)
    return sorted(names)


def _mode(path: Path) -> int | None:
    try:
        return os.stat(path).st_mode
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise _untold(path, error) from None


def _untold(path: Path, error: OSError) -> UserError:
    try:
        permissions = f", permissions {stat.filemode(os.stat(path).st_mode)}"
    except OSError:
        permissions = ""
    return UserError(
        f"cannot read {path} ({error.strerror or error}{permissions}); make it readable, or take "
        f"it out of the data"
    )
