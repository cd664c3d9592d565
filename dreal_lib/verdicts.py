"""Sentences made from numbers: what a page may say, and no more than that."""

import shlex
from collections.abc import Iterable

from dreal_lib import paper
from dreal_lib.compare import Difference, ScaleComparison
from dreal_lib.records import Record

NOTHING = "—"
MINUS = "\N{MINUS SIGN}"


def spread_text(spread: float | None) -> str:
    """A standard deviation, or a dash where one seed has none."""
    return NOTHING if spread is None else f"{spread:.2f}"


def signed(value: float, decimals: int = 2) -> str:
    """A number with its sign, a true minus, and no negative zero: "+0.40", "0.00"."""
    text = f"{abs(value):.{decimals}f}"
    if float(text) == 0:
        return text
    return ("+" if value > 0 else MINUS) + text


def verdict_sentence(subject: str, difference: Difference | None) -> str:
    """What the rule of `compare` allows to be said, in plain words.

    Args:
        subject: What was compared, e.g. "SE-ResNet-50".
        difference: Its paired top-1 difference, or None if there is no pair.
    """
    if difference is None:
        return f"{subject}: no pair of runs to compare."
    mean = f"{signed(difference.mean)} ± {spread_text(difference.spread)} points"
    if difference.n == 1:
        return (
            f"{subject}: the difference is {signed(difference.mean)} points in one seed; "
            "nothing can be claimed from n = 1."
        )
    if difference.low is None or difference.high is None:
        return (
            f"{subject}: mean difference {mean} over n = {difference.n} seeds, which agree to the "
            "last digit; no interval can be built and nothing can be claimed."
        )
    interval = f"95 % interval {signed(difference.low)} to {signed(difference.high)}"
    claims = {
        "undecided": "no difference can be claimed",
        "lower": "the reinforced network errs less",
        "higher": "the reinforced network errs more",
    }
    return (
        f"{subject}: mean difference {mean} over n = {difference.n} seeds ({interval}): "
        f"{claims[difference.verdict]}."
    )


def verdicts(comparison: ScaleComparison) -> list[str]:
    """One sentence over all networks, if several were run, then one for each network run."""
    paired = [
        (network, network.difference("top1_error_pct"))
        for network in comparison.networks
        if network.difference("top1_error_pct") is not None
    ]
    sentences = [verdict_sentence(network.label, difference) for network, difference in paired]
    if len(paired) > 1:
        subject = "Mean of " + ", ".join(network.label for network, _ in paired)
        overall = comparison.difference("top1_error_pct")
        sentences.insert(0, verdict_sentence(subject, overall))
    return sentences or [f"No pair of runs at scale {comparison.scale}: nothing can be said yet."]


def scale_caption(comparison: ScaleComparison) -> str:
    """What the runs of one scale were made on: data, networks really trained, epochs."""
    runs = [run.record for run in comparison.runs]
    if not runs:
        return f"Scale {comparison.scale}: no run yet."
    data = _distinct(
        f"{r.data.name} ({r.data.classes} classes, {r.data.train_images:,} training and "
        f"{r.data.val_images:,} validation images)"
        for r in runs
    )
    epochs = _distinct(f"{r.last.epoch}" for r in runs)
    trained = _distinct(
        f"{paper.TABLE_1[r.network].label if r.network in paper.TABLE_1 else r.network} "
        f"as {trained_network(r)}"
        for r in runs
    )
    return (
        f"Scale {comparison.scale}: {data}; {epochs} epochs; networks trained: {trained}. "
        "Error in per cent, mean ± sample standard deviation over n seeds."
    )


def trained_network(record: Record) -> str:
    """The network that a run really trained, from its settings, e.g. "se_resnet14, width 32"."""
    model = record.settings.get("model", {})
    name = model.get("name", record.network)
    details = [f"{key} {value}" for key, value in model.items() if key != "name"]
    return ", ".join([name, *details])


def train_command(
    recipe: str, profile: str, variant: str | None, seed: int, data_root: str = ""
) -> str:
    """The command that makes a record."""
    parts = ["dreal", "train", recipe, "--profile", profile]
    parts += ["--variant", variant] if variant else []
    parts += ["--seed", str(seed)]
    parts += ["--data", data_root] if data_root else []
    return shlex.join(parts)


def missing_runs(
    comparison: ScaleComparison, seeds: Iterable[int] | None = None, data_root: str = ""
) -> list[str]:
    """The commands that would make the runs which a table lacks.

    Args:
        comparison: The runs of one scale.
        seeds: The seeds asked for; None: seed 0 of each row that has none.
        data_root: Where the data lie, if not at the default place.
    """
    wanted = [0] if seeds is None else sorted(seeds)
    return [
        train_command(row.recipe, comparison.profile, comparison.variant, seed, data_root)
        for row in comparison.rows
        for seed in wanted
        if seed not in row.seeds and not (seeds is None and row.runs)
    ]


def _distinct(texts: Iterable[str]) -> str:
    return ", ".join(dict.fromkeys(texts))
