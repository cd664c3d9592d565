"""A set appears whole or not at all, nothing is overwritten, and every change is found."""

import ast
import errno
import hashlib
import json
import os
import signal
import threading
from pathlib import Path

import pytest

import data_prep
from data_prep.errors import PreparationError
from data_prep.layout import already_prepared, read_manifest, verify, write_manifest
from data_prep.staging import new_set


def fill(writer):
    for name, title in (("b_cat", "cat"), ("a_dog", "dog")):
        writer.add_class(name, title)
        for split in ("train", "val"):
            image = writer.add_image(split, name, "1.jpg", f"{split} {name}".encode())
    writer.add_mask(image, b"mask")
    writer.add_box(image, (1, 2, 3, 4))


def make(root, then=None):
    """Prepare a small set and, before it is complete, call `then` with its writer."""
    with new_set(root, "pets", "a test", {"seed": 1}, []) as writer:
        fill(writer)
        if then is not None:
            then(writer)
    return root


def test_a_set_has_the_documented_files_and_digest(tmp_path, listing):
    root = make(tmp_path / "deep" / "pets")
    assert (root / "boxes.csv").read_text() == (
        "file,x_min,y_min,x_max,y_max\nval/a_dog/1.jpg,1,2,3,4\n"
    )
    files = {
        "boxes.csv": (root / "boxes.csv").read_bytes(),
        "masks/val/a_dog/1.png": b"mask",
        "train/a_dog/1.jpg": b"train a_dog",
        "train/b_cat/1.jpg": b"train b_cat",
        "val/a_dog/1.jpg": b"val a_dog",
        "val/b_cat/1.jpg": b"val b_cat",
    }
    digests = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    joined = "".join(f"{name}\t{digests[name]}\n" for name in sorted(files))
    manifest = json.loads((root / "manifest.json").read_text())
    assert manifest == {
        "layout_version": 1,
        "name": "pets",
        "source": "a test",
        "settings": {"seed": 1},
        "classes": [{"name": "a_dog", "title": "dog"}, {"name": "b_cat", "title": "cat"}],
        "splits": {"train": {"images": 2}, "val": {"images": 2}},
        "archives": [],
        "files_sha256": hashlib.sha256(joined.encode()).hexdigest(),
    }
    sums = "".join(f"{digests[name]}  {name}\n" for name in sorted(files))
    assert (root / "SHA256SUMS").read_text() == sums
    assert verify(root) == manifest
    assert listing(tmp_path / "deep")[0] == "pets", "a hidden folder was left"
    assert root.stat().st_mode == (tmp_path / "deep").stat().st_mode


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda root: (root / "train/b_cat/1.jpg").write_bytes(b"x"), "b_cat/1.jpg' was changed"),
        (lambda root: (root / "masks/val/a_dog/1.png").unlink(), "1.png' is missing"),
        (lambda root: (root / "val/b_cat/2.jpg").write_bytes(b"x"), "2.jpg' is not of the set"),
        (lambda root: (root / "boxes.csv").write_text("file\n"), "boxes.csv' was changed"),
        (lambda root: (root / "SHA256SUMS").unlink(), "cannot read .*SHA256SUMS"),
        (lambda root: (root / "SHA256SUMS").write_text("00  a\n"), "do not belong together"),
        (lambda root: (root / "manifest.json").unlink(), "is not a prepared set"),
        (lambda root: (root / "manifest.json").write_text('{"lay'), "cannot read .*manifest.json"),
        (lambda root: (root / "manifest.json").write_text("[]"), "cannot read .*manifest.json"),
        (lambda root: write_manifest(root, {"layout_version": 9}), "layout version 9"),
    ],
)
def test_verify_names_each_change(tmp_path, change, message):
    root = make(tmp_path / "pets")
    change(root)
    with pytest.raises(PreparationError, match=message) as caught:
        verify(root)
    assert "\n" not in str(caught.value)


def test_verify_names_the_first_of_several_and_leaves_a_readers_cache_alone(tmp_path):
    root = make(tmp_path / "pets")
    (root / ".cache").mkdir()
    (root / ".cache" / "pixels").write_bytes(b"x")
    verify(root)
    (root / "val/a_dog/1.jpg").write_bytes(b"x")
    (root / "train/b_cat/1.jpg").unlink()
    with pytest.raises(PreparationError, match=r"train/b_cat/1\.jpg' is missing"):
        verify(root)


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, SystemExit, PreparationError])
def test_a_failure_leaves_nothing(tmp_path, listing, error):
    def fail(_):
        raise error("stop")

    empty = tmp_path / "empty"
    empty.mkdir()
    for root in (tmp_path / "new" / "deep" / "pets", empty):
        with pytest.raises(error):
            make(root, fail)
        assert listing(tmp_path) == ["empty"]


