"""Writing files whole or not at all."""

import contextlib
import hashlib
import os
import secrets
from pathlib import Path

from dreal_lib.errors import UserError


def write_bytes_atomic(path: Path | str, content: bytes) -> str:
    """Write a file whole or not at all, making its folder; an older file stays until the end.

    Returns:
        The SHA-256 of the content, in hexadecimal.

    Raises:
        UserError: If the file cannot be written (no space, no permission); nothing is left behind.
    """
    path = Path(path)
    # In the same folder, so that the last step is a rename within one file system.
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(temporary, "xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        raise UserError(
            f"cannot write {path}: {error.strerror or error}; free some space or choose another "
            "folder"
        ) from error
    finally:
        with contextlib.suppress(OSError):  # already renamed, or never made
            temporary.unlink()
    return hashlib.sha256(content).hexdigest()


def require_writable(folder: Path | str) -> None:
    """Tries a folder before work goes into what shall be written there; leaves nothing.

    Of one that is still to be made, the folder is tried that it will be made in.

    Raises:
        UserError: A file cannot be written there.
    """
    folder = Path(folder)
    try:
        there = next(path for path in (folder, *folder.parents) if path.exists())
        probe = there / f".probe.{os.getpid()}-{secrets.token_hex(4)}"
        probe.touch(exist_ok=False)
        probe.unlink()
    except OSError as error:
        raise UserError(
            f"cannot write to {folder}: {error.strerror or error}; allow writing there, or choose "
            "another folder"
        ) from None


def write_text_atomic(path: Path | str, text: str) -> str:
    """`write_bytes_atomic` for text, in UTF-8 with the line ends as given."""
    return write_bytes_atomic(path, text.encode("utf-8"))
