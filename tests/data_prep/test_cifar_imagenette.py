"""CIFAR and Imagenette from hand-made archives in torchvision's format, and their downloads."""

import hashlib
import io
import os
import pickle
import tarfile
import urllib.error

import numpy as np
import pytest
from PIL import Image
from torchvision import datasets
from torchvision.datasets import utils as torchvision_utils

from data_prep import cifar, imagenette
from data_prep.errors import PreparationError
from data_prep.layout import verify

NAMES = {10: ["bird", "cat"], 100: ["aquarium_fish", "bee"]}


def md5(content):
    return hashlib.md5(content).hexdigest()


def tar_gz(files):
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return stream.getvalue()


def batch(classes, labels, seed):
    pixels = np.random.default_rng(seed).integers(0, 256, (len(labels), 3072), dtype=np.uint8)
    key = "labels" if classes == 10 else "fine_labels"
    return pixels, pickle.dumps({"data": pixels, key: labels})


class Made:
    """A hand-made CIFAR archive and a subclass of torchvision's reader that knows its checksums."""

    def __init__(self, classes, folder):
        base = datasets.CIFAR10 if classes == 10 else datasets.CIFAR100
        self.train, first = batch(classes, [0, 1, 1], 1)
        self.test, second = batch(classes, [1, 0], 2)
        meta = pickle.dumps({base.meta["key"]: NAMES[classes]})
        train_name = base.train_list[0][0]
        contents = {train_name: first, base.test_list[0][0]: second, base.meta["filename"]: meta}
        self.files = {f"{base.base_folder}/{name}": text for name, text in contents.items()}
        self.archive = folder / base.filename
        self.reader = type(
            "Reader",
            (base,),
            {
                "train_list": [[train_name, md5(first)]],
                "test_list": [[base.test_list[0][0], md5(second)]],
                "meta": {**base.meta, "md5": md5(meta)},
            },
        )
        self.write()

    def write(self):
        content = tar_gz(self.files)
        self.archive.write_bytes(content)
        self.reader.tgz_md5 = md5(content)


@pytest.fixture
def made(tmp_path, monkeypatch):
    def make(classes):
        folder = tmp_path / "downloads"
        folder.mkdir()
        result = Made(classes, folder)
        monkeypatch.setattr(cifar, "dataset_class", lambda _: result.reader)
        return result

    return make


@pytest.mark.parametrize("classes", [10, 100])
def test_cifar_becomes_png_files(tmp_path, made, listing, classes):
    archive = made(classes)
    root = cifar.prepare(tmp_path / "out", tmp_path / "downloads", classes=classes)
    first, second = NAMES[classes]
    expected = {
        f"train/{first}/00000.png": archive.train[0],
        f"train/{second}/00001.png": archive.train[1],
        f"train/{second}/00002.png": archive.train[2],
        f"val/{second}/00000.png": archive.test[0],
        f"val/{first}/00001.png": archive.test[1],
    }
    assert {n for n in listing(root) if n.endswith(".png")} == expected.keys()
    for name, row in expected.items():
        # A row holds the red, then the green, then the blue plane, each line by line.
        pixels = np.asarray(Image.open(root / name))
        assert np.array_equal(pixels[..., 0], row[:1024].reshape(32, 32))
        assert np.array_equal(pixels[..., 2], row[2048:].reshape(32, 32))
    manifest = verify(root)
    assert manifest["name"] == f"cifar{classes}"
    assert manifest["classes"][0]["title"] == first.replace("_", " ")
    assert listing(tmp_path / "downloads") == [archive.archive.name], "the source was changed"


