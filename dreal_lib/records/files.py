"""Records in their folder: written, read, and found by scale, recipe and seed.

A file lies at `<root>/<profile>[+<variant>]/<recipe>/seed<k>.json`, its companions beside it.
"""

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import ValidationError

from dreal_lib.errors import UserError
from dreal_lib.recipes import task_facts
from dreal_lib.records.arrays import FigureData
from dreal_lib.records.companions import Table, check_companions, read_figure_data, read_table
from dreal_lib.records.schema import (
    BLOCK_COLUMNS,
    Record,
    migrated,
    record_type,
    scale_name,
)
from dreal_lib.runtime.atomic import write_text_atomic

HISTORY_PRECISION = 1e-8  # tables are written with nine digits


@dataclass(frozen=True)
class StoredRecord:
    """A record and where it lies.

    `origin` is "recorded" (committed) or "re-run" (made on this machine).
    """

    record: Record
    path: Path
    origin: Literal["recorded", "re-run"] = "recorded"

    def history(self) -> Table:
        """The training history by column, one row an epoch (`TaskFacts.history_columns`)."""
        return _history(self.path, self.record)

    def blocks(self) -> Table:
        """Critique and reward by column, a row for each epoch and map (`BLOCK_COLUMNS`).

        Raises:
            UserError: If the run left no block curves (a baseline has none).
        """
        if self.record.files.blocks is None:
            raise UserError(
                f"record {self.path} has no block curves (method {self.record.method!r}); "
                "only runs of a reinforced recipe have them"
            )
        return read_table(self.path, self.record.files.blocks, BLOCK_COLUMNS)

    def figure_data(self) -> FigureData:
        """The arrays that figures are drawn from, by name (`dreal_lib.records.arrays`).

        Raises:
            UserError: If the run left none or the file cannot be read.
        """
        if self.record.files.figure_data is None:
            raise UserError(f"record {self.path} has no figure data; run its recipe again")
        return read_figure_data(self.path, self.record.files.figure_data)


def _history(path: Path, record: Record) -> Table:
    return read_table(path, record.files.history, task_facts(record.task).history_columns)


def record_path(
    root: Path | str, profile: str, variant: str | None, recipe: str, seed: int
) -> Path:
    """Where the record of one run lies under a records folder.

    Args:
        root: The records folder.
        profile, variant: The scale.
        recipe: The row, e.g. "table_1/se_resnet50_reinforced".
        seed: Of the run.
    """
    return Path(root) / scale_name(profile, variant) / recipe / f"seed{seed}.json"


def write_record(record: Record, path: Path | str) -> None:
    """Write a record as indented JSON with sorted keys, whole or not at all.

    Raises:
        UserError: If a companion that it names is not there or has another checksum, so that no
            record is ever left without its files.
    """
    path = Path(path)
    check_companions(path, record.files)
    text = json.dumps(record.model_dump(mode="json"), indent=2, sort_keys=True, allow_nan=False)
    write_text_atomic(path, text + "\n")


def read_record(path: Path | str) -> Record:
    """Read a record and check its companions.

    Raises:
        UserError: One line naming the file, the problem and the remedy.
    """
    path = Path(path)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UserError(f"record {path} does not exist; run its recipe to make it") from error
    except (OSError, ValueError, RecursionError) as error:
        raise _unreadable(path, f"is not readable JSON ({' '.join(str(error).split())})") from error
    if not isinstance(content, dict):
        raise _unreadable(path, f"holds a {type(content).__name__}, not a record")
    content = migrated(path, content)
    try:
        kind = record_type(content.get("task"))
        record = kind.model_validate_json(json.dumps(content), strict=True)
    except UserError as error:
        raise _unreadable(path, f"has a bad field task: {error}") from None
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        raise _unreadable(
            path, f"has a bad field {field}: {' '.join(first['msg'].split())}"
        ) from error
    check_companions(path, record.files)
    epochs = _refuse_edited_recipe(path, record)
    _refuse_edited_results(path, record, epochs)
    return record


