"""The artifact: one zip with all that the pages are made from, to be kept elsewhere.

It holds the records with their companions, the executed notebooks, the figures drawn in them, what
pins the environment, and CITATION.cff; its manifest.json gives the size and SHA-256 of each.
The same files make the same bytes, on any machine: entries are sorted, have no time of their own,
and are stored as they are (what a compressor makes of them would hang on its version).
"""

import hashlib
import io
import json
import tempfile
import zipfile
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from dreal_lib.errors import UserError, unknown_choice
from dreal_lib.records import find_records
from dreal_lib.runtime.atomic import write_bytes_atomic
from dreal_lib.runtime.environment import PROJECT_ROOT, git_facts

FORMAT_VERSION = 1
MANIFEST = "manifest.json"
LARGEST_MANIFEST_BYTES = 64 * 2**20
# Where the records and executed notebooks of each kind lie in a checkout.
SOURCES = {
    "recorded": (Path("book/records"), Path("book/notebooks")),
    "rerun": (Path("build/records"), Path("build/source/notebooks")),
}
PROJECT_FILES = {
    "CHANGELOG.md": "CHANGELOG.md",
    "CITATION.cff": "CITATION.cff",
    "LICENSE": "LICENSE",
    "README.md": "README.md",
    "constraints.txt": "environment/constraints.txt",
    "environment.yml": "environment/environment.yml",
    "pyproject.toml": "environment/pyproject.toml",
}
# What zipfile raises for a damaged, encrypted or exotic entry.
UNREADABLE = (
    zipfile.BadZipFile, zipfile.LargeZipFile, OSError, EOFError, ValueError, RuntimeError,
    KeyError,
)  # fmt: skip

# No part begins with a dot, so an entry cannot leave the folder that it is unpacked into.
EntryPath = Annotated[str, Field(pattern=r"^[A-Za-z0-9][\w.+\-]*(/[A-Za-z0-9][\w.+\-]*)*$")]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Entry(_Frozen):
    """A file of the artifact."""

    path: EntryPath
    size_bytes: int = Field(ge=0)
    sha256: Sha256


class Manifest(_Frozen):
    """What an artifact holds, and the checkout it was made from.

    `commit` is that of the checkout; each record names the commit of its own run.
    """

    format_version: Literal[1] = FORMAT_VERSION
    version: str
    commit: str | None
    results: Literal["recorded", "rerun"]
    records: int = Field(ge=1)
    files: list[Entry]


@dataclass(frozen=True)
class Archived:
    """An artifact that was written or found good.

    Attributes:
        manifest: What it holds.
        sha256: Of the zip itself, in hexadecimal.
        size_bytes: Of the zip itself.
    """

    manifest: Manifest
    sha256: str
    size_bytes: int


def write_archive(
    out: Path | str, results: str = "recorded", root: Path = PROJECT_ROOT
) -> Archived:
    """Writes the artifact, whole or not at all.

    Args:
        out: The .zip; it must not exist.
        results: "recorded" takes the committed records and notebooks, "rerun" those under build/.
        root: The checkout.

    Raises:
        UserError: `out` exists or is no .zip, nothing to archive, a damaged record or notebook, or
            no space.
    """
    out = Path(out)
    if out.suffix != ".zip":
        raise UserError(f"an archive is a .zip; got {out}; try {out.with_suffix('.zip')}")
    if out.exists():
        raise UserError(f"{out} exists and is not overwritten; delete it or give another name")
    if results not in SOURCES:
        raise unknown_choice("results", results, SOURCES)
    records, notebooks = (root / folder for folder in SOURCES[results])
    runs, count = _records(records)
    contents = {**_project_files(root), **runs, **_notebooks(notebooks)}
    manifest = Manifest(
        version=metadata.version("dreal-companion"),
        commit=git_facts(root).commit,
        results=results,
        records=count,
        files=[_entry(path, content) for path, content in sorted(contents.items())],
    )
    content = _zipped({**contents, MANIFEST: _json(manifest)})
    return Archived(manifest, write_bytes_atomic(out, content), len(content))