class Trap:
    """Unpickling it would make a folder."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_a_pickle_with_another_checksum_is_never_loaded(tmp_path, made, listing):
    archive = made(10)
    first = next(iter(archive.files))
    archive.files[first] = pickle.dumps(Trap(tmp_path / "sprung"))
    archive.write()  # the archive's own checksum fits, that of the file inside does not
    with pytest.raises(PreparationError, match="torchvision refuses"):
        cifar.prepare(tmp_path / "out", tmp_path / "downloads")
    assert listing(tmp_path) == ["downloads", f"downloads/{archive.archive.name}"]


def test_a_hostile_cifar_archive_is_refused(tmp_path, made, listing):
    archive = made(10)
    archive.files["../../../evil"] = b"x"
    archive.write()
    with pytest.raises(PreparationError, match="leads out of its folder"):
        cifar.prepare(tmp_path / "out", tmp_path / "downloads")
    assert listing(tmp_path) == ["downloads", f"downloads/{archive.archive.name}"]


def test_a_damaged_archive_is_named_and_not_replaced(tmp_path, made):
    archive = made(10)
    content = archive.archive.read_bytes()[:-7]
    archive.archive.write_bytes(content)
    with pytest.raises(PreparationError, match=r"cifar-10-python\.tar\.gz.*md5"):
        cifar.prepare(tmp_path / "out", tmp_path / "downloads", download=True)
    assert archive.archive.read_bytes() == content


def test_cifar_has_10_or_100_classes(tmp_path):
    assert cifar.dataset_class(10) is datasets.CIFAR10
    assert cifar.dataset_class(100) is datasets.CIFAR100
    with pytest.raises(PreparationError, match="10 or 100 classes; got 20"):
        cifar.prepare(tmp_path / "out", tmp_path, classes=20)


def test_a_download_is_kept_beside_and_checked(tmp_path, made, listing, monkeypatch):
    archive = made(10)
    content = archive.archive.read_bytes()
    archive.archive.unlink()
    with pytest.raises(PreparationError, match=r"no 'cifar-10-python.*place it there"):
        cifar.prepare(tmp_path / "out", tmp_path / "downloads")

    asked = []

    def fetch(url, folder, name, checksum):
        asked.append((url, checksum))
        with open(os.path.join(folder, name), "wb") as stream:
            stream.write(content)

    monkeypatch.setattr(torchvision_utils, "download_url", fetch)
    cifar.prepare(tmp_path / "out", tmp_path / "downloads", download=True)
    assert asked == [(datasets.CIFAR10.url, md5(content))]
    assert listing(tmp_path / "downloads") == [archive.archive.name]


@pytest.mark.parametrize(
    "error", [urllib.error.URLError("no route"), RuntimeError("corrupted"), TimeoutError("slow")]
)
def test_a_failed_download_is_one_line_and_leaves_nothing(tmp_path, listing, monkeypatch, error):
    def fail(url, folder, name, checksum):
        with open(os.path.join(folder, name), "wb") as stream:
            stream.write(b"half")
        raise error

    monkeypatch.setattr(torchvision_utils, "download_url", fail)
    with pytest.raises(
        PreparationError, match=r"cannot download https://.*by other means"
    ) as caught:
        cifar.prepare(tmp_path / "out", tmp_path / "downloads", download=True)
    assert "\n" not in str(caught.value)
    assert listing(tmp_path) == []


@pytest.fixture
def nette(tmp_path, monkeypatch):
    """A function that writes a hand-made Imagenette archive with the given files."""

    def write(files):
        content = tar_gz(files)
        (tmp_path / "imagenette2-160.tgz").write_bytes(content)
        url, _, titles = imagenette.published("160px")
        titles = {wnid: titles[wnid] for wnid in ("n01440764", "n02102040")}
        monkeypatch.setattr(imagenette, "published", lambda _: (url, md5(content), titles))

    return write


def test_imagenette(tmp_path, nette, jpeg):
    files = {
        "imagenette2-160/noisy_imagenette.csv": b"path,noisy_labels_0\n",
        "imagenette2-160/train/n01440764/a.JPEG": jpeg(1, mode="L"),
        "imagenette2-160/train/n02102040/b.JPEG": jpeg(2),
        "imagenette2-160/val/n02102040/c.JPEG": jpeg(3),
        "imagenette2-160/val/n01440764/d.JPEG": jpeg(4),
        "imagenette2-160/val/.DS_Store": b"x",
    }
    nette(files)
    root = imagenette.prepare(tmp_path / "out", tmp_path)
    images = {name: text for name, text in files.items() if name.endswith("JPEG")}
    for name, content in images.items():
        assert (root / name.removeprefix("imagenette2-160/")).read_bytes() == content
    manifest = verify(root)
    assert manifest["splits"] == {"train": {"images": 2}, "val": {"images": 2}}
    assert manifest["classes"][0] == {"name": "n01440764", "title": "tench"}


def test_imagenette_refuses_classes_that_it_does_not_know(tmp_path, nette, listing):
    nette({"imagenette2-160/train/n00000000/a.JPEG": b"x"})
    with pytest.raises(PreparationError, match="declared class"):
        imagenette.prepare(tmp_path / "out", tmp_path)
    assert listing(tmp_path) == ["imagenette2-160.tgz"]


def test_what_torchvision_publishes_of_imagenette():
    for size in imagenette.SIZES:
        url, checksum, titles = imagenette.published(size)
        assert url.endswith(".tgz")
        assert len(checksum) == 32
        assert len(titles) == 10
    with pytest.raises(PreparationError, match="sizes are full, 320px, 160px; got '64px'"):
        imagenette.published("64px")
