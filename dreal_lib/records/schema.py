"""What a record says: its fields, what its task adds to them, and older schemas."""

from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AwareDatetime, Field, create_model

from dreal_lib.errors import UserError
from dreal_lib.recipes import FIRST_TASK, task_facts
from dreal_lib.recipes.task_facts import DataFacts, Frozen, NonNegative, Result, TaskFacts
from dreal_lib.runtime.environment import Git, Hardware, Line

SCHEMA_VERSION = 3

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
Epoch = Literal["last", "best"]
FileName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.\-]*$")]
Version = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.+!\-]*$")]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class CompanionFile(Frozen):
    """A file beside the record, by bare name, with its checksum."""

    name: FileName
    sha256: Sha256


class CompanionFiles(Frozen):
    """The record's companions; a baseline has no block curves."""

    history: CompanionFile
    blocks: CompanionFile | None = None
    figure_data: CompanionFile | None = None

    @property
    def present(self) -> list[CompanionFile]:
        """Those that there are."""
        found = (self.history, self.blocks, self.figure_data)
        return [companion for companion in found if companion is not None]


class Record(Frozen):
    """One run, complete or stopped early; of a task, see `record_type`.

    `network` names the paper's row, `settings` the resolved recipe with the network really trained.
    `best` is the epoch that its task calls so (`TaskFacts.best`), by the very images that `last` is
    measured on. `threads` are torch's on the CPU, None where it was not kept; `plan_commit` is the
    last commit of the plan that the run belongs to, None where there is none.
    """

    schema_version: Literal[3] = SCHEMA_VERSION
    task: str
    recipe: RecipeName
    recipe_hash: Sha256
    profile: Name
    variant: Name | None
    overrides: dict[str, Any]
    settings: dict[str, Any]
    network: Name
    method: Name
    seed: int = Field(ge=0)
    complete: bool
    git: Git
    versions: dict[Name, Version | None]
    hardware: Hardware
    threads: int | None = Field(default=None, ge=1)
    plan_commit: Annotated[str, Field(pattern=r"^[0-9a-f]{40}$")] | None = None
    data: DataFacts
    wall_seconds: NonNegative
    images_per_second: NonNegative
    peak_memory_mib: NonNegative | None
    last: Result
    best: Result
    checkpoint_sha256: Sha256 | None
    files: CompanionFiles
    command: Line
    created: AwareDatetime

    @property
    def scale(self) -> str:
        """The folder name of this record's scale, e.g. "desktop+two_cores"."""
        return scale_name(self.profile, self.variant)

    @property
    def key(self) -> tuple[str, str | None, str, int]:
        """What tells two runs apart: profile, variant, recipe and seed."""
        return (self.profile, self.variant, self.recipe, self.seed)

    def metric(self, name: str, epoch: Epoch = "last") -> float:
        """A metric of the last or the best epoch.

        Raises:
            UserError: The task has no such metric.
        """
        return getattr(getattr(self, epoch), task_facts(self.task).metric(name).name)


def record_type(task: str) -> type[Record]:
    """The records of a task, whose data and results are those that the task declares.

    Raises:
        UserError: An unknown task.
    """
    return _record_type(task_facts(task))


@cache
def _record_type(facts: TaskFacts) -> type[Record]:
    fields = {"data": facts.data, "last": facts.result, "best": facts.result}
    return create_model(
        f"{facts.name.title()}Record",
        __base__=Record,
        task=(Literal[facts.name], facts.name),
        **fields,
    )


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
    if number == 1:  # before there was a second task
        content = content | {"schema_version": 2, "task": FIRST_TASK}
    if number in (1, 2):  # before the plan: no record kept its threads
        return content | {"schema_version": 3, "threads": None, "plan_commit": None}
    if number != SCHEMA_VERSION:
        raise UserError(
            f"record {path} has schema_version {version!r}, this library reads 1 to "
            f"{SCHEMA_VERSION}; use the library that wrote it, or run the recipe again"
        )
    return content
