"""What the audits of critics found (`dreal_lib.diagnosis.critic_audit`), over runs and epochs.

The rule and the runs stand in `book/plan_critics.md`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from book.companion.drawing import FAINT, PALETTE, STYLE, WIDTH_INCHES
from book.companion.text.differences import interval_text
from book.companion.text.tables import NOTHING, Marked, Origin, Table, signed
from dreal_lib.comparison.paired import Difference, difference_of
from dreal_lib.comparison.rows import RowsComparison, compare_rows
from dreal_lib.records import StoredRecord
from dreal_lib.records.audits import read_audit

RUNS = 3  # of a network, before a word is said of them; fixed in the plan
ALIGNED = 0.1  # a mean cosine is called aligned above, not aligned within; fixed in the plan
AUDITED = {  # rows of the plan, and what they are called
    "evidence/se_resnet38_reinforced": "SE, one cell",
    "evidence/se_resnet38_cells16": "SE, 16 cells",
    "evidence/cbam_resnet38_reinforced": "CBAM, one cell",
    "evidence/srm_resnet38_reinforced": "SRM, one cell",
}
# Directions of the finite steps, in the order of their arrays.
DIRECTIONS = ("critic", "random", "true")
# Column -> of an array (N, M) the mean over the images that have a value; of (M,) itself.
PER_MAP = (
    "cosine_reward",
    "cosine_log_p",
    "steady_share",
    "direction_share",
    "right_variance_share",
    "correlation",
    "correlation_right",
)


@dataclass(frozen=True)
class Series:
    """A column to draw, its colour in `PALETTE` (or "" for grey), and its name in the legend."""

    column: str
    colour: str
    label: str


def compare_audited(
    stored: Sequence[StoredRecord], profile: str, variant: str | None
) -> RowsComparison:
    """Sorts records into the audited rows; errors as `compare_rows`'s."""
    return compare_rows(stored, profile, variant, AUDITED)


def load_audits(runs: Sequence[StoredRecord]) -> pd.DataFrame:
    """The audits of runs, a row for each run, checkpoint and map; empty without an audit.

    Returns:
        Columns `network`, `seed`, `epoch`, `map`, those of `PER_MAP`, `reward_change_critic` and
        its like for each of `DIRECTIONS`, `log_p_change_...`, `sensitivity` (the median over the
        images) and `quality_over_classification` (norms of the gradients on theta).

    Raises:
        UserError: A damaged audit, or one of another run.
    """
    found = [
        _of_checkpoint(arrays).assign(
            network=AUDITED.get(run.record.recipe, run.record.recipe),
            seed=run.record.seed,
            epoch=int(epoch),
            right=float(arrays["right"].mean()),
        )
        for run in runs
        for epoch, arrays in read_audit(run.path).items()
    ]
    return pd.concat(found, ignore_index=True) if found else pd.DataFrame()


