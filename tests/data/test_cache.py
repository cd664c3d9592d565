"""The decoded cache: the same pixels as decoding by hand, and never a stale or half-written one."""

import errno
import hashlib
import json
import os
import resource
import shutil
import threading
from contextlib import contextmanager

import numpy as np
import pytest
from PIL import Image
from tiny_images import noise, write_tiny_set
from torchvision import transforms

from dreal_lib.data import cache
from dreal_lib.data.images import open_image_set
from dreal_lib.errors import UserError

SIDE = 16


@pytest.fixture
def root(tmp_path):
    return write_tiny_set(tmp_path / "set", train=3, val=2)


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "cache"


def opened(root, folder, side=SIDE, classes=None):
    return cache.open_cache(open_image_set(root, classes), side, folder)


def own_folder(folder):
    (found,) = folder.glob("set-*")
    return found


def snapshot(root) -> dict:
    """Every file below a folder with its content and time."""
    files = (path for path in root.rglob("*") if path.is_file())
    return {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in files}


def decoded_by_hand(root, split) -> np.ndarray:
    cut = transforms.Compose([transforms.Resize(SIDE), transforms.CenterCrop(SIDE)])
    files = [
        file
        for name in sorted(path.name for path in (root / split).iterdir())
        for file in sorted((root / split / name).iterdir())
    ]
    return np.stack([np.asarray(cut(Image.open(file).convert("RGB"))) for file in files])


def test_the_arrays_are_what_torchvision_decodes(root, folder):
    found = opened(root, folder)
    for split, count in (("train", 9), ("val", 6)):
        assert found.images[split].shape == (count, SIDE, SIDE, 3)
        assert found.images[split].dtype == np.uint8
        assert np.array_equal(found.images[split], decoded_by_hand(root, split))
        assert np.array_equal(found.labels[split], np.repeat([0, 1, 2], count // 3))


def test_a_fresh_cache_is_used_without_decoding(root, folder, monkeypatch):
    first = opened(root, folder)
    assert first.rebuilt == "there was none"
    monkeypatch.setattr(cache, "read_image", lambda path: pytest.fail(f"decoded {path} again"))
    second = opened(root, folder)
    assert second.rebuilt == ""
    assert second.fingerprint == first.fingerprint
    assert np.array_equal(second.images["train"], first.images["train"])


def test_a_changed_file_is_noticed(root, folder):
    before = opened(root, folder)
    kept = before.images["train"][0].copy()
    noise(99).save(root / "train" / "ant" / "0.jpg")
    after = opened(root, folder)
    assert after.rebuilt == "the files have changed"
    assert not np.array_equal(after.images["train"][0], kept)
    assert after.fingerprint != before.fingerprint


def test_a_touched_file_is_decoded_again_and_keeps_the_fingerprint(root, folder):
    before = opened(root, folder)
    os.utime(root / "val" / "bee" / "1.png", (1, 1))
    after = opened(root, folder)
    assert after.rebuilt == "the files have changed"
    assert after.fingerprint == before.fingerprint


@pytest.mark.parametrize("change", ["add", "remove", "move"])
def test_a_file_more_or_less_is_noticed(root, folder, change):
    before = opened(root, folder)
    file = root / "train" / "ant" / "1.png"
    if change == "add":
        noise(5).save(file.with_name("9.png"))
    elif change == "remove":
        file.unlink()
    else:
        file.rename(root / "train" / "bee" / "9.png")
    after = opened(root, folder)
    assert after.rebuilt == "the files have changed"
    assert after.fingerprint != before.fingerprint
    assert np.array_equal(after.images["train"], decoded_by_hand(root, "train"))


@pytest.mark.parametrize("keep", [0, 5, 60, 200, -1])
def test_a_truncated_array_is_made_again(root, folder, keep):
    expected = opened(root, folder).images["train"].copy()
    array = own_folder(folder) / "train.npy"
    content = array.read_bytes()
    array.unlink()
    array.write_bytes(content[:keep])
    found = opened(root, folder)
    assert found.rebuilt == "its train.npy is damaged"
    assert np.array_equal(found.images["train"], expected)


@pytest.mark.parametrize(
    "values", [np.zeros((9, SIDE, SIDE, 3)), np.zeros((8, SIDE, SIDE, 3), "u1")]
)
def test_an_array_of_another_kind_is_made_again(root, folder, values):
    expected = opened(root, folder).images["train"].copy()
    (own_folder(folder) / "train.npy").unlink()
    np.save(own_folder(folder) / "train.npy", values)
    found = opened(root, folder)
    assert found.rebuilt == "its train.npy has another shape"
    assert np.array_equal(found.images["train"], expected)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "{}", '{"stamps": {}}', "\udcff"])
def test_a_corrupt_cache_json_is_made_again(root, folder, text):
    before = opened(root, folder)
    path = own_folder(folder) / "cache.json"
    path.write_text(text, errors="surrogateescape")
    after = opened(root, folder)
    assert after.rebuilt == "its cache.json is damaged"
    assert after.fingerprint == before.fingerprint
    assert json.loads(path.read_text())["fingerprint"] == before.fingerprint


