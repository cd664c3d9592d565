"""Runs that repeat bit by bit on the same hardware, with the same number of threads."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from dreal_lib.errors import UserError

# cuBLAS is deterministic only with workspaces of its own (NVIDIA's and torch's documentation).
CUBLAS_WORKSPACE = ":4096:8"


@contextmanager
def deterministic(wanted: bool = True) -> Iterator[None]:
    """Within it, torch uses deterministic algorithms only.

    On a GPU it must be entered before the first matrix product, else cuBLAS has its workspace.

    Raises:
        UserError: An operation has no deterministic form on this device.
    """
    if not wanted:
        yield
        return
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", CUBLAS_WORKSPACE)
    cudnn, before = torch.backends.cudnn, torch.are_deterministic_algorithms_enabled()
    flags = (cudnn.deterministic, cudnn.benchmark)
    torch.use_deterministic_algorithms(True)
    cudnn.deterministic, cudnn.benchmark = True, False
    try:
        yield
    except RuntimeError as error:
        if "deterministic" not in str(error):
            raise
        reason = str(error).split(". ")[0]
        raise UserError(f"--deterministic: {reason}; run it on the CPU, or without it") from None
    finally:
        torch.use_deterministic_algorithms(before)
        cudnn.deterministic, cudnn.benchmark = flags