def _refuse_edited_recipe(path: Path, record: Record) -> int:
    """The settings have to be those that were hashed, and say the same as the other fields.

    Returns:
        The epochs of a whole run.
    """
    try:
        recipe = task_facts(record.task).recipe.model_validate(record.settings)
    except (ValidationError, UserError) as error:
        reason = " ".join(str(error).split())[:200]
        raise _unreadable(path, f"has settings that are no recipe ({reason})") from None
    if recipe.hash != record.recipe_hash:
        raise _unreadable(
            path,
            f"has settings of hash {recipe.hash[:8]}, and says {record.recipe_hash[:8]}: they were "
            "edited",
        )
    said = {"name": record.recipe} | {
        name: getattr(record, name) for name in ("profile", "network", "method", "overrides")
    }
    for name, value in said.items():
        if getattr(recipe, name) != value:
            raise _unreadable(
                path,
                f"says {name} {value!r}, and its settings {getattr(recipe, name)!r}: one of them "
                "was edited",
            )
    return recipe.epochs


def _refuse_edited_results(path: Path, record: Record, epochs: int) -> None:
    """A result has to be the one that the history has for its epoch."""
    history = _history(path, record)
    trained = max(history["epoch"], default=0)
    if record.complete != (trained == epochs):
        raise _unreadable(
            path,
            f"says complete {record.complete}, and its history has {trained} of {epochs} epochs: "
            "one of them was edited",
        )
    for name in ("last", "best"):
        result = getattr(record, name)
        for metric, value in result.model_dump(exclude={"epoch"}).items():
            logged = dict(zip(history["epoch"], history[metric], strict=True)).get(
                result.epoch, math.nan
            )
            if not np.isclose(value, logged, rtol=HISTORY_PRECISION, atol=0):
                raise _unreadable(
                    path,
                    f"says {name}.{metric} {value:g}, and its history {logged:g} for epoch "
                    f"{result.epoch}: one of them was edited",
                )


def find_records(
    root: Path | str,
    *,
    profile: str | None = None,
    variant: str | None = None,
    recipes: Sequence[str] = ("*",),
    seeds: Iterable[int] | None = None,
    origin: Literal["recorded", "re-run"] = "recorded",
) -> list[StoredRecord]:
    """The records under a folder, by scale, recipe and seed.

    Args:
        root: Records folder; one that does not exist holds no record.
        profile: Only this profile, with exactly the given `variant` (None: without one). Without a
            profile every scale is searched and `variant` must be None.
        variant: Named override set.
        recipes: Only recipes whose name fits one of these patterns, e.g. "table_1/*"; what lies in
            the places of others is not read.
        seeds: Only these seeds.
        origin: The label that the records are given.

    Raises:
        UserError: If a record cannot be read, lies elsewhere than its content says, or disagrees
            with another on the same run.
    """
    root = Path(root)
    if profile is None and variant is not None:
        raise UserError(f"variant {variant!r} is given without a profile; give both")
    top = root if profile is None else root / scale_name(profile, variant)
    found: dict[tuple, StoredRecord] = {}
    read: list[StoredRecord] = []
    for path in sorted(top.rglob("seed*.json")):
        recipe = "/".join(path.relative_to(root).parts[1:-1])
        if not any(fnmatch(recipe, pattern) for pattern in recipes):
            continue
        stored = StoredRecord(read_record(path), path, origin)
        _refuse_disagreement(found, stored)
        found.setdefault(stored.record.key, stored)
        read.append(stored)
    for stored in read:
        _refuse_misplaced(root, stored)
    wanted = None if seeds is None else set(seeds)
    return sorted(
        (stored for stored in found.values() if wanted is None or stored.record.seed in wanted),
        key=lambda stored: (stored.record.scale, stored.record.recipe, stored.record.seed),
    )


def _refuse_disagreement(found: dict[tuple, StoredRecord], stored: StoredRecord) -> None:
    other = found.get(stored.record.key)
    if other is None or other.record == stored.record:
        return
    differing = [
        name
        for name in type(other.record).model_fields
        if getattr(other.record, name) != getattr(stored.record, name)
    ]
    raise UserError(
        f"records {other.path} and {stored.path} disagree on {', '.join(differing)} of the same "
        f"run ({stored.record.scale} {stored.record.recipe} seed {stored.record.seed}); "
        "remove one of them"
    )


def _refuse_misplaced(root: Path, stored: StoredRecord) -> None:
    expected = record_path(root, *stored.record.key)
    if stored.path != expected:
        raise UserError(f"record {stored.path} says it belongs at {expected}; move or remove it")


def _unreadable(path: Path, problem: str) -> UserError:
    return UserError(f"record {path} {problem}; restore it or run its recipe again")