def by_network(audits: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    """The audits of each network, in the plan's order; none of none."""
    return [] if audits.empty else list(audits.groupby("network", sort=False))


def _of_checkpoint(arrays: Mapping[str, np.ndarray]) -> pd.DataFrame:
    columns = {"map": arrays["maps"]}
    columns |= {name: _over_images(arrays[name]) for name in PER_MAP}
    for kind in ("reward", "log_p"):
        for place, direction in enumerate(DIRECTIONS):
            changes = arrays[f"{kind}_change"][place]
            columns[f"{kind}_change_{direction}"] = _over_images(changes)
    columns["sensitivity"] = np.median(arrays["gate_sensitivity"], axis=0)
    columns["quality_over_classification"] = arrays["quality_norm"] / arrays["classification_norm"]
    return pd.DataFrame(columns)


def _over_images(array: np.ndarray) -> np.ndarray:
    """Mean over the images that have a value, (M,); NaN where none has."""
    if array.ndim == 1:
        return array
    known = np.isfinite(array)
    counts = known.sum(0)
    sums = np.where(known, array, 0.0).sum(0)
    return np.divide(sums, counts, out=np.full(len(counts), np.nan), where=counts > 0)


def last_epoch(audits: pd.DataFrame) -> pd.DataFrame:
    """The rows of the last checkpoint."""
    return audits[audits["epoch"] == audits["epoch"].max()]


def over_runs(audits: pd.DataFrame, column: str) -> Difference | None:
    """Mean over runs of a column's mean over maps, with its interval (Student's t over runs)."""
    runs = audits.groupby("seed")[column].mean().dropna()
    return difference_of(list(runs))


def alignment(found: Difference | None) -> str:
    """The plan's word for a mean cosine of three runs: "aligned", "not aligned", "undecided"."""
    if found is None or found.n < RUNS:
        return f"not judged yet ({found.n if found else 0} of {RUNS} runs)"
    if found.low is None:
        return "undecided"
    if found.low > ALIGNED:
        return "aligned"
    return "not aligned" if -ALIGNED < found.low and found.high < ALIGNED else "undecided"


def alignment_table(audits: pd.DataFrame, origin: Origin, scale: str) -> Table:
    """Cosines and steps at the last checkpoint, a line a network, means over its runs."""
    rows = []
    for network, of_network in by_network(audits):
        last = last_epoch(of_network)
        cosine = over_runs(last, "cosine_reward")
        steps = (over_runs(last, f"reward_change_{d}") for d in DIRECTIONS)
        rows.append(
            (
                Marked(network, origin, scale),
                str(last["seed"].nunique()),
                _mean(cosine, 3),
                interval_text(cosine, 3),
                alignment(cosine),
                _mean(over_runs(last, "cosine_log_p"), 3),
                *(_mean(step, 4) for step in steps),
                str(int(last["cosine_reward"].isna().sum())),
            )
        )
    columns = ("Network", "n", "cos(dQ, dR)", "95 % interval", "By the plan", "cos(d log p, dR)")
    columns += ("Step: critic", "Step: random", "Step: true", "Undefined")
    return Table(columns, tuple(rows), frozenset({1, 2, 3, 5, 6, 7, 8, 9}))


def alignment_sentences(audits: pd.DataFrame) -> list[str]:
    """The answer first: a sentence a network."""
    said = []
    for network, of_network in by_network(audits):
        last = last_epoch(of_network)
        n, cosine = last["seed"].nunique(), over_runs(last, "cosine_reward")
        critic, true = (over_runs(last, f"reward_change_{d}") for d in ("critic", "true"))
        if cosine is None or critic is None:
            said.append(f"**{network}** (n = {n}): undefined, as no critic has a gradient left.")
            continue
        runs = f"{n} run" + ("s" if n > 1 else "")
        interval = f", 95 % interval {interval_text(cosine, 3)}" if cosine.low is not None else ""
        said.append(
            f"**{network}**: over {runs} the critic's gradient has a mean cosine of "
            f"{signed(cosine.mean, 3)} with the reward's{interval}: {alignment(cosine)}. A step of "
            f"5 % along it changes R by {signed(critic.mean, 4)}, along the true gradient by "
            f"{signed(true.mean, 4)}."
        )
    return said


def _mean(found: Difference | None, decimals: int) -> str:
    return NOTHING if found is None else signed(found.mean, decimals)


def panels(series: Sequence[Series], ylabel: str, limits=None, log: bool = False):
    """A function that draws columns of `load_audits` over the checkpoints, a panel a network.

    Args:
        series: What to draw: a dot a map and run, a line a run for the mean over its maps.
        ylabel: Of the shared axis.
        limits: Of that axis.
        log: Whether it is logarithmic.
    """

    def draw(audits: pd.DataFrame) -> Figure:
        networks = list(dict.fromkeys(audits["network"]))
        with mpl.rc_context(STYLE):
            figure = Figure(figsize=(WIDTH_INCHES, 2.4), layout="constrained")
            axes = figure.subplots(1, len(networks), sharey=True, squeeze=False)[0]
            for axis, network in zip(axes, networks, strict=True):
                axis.axhline(0, color=FAINT, linewidth=0.5, zorder=0)
                _draw_series(axis, audits[audits["network"] == network], series, log)
                axis.set_title(network, loc="left", fontweight="bold")
                axis.set_xticks(sorted(audits["epoch"].unique()))
            if log:
                axes[0].set_yscale("log")
            if limits:
                axes[0].set_ylim(*limits)
            axes[0].set_ylabel(ylabel)
            figure.supxlabel("epoch", fontsize=8)
            handles = [
                Line2D([], [], color=PALETTE.get(s.colour, FAINT), label=s.label) for s in series
            ]
            figure.legend(handles=handles, loc="outside upper left", ncols=3, frameon=False)
            return figure

    return draw


def _draw_series(axis, audits: pd.DataFrame, series: Sequence[Series], log: bool) -> None:
    width = 0.5  # of an epoch, over which the maps' dots are spread, shallow to deep
    order = {name: place for place, name in enumerate(dict.fromkeys(audits["map"]))}
    places = audits["map"].map(order) / max(1, len(order) - 1) - 0.5
    for one in series:
        colour = PALETTE.get(one.colour, FAINT)
        values = audits[one.column].where(audits[one.column] > 0) if log else audits[one.column]
        axis.scatter(
            audits["epoch"] + width * places, values, s=4, color=colour, alpha=0.45, linewidth=0
        )
        for _, run in audits.assign(value=values).groupby("seed"):
            means = run.groupby("epoch")["value"]
            line = means.median() if log else means.mean()
            axis.plot(line.index, line, color=colour, linewidth=0.9)


def alt_text(columns: Mapping[str, str]):
    """A function from audits to what a figure of these columns shows, by the name of each."""

    def text(audits: pd.DataFrame) -> str:
        said = []
        for network, of_network in by_network(audits):
            last = last_epoch(of_network)
            found = (f"{label} {_three(last[column])}" for column, label in columns.items())
            said.append(f"{network}: " + ", ".join(found) + ".")
        return "At the last checkpoint, median over maps and runs (range). " + " ".join(said)

    return text


def _three(values: pd.Series) -> str:
    known = values.dropna()
    if known.empty:
        return "undefined"
    return f"{known.median():.3g} ({known.min():.3g} to {known.max():.3g})"