def test_a_polite_kill_leaves_nothing(tmp_path, listing):
    assert threading.current_thread() is threading.main_thread(), "signals reach the main thread"
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit):
        make(tmp_path / "pets", lambda _: signal.raise_signal(signal.SIGTERM))
    assert listing(tmp_path) == []
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_full_disk_is_one_line_and_leaves_nothing(tmp_path, listing, monkeypatch):
    open_file = Path.open

    def full(self, mode="r", *args, **kwargs):
        if self.name == "1.jpg" and "val" in self.parts:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self))
        return open_file(self, mode, *args, **kwargs)

    monkeypatch.setattr(Path, "open", full)
    with pytest.raises(PreparationError, match=r"no space left.*free some space") as caught:
        make(tmp_path / "pets")
    assert "\n" not in str(caught.value)
    assert listing(tmp_path) == []


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(PreparationError, match=r"cannot prepare.*choose another"):
        make(tmp_path / "file" / "pets")
    assert (tmp_path / "file").read_text() == "mine"


def test_what_is_there_is_never_touched(tmp_path, listing):
    mine = tmp_path / "mine"
    mine.mkdir()
    assert not already_prepared(mine, "pets", {})
    assert not already_prepared(tmp_path / "absent", "pets", {})
    (mine / "holiday.jpg").write_bytes(b"dear")
    with pytest.raises(PreparationError, match="not empty and not a prepared set"):
        already_prepared(mine, "pets", {})
    with pytest.raises(PreparationError, match="a file, not a folder"):
        already_prepared(mine / "holiday.jpg", "pets", {})
    with pytest.raises(PreparationError, match="cannot prepare"):
        make(mine)  # even where a module forgot to ask
    assert listing(tmp_path) == ["mine", "mine/holiday.jpg"]
    assert (mine / "holiday.jpg").read_bytes() == b"dear"


def test_the_same_request_finds_its_set_and_another_is_refused(tmp_path):
    root = make(tmp_path / "pets")
    assert already_prepared(root, "pets", {"seed": 1})
    assert already_prepared(root, "pets", {"seed": 1}, [])
    with pytest.raises(
        PreparationError, match=r'its settings is {"seed": 1}, asked for {"seed": 2'
    ):
        already_prepared(root, "pets", {"seed": 2})
    with pytest.raises(PreparationError, match="another prepared set: its name"):
        already_prepared(root, "birds", {"seed": 1})
    with pytest.raises(PreparationError, match="another prepared set: its archives"):
        already_prepared(root, "pets", {"seed": 1}, [{"file": "a", "sha256": "0"}])


@pytest.mark.parametrize(
    ("split", "class_name", "file_name"),
    [
        ("test", "a_dog", "2.jpg"),
        ("train", "a_bird", "2.jpg"),
        ("train", "a_dog", "../2.jpg"),
        ("train", "a_dog", ".."),
        ("train", "a_dog", "a\\b.jpg"),
        ("train", "a_dog", ""),
        ("train", "a_dog", "1.jpg"),
    ],
)
def test_a_misplaced_image_is_refused(tmp_path, listing, split, class_name, file_name):
    with pytest.raises(PreparationError):
        make(tmp_path / "pets", lambda w: w.add_image(split, class_name, file_name, b"x"))
    assert listing(tmp_path) == []


def test_a_set_without_validation_images_is_refused(tmp_path, listing):
    def train_only():
        with new_set(tmp_path / "pets", "pets", "a test", {}, []) as writer:
            writer.add_class("a_dog", "dog")
            writer.add_image("train", "a_dog", "1.jpg", b"x")

    with pytest.raises(PreparationError, match="no image for the split 'val'"):
        train_only()
    assert listing(tmp_path) == []


def test_an_interrupted_manifest_leaves_the_old_one(tmp_path, listing, monkeypatch):
    write_manifest(tmp_path, {"layout_version": 1, "name": "old"})

    def fail(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(KeyboardInterrupt):
        write_manifest(tmp_path, {"layout_version": 1, "name": "new"})
    assert read_manifest(tmp_path)["name"] == "old"
    assert listing(tmp_path) == ["manifest.json"]


def test_data_prep_imports_nothing_of_the_library():
    for path in Path(data_prep.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            assert not any(name.startswith("dreal_lib") for name in names), path
