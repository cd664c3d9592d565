"""The artifact: what it holds, equal bytes, and every way in which a zip can be wrong."""

import hashlib
import json
import os
import shutil
import sys
import time
import warnings
import zipfile
from pathlib import Path

import pytest
from synthetic_records import write_run

from book.companion import commands
from book.companion.reproduction import archive
from book.companion.reproduction.archive import PROJECT_FILES, check_archive, write_archive
from dreal_lib.errors import UserError

REINFORCED = "table_1/se_resnet50_reinforced"
NOTEBOOK = {
    "cells": [
        {"cell_type": "markdown", "metadata": {}, "source": "# A page"},
        {
            "cell_type": "code",
            "metadata": {"mystnb": {"figure": {"name": "fig-one"}}},
            "outputs": [{"data": {"image/svg+xml": ["<svg>", "é</svg>"], "text/plain": "x"}}],
        },
        {
            "cell_type": "code",
            "metadata": {},
            "outputs": [{"name": "stdout", "text": "no picture"}],
        },
    ]
}


def write_notebook(folder: Path, content: object = NOTEBOOK) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "fig_6.ipynb"
    path.write_text(json.dumps(content))
    return path


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A small project: a pair of runs, a notebook, and the files about the project."""
    root = tmp_path / "checkout"
    for name in PROJECT_FILES:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(f"this is {name}\n")
    write_run(root / "book/records", "table_1/se_resnet50_baseline")
    write_run(root / "book/records", REINFORCED)
    write_notebook(root / "book/notebooks")
    return root


@pytest.fixture
def made(checkout: Path, tmp_path: Path) -> Path:
    out = tmp_path / "artifact.zip"
    write_archive(out, root=checkout)
    return out


def contents(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as zipped:
        return {name: zipped.read(name) for name in zipped.namelist()}


def rewrite(path: Path, files: dict[str, bytes], *, relist: bool = False) -> None:
    """Writes the zip anew; with `relist` its manifest is made to agree with what it holds."""
    if relist:
        manifest = json.loads(files["manifest.json"])
        manifest["files"] = [
            {"path": name, "size_bytes": len(body), "sha256": hashlib.sha256(body).hexdigest()}
            for name, body in files.items()
            if name != "manifest.json"
        ]
        files = {**files, "manifest.json": json.dumps(manifest).encode()}
    with zipfile.ZipFile(path, "w") as zipped:
        for name, body in files.items():
            zipped.writestr(name, body)


def test_it_holds_records_companions_notebooks_figures_and_pins(made: Path, checkout: Path):
    found = contents(made)
    run = f"records/smoke/{REINFORCED}/seed0"
    for suffix in (".json", ".history.csv", ".blocks.csv"):
        original = checkout / "book" / f"{run}{suffix}"
        assert found[f"{run}{suffix}"] == original.read_bytes()
    assert found["figures/fig_6/fig-one.svg"] == "<svg>é</svg>".encode()
    assert found["notebooks/fig_6.ipynb"] == (checkout / "book/notebooks/fig_6.ipynb").read_bytes()
    assert found["CITATION.cff"] == b"this is CITATION.cff\n"
    assert found["environment/constraints.txt"] == b"this is constraints.txt\n"


def test_every_file_is_listed_with_its_checksum(made: Path):
    found = contents(made)
    manifest = json.loads(found.pop("manifest.json"))
    assert {entry["path"] for entry in manifest["files"]} == set(found)
    for entry in manifest["files"]:
        assert entry["sha256"] == hashlib.sha256(found[entry["path"]]).hexdigest()
        assert entry["size_bytes"] == len(found[entry["path"]])
    assert manifest["records"] == 2
    assert manifest["commit"] is None  # this checkout is in no repository


def test_the_same_files_make_the_same_bytes_at_any_time(made: Path, checkout: Path, tmp_path: Path):
    later = time.time() + 10_000
    for path in checkout.rglob("*"):
        os.utime(path, (later, later))
        path.chmod(0o700)
    again = write_archive(tmp_path / "again.zip", root=checkout)
    assert (tmp_path / "again.zip").read_bytes() == made.read_bytes()
    assert again.sha256 == hashlib.sha256(made.read_bytes()).hexdigest()


def test_a_good_one_is_found_good_also_packed_anew(made: Path):
    written = check_archive(made)
    assert written.manifest.records == 2
    rewrite(made, contents(made))  # another tool's times and order do not matter
    assert check_archive(made).manifest == written.manifest


def test_runs_of_this_machine_are_archived_apart(checkout: Path, tmp_path: Path):
    write_run(checkout / "build/records", REINFORCED, seed=7)
    write_notebook(checkout / "build/source/notebooks")
    write_archive(tmp_path / "own.zip", "rerun", root=checkout)
    names = set(contents(tmp_path / "own.zip"))
    assert f"records/smoke/{REINFORCED}/seed7.json" in names
    assert f"records/smoke/{REINFORCED}/seed0.json" not in names


def test_nothing_is_overwritten(made: Path, checkout: Path):
    before = made.read_bytes()
    with pytest.raises(UserError, match="is not overwritten"):
        write_archive(made, root=checkout)
    assert made.read_bytes() == before


@pytest.mark.parametrize(
    ("results", "name", "spoil", "message"),
    [
        ("recorded", "out.tar", None, r"try .*out\.zip"),
        ("recordd", "out.zip", None, "did you mean 'recorded'"),
        ("rerun", "out.zip", None, "no record in .*build/records"),
        ("recorded", "out.zip", "book/notebooks/fig_6.ipynb", "no executed notebook"),
        ("recorded", "out.zip", "CITATION.cff", "cannot read .*CITATION.cff"),
        ("recorded", "out.zip", f"book/records/smoke/{REINFORCED}/seed0.history.csv", "history"),
        ("recorded", "LICENSE/out.zip", None, "cannot write"),
    ],
)
def test_bad_input_leaves_nothing(checkout: Path, results, name, spoil, message):
    if spoil:
        (checkout / spoil).unlink()
    before = sorted(checkout.rglob("*"))
    with pytest.raises(UserError, match=message) as refused:
        write_archive(checkout / name, results, root=checkout)
    assert len(str(refused.value).splitlines()) == 1
    assert sorted(checkout.rglob("*")) == before


@pytest.mark.parametrize("content", [[], {"cells": 3}, {"cells": [{"outputs": [3]}]}, "text"])
def test_what_is_no_notebook_is_refused(checkout: Path, tmp_path: Path, content):
    write_notebook(checkout / "book/notebooks", content)
    with pytest.raises(UserError, match="is not a notebook"):
        write_archive(tmp_path / "out.zip", root=checkout)


def test_a_name_that_could_not_be_unpacked_everywhere_is_refused(checkout: Path, tmp_path: Path):
    notebook = checkout / "book/notebooks/fig_6.ipynb"
    shutil.copy(notebook, notebook.with_name("fig 6:a.ipynb"))
    with pytest.raises(UserError, match=r"cannot archive '.*fig 6:a"):
        write_archive(tmp_path / "out.zip", root=checkout)


def refused(path: Path) -> str:
    with pytest.raises(UserError) as error:
        check_archive(path)
    assert len(str(error.value).splitlines()) == 1
    return str(error.value)


def test_each_difference_is_named(made: Path):
    files = contents(made)
    rewrite(made, {**files, "LICENSE": b"this is licence\n"})  # as long as before
    assert "LICENSE (changed)" in refused(made)
    rewrite(made, {name: body for name, body in files.items() if name != "LICENSE"})
    assert "LICENSE (missing)" in refused(made)
    rewrite(made, {**files, "notebooks/added.ipynb": b"{}"})
    assert "notebooks/added.ipynb (not listed)" in refused(made)
    rewrite(made, files)
    with zipfile.ZipFile(made, "a") as zipped, warnings.catch_warnings(action="ignore"):
        zipped.writestr("LICENSE", files["LICENSE"])
    assert "LICENSE (twice)" in refused(made)


def test_a_flipped_bit_is_found(made: Path):
    body = bytearray(made.read_bytes())
    body[body.index(b"this is LICENSE")] ^= 1
    made.write_bytes(body)
    assert "LICENSE (changed)" in refused(made)


def test_an_edited_record_is_found_though_it_is_listed(made: Path):
    files = contents(made)
    history = f"records/smoke/{REINFORCED}/seed0.history.csv"
    rewrite(made, {**files, history: files[history] + b"\n"}, relist=True)
    assert "bad record" in refused(made)
    rewrite(
        made, {name: body for name, body in files.items() if "baseline" not in name}, relist=True
    )
    assert "holds 1 records, its manifest.json says 2" in refused(made)


@pytest.mark.parametrize("name", ["../escape", "/etc/escape", "records/../../escape", ".hidden/x"])
def test_an_entry_cannot_leave_its_folder(made: Path, name: str):
    rewrite(made, {**contents(made), name: b"x"}, relist=True)
    assert "manifest.json with a bad files." in refused(made)


@pytest.mark.parametrize(
    "manifest", [b"", b"[]", b"{", b"\xff", b'{"format_version": 2}', b'{"files": "all"}']
)
def test_a_bad_manifest_is_refused(made: Path, manifest: bytes):
    rewrite(made, {**contents(made), "manifest.json": manifest})
    assert "manifest.json with a bad" in refused(made)


def test_what_is_no_archive_is_refused(made: Path, tmp_path: Path, monkeypatch):
    assert f"dreal archive {tmp_path / 'none.zip'}" in refused(tmp_path / "none.zip")
    assert "is not a readable zip" in refused(tmp_path)
    made.write_bytes(made.read_bytes()[:1000])
    assert "is not a readable zip" in refused(made)
    made.write_bytes(b"")
    assert "is not a readable zip" in refused(made)
    rewrite(made, {"a.txt": b"x"})
    assert "holds no manifest.json" in refused(made)
    monkeypatch.setattr(archive, "LARGEST_MANIFEST_BYTES", 3)
    rewrite(made, {"manifest.json": b"long"})
    assert "of more than 3 bytes" in refused(made)


def test_the_command_writes_checks_and_refuses(checkout: Path, tmp_path: Path, monkeypatch, capsys):
    monkeypatch.setattr(archive.write_archive, "__defaults__", ("recorded", checkout))
    out = str(tmp_path / "own.zip")

    def dreal(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["dreal", "archive", *words])
        with pytest.raises(SystemExit) as stopped:
            commands.main()
        return stopped.value.code or 0, *capsys.readouterr()

    status, written, _ = dreal(out)
    assert status == 0
    status, checked, _ = dreal("--check", out)
    assert status == 0
    assert checked == written.replace("written", "checked")
    status, _, complaint = dreal(out)
    assert status == 2
    assert (
        complaint == f"dreal: {out} exists and is not overwritten; delete it or give another name\n"
    )
