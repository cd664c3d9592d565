"""What a record says: its fields by task, the columns of its tables, and older schemas."""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from dreal_lib.errors import UserError
from dreal_lib.runtime.environment import Git, Hardware

SCHEMA_VERSION = 3

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

    @property
    def present(self) -> list[CompanionFile]:
        """Those that there are."""
        found = (self.history, self.blocks, self.figure_data)
        return [companion for companion in found if companion is not None]


class Record(_Frozen):
    """One run, complete or stopped early; of one of the tasks, see `RECORD_TYPES`.

    `network` names the paper's row, `settings` the resolved recipe with the network really trained.
    `best` is the epoch with the lowest top-1 error, or the highest mAP (step sum), on the very
    images that `last` is measured on. `threads` are torch's on the CPU, None where it was not kept;
    `plan_commit` is the last commit of the plan that the run belongs to, None where there is none.
    """

    schema_version: Literal[3] = SCHEMA_VERSION
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
    threads: int | None = Field(default=None, ge=1)
    plan_commit: Annotated[str, Field(pattern=r"^[0-9a-f]{40}$")] | None = None
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


def scale_name(profile: str, variant: str | None) -> str:
    """`desktop` and `two_cores` to `desktop+two_cores`; without a variant the profile alone."""
    return profile if variant is None else f"{profile}+{variant}"


def migrated(path: Path, content: dict[str, Any]) -> dict[str, Any]:
    """The content in the present schema; the file itself stays as it was written.

    Args:
        path: Where it was read, for the error.
        content: The JSON object, of any schema so far.

    Raises:
        UserError: If this library knows no such schema.
    """
    version = content.get("schema_version")
    number = version if type(version) is int else None  # in Python, JSON's true equals 1
    if number == 1:  # before instance recognition: every run was a classification
        content = content | {"schema_version": 2, "task": "classification"}
    if number in (1, 2):  # before the plan: no record kept its threads
        return content | {"schema_version": 3, "threads": None, "plan_commit": None}
    if number != SCHEMA_VERSION:
        raise UserError(
            f"record {path} has schema_version {version!r}, this library reads 1 to "
            f"{SCHEMA_VERSION}; use the library that wrote it, or run the recipe again"
        )
    return content
