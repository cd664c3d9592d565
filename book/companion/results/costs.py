"""What a step costs, read from committed benchmarks, and what the paper's own runs would cost.

`make benchmark` prints ratios within one run and leaves them as JSON; a copy of each stands in
`book/benchmarks`, beside the figures of the soak test (`make soak`). Ratios travel between machines
better than seconds do.
"""

import json
from collections.abc import Mapping
from pathlib import Path

from pydantic import BaseModel, ValidationError

from book.companion.text.tables import NOTHING, Marked, Table
from dreal_lib.errors import UserError
from dreal_lib.runtime.environment import PROJECT_ROOT

BENCHMARKS = PROJECT_ROOT / "book" / "benchmarks"
IMAGENET_IMAGES, PAPER_EPOCHS = 1_281_167, 100  # section 4.1
TRAINING_GMACS = 3 * 4.0917  # SE-ResNet-50 (Table 1); a backward pass costs about two forward ones
# Dense TF32 peaks by NVIDIA's data sheets, in 10^12 operations a second: the paper's recipe runs in
# fp32, whose convolutions PyTorch gives to TF32 by default (`cudnn.allow_tf32`).
PEAKS = {"A100 (80 GB)": 156.0, "H100 (SXM)": 494.7}
UTILISATION = 0.1  # assumed share of the peak; small convolutions and BN are bound by memory
ALL_RIGHT, WHOLE_PASSES = "exact, all right", "plain"  # as the benchmark calls them

CASES = {
    ALL_RIGHT: "every image right",
    "exact, half right": "half of the images right",
    "exact, none right": "no image right",
    "a 0.25 of the images sampled, all right": "a quarter of the right images sampled",
    WHOLE_PASSES: "four whole passes",
    "critics": "critics alone (share of a baseline step)",
    "peak memory": "every image right",  # measured in such a step
}

KINDS = {"operations": "Operations", "time": "Time", "memory": "Peak memory"}


class Cost(BaseModel):
    """One line of the step's benchmark: ratios to the baseline step and to four whole passes.

    `bar` is the limit that the benchmark sets for the first of them.
    """

    what: str
    kind: str
    bar: float | None
    over_baseline: float
    over_plain: float | None = None


class Costs(BaseModel):
    """The benchmark of a training step, and what it was measured with."""

    network: str
    image_size: int
    device: str
    precision: str
    batch: int
    threads: int
    baseline_images_per_second: float
    rows: tuple[Cost, ...]

    def find(self, what: str, kind: str) -> Cost | None:
        return next((row for row in self.rows if (row.what, row.kind) == (what, kind)), None)


def read(name: str, folder: Path | None = None) -> dict:
    """A committed benchmark: "step", "figures", "retrieval", "input" or "soak".

    Args:
        name: Of its file.
        folder: Another folder than the committed one, such as build/benchmarks.

    Raises:
        UserError: It is missing or holds no benchmark.
    """
    path = (folder or BENCHMARKS) / f"{name}.json"
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"cannot read {path} ({error}); run `make benchmark`") from None
    if not isinstance(content, dict):
        raise UserError(f"{path} holds no benchmark; run `make benchmark`")
    return content


def read_costs(folder: Path | None = None) -> Costs:
    """The committed benchmark of a step; arguments and errors as `read`'s."""
    try:
        return Costs.model_validate(read("step", folder))
    except ValidationError as error:
        what = error.errors()[0]
        raise UserError(
            f"{(folder or BENCHMARKS) / 'step.json'} is no benchmark of a step ({what['msg']}: "
            f"{'.'.join(map(str, what['loc']))}); run `make benchmark`"
        ) from None


def read_ratios(folder: Path | None = None) -> dict[str, float]:
    """Ratios of the figures' data and of retrieval, by what they say; limits stand in the text."""
    ratios = dict(read("figures", folder)["ratios"])
    for metric, found in read("retrieval", folder)["market1501"].items():
        name = f"time of retrieval scores at Market-1501's size, {metric}, to product and argsort"
        ratios[f"{name} (at most 1)"] = found["wall"]
    return ratios


def step_table(costs: Costs) -> Table:
    """A step against the baseline step, one line a case: operations, time, memory."""
    cases = {_case(row): {} for row in costs.rows}
    for row in costs.rows:
        cases[_case(row)][row.kind] = _cell(row)
    rows = tuple(
        (case, *(found.get(kind, NOTHING) for kind in KINDS)) for case, found in cases.items()
    )
    return Table.of(("Step", *KINDS.values()), rows)


def _case(row: Cost) -> str:
    return CASES.get(row.what, row.what)


