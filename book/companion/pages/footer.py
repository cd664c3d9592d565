"""How a page was made: the lines at its end, from its parameters and records alone.

Nothing here depends on the machine or the moment at which the page is put together, so a page made
twice from the same records is the same.
"""

import shlex
from collections.abc import Iterable, Sequence
from pathlib import Path

from book.companion.pages.catalogue import Parameters, Specification
from book.companion.text.foreign import block, code, plain
from book.companion.text.runs import machine_text
from book.companion.text.tables import Marked, Table, counted
from dreal_lib.records import Record, StoredRecord
from dreal_lib.runtime.environment import PROJECT_ROOT


def footer_markdown(
    spec: Specification,
    parameters: Parameters,
    runs: Sequence[StoredRecord],
    stopped: Sequence[StoredRecord] = (),
) -> str:
    """The footer of a page.

    Args:
        spec: Of the page.
        parameters: What it was given.
        runs: The runs that its numbers come from.
        stopped: Runs left out because they were stopped early.
    """
    lines = [
        f"- Made by: {code(page_command(spec, parameters))}",
        f"- Paper: {spec.paper}",
    ]
    if not spec.rows:
        alone = "" if spec.beside else "; no training run enters this page"
        lines.append(f"- Made from: {spec.made_from}{alone}")
        return "\n".join(lines)
    left_out = [f"- Left out, as it was stopped early: {code(_shown(run.path))}" for run in stopped]
    if not runs:
        return "\n".join([*lines, f"- Records: none at scale {parameters.scale}", *left_out])
    records = [run.record for run in runs]
    lines += [
        f"- Records: {_counted(runs)}",
        f"- Data: {_each(_data(r) for r in records)}",
        f"- Commit: {_each(_commit(r) for r in records)}",
        f"- Hardware: {_each(_hardware(r) for r in records)}",
        f"- Software: {_each(_software(r) for r in records)}",
        f"- Training time: {duration(sum(r.wall_seconds for r in records))} in all. Times "
        "include other load on the machine; compare the benchmarks, not these.",
    ]
    lines += left_out
    commands = block(dict.fromkeys(r.command for r in records))
    return "\n".join(lines) + f"\n\n{_run_table(runs).to_markdown()}\n\n{commands}"


def page_command(spec: Specification, parameters: Parameters) -> str:
    """The command that makes the page again."""
    given = {name: getattr(parameters, name) for name in spec.parameters}
    if "variant" in given:
        given["variant"] = "default" if parameters.every_variant else parameters.variant or "none"
    if given.get("seeds") is not None:
        given["seeds"] = "[" + ",".join(str(seed) for seed in given["seeds"]) + "]"
    words = ["dreal", "execute", f"book/notebooks/{spec.name}.py", f"{spec.name}.ipynb"]
    for name, value in given.items():
        if value is not None:
            shown = _shown(value) if isinstance(value, Path) else value
            words += ["-p", f"{name}={shown}"]
    return shlex.join(words)


def duration(seconds: float) -> str:
    """Seconds in words: "1 h 02 min", "3 min 05 s", "12 s"."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes_left = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes_left:02d} min"
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"


def _run_table(runs: Sequence[StoredRecord]) -> Table:
    rows = tuple(
        (
            Marked(run.record.recipe, run.origin, run.record.scale),
            str(run.record.seed),
            run.record.recipe_hash[:8],
            duration(run.record.wall_seconds),
            f"{run.record.images_per_second:.0f}",
            "—" if run.record.peak_memory_mib is None else f"{run.record.peak_memory_mib:.0f}",
        )
        for run in runs
    )
    columns = ("Recipe", "Seed", "Hash", "Time", "Images/s", "MiB")
    return Table.of(columns, rows)


def _counted(runs: Sequence[StoredRecord]) -> str:
    folders: dict[tuple[str, str], int] = {}
    for run in runs:
        # <root>/<scale>/<recipe>/seed0.json
        scale_folder = run.path.parents[run.record.recipe.count("/") + 1]
        key = (run.origin, _shown(scale_folder))
        folders[key] = folders.get(key, 0) + 1
    return ", ".join(f"{n} {origin} in {code(folder)}" for (origin, folder), n in folders.items())


def _data(record: Record) -> str:
    data = record.data
    return f"{plain(data.name)}, {data.text}, fingerprint `{data.fingerprint[:12]}`"


def _commit(record: Record) -> str:
    if record.git.commit is None:
        return "none (not run in a clone)"
    state = {True: "clean", False: "and code besides it", None: "state unknown"}
    return f"`{record.git.commit[:12]}` ({state[record.git.clean]})"


def _hardware(record: Record) -> str:
    known = record.threads
    threads = counted(known, "thread") if known else "threads not kept"
    return f"{plain(machine_text(record.hardware))}, {threads}"


def _software(record: Record) -> str:
    named = ("python", "torch", "torchvision")
    return ", ".join(
        f"{name} {plain(record.versions[name])}" for name in named if name in record.versions
    )


def _each(texts: Iterable[str]) -> str:
    return "; ".join(dict.fromkeys(texts))


def _shown(path: Path) -> str:
    """Relative to the project where it lies in it."""
    path = path.resolve()
    return str(path.relative_to(PROJECT_ROOT)) if path.is_relative_to(PROJECT_ROOT) else str(path)
