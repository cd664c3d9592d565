"""`dreal plot`: the curves of single runs, of any records: losses, metrics, critique and reward.

Unlike the book's pages it compares nothing: a line a run, whatever its scale and data.
"""

import io
import math
from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from book.companion.drawing import PALETTE, STYLE, WIDTH_INCHES, to_svg
from dreal_lib.errors import UserError
from dreal_lib.recipes import task_facts
from dreal_lib.records import StoredRecord, read_record
from dreal_lib.runtime.atomic import write_bytes_atomic

SUFFIXES = (".svg", ".png")
_LINES = ("-", "--", ":", "-.")
_DOTS_PER_INCH = 150
_SIGNALS = {"critique": "critique_mean", "reward": "reward_mean"}


def plot_records(paths: Sequence[Path], out: Path) -> Path:
    """Draws the curves of runs into one picture.

    Args:
        paths: Records; the curves lie beside them.
        out: An .svg or .png; an older one is replaced.

    Raises:
        UserError: Another kind of picture, a record that cannot be read, or a place that cannot be
            written to.
    """
    if out.suffix not in SUFFIXES:
        raise UserError(f"a plot is an {' or '.join(SUFFIXES)}; got {out}; try {out.stem}.svg")
    figure = draw_runs([StoredRecord(read_record(path), path) for path in paths])
    if out.suffix == ".svg":
        write_bytes_atomic(out, to_svg(figure).encode())
    else:
        buffer = io.BytesIO()
        with mpl.rc_context(STYLE | {"savefig.facecolor": "white"}):
            figure.savefig(buffer, format="png", dpi=_DOTS_PER_INCH)
        write_bytes_atomic(out, buffer.getvalue())
    return out


def draw_runs(runs: Sequence[StoredRecord]) -> Figure:
    """A panel for the loss, for each metric that a run prints, and for critique and reward."""
    metrics = dict.fromkeys(
        metric
        for run in runs
        for metric in task_facts(run.record.task).metrics
        if metric.shown and metric.name not in run.record.data.decided
    )
    reinforced = [run for run in runs if run.record.files.blocks is not None]
    count = 1 + len(metrics) + (len(_SIGNALS) if reinforced else 0)
    with mpl.rc_context(STYLE):
        lines = math.ceil(count / 2)
        figure = Figure(figsize=(WIDTH_INCHES, 2.2 * lines + 0.4), layout="constrained")
        panels = iter(figure.subplots(lines, 2, squeeze=False).flat)
        _history(next(panels), runs, "classification_loss", "loss L_c")
        for metric in metrics:
            unit = f" ({metric.unit})" if metric.unit else ""
            _history(next(panels), runs, metric.name, f"{metric.title}{unit}")
        if reinforced:
            for name, column in _SIGNALS.items():
                _signal(next(panels), reinforced, name, column)
        for unused in panels:
            unused.set_axis_off()
        figure.legend(
            *figure.axes[0].get_legend_handles_labels(), loc="outside lower center", frameon=False
        )
        return figure


def _history(axis: Axes, runs: Sequence[StoredRecord], column: str, title: str) -> None:
    """A line a run; epochs without a value are bridged."""
    for index, run in enumerate(runs):
        history = run.history()
        if column not in history:  # of another task
            continue
        epochs, values = (np.asarray(history[name], dtype=float) for name in ("epoch", column))
        known = np.isfinite(values)
        marker = "." if known.sum() == 1 else None
        axis.plot(
            epochs[known], values[known], color=_colour(run), linestyle=_line(index),
            marker=marker, label=_label(run),
        )  # fmt: skip
    _name(axis, title)


def _signal(axis: Axes, runs: Sequence[StoredRecord], name: str, column: str) -> None:
    """The mean over a run's maps, and their range as a band."""
    for index, run in enumerate(runs):
        blocks = run.blocks()
        epochs = np.asarray(blocks["epoch"])
        values = np.asarray(blocks[column], dtype=float)
        steps = np.unique(epochs)
        by_epoch = [values[epochs == step] for step in steps]
        low, mean, high = ([f(some) for some in by_epoch] for f in (np.min, np.mean, np.max))
        axis.fill_between(steps, low, high, color=PALETTE[name], alpha=0.15, linewidth=0)
        marker = "." if len(steps) == 1 else None
        axis.plot(steps, mean, color=PALETTE[name], linestyle=_line(index), marker=marker)
    _name(axis, f"{name}: mean and range of the maps")


def _name(axis: Axes, title: str) -> None:
    axis.set_title(title)
    axis.set_xlabel("epoch")


def _colour(run: StoredRecord) -> str:
    return PALETTE["reinforced" if run.record.method == "reinforced" else "baseline"]


def _line(index: int) -> str:
    return _LINES[index % len(_LINES)]


def _label(run: StoredRecord) -> str:
    record = run.record
    return f"{record.recipe}, {record.scale}, seed {record.seed}".replace("$", r"\$")