def test_side_and_classes_have_caches_of_their_own(root, folder):
    opened(root, folder)
    assert opened(root, folder, side=12).images["train"].shape == (9, 12, 12, 3)
    assert opened(root, folder, classes=2).images["train"].shape == (6, SIDE, SIDE, 3)
    assert len(list(folder.glob("set-*"))) == 3
    assert opened(root, folder).rebuilt == ""


def test_the_fingerprint_is_of_contents_not_of_places_or_times(tmp_path, root, folder):
    first = opened(root, folder)
    moved = tmp_path / "elsewhere" / "set"
    shutil.copytree(root, moved, copy_function=shutil.copyfile)
    second = opened(moved, folder)
    assert second.rebuilt == "there was none"  # another root never takes over a cache
    assert second.fingerprint == first.fingerprint


def test_the_fingerprint_can_be_computed_by_hand(root, folder):
    lines = sorted(
        f"{path.relative_to(root).as_posix()}\t{hashlib.sha256(path.read_bytes()).hexdigest()}\n"
        for path in root.rglob("*.*")
    )
    expected = hashlib.sha256("".join(lines).encode()).hexdigest()
    assert opened(root, folder).fingerprint == expected


def test_the_images_themselves_are_not_touched(root, folder):
    before = snapshot(root)
    opened(root, folder)
    os.utime(root / "val" / "bee" / "1.png", (1, 1))
    before[root / "val" / "bee" / "1.png"] = (before[root / "val" / "bee" / "1.png"][0], 10**9)
    opened(root, folder)
    assert snapshot(root) == before


@pytest.mark.parametrize("old", [False, True])
def test_a_corrupt_image_is_named_and_leaves_no_half_written_cache(root, folder, old):
    if old:
        opened(root, folder)
    before = snapshot(folder) if old else {}
    (root / "val" / "cat" / "1.png").write_bytes(b"\x89PNG but no more")
    with pytest.raises(UserError, match=r"val/cat/1\.png"):
        opened(root, folder)
    assert snapshot(folder) == before


def test_what_a_killed_process_left_is_cleared(root, folder):
    opened(root, folder)
    name = own_folder(folder).name
    shutil.rmtree(own_folder(folder))
    partial = folder / f".{name}.partial"
    partial.mkdir()
    (partial / "train.npy").write_bytes(b"half")
    assert np.array_equal(opened(root, folder).images["val"], decoded_by_hand(root, "val"))
    assert not partial.exists()


def test_a_folder_that_cannot_be_written_is_one_line(root, tmp_path):
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(UserError, match=r"cannot write the image cache .*--cache") as caught:
        opened(root, tmp_path / "file")
    assert "\n" not in str(caught.value)


@contextmanager
def largest_file(size: int):
    """The system refuses to write files beyond `size` bytes, as it does on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_without_space_it_is_one_line_and_nothing_is_left(root, folder):
    with largest_file(2000), pytest.raises(UserError, match="free space") as caught:
        opened(root, folder)
    assert "\n" not in str(caught.value)
    assert not list(folder.iterdir())
    assert opened(root, folder).rebuilt == "there was none"


def test_of_runs_that_start_together_one_decodes(root, folder):
    found = []

    def start():
        found.append(opened(root, folder))

    threads = [threading.Thread(target=start) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(one.rebuilt for one in found) == ["", "", "", "there was none"]
    for one in found:
        assert np.array_equal(one.images["train"], decoded_by_hand(root, "train"))


def test_a_name_from_a_manifest_cannot_lead_out_of_the_folder(root, folder):
    (root / "manifest.json").write_text(json.dumps({"name": "../../pets/x"}))
    opened(root, folder)
    made = [path.parent for path in folder.parent.rglob("*pets*")]
    assert made == [folder]


def test_a_file_system_without_locks_is_one_line(tmp_path, monkeypatch):
    def flock(file, operation):
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    monkeypatch.setattr(cache.fcntl, "flock", flock)
    with pytest.raises(UserError, match=r"has no locks .*--cache"):
        cache.open_cache(open_image_set(write_tiny_set(tmp_path / "set")), 8, tmp_path / "cache")


def test_more_than_the_disk_has_is_refused_before_decoding(root, folder, monkeypatch):
    monkeypatch.setattr(cache.shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(1, 1, 100))
    monkeypatch.setattr(cache, "_decode", lambda *_: pytest.fail("decoded"))
    with pytest.raises(UserError, match=r"GiB.*--cache"):
        opened(root, folder)
    assert not list(folder.iterdir())


def test_few_images_are_decoded_ahead_of_the_writer(tmp_path, monkeypatch):
    root = write_tiny_set(tmp_path / "set", train=10, val=1)
    monkeypatch.setattr(cache.os, "cpu_count", lambda: 1)
    sizes, mapped = [], cache.ThreadPoolExecutor.map

    def watched(pool, decode, files):
        sizes.append(len(files))
        return mapped(pool, decode, files)

    monkeypatch.setattr(cache.ThreadPoolExecutor, "map", watched)
    images = opened(root, tmp_path / "cache").images
    assert max(sizes) <= 4
    np.testing.assert_array_equal(images["train"], decoded_by_hand(root, "train"))
