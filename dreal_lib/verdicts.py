"""Sentences made from numbers: what a page may say, and no more than that."""

import shlex
from collections.abc import Iterable, Sequence

from dreal_lib import paper
from dreal_lib.compare import Difference, NetworkComparison, ScaleComparison
from dreal_lib.records import Record, StoredRecord
from dreal_lib.tables import signed, spread_text


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
    """What may be said of top-1, over several networks and one by one; then of top-5.

    Args:
        comparison: The runs of one scale.
    """
    paired = [network for network in comparison.networks if network.seeds]
    if not paired:
        return [f"No pair of runs at scale {comparison.scale}: nothing can be said yet."]
    sentences = [
        verdict_sentence(network.label, network.difference("top1_error_pct")) for network in paired
    ]
    if len(paired) > 1:
        sentences.insert(0, _over_networks(comparison, paired))
    return [*sentences, _on_top5(paired)]


def _over_networks(comparison: ScaleComparison, paired: Sequence[NetworkComparison]) -> str:
    averaged = comparison.averaged
    left_out = [network.label for network in paired if network not in averaged]
    subject = "Mean of " + ", ".join(network.label for network in averaged)
    if left_out:
        subject += f" (without {', '.join(left_out)}, with fewer seeds)"
    return verdict_sentence(subject, comparison.difference("top1_error_pct"))


def _on_top5(paired: Sequence[NetworkComparison]) -> str:
    claims = {"lower": "errs less", "higher": "errs more"}
    said = [
        f"{network.label} {claims[found.verdict]}, by {signed(found.mean)} points (95 % interval "
        f"{signed(found.low)} to {signed(found.high)}, n = {found.n})"
        for network in paired
        if (found := network.difference("top5_error_pct")) and found.verdict in claims
    ]
    return "Top-5 error, by the same rule: reinforced, " + (
        "; ".join(said) + "." if said else "no network can be claimed to err less or more."
    )


def published_gain_sentence() -> str:
    """By how much the paper's reinforced networks err less than its baselines."""
    gains = [
        row.self_implemented.top1.value - row.reinforced.top1.value
        for row in paper.TABLE_1.values()
    ]
    fewer = sum(gain > 0 for gain in gains)
    return (
        f"In the paper {fewer} of {len(gains)} reinforced networks err less than their baseline, "
        f"by {min(gains):.2f} to {max(gains):.2f} points of top-1 error. It gives one number a "
        "network and no spread."
    )


def scale_caption(comparison: ScaleComparison) -> str:
    """The caption of a table of errors: what the runs were made on, and how to read a cell."""
    if not comparison.runs:
        return f"Scale {comparison.scale}: no run yet."
    return (
        f"Our runs. {scale_facts(comparison)} Error in per cent, mean ± sample standard deviation "
        "over n seeds."
    )


def scale_facts(comparison: ScaleComparison) -> str:
    """What the runs of one scale were made on: data, networks really trained, epochs."""
    records = [run.record for run in comparison.runs]
    trained = {r.network: trained_network(r) for r in records}
    names = ", ".join(f"{_label(network)} as {name}" for network, name in trained.items())
    return f"Scale {comparison.scale}: {_training_facts(records)}; trained: {names}."


def runs_sentence(label: str, runs: Sequence[StoredRecord], scale: str) -> str:
    """Which runs a page about one network shows.

    Args:
        label: The network, as the paper calls it.
        runs: Its runs.
        scale: Their scale.
    """
    if not runs:
        return f"{label} was not run at scale {scale} yet."
    records = [run.record for run in runs]
    shown = sorted({record.seed for record in records})
    seeds = ", ".join(map(str, shown))
    methods = " and ".join(dict.fromkeys(record.method for record in records))
    trained = _distinct(trained_network(record) for record in records)
    return (
        f"Shown: {label}, trained as {trained}; scale {scale}: {_training_facts(records)}; "
        f"{methods}; seed{'s' if len(shown) > 1 else ''} {seeds}; {runs[0].origin}."
    )


def _training_facts(records: Sequence[Record]) -> str:
    data = _distinct(
        f"{r.data.name} ({r.data.classes} classes, {r.data.train_images:,} training and "
        f"{r.data.val_images:,} validation images)"
        for r in records
    )
    sizes = _distinct(
        f"{r.settings['image_size']} px" for r in records if "image_size" in r.settings
    )
    epochs = _distinct(f"{r.last.epoch}" for r in records)
    return f"{data}{sizes and ' at ' + sizes}; {epochs} epochs"


def _label(network: str) -> str:
    return paper.TABLE_1[network].label if network in paper.TABLE_1 else network


def trained_network(record: Record) -> str:
    """The network that a run really trained, by its settings: "se_resnet14 of width 16"."""
    prefix, _, depth = record.network.rpartition("resnet")
    trained = record.settings.get("depths", {}).get(depth, depth)
    width = record.settings.get("width")
    return f"{prefix}resnet{trained}" + (f" of width {width}" if width else "")


def train_command(
    recipe: str, profile: str, variant: str | None, seed: int, data_root: str = "DATA"
) -> str:
    """The command that makes a record."""
    parts = ["dreal", "train", recipe, "--profile", profile]
    parts += ["--variant", variant] if variant else []
    return shlex.join([*parts, "--seed", str(seed), "--data", data_root])


def missing_runs(
    comparison: ScaleComparison, seeds: Iterable[int] | None = None, data_root: str = "DATA"
) -> list[str]:
    """The commands that would make the runs which a table lacks.

    Args:
        comparison: The runs of one scale.
        seeds: The seeds asked for; None: seed 0 of each row that has none.
        data_root: Where the data lie.
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
