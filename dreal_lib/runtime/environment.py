"""What a run is made with and on: versions, hardware, commit. Names no host, user or path."""

import os
import platform
import subprocess
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

PROJECT_ROOT = Path(__file__).resolve().parents[2]
PLAN = "book/plan.md"  # of the controlled comparison; committed before its first run

# The distributions that can move a number.
RECORDED_DISTRIBUTIONS = ("dreal-companion", "torch", "torchvision", "numpy", "pillow")

# Of printable characters, for a page to show.
Line = Annotated[str, Field(pattern=r"^[^\p{C}\p{Zl}\p{Zp}]+$", max_length=10_000)]


class Git(BaseModel):
    """The commit a run was made from; None where there is no git or no commit.

    `clean`: from it alone, without uncommitted changes and without other code at an earlier start.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    commit: Annotated[str, Field(pattern=r"^[0-9a-f]{40}([0-9a-f]{24})?$")] | None
    clean: bool | None


class Hardware(BaseModel):
    """What a run was made on: `device` as torch names it, the others in words.

    `world_size` processes shared each batch; device and CPU are those of the first.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    device: Annotated[str, Field(pattern=r"^[a-z]+(:[0-9]+)?$")]
    device_name: Line
    cpu_name: Line
    cpu_count: int = Field(ge=1)
    world_size: int = Field(default=1, ge=1)


@dataclass(frozen=True)
class EnvironmentFacts:
    """The part of a record that describes machine and code, under the record's field names.

    `plan_commit` is the last commit that touched `PLAN`, `threads` torch's number of CPU threads.
    """

    git: Git
    versions: dict[str, str | None]
    hardware: Hardware
    threads: int
    plan_commit: str | None


def environment_facts(
    device: object, root: Path = PROJECT_ROOT, world_size: int = 1
) -> EnvironmentFacts:
    """Collect versions, hardware and commit for a record.

    Args:
        device: The torch device (or its name) that the run uses.
        root: The project's folder, whose commit is meant.
        world_size: Processes that shared each batch.
    """
    import torch

    git = git_facts(root)
    plan = _git(root, "log", "-1", "--format=%H", "--", PLAN) if git.commit else None
    return EnvironmentFacts(
        git=git,
        versions=_versions(),
        hardware=_hardware(str(device)).model_copy(update={"world_size": world_size}),
        threads=torch.get_num_threads(),
        plan_commit=plan or None,
    )


def git_facts(root: Path) -> Git:
    """Commit and cleanliness of the repository whose top folder is `root`.

    A copy without git, or one that lies inside another repository, has neither.
    """
    top = _git(root, "rev-parse", "--show-toplevel")
    commit = _git(root, "rev-parse", "--verify", "HEAD")
    if not top or not commit or Path(top).resolve() != root.resolve():
        return Git(commit=None, clean=None)
    status = _git(root, "status", "--porcelain")
    return Git(commit=commit, clean=None if status is None else status == "")


def _git(root: Path, *arguments: str) -> str | None:
    try:
        answer = subprocess.run(
            ["git", "-C", str(root), *arguments],
            capture_output=True,
            text=True,
            timeout=30,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return answer.stdout.strip()


def _versions() -> dict[str, str | None]:
    versions: dict[str, str | None] = {"python": platform.python_version()}
    for name in RECORDED_DISTRIBUTIONS:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = None
    return versions


def _hardware(device: str) -> Hardware:
    cpu_name = _cpu_name()
    device_name = cpu_name
    if device.startswith("cuda"):
        import torch

        device_name = torch.cuda.get_device_name(torch.device(device))
    return Hardware(
        device=device, device_name=device_name, cpu_name=cpu_name, cpu_count=usable_cores()
    )


def usable_cores() -> int:
    """CPU cores that this process may use: it may be confined to fewer than the machine has."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    for line in lines:
        key, _, value = line.partition(":")
        if key.strip() == "model name" and value.strip().isprintable() and value.strip():
            return value.strip()
    return platform.processor() or platform.machine() or "unknown CPU"