def check_archive(path: Path | str) -> Archived:
    """Checks that an artifact holds what its manifest says, and that its records can be read.

    Nothing is unpacked before its size and checksum were found right.

    Args:
        path: The .zip.

    Raises:
        UserError: In one line, what is missing, changed or too much, and the remedy.
    """
    path = Path(path)
    try:
        with zipfile.ZipFile(path) as zipped:
            manifest = _manifest(path, zipped)
            _refuse_differences(path, zipped, manifest)
            _refuse_bad_records(path, zipped, manifest)
        with open(path, "rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        return Archived(manifest, digest, path.stat().st_size)
    except UserError:
        raise
    except FileNotFoundError:
        raise UserError(f"there is no {path}; `dreal archive {path}` makes it") from None
    except UNREADABLE as error:
        raise _damaged(path, f"is not a readable zip ({' '.join(str(error).split())})") from None


def _project_files(root: Path) -> dict[str, bytes]:
    return {archived: _read(root / name) for name, archived in PROJECT_FILES.items()}


def _records(folder: Path) -> tuple[dict[str, bytes], int]:
    """The files that the records of a folder consist of, and their number; all were checked."""
    stored = find_records(folder)
    if not stored:
        raise UserError(f"there is no record in {folder} to archive; run `dreal reproduce` first")
    paths = [run.path for run in stored]
    for run in stored:
        paths += [run.path.with_name(item.name) for item in run.record.files.present]
    contents = {f"records/{path.relative_to(folder).as_posix()}": _read(path) for path in paths}
    return contents, len(stored)


def _notebooks(folder: Path) -> dict[str, bytes]:
    """The executed notebooks of a folder, and each figure in them as a file of its own."""
    paths = sorted(folder.glob("*.ipynb"))
    if not paths:
        raise UserError(f"there is no executed notebook in {folder}; run `dreal reproduce` first")
    contents = {}
    for path in paths:
        content = _read(path)
        contents[f"notebooks/{path.name}"] = content
        try:
            figures = _figures(json.loads(content))
        except (ValueError, KeyError, TypeError, AttributeError):
            raise UserError(
                f"{path} is not a notebook; make it again with `make notebooks`"
            ) from None
        contents |= {f"figures/{path.stem}/{name}.svg": figure for name, figure in figures.items()}
    return contents


def _figures(notebook: dict) -> dict[str, bytes]:
    """The SVG pictures in a notebook's outputs, by label, or by number where they have none."""
    found: dict[str, bytes] = {}
    for cell in notebook["cells"]:
        for output in cell.get("outputs", []):
            picture = output.get("data", {}).get("image/svg+xml")
            if picture is not None:
                label = cell["metadata"].get("mystnb", {}).get("figure", {}).get("name", "figure")
                name = label if label not in found else f"{label}-{len(found) + 1}"
                found[name] = "".join(picture).encode("utf-8")
    return found


def _entry(path: str, content: bytes) -> Entry:
    try:
        digest = hashlib.sha256(content).hexdigest()
        return Entry(path=path, size_bytes=len(content), sha256=digest)
    except ValidationError:
        raise UserError(
            f"cannot archive {path!r}; names of files are letters, digits and any of _ . + -"
        ) from None


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UserError(
            f"cannot read {path}: {error.strerror or error}; an archive is made from a checkout"
        ) from None


def _json(manifest: Manifest) -> bytes:
    text = json.dumps(manifest.model_dump(mode="json"), indent=2, sort_keys=True)
    return (text + "\n").encode("utf-8")


def _zipped(contents: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as zipped:
        for name, content in sorted(contents.items()):
            info = zipfile.ZipInfo(name)  # of 1980-01-01, whatever the file's own time
            info.create_system = 3  # Unix, wherever it is made
            info.external_attr = 0o100644 << 16
            zipped.writestr(info, content)
    return buffer.getvalue()


def _manifest(path: Path, zipped: zipfile.ZipFile) -> Manifest:
    if MANIFEST not in zipped.namelist():
        raise _damaged(path, f"holds no {MANIFEST}")
    if zipped.getinfo(MANIFEST).file_size > LARGEST_MANIFEST_BYTES:
        raise _damaged(path, f"has a {MANIFEST} of more than {LARGEST_MANIFEST_BYTES} bytes")
    content = zipped.read(MANIFEST)
    try:
        return Manifest.model_validate_json(content)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"]) or "content"
        raise _damaged(path, f"has a {MANIFEST} with a bad {field}: {first['msg']}") from None


def _refuse_differences(path: Path, zipped: zipfile.ZipFile, manifest: Manifest) -> None:
    names = zipped.namelist()
    listed = {entry.path: entry for entry in manifest.files}
    wrong = [f"{name} (twice)" for name in sorted({n for n in names if names.count(n) > 1})]
    wrong += [f"{name} (missing)" for name in sorted(listed.keys() - set(names))]
    wrong += [f"{name} (not listed)" for name in sorted(set(names) - listed.keys() - {MANIFEST})]
    for name in sorted(listed.keys() & set(names)):
        # The size first: a small entry may unpack to a huge one.
        same = zipped.getinfo(name).file_size == listed[name].size_bytes
        if not same or _digest(zipped, name) != listed[name].sha256:
            wrong.append(f"{name} (changed)")
    if wrong:
        more = f" and {len(wrong) - 3} more" if len(wrong) > 3 else ""
        raise _damaged(path, f"is not as its {MANIFEST} says: {', '.join(wrong[:3])}{more}")


def _digest(zipped: zipfile.ZipFile, name: str) -> str | None:
    try:
        with zipped.open(name) as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except zipfile.BadZipFile:  # its own checksum already says so
        return None


def _refuse_bad_records(path: Path, zipped: zipfile.ZipFile, manifest: Manifest) -> None:
    with tempfile.TemporaryDirectory() as folder:
        for entry in manifest.files:
            if entry.path.startswith("records/"):
                target = Path(folder) / entry.path
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(zipped.read(entry.path))
        try:
            count = len(find_records(Path(folder) / "records"))
        except UserError as error:
            problem = str(error).replace(f"{folder}/", "")
            raise UserError(f"{path} holds a bad record: {problem}") from None
    if count != manifest.records:
        raise _damaged(path, f"holds {count} records, its {MANIFEST} says {manifest.records}")


def _damaged(path: Path, problem: str) -> UserError:
    return UserError(f"{path} {problem}; fetch it again, or make it with `dreal archive`")
