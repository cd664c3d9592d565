"""What a run leaves behind: one small JSON, its history and block curves as CSV, its figure data.

A record is enough to rebuild every page: no page needs weights that a clone does not have. Files
lie at `<root>/<profile>[+<variant>]/<recipe>/seed<k>.json`, companions beside them; each is written
whole or not at all, and each companion's SHA-256 stands in the record.
"""

import hashlib
import io
import json
import re
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import pandas as pd
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from dreal_lib.atomic import write_bytes_atomic, write_text_atomic
from dreal_lib.environment import Git, Hardware
from dreal_lib.environment import environment_facts as environment_facts
from dreal_lib.errors import UserError

SCHEMA_VERSION = 2

_PER_EPOCH = ("wall_seconds", "images_per_second")
HISTORY_COLUMNS = (
    "epoch",
    "learning_rate",
    "classification_loss",
    "quality_loss",
    "regression_loss",
    "train_top1_error_pct",
    "val_loss",
    "top1_error_pct",
    "top5_error_pct",
    *_PER_EPOCH,
)
RETRIEVAL_HISTORY_COLUMNS = (
    "epoch",
    "learning_rate",
    "classification_loss",
    "identity_loss",
    "triplet_loss",
    "quality_loss",
    "regression_loss",
    "train_top1_error_pct",
    "rank1_pct",
    "rank5_pct",
    "rank10_pct",
    "map_step_pct",
    "map_trapezoid_pct",
    "minp_pct",
    *_PER_EPOCH,
)
HISTORIES = {"classification": HISTORY_COLUMNS, "retrieval": RETRIEVAL_HISTORY_COLUMNS}
BLOCK_COLUMNS = (
    "epoch",
    "map",
    "images",
    "critique_mean",
    "reward_mean",
    "right_share",
    "reward_right_mean",
    "critique_rmse",
    "correlation",
    "saturated_share",
)

# These become folder and file names, so nothing that could leave the records folder is let in.
Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_.\-]*$")]
RecipeName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_.\-]*(/[a-z0-9][a-z0-9_.\-]*)*$")]
FileName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.\-]*$")]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Percent = Annotated[float, Field(ge=0, le=100, allow_inf_nan=False)]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Metrics(_Frozen):
    """Validation results after one epoch (epochs count from 1)."""

    epoch: int = Field(ge=0)
    top1_error_pct: Percent
    top5_error_pct: Percent
    val_loss: NonNegative


class RetrievalMetrics(_Frozen):
    """Retrieval scores after an epoch that was evaluated; higher is better.

    The mean average precision has two definitions in use (protocol of Market-1501): the step sum
    and the trapezoid.
    """

    epoch: int = Field(ge=0)
    rank1_pct: Percent
    rank5_pct: Percent
    rank10_pct: Percent
    map_step_pct: Percent
    map_trapezoid_pct: Percent
    minp_pct: Percent


class DataFacts(_Frozen):
    """The data set a run was trained and validated on."""

    name: str
    fingerprint: str
    train_images: int = Field(ge=0)
    val_images: int = Field(ge=0)
    classes: int = Field(ge=1)


class IdentityFacts(_Frozen):
    """The identities a run was trained on and the ones it was judged on; junk is not counted."""

    name: str
    fingerprint: str
    train_images: int = Field(ge=0)
    train_identities: int = Field(ge=1)
    query_images: int = Field(ge=0)
    gallery_images: int = Field(ge=0)
    cameras: int = Field(ge=0)


class CompanionFile(_Frozen):
    """A file beside the record, by bare name, with its checksum."""

    name: FileName
    sha256: Sha256


class CompanionFiles(_Frozen):
    """The record's companions; a baseline has no block curves."""

    history: CompanionFile
    blocks: CompanionFile | None = None
    figure_data: CompanionFile | None = None


class Record(_Frozen):
    """One run, complete or stopped early; of one of the tasks, see `RECORD_TYPES`.

    `network` names the paper's row, `settings` the resolved recipe with the network really trained.
    `best` is the epoch with the lowest top-1 error, or the highest mAP (step sum), on the very
    images that `last` is measured on.
    """

    schema_version: Literal[2] = SCHEMA_VERSION
    task: Literal["classification", "retrieval"]
    recipe: RecipeName
    recipe_hash: str
    profile: Name
    variant: Name | None
    overrides: dict[str, Any]
    settings: dict[str, Any]
    network: str
    method: str
    seed: int = Field(ge=0)
    complete: bool
    git: Git
    versions: dict[str, str | None]
    hardware: Hardware
    data: _Frozen
    wall_seconds: NonNegative
    images_per_second: NonNegative
    peak_memory_mib: NonNegative | None
    last: _Frozen
    best: _Frozen
    checkpoint_sha256: Sha256 | None
    files: CompanionFiles
    command: str
    created: AwareDatetime

    @property
    def scale(self) -> str:
        """The folder name of this record's scale, e.g. "desktop+two_cores"."""
        return scale_name(self.profile, self.variant)

    @property
    def key(self) -> tuple[str, str | None, str, int]:
        """What tells two runs apart: profile, variant, recipe and seed."""
        return (self.profile, self.variant, self.recipe, self.seed)


