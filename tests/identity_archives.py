"""Hand-made re-identification sets, as folders and as zips, and what was prepared from them."""

import csv
import json
import zipfile
from pathlib import Path


def write_files(top: Path, names: list[str]) -> Path:
    """Files whose content is their path, so that a mix-up shows."""
    for name in names:
        (top / name).parent.mkdir(parents=True, exist_ok=True)
        (top / name).write_bytes(name.encode())
    return top


def write_zip(path: Path, names: list[str], top: str = "") -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name in names:
            archive.writestr(f"{top}{name}", name)
    return path


def index(root: Path) -> list[tuple[str, ...]]:
    with (root / "index.csv").open(newline="") as stream:
        header, *rows = csv.reader(stream)
    assert header == ["file", "identity", "camera", "split"]
    return [tuple(row) for row in rows]


def manifest(root: Path) -> dict:
    return json.loads((root / "manifest.json").read_text())


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
