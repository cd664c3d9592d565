"""Worker processes: as many as there are cores, started at once, and one line when one is lost."""

import os
import signal

import pytest
import torch

from dreal_lib.data import loading
from dreal_lib.errors import UserError


class Killed(torch.utils.data.Dataset):
    """Kills the process that reads from it, as the kernel does for want of memory."""

    def __len__(self):
        return 4

    def __getitem__(self, index):
        os.kill(os.getpid(), signal.SIGKILL)


def test_a_lost_worker_is_one_line_with_the_remedy():
    loader = torch.utils.data.DataLoader(Killed(), num_workers=1)
    with pytest.raises(UserError, match=r"was lost .*--workers 0") as caught:
        list(loading.one_line_errors(loader))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("cores", "workers"), [(1, 1), (2, 2), (4, 4), (64, 4)])
def test_workers_follow_the_cores(monkeypatch, cores, workers):
    monkeypatch.setattr(loading, "usable_cores", lambda: cores)
    assert loading.default_workers() == workers


def test_workers_import_nothing_where_python_would_start_them_anew(monkeypatch, recwarn):
    """As from Python 3.14 on; and torch's advice on their number is not passed on."""
    monkeypatch.setattr(loading.multiprocessing, "get_start_method", lambda: "forkserver")
    loader = loading.open_loader([0, 1], 64, batch_sampler=[[0], [1]])
    assert loader.multiprocessing_context.get_start_method() == "fork"
    assert loading.open_loader([0, 1], 0, batch_sampler=[[0]]).multiprocessing_context is None
    assert not recwarn.list