class ClassificationRecord(Record):
    """A run of section 4.1."""

    task: Literal["classification"] = "classification"
    data: DataFacts
    last: Metrics
    best: Metrics


class RetrievalRecord(Record):
    """A run of section 4.2."""

    task: Literal["retrieval"] = "retrieval"
    data: IdentityFacts
    last: RetrievalMetrics
    best: RetrievalMetrics


RECORD_TYPES: dict[str, type[Record]] = {
    "classification": ClassificationRecord,
    "retrieval": RetrievalRecord,
}


@dataclass(frozen=True)
class StoredRecord:
    """A record and where it lies.

    `origin` is "recorded" (committed) or "re-run" (made on this machine).
    """

    record: Record
    path: Path
    origin: Literal["recorded", "re-run"] = "recorded"

    def history(self) -> pd.DataFrame:
        """The training history, one row an epoch (`HISTORIES` by task)."""
        return self._table(self.record.files.history, HISTORIES[self.record.task])

    def blocks(self) -> pd.DataFrame:
        """Critique and reward by epoch and map (`BLOCK_COLUMNS`).

        Raises:
            UserError: If the run left no block curves (a baseline has none).
        """
        if self.record.files.blocks is None:
            raise UserError(
                f"record {self.path} has no block curves (method {self.record.method!r}); "
                "only runs of a reinforced recipe have them"
            )
        return self._table(self.record.files.blocks, BLOCK_COLUMNS)

    def figure_data(self) -> dict[str, np.ndarray]:
        """The arrays that figures are drawn from, by name; nothing is unpickled.

        Raises:
            UserError: If the run left none or the file cannot be read.
        """
        if self.record.files.figure_data is None:
            raise UserError(f"record {self.path} has no figure data; run its recipe again")
        content = _companion_content(self.path, self.record.files.figure_data)
        try:
            with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
                return {name: arrays[name] for name in arrays.files}
        except (ValueError, OSError, zipfile.BadZipFile, KeyError) as error:
            raise UserError(
                f"{self.path.with_name(self.record.files.figure_data.name)} is not readable figure "
                f"data ({_one_line(error)}); restore it or run the recipe again"
            ) from error

    def _table(self, companion: CompanionFile, columns: tuple[str, ...]) -> pd.DataFrame:
        content = _companion_content(self.path, companion)
        try:
            table = pd.read_csv(io.BytesIO(content))
        except (ValueError, pd.errors.ParserError) as error:
            raise UserError(
                f"{self.path.with_name(companion.name)} is not a readable table "
                f"({_one_line(error)}); restore it or run the recipe again"
            ) from error
        missing = [column for column in columns if column not in table.columns]
        if missing:
            raise UserError(
                f"{self.path.with_name(companion.name)} lacks the column(s) {', '.join(missing)}; "
                "restore it or run the recipe again"
            )
        return table


def scale_name(profile: str, variant: str | None) -> str:
    """`desktop` and `two_cores` to `desktop+two_cores`; without a variant the profile alone."""
    return profile if variant is None else f"{profile}+{variant}"


def record_path(
    root: Path | str, profile: str, variant: str | None, recipe: str, seed: int
) -> Path:
    """Where the record of one run lies under a records folder."""
    return Path(root) / scale_name(profile, variant) / recipe / f"seed{seed}.json"


def companion_path(path: Path | str, kind: Literal["history", "blocks", "figure_data"]) -> Path:
    """Where a companion of the record at `path` lies, e.g. `seed0.history.csv`."""
    suffixes = {"history": "history.csv", "blocks": "blocks.csv", "figure_data": "figures.npz"}
    path = Path(path)
    return path.with_name(f"{path.stem}.{suffixes[kind]}")