def _cell(cost: Cost) -> Marked:
    limit = f" (≤ {cost.bar:.2f})" if cost.bar is not None else ""
    return Marked(f"{cost.over_baseline:.3f}{limit}", "recorded")


def _listed(head: str, column: str, texts: Mapping[str, str]) -> Table:
    rows = tuple((name, Marked(text, "recorded")) for name, text in texts.items())
    return Table.of((head, column), rows)


def ratio_table(ratios: dict[str, float]) -> Table:
    """The other benchmarks' ratios."""
    texts = {name: f"{value:.2f}" for name, value in ratios.items()}
    return _listed("Ratio", "Measured", texts)


INPUT = {
    "cached": "Images per second, decoded set, 48 px",
    "streamed": "Images per second, JPEG files of 500 x 375 to 224 px",
    "on_device": "Images per second, the same files by `--decode device`",
    "nvjpeg": "Images per second, the same files decoded on the GPU (decoding alone)",
    "baseline": "Share of a baseline step spent waiting, profile smoke",
    "reinforced": "Share of a reinforced step spent waiting, profile smoke",
}


def input_table(found: dict) -> Table:
    """How fast each path brings images, and how long a step waits for them."""
    texts = {INPUT[name]: f"{value:,.0f}" for name, value in found["images_per_second"].items()}
    shares = found["waiting_share"].items()
    texts |= {INPUT[name]: f"{100 * share:.1f} %" for name, share in shares}
    return _listed(f"Input, {found['workers']} workers", "Measured", texts)


SOAK = {
    "cycles": "Starts",
    "kills": "Killed by SIGKILL",
    "kills_in_a_write": "of these while a checkpoint was written",
    "bytes_flipped": "Bytes flipped in checkpoints",
    "steps_done_again": "Steps done a second time",
    "steps": "Steps of all runs",
    "runs_finished": "Runs finished",
    "runs_equal": "of these equal to the uninterrupted run, bit by bit",
}


def soak_table(found: dict[str, float]) -> Table:
    """What the soak test (`tests/soak.py`) did, and what was lost."""
    texts = {text: f"{found[name]:,}" for name, text in SOAK.items()}
    return _listed("Soak test", "Number", texts)


def paper_table(costs: Costs) -> Table:
    """Hours of one SE-ResNet-50 run of the paper: by measured steps for this CPU, else counted.

    The reinforced hours are those of steps in which every image is right: by the measured time on
    the CPU, by the counted operations on a GPU.
    """
    images = IMAGENET_IMAGES * PAPER_EPOCHS
    rows = [
        _hours(
            f"this {costs.device} CPU, {costs.threads} thread",
            images / costs.baseline_images_per_second,
            costs.find(ALL_RIGHT, "time"),
            f"estimated: measured time of steps of {costs.batch} images",
        )
    ]
    for name, peak in PEAKS.items():
        seconds = 2 * TRAINING_GMACS * images / (peak * 1e3 * UTILISATION)
        how = f"estimated: counted operations, {UTILISATION:.0%} of {peak:,.0f} TFLOP/s (TF32)"
        rows.append(_hours(name, seconds, costs.find(ALL_RIGHT, "operations"), how))
    columns = ("Hardware", "Baseline, hours", "Every image right, hours", "How known")
    return Table(columns, tuple(rows), frozenset({1, 2}))


def _hours(name: str, seconds: float, factor: Cost | None, how: str) -> tuple[str, ...]:
    hours = seconds / 3600
    reinforced = NOTHING if factor is None else f"{hours * factor.over_baseline:,.0f}"
    return name, f"{hours:,.0f}", reinforced, how


def sentences(costs: Costs) -> list[str]:
    """What the tables add up to, plainly."""
    limited = [row for row in costs.rows if row.bar is not None]
    missed = [row for row in limited if row.over_baseline > row.bar]
    named = "; ".join(f"{KINDS[row.kind].lower()}, {_case(row)}" for row in missed)
    whole, exact = (costs.find(what, "operations") for what in (WHOLE_PASSES, ALL_RIGHT))
    lines = [
        f"Measured with `{costs.network}` at {costs.image_size} px, {costs.precision}, batch "
        f"{costs.batch}, {costs.threads} thread on {costs.device}.",
        f"{len(limited) - len(missed)} of {len(limited)} ratios are within the limit of our test"
        + (f"; not: {named}." if missed else "."),
    ]
    if whole and exact:
        lines.append(
            f"With every image predicted right a step needs {exact.over_baseline:.2f} times the "
            f"operations of a baseline step, where four whole passes need "
            f"{whole.over_baseline:.2f}."
        )
    return lines
