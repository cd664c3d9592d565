"""Sentences made from numbers: what a page may say, and no more than that."""

import shlex
from collections.abc import Collection, Iterable, Sequence

from book.companion.papers import dreal
from book.companion.text.foreign import plain
from book.companion.text.tables import counted, seeds_text
from dreal_lib.comparison.rows import ScaleComparison
from dreal_lib.records import Record, StoredRecord
from dreal_lib.runtime.environment import Hardware


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
    methods = " and ".join(dict.fromkeys(record.method for record in records))
    trained = distinct(trained_network(record) for record in records)
    return (
        f"Shown: {label}, trained as {trained}; scale {scale}: {_training_facts(records)}; "
        f"{methods}; {seeds_text(r.seed for r in records)}; {runs[0].origin}."
    )


def _training_facts(records: Sequence[Record]) -> str:
    data = distinct(
        f"{plain(r.data.name)} ({r.data.classes} classes, {r.data.train_images:,} training and "
        f"{r.data.val_images:,} validation images)"
        for r in records
    )
    sizes = distinct(
        f"{r.settings['image_size']} px" for r in records if "image_size" in r.settings
    )
    epochs = distinct(f"{r.last.epoch}" for r in records)
    return f"{data}{sizes and ' at ' + sizes}; {epochs} epochs"


def _label(network: str) -> str:
    return dreal.TABLE_1[network].label if network in dreal.TABLE_1 else network


def trained_network(record: Record) -> str:
    """The network that a run really trained, by its settings: "se_resnet14 of width 16"."""
    prefix, _, depth = record.network.rpartition("resnet")
    trained = record.settings.get("depths", {}).get(depth, depth)
    width = record.settings.get("width")
    return f"{prefix}resnet{trained}" + (f" of width {width}" if width else "")


def machine_text(hardware: Hardware) -> str:
    """What a run was made on: device, processor where that is another thing, cores, processes."""
    names = " with ".join(dict.fromkeys((hardware.device_name, hardware.cpu_name)))
    processes = "" if hardware.world_size == 1 else f", {hardware.world_size} processes"
    return f"{names}, {counted(hardware.cpu_count, 'core')}{processes}"


def train_command(
    recipe: str, profile: str, variant: str | None, seed: int, data_root: str = "DATA"
) -> str:
    """The command that makes a record."""
    parts = ["dreal", "train", recipe, "--profile", profile]
    parts += ["--variant", variant] if variant else []
    return shlex.join([*parts, "--seed", str(seed), "--data", data_root])


def missing_runs(
    comparison: ScaleComparison,
    seeds: Iterable[int] | None = None,
    data_root: str = "DATA",
    recipes: Collection[str] | None = None,
) -> list[str]:
    """The commands that would make the runs which a table lacks.

    Args:
        comparison: The runs of one scale.
        seeds: The seeds asked for; None: seed 0 of each row that has none.
        data_root: Where the data lie.
        recipes: The rows asked for; None: all of the table.
    """
    wanted = [0] if seeds is None else sorted(seeds)
    return [
        train_command(row.recipe, comparison.profile, comparison.variant, seed, data_root)
        for row in comparison.rows
        for seed in wanted
        if seed not in row.seeds
        and not (seeds is None and row.runs)
        and (recipes is None or row.recipe in recipes)
    ]


def distinct(texts: Iterable[str]) -> str:
    """Each text once, in the order of their coming."""
    return ", ".join(dict.fromkeys(texts))
