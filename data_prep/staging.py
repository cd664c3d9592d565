"""Preparing a set in a hidden folder beside its place and renaming it when it is complete."""

import errno
import os
import secrets
import shutil
import signal
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from data_prep.errors import PreparationError
from data_prep.layout import SetWriter


@contextmanager
def new_set(
    root: Path,
    name: str,
    source: str,
    settings: Mapping,
    archives: list[dict],
    writer_type: type[SetWriter] = SetWriter,
) -> Iterator[SetWriter]:
    """Prepare a set in a hidden sibling of `root` and rename it when the block ends well.

    On any error, Ctrl-C and a polite kill (SIGTERM) included, the sibling is removed and `root` is
    as it was.

    Args:
        root: An absent or empty folder.
        name: The set's name.
        source: Where it comes from, in words.
        settings: What shaped it; a second call with the same settings finds it.
        archives: [{"file", "sha256"}] of the archives it was made from.
        writer_type: What collects the set, for its layout.

    Raises:
        PreparationError: The disk is full, or `root` cannot be written.
    """
    root = root.resolve()
    partial = root.with_name(f".{root.name}.partial-{secrets.token_hex(4)}")
    created = [parent for parent in (root.parent, *root.parent.parents) if not parent.exists()]
    done = False
    try:
        with _terminated_as_interrupt(), _disk_errors_named(root):
            partial.mkdir(parents=True)
            writer = writer_type(partial)
            yield writer
            writer.finish(name, source, settings, archives)
            if root.exists():
                root.rmdir()  # empty, or this fails and nothing is lost
            os.rename(partial, root)
            done = True
    finally:
        if not done:
            shutil.rmtree(partial, ignore_errors=True)
            for parent in created:
                with suppress(OSError):
                    parent.rmdir()


@contextmanager
def _disk_errors_named(root: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise PreparationError(
                f"no space left on the disk of '{root.parent}'; nothing was kept: free some space "
                "or choose another output folder"
            ) from None
        if error.errno is None:
            raise
        place = error.filename or root
        raise PreparationError(
            f"cannot prepare '{root}': {os.strerror(error.errno)} ('{place}'); choose another "
            "folder or correct its permissions"
        ) from None


@contextmanager
def _terminated_as_interrupt() -> Iterator[None]:
    """Let SIGTERM unwind the stack as Ctrl-C does, so that the clean-up runs."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(_signal: int, _frame: object) -> None:
        raise SystemExit(143)

    previous = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)
