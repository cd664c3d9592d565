"""Sentences made from numbers: what a page may say, and no more than that."""

import shlex
from collections.abc import Collection, Iterable, Sequence

from book.companion.papers import dreal
from book.companion.text.foreign import plain
from book.companion.text.tables import counted, seeds_text
from dreal_lib.comparison.rows import NetworkComparison, ScaleComparison
from dreal_lib.records import Record, StoredRecord
from dreal_lib.runtime.environment import Hardware

THREADS = ("--threads", "1")  # with another number a seed ends otherwise


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
    names = "; ".join(dict.fromkeys(map(trained_name, records)))
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
    origins = {r.record.method: r.origin for r in runs}
    alike = len(set(origins.values())) == 1
    by_method = ", ".join(f"{method} {origin}" for method, origin in origins.items())
    return (
        f"Shown: {distinct(map(trained_name, records))}; scale {scale}: "
        f"{_training_facts(records)}; {methods}; {seeds_text(r.seed for r in records)}; "
        f"{runs[0].origin if alike else by_method}."
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
    if network in dreal.TABLE_1:
        return dreal.TABLE_1[network].label
    prefix, _, depth = network.rpartition("resnet")
    return f"{prefix.upper().replace('_', '-')}ResNet-{depth}"


def trained_network(record: Record) -> str:
    """The network that a run really trained, by its settings: "SE-ResNet-14, width 16"."""
    prefix, _, depth = record.network.rpartition("resnet")
    trained = record.settings.get("depths", {}).get(depth, depth)
    width = record.settings.get("width")
    name = _label(f"{prefix}resnet{trained}")
    return f"{name}, width {width}" if width else name


def trained_name(record: Record) -> str:
    """What was trained, and for which row: "SE-ResNet-14, width 16 (row SE-ResNet-50)"."""
    trained, row = trained_network(record), _label(record.network)
    return row if trained == f"{row}, width 64" else f"{trained} (row {row})"


def pair_name(pair: NetworkComparison) -> str:
    """A network of a table: what was trained for it and its row; the row alone without a run."""
    return distinct(trained_name(run.record) for run in pair.runs) or pair.label


def trained_summary(records: Iterable[Record]) -> str:
    """What was trained, in short where that is several networks; empty without records."""
    found = list(records)
    names = list(dict.fromkeys(map(trained_name, found)))
    if len(names) < 2:
        return "".join(names)
    depths = {r.network.rpartition("resnet")[2]: trained_network(r) for r in found}
    stand_ins = {row: name.partition(",")[0].rpartition("-")[2] for row, name in depths.items()}
    told = ", ".join(f"{stand_ins[row]} for {row}" for row in sorted(stand_ins, key=int))
    widths = distinct(str(record.settings.get("width")) for record in found)
    return f"networks of {told.replace(' for', ' layers for', 1)}, width {widths}"


def machine_text(hardware: Hardware) -> str:
    """What a run was made on: device, processor where that is another thing, cores, processes."""
    names = " with ".join(dict.fromkeys((hardware.device_name, hardware.cpu_name)))
    processes = "" if hardware.world_size == 1 else f", {hardware.world_size} processes"
    return f"{names}, {counted(hardware.cpu_count, 'core')}{processes}"


def train_command(
    recipe: str, profile: str, variant: str | None, seed: int, data_root: str = "DATA"
) -> str:
    """The command that makes a record, with the number of threads that `dreal reproduce` uses."""
    parts = ["dreal", "train", recipe, "--profile", profile]
    parts += ["--variant", variant] if variant else []
    return shlex.join([*parts, "--seed", str(seed), *THREADS, "--data", data_root])


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
