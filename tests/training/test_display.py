"""What a run shows: one file of scalars, and lines that do not run into the progress bar."""

import sys
from types import SimpleNamespace

import pytest

from dreal_lib.training.display import TrainingDisplay

ROW = {
    "epoch": 1.0,
    "classification_loss": 1.0,
    "quality_loss": 0.0,
    "regression_loss": 0.0,
    "images_per_second": 1.0,
}
RECIPE = SimpleNamespace(task="classification", name="row", profile="smoke", epochs=3)


def show(folder) -> None:
    with TrainingDisplay(RECIPE) as display:
        display.begin(folder)
        for epoch in (1, 2, 3):
            progress = SimpleNamespace(epoch=epoch, step=0, blocks=[])
            display.update(progress, 5, {**ROW, "epoch": float(epoch)})
        display.note("record: here")


def test_a_run_leaves_one_file_of_scalars(tmp_path):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    show(tmp_path)
    (file,) = (tmp_path / "tensorboard").iterdir()
    events = accumulator.EventAccumulator(str(file))
    events.Reload()
    assert [event.step for event in events.Scalars("training/epoch")] == [1, 2, 3]


def test_a_line_does_not_run_into_the_bar(tmp_path, monkeypatch, capsys):
    """On a terminal both streams are one; the bar is wiped before a line is written."""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setattr(sys, "stdout", sys.stderr)
    show(tmp_path)
    before = capsys.readouterr().err.partition("record: here")[0]
    assert before.rpartition("\r")[2].strip() == ""
