"""Worker processes that read images: how many, how they are started, and what their errors say."""

import multiprocessing
import warnings
from collections.abc import Iterator
from typing import Any

from torch.utils.data import DataLoader, Dataset

from dreal_lib.errors import UserError
from dreal_lib.runtime.environment import usable_cores


def open_loader(files: Dataset, num_workers: int, **options: Any) -> DataLoader:
    """A `DataLoader` whose workers start at once, and without torch's advice on their number.

    They are made anew for each epoch and split. From Python 3.14 on each would import torch again,
    which can take longer than its work; a fork, as before, imports nothing.
    """
    forked = num_workers and multiprocessing.get_start_method() == "forkserver"
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "This DataLoader will create", UserWarning)
        return DataLoader(
            files,
            num_workers=num_workers,
            multiprocessing_context="fork" if forked else None,
            **options,
        )


def default_workers() -> int:
    """Four where there are as many cores, else one a core that this process may use."""
    return min(4, usable_cores())


def one_line_errors(loader: DataLoader) -> Iterator[Any]:
    """What a loader yields; an error of a worker process without the traceback in its message."""
    try:
        yield from loader
        return
    except UserError as error:
        line = str(error).splitlines()[-1].split("UserError: ")[-1]
        # A circle through it would keep the worker processes, which then take seconds to end.
        error.__traceback__ = None
    except RuntimeError as error:
        if not _lost_worker(error):
            raise
        line = (
            f"a process that reads images was lost ({str(error).splitlines()[0]}), often for want "
            f"of (shared) memory; try fewer with --workers, or --workers 0"
        )
        error.__traceback__ = None
    raise UserError(line)


def _lost_worker(error: RuntimeError) -> bool:
    # torch has no type of its own for it.
    return "DataLoader worker" in str(error) or "unable to open shared memory" in str(error)
