"""A run's folder: one process at a time trains in it, and its last two checkpoints are kept.

A checkpoint is written beside the others, whole, and only then takes its place: a process that is
killed at any moment leaves at least one complete checkpoint, if there ever was one.
"""

import contextlib
import errno
import fcntl
import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch import Tensor

from dreal_lib.errors import UserError
from dreal_lib.training.checkpoints import load_checkpoint, save_checkpoint

CHECKPOINT = "checkpoint.safetensors"
PREVIOUS = "checkpoint.previous.safetensors"
WEIGHTS = "weights.safetensors"
_NEXT = "checkpoint.next.safetensors"  # complete, not yet in its place
_KEPT = "epoch{}.safetensors"
_DAMAGED = "checkpoint.damaged.safetensors"  # refused; kept for whoever wants to look
_LOCK = "run.lock"
# What CIFS, WSL and the like answer to fsync of a folder; the checkpoint itself is whole.
_NO_SYNC = {errno.EINVAL, errno.ENOTSUP, errno.ENOSYS, errno.EACCES, errno.EPERM, errno.EBADF}


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keeps other processes from training in a folder, which is made if it is not there.

    The lock goes with its process, however that ends. It is one of POSIX and not of BSD (flock),
    which processes that decode images would inherit and hold on to after their parent was killed.

    Raises:
        UserError: Another process trains there, or the folder cannot be written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = open(folder / _LOCK, "a+")
    except OSError as error:
        raise _unwritable(folder, error) from None
    with file:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):  # POSIX leaves the choice between the two
            file.seek(0)
            holder = file.read().strip() or "unknown"
            raise UserError(
                f"the run folder {folder} is in use by process {holder}; wait for it, stop it "
                f"(kill {holder}), or choose another folder with --run"
            ) from None
        except OSError as error:
            raise _unwritable(folder, error) from None
        _write_holder(file, folder)
        _remove_leftovers(folder)
        yield


def has_checkpoint(folder: Path) -> bool:
    """Whether `load_last` has something to read, be it damaged."""
    return any((folder / name).exists() for name in (CHECKPOINT, PREVIOUS, _NEXT))


def save_last(folder: Path, tensors: dict[str, Tensor], facts: dict[str, Any]) -> str:
    """Writes a checkpoint; the one before it is kept. Arguments as for `save_checkpoint`.

    Raises:
        UserError: It cannot be written (full disk, no permission); the last good one is kept.
    """
    digest = save_checkpoint(folder / _NEXT, tensors, facts)
    _put_in_place(folder)
    return digest


def keep_last(folder: Path, epoch: int) -> None:
    """Keeps a copy of the last checkpoint, written after this many epochs, under a name of its own.

    Raises:
        UserError: It cannot be written.
    """
    beside = folder / f".{_KEPT.format(epoch)}.tmp"
    try:
        shutil.copyfile(folder / CHECKPOINT, beside)
        os.replace(beside, folder / _KEPT.format(epoch))
    except OSError as error:
        raise _unwritable(folder, error) from None


def kept_checkpoints(folder: Path) -> dict[int, Path]:
    """The checkpoints that `keep_last` has kept in a folder, by epoch."""
    found = {path: re.fullmatch(_KEPT.format(r"(\d+)"), path.name) for path in folder.glob("*")}
    return {int(name[1]): path for path, name in sorted(found.items()) if name}


def load_last(
    folder: Path, note: Callable[[str], None] = lambda text: None
) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
    """The last complete checkpoint as `load_checkpoint` gives it; None where there is none.

    Args:
        folder: The run's folder.
        note: Called with a line for the user when a damaged checkpoint was passed over.

    Raises:
        UserError: What is there is damaged, and there is no good one before it.
    """
    if (folder / _NEXT).exists():  # its writer was killed before it could put it in its place
        _put_in_place(folder)
    last, previous = folder / CHECKPOINT, folder / PREVIOUS
    if not last.exists():
        return load_checkpoint(previous) if previous.exists() else None
    try:
        return load_checkpoint(last)
    except UserError as error:
        if not previous.exists():
            raise
        found = load_checkpoint(previous)
        note(f"{str(error).split(';')[0]}; going on from the one before it, {previous}")
        os.replace(last, folder / _DAMAGED)  # else it would become the previous one
        return found


def _put_in_place(folder: Path) -> None:
    """Moves the complete new checkpoint in; may be repeated after it was cut short anywhere."""
    last = folder / CHECKPOINT
    try:
        if last.exists():
            os.replace(last, folder / PREVIOUS)
        os.replace(folder / _NEXT, last)
        _sync_names(folder)
    except OSError as error:
        raise _unwritable(folder, error) from None


def _sync_names(folder: Path) -> None:
    """Lets new names outlive a power cut, where the file system can do so for a folder."""
    try:
        directory = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
    except OSError as error:
        if error.errno not in _NO_SYNC:
            raise


def _remove_leftovers(folder: Path) -> None:
    # Halves of files whose writer was killed (see `dreal_lib.runtime.atomic` for their names).
    for name in (_NEXT, WEIGHTS):
        for path in folder.glob(f".{name}.*"):
            with contextlib.suppress(OSError):
                path.unlink()


def _write_holder(file, folder: Path) -> None:
    try:
        os.ftruncate(file.fileno(), 0)
        # Unbuffered: what a full disk refuses would be tried, and fail, again on closing.
        os.write(file.fileno(), f"{os.getpid()}\n".encode())
    except OSError as error:
        raise _unwritable(folder, error) from None


def _unwritable(folder: Path, error: OSError) -> UserError:
    return UserError(
        f"cannot write to the run folder {folder}: {error.strerror or error}; free some space, "
        f"allow writing there, or choose another folder with --run"
    )