def write_table(path: Path | str, table: pd.DataFrame, columns: Iterable[str]) -> CompanionFile:
    """Write a companion CSV with exactly these columns; NaN becomes an empty cell.

    Raises:
        UserError: If a column is missing or the file cannot be written.
    """
    columns = list(columns)
    missing = [column for column in columns if column not in table.columns]
    if missing:
        raise UserError(f"table for {path} lacks the column(s) {', '.join(missing)}")
    text = table[columns].to_csv(index=False, float_format="%.9g", lineterminator="\n")
    return CompanionFile(name=Path(path).name, sha256=write_text_atomic(path, text))


def write_figure_data(path: Path | str, arrays: Mapping[str, np.ndarray]) -> CompanionFile:
    """Write named arrays as a compressed npz that loads without pickle.

    Raises:
        UserError: If an array holds Python objects, or the file cannot be written.
    """
    arrays = {name: np.asarray(array) for name, array in arrays.items()}
    for name, array in arrays.items():
        if array.dtype.hasobject:
            raise UserError(f"figure data {name!r} holds Python objects; give numbers or text")
    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, **arrays)
    return CompanionFile(name=Path(path).name, sha256=write_bytes_atomic(path, buffer.getvalue()))


def write_record(record: Record, path: Path | str) -> None:
    """Write a record as indented JSON with sorted keys, whole or not at all.

    Raises:
        UserError: If a companion that it names is not there or has another checksum, so that no
            record is ever left without its files.
    """
    path = Path(path)
    _check_companions(path, record)
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
    except (OSError, ValueError) as error:
        raise _unreadable(path, f"is not readable JSON ({_one_line(error)})") from error
    if not isinstance(content, dict):
        raise _unreadable(path, f"holds a {type(content).__name__}, not a record")
    content = _migrated(path, content)
    try:
        kind = RECORD_TYPES.get(str(content.get("task")), Record)  # Record refuses any other
        record = kind.model_validate_json(json.dumps(content), strict=True)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        raise _unreadable(path, f"has a bad field {field}: {_one_line(first['msg'])}") from error
    _check_companions(path, record)
    return record


def _migrated(path: Path, content: dict[str, Any]) -> dict[str, Any]:
    """The content in the present schema; the file itself stays as it was written."""
    version = content.get("schema_version")
    number = version if type(version) is int else None  # in Python, JSON's true equals 1
    if number == 1:  # before instance recognition: every run was a classification
        return content | {"schema_version": 2, "task": "classification"}
    if number != SCHEMA_VERSION:
        raise UserError(
            f"record {path} has schema_version {version!r}, this library reads 1 to "
            f"{SCHEMA_VERSION}; use the library that wrote it, or run the recipe again"
        )
    return content


def find_records(
    root: Path | str,
    *,
    profile: str | None = None,
    variant: str | None = None,
    recipe_prefix: str | None = None,
    seeds: Iterable[int] | None = None,
    origin: Literal["recorded", "re-run"] = "recorded",
) -> list[StoredRecord]:
    """The records under a folder, by scale, recipe and seed.

    Args:
        root: Records folder; one that does not exist holds no record.
        profile: Only this profile, with exactly the given `variant` (None: without one). Without a
            profile every scale is searched and `variant` must be None.
        variant: Named override set.
        recipe_prefix: Only recipes whose name starts so, e.g. "table_1/".
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
        stored = StoredRecord(read_record(path), path, origin)
        _refuse_disagreement(found, stored)
        found.setdefault(stored.record.key, stored)
        read.append(stored)
    for stored in read:
        _refuse_misplaced(root, stored)
    wanted = None if seeds is None else set(seeds)
    return sorted(
        (
            stored
            for stored in found.values()
            if stored.record.recipe.startswith(recipe_prefix or "")
            and (wanted is None or stored.record.seed in wanted)
        ),
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


def _check_companions(path: Path, record: Record) -> None:
    for companion in (record.files.history, record.files.blocks, record.files.figure_data):
        if companion is not None:
            _companion_content(path, companion)


def _companion_content(path: Path, companion: CompanionFile) -> bytes:
    beside = path.with_name(companion.name)
    try:
        content = beside.read_bytes()
    except OSError as error:
        raise UserError(
            f"{beside}, which {path.name} names, cannot be read ({error.strerror or error}); "
            "restore it or run the recipe again"
        ) from error
    if hashlib.sha256(content).hexdigest() != companion.sha256:
        raise UserError(
            f"{beside} is not the file that {path.name} was written with (its SHA-256 differs); "
            "restore it or run the recipe again"
        )
    return content


def _unreadable(path: Path, problem: str) -> UserError:
    return UserError(f"record {path} {problem}; restore it or run its recipe again")


def _one_line(error: object) -> str:
    return re.sub(r"\s+", " ", str(error)).strip()
