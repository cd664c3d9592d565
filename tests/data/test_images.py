"""Listing class folders: what is found, what is refused, and how it is said."""

import errno
import json
import os
import shutil

import numpy as np
import pytest
from PIL import Image
from tiny_images import CLASSES, write_tiny_set

from dreal_lib.data.identities import open_identity_set
from dreal_lib.data.images import (
    content_fingerprint,
    listing_stamp,
    open_image_set,
)
from dreal_lib.data.listing import left_out_text
from dreal_lib.errors import UserError


@pytest.fixture
def root(tmp_path):
    return write_tiny_set(tmp_path / "set")


def refusal(function, *arguments) -> str:
    with pytest.raises(UserError) as caught:
        function(*arguments)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_files_are_listed_sorted_with_their_class(root):
    images = open_image_set(root)
    assert images.classes == images.train.classes == images.val.classes == CLASSES
    expected = sorted(
        (path.relative_to(root).as_posix() for path in (root / "train").glob("*/*")),
        key=lambda file: (file.split("/")[1], file.split("/")[2]),
    )
    assert list(images.train.files) == expected
    assert [file.split("/")[1] for file in images.val.files] == [
        CLASSES[label] for label in images.val.labels
    ]
    assert (len(images.train), len(images.val)) == (27, 12)
    assert images.train.labels.dtype == np.int64


def test_the_order_does_not_depend_on_the_order_of_creation(tmp_path, root):
    other = write_tiny_set(tmp_path / "other", classes=CLASSES[::-1])
    assert open_image_set(other).train.files == open_image_set(root).train.files


def test_a_class_limit_keeps_the_first_in_sorted_order(root):
    images = open_image_set(root, classes=2)
    assert images.classes == ("ant", "bee")
    assert (len(images.train), len(images.val)) == (18, 8)


@pytest.mark.parametrize("classes", [-1, 0, 1, 4])
def test_an_impossible_class_limit_is_refused(root, classes):
    assert f"from 2 to 3 for {root}; got {classes}" in refusal(open_image_set, root, classes)


def test_a_class_in_val_and_not_in_train_is_refused(root):
    (root / "val" / "dog").mkdir()
    message = refusal(open_image_set, root)
    assert "val/dog" in message
    assert "has no train/dog" in message


def test_a_class_in_train_and_not_in_val_is_let_through(root):
    for path in (root / "val" / "bee").iterdir():
        path.unlink()
    (root / "val" / "bee").rmdir()
    images = open_image_set(root)
    assert images.classes == CLASSES
    assert set(images.val.labels) == {0, 2}


@pytest.mark.parametrize("missing", ["", "train", "val"])
def test_a_missing_folder_is_named_with_the_layout(tmp_path, root, missing):
    broken = tmp_path / "nowhere" if not missing else root
    if missing:
        (root / missing).rename(tmp_path / "moved")
    message = refusal(open_image_set, broken)
    assert f"no folder {broken / (missing or 'train')}" in message
    assert "train/CLASS" in message


def test_a_file_in_place_of_the_root_is_refused(tmp_path):
    (tmp_path / "set").write_text("")
    assert "no folder" in refusal(open_image_set, tmp_path / "set")


def test_an_empty_folder_is_refused(tmp_path):
    (tmp_path / "train").mkdir()
    (tmp_path / "val").mkdir()
    assert "holds no class folders" in refusal(open_image_set, tmp_path)


def test_a_class_folder_without_image_is_named(root):
    (root / "train" / "dog").mkdir()
    (root / "train" / "dog" / "notes.txt").write_text("no image")
    message = refusal(open_image_set, root)
    assert f"class folder {root / 'train' / 'dog'} holds no image" in message


def test_a_val_split_without_image_is_refused(root):
    for path in (root / "val").glob("*/*"):
        path.unlink()
    assert f"{root / 'val'} holds no image" in refusal(open_image_set, root)


def test_hidden_and_other_files_are_ignored(root):
    expected = open_image_set(root).train.files
    hidden = root / "train" / ".cache"
    hidden.mkdir()
    (hidden / "x.png").write_bytes(b"")
    (root / "train" / "ant" / "._0.jpg").write_bytes(b"left by another system")
    (root / "train" / "ant" / "notes.txt").write_text("")
    (root / "train" / "ant" / "folder.png").mkdir()
    (root / "train" / "list.csv").write_text("")
    assert open_image_set(root).train.files == expected


def test_suffixes_may_be_capital(root):
    (root / "train" / "ant" / "0.jpg").rename(root / "train" / "ant" / "0.JPEG")
    assert "train/ant/0.JPEG" in open_image_set(root).train.files


def test_without_a_manifest_the_folder_names_the_set(root, monkeypatch):
    assert open_image_set(root).name == "set"
    assert open_image_set(root).titles == CLASSES
    monkeypatch.chdir(root)
    assert open_image_set(".").name == "set"


def test_a_manifest_names_the_set_and_titles_its_classes(root):
    classes = [{"name": "cat", "title": "domestic cat"}, {"name": "ant"}]
    (root / "manifest.json").write_text(json.dumps({"name": "pets", "classes": classes}))
    images = open_image_set(root)
    assert images.name == "pets"
    assert images.titles == ("ant", "bee", "domestic cat")


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        '"x"',
        "[" * 100_000,
        '{"name": 7}',
        '{"name": "two\\nlines"}',
        '{"name": ["x"]}',
        '{"classes": 3}',
        '{"classes": [{"title": 1}]}',
        '{"classes": [{"name": 1}]}',
        '{"classes": [{"name": "ant", "title": 1}]}',
    ],
)
def test_a_damaged_manifest_is_named(root, text):
    (root / "manifest.json").write_text(text)
    assert str(root / "manifest.json") in refusal(open_image_set, root)


def test_the_stamp_sees_names_sizes_and_times(root):
    def stamp():
        return listing_stamp(open_image_set(root).train)

    first = stamp()
    assert stamp() == first
    file = root / "train" / "ant" / "0.jpg"
    file.write_bytes(file.read_bytes() + b"\0")
    larger = stamp()
    file.rename(file.with_name("00.jpg"))
    assert len({first, larger, stamp()}) == 3


def test_the_fingerprint_is_of_names_and_contents_in_any_order():
    hashes = {"train/a/1.png": "aa", "train/b/2.png": "bb"}
    same = dict(reversed(hashes.items()))
    assert content_fingerprint(hashes) == content_fingerprint(same)
    assert content_fingerprint(hashes) != content_fingerprint({**hashes, "train/b/2.png": "bc"})
    assert content_fingerprint(hashes) != content_fingerprint(
        {"train/a/1.png": "bb", "train/b/2.png": "aa"}
    )


@pytest.fixture
def unreadable(monkeypatch):
    """Makes a folder unreadable, for the superuser as well, whom permissions do not stop."""

    def make(folder):
        scan = os.scandir

        def scandir(path="."):
            if os.fspath(path) == os.fspath(folder):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), os.fspath(path))
            return scan(path)

        monkeypatch.setattr(os, "scandir", scandir)

    return make


@pytest.mark.parametrize("place", ["val/{}", "train/{}", "val"])
def test_a_folder_that_cannot_be_listed_is_named(root, unreadable, place):
    folder = root / place.format(CLASSES[0])
    unreadable(folder)
    said = refusal(open_image_set, root)
    assert f"cannot read {folder} (Permission denied, permissions drwx" in said


def test_an_identity_that_cannot_be_listed_is_named(tmp_path, unreadable):
    for name in ("train/a/1.png", "train/b/1.png", "query/c/1.png", "gallery/c/2.png"):
        (tmp_path / name).parent.mkdir(parents=True)
        Image.new("RGB", (4, 4)).save(tmp_path / name)
    assert len(open_identity_set(tmp_path).train) == 2
    unreadable(tmp_path / "train" / "b")
    assert f"cannot read {tmp_path / 'train' / 'b'} (Perm" in refusal(open_identity_set, tmp_path)


@pytest.mark.parametrize("place", ["train/{}/caf\udce9.png", "train/caf\udce9/1.png"])
def test_a_name_that_is_not_utf8_is_named(root, place):
    path = root / place.format(CLASSES[0])
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"")
    assert r"'caf\xe9" in refusal(open_image_set, root)


def test_a_root_that_is_not_utf8_is_named(tmp_path):
    root = write_tiny_set(tmp_path / "caf\udce9")
    assert r"caf\xe9" in refusal(open_image_set, root)
    assert r"caf\xe9" in refusal(open_identity_set, root)


def test_what_is_left_out_is_counted(root):
    folder = root / "train" / CLASSES[0]
    for name in ("a.gif", "b.GIF", "c.avif", "d.jfif", "notes", ".hidden.gif"):
        (folder / name).write_bytes(b"")
    (folder / "deeper").mkdir()
    (folder / "gone.png").symlink_to(root / "nowhere.png")
    images = open_image_set(root)
    assert images.left_out == {
        ".gif": 2,
        ".avif": 1,
        ".jfif": 1,
        "no ending": 1,
        "folder": 1,
        "broken link": 1,
    }
    assert len(images.train) == 27
    assert "1 .avif, 2 .gif, 1 .jfif, 1 broken link" in left_out_text(images.left_out)


def test_an_unpacked_tiny_imagenet_is_sent_to_its_command(root):
    (root / "wnids.txt").write_text("")
    (root / "val" / "val_annotations.txt").write_text("")
    assert "`dreal prepare tiny-imagenet" in refusal(open_image_set, root)


def test_a_single_class_is_refused(tmp_path):
    write_tiny_set(tmp_path / "one", train=2, val=1)
    for split in ("train", "val"):
        for folder in sorted((tmp_path / "one" / split).iterdir())[1:]:
            shutil.rmtree(folder)
    assert "one class folder" in refusal(open_image_set, tmp_path / "one")


def test_a_folder_whose_name_is_two_lines_is_refused(tmp_path):
    root = write_tiny_set(tmp_path / "two\nlines", train=1, val=1)
    assert "rename" in refusal(open_image_set, root)
