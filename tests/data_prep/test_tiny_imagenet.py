"""Tiny-ImageNet from hand-made archives of each form, and from the real packs where they lie."""

import csv
import hashlib
import io
import os
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data_prep import tiny_imagenet
from data_prep.errors import PreparationError
from data_prep.layout import verify

WNIDS = ("n03", "n01", "n02")
WORDS = "n00\tentity\nn01\tgoldfish, Carassius auratus\nn02\tfire salamander\nn03\tbullfrog\n"
BASE = "tiny-imagenet-200"


def official_files(jpeg):
    """Two classes of three training images, one of two; n01_2 and val_1 are the same file."""
    files = {
        f"{BASE}/wnids.txt": "".join(f"{wnid}\n" for wnid in WNIDS).encode(),
        f"{BASE}/words.txt": WORDS.encode(),
        f"{BASE}/test/images/test_0.JPEG": jpeg(99),
    }
    for k, wnid in enumerate(WNIDS):
        count = 2 if wnid == "n03" else 3
        rows = [f"{wnid}_{i}.JPEG\t{i}\t10\t63\t58\n" for i in range(count)]
        files[f"{BASE}/train/{wnid}/{wnid}_boxes.txt"] = "".join(rows).encode()
        for i in range(count):
            files[f"{BASE}/train/{wnid}/images/{wnid}_{i}.JPEG"] = jpeg(10 * k + i)
    rows = [("val_0.JPEG", "n01"), ("val_1.JPEG", "n02"), ("val_2.JPEG", "n03")]
    rows += [("val_3.JPEG", "n02")]
    table = "".join(f"{name}\t{wnid}\t0\t32\t44\t62\n" for name, wnid in rows)
    files[f"{BASE}/val/val_annotations.txt"] = table.encode()
    for i, (name, _) in enumerate(rows):
        files[f"{BASE}/val/images/{name}"] = jpeg(50 + i, mode="L" if i == 0 else "RGB")
    files[f"{BASE}/val/images/val_1.JPEG"] = files[f"{BASE}/train/n01/images/n01_2.JPEG"]
    return files


def write_zip(path, files):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


@pytest.fixture
def official(tmp_path, jpeg, monkeypatch):
    """A function that writes a hand-made official zip, whose checksum counts as the known one."""

    def write(files=None):
        path = tmp_path / "downloads" / f"{BASE}.zip"
        path.parent.mkdir(exist_ok=True)
        write_zip(path, files or official_files(jpeg))
        md5 = hashlib.md5(path.read_bytes()).hexdigest()
        monkeypatch.setattr(tiny_imagenet, "OFFICIAL_MD5", md5)
        return path

    return write


def images(root):
    paths = [p for split in ("train", "val") for p in (root / split).rglob("*") if p.is_file()]
    return {p.relative_to(root).as_posix(): p.read_bytes() for p in paths}


@pytest.mark.parametrize("as_folder", [False, True])
def test_the_official_zip(tmp_path, official, jpeg, as_folder):
    archive = official()
    source = archive.parent if as_folder else archive
    root = tiny_imagenet.prepare(tmp_path / "out", source)
    files = official_files(jpeg)
    expected = {
        name.removeprefix(f"{BASE}/").replace("/images", ""): content
        for name, content in files.items()
        if "/train/" in name and name.endswith("JPEG") and "n01_2" not in name
    }
    expected["val/n01/val_0.JPEG"] = jpeg(50, mode="L")  # greyscale, byte for byte
    expected["val/n03/val_2.JPEG"] = jpeg(52)
    expected["val/n02/val_3.JPEG"] = jpeg(53)
    assert images(root) == expected
    manifest = verify(root)
    assert manifest["excluded_duplicates"] == 2
    assert [c["title"] for c in manifest["classes"]] == ["goldfish", "fire salamander", "bullfrog"]
    sha256 = hashlib.sha256(archive.read_bytes()).hexdigest()
    assert manifest["archives"] == [{"file": f"{BASE}.zip", "sha256": sha256}]
    with (root / "boxes.csv").open() as stream:
        boxes = {row.pop("file"): list(map(int, row.values())) for row in csv.DictReader(stream)}
    assert boxes.keys() == expected.keys()
    # The archive names the last pixel inside; the layout the first one outside.
    assert boxes["train/n02/n02_1.JPEG"] == [1, 10, 64, 59]
    assert boxes["val/n01/val_0.JPEG"] == [0, 32, 45, 63]


def test_classes_keeps_the_first_in_sorted_order(tmp_path, official):
    root = tiny_imagenet.prepare(tmp_path / "out", official(), classes=2)
    assert {name.split("/")[1] for name in images(root)} == {"n01", "n02"}
    manifest = verify(root)
    assert manifest["settings"] == {"classes": 2}
    # The pair of equal files lies in these classes.
    assert manifest["excluded_duplicates"] == 2


@pytest.mark.parametrize("classes", [0, 1, 4])
def test_a_number_of_classes_out_of_range_is_named(tmp_path, official, classes, listing):
    with pytest.raises(PreparationError, match=f"between 2 and 3.*got {classes}"):
        tiny_imagenet.prepare(tmp_path / "out", official(), classes=classes)
    assert listing(tmp_path) == ["downloads", f"downloads/{BASE}.zip"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: f.pop(f"{BASE}/words.txt"), r"lacks 'tiny-imagenet-200/words\.txt'"),
        (
            lambda f: f.pop(f"{BASE}/train/n02/images/n02_1.JPEG"),
            r"lacks '.*n02_1\.JPEG' or the class 'n02', which",
        ),
        (lambda f: f.update({f"{BASE}/val/val_annotations.txt": b"a\tb\n"}), "6 fields a line"),
        (
            lambda f: f.update({f"{BASE}/val/val_annotations.txt": b"val_0.JPEG\tn09\t0\t0\t1\t1"}),
            "or the class",
        ),
        (
            lambda f: f.update({f"{BASE}/train/n01/n01_boxes.txt": b"n01_0.JPEG\t0\tx\t1\t1"}),
            "damaged",
        ),
        (lambda f: f.update({f"{BASE}/words.txt": b"\xff\xfe"}), "damaged"),
        (lambda f: f.update({"../evil.JPEG": b"x"}), "leads out of its folder"),
        (lambda f: f.pop(f"{BASE}/wnids.txt"), "give the official"),
    ],
)
def test_a_wrong_archive_is_named_and_leaves_nothing(
    tmp_path, official, jpeg, listing, change, message
):
    files = official_files(jpeg)
    change(files)
    archive = official(files)
    with pytest.raises(PreparationError, match=message) as caught:
        tiny_imagenet.prepare(tmp_path / "out", archive)
    assert "\n" not in str(caught.value)
    assert listing(tmp_path) == ["downloads", f"downloads/{BASE}.zip"]


def test_another_official_zip_than_the_known_one_is_refused(tmp_path, jpeg):
    archive = write_zip(tmp_path / f"{BASE}.zip", official_files(jpeg))
    with pytest.raises(PreparationError, match=r"its md5 is .* expected 90528d7c.*cs231n"):
        tiny_imagenet.prepare(tmp_path / "out", archive)


@pytest.mark.parametrize("source", ["absent.zip", "."])
def test_an_absent_archive_says_where_to_get_it(tmp_path, source):
    with pytest.raises(PreparationError, match=r"download http://cs231n\.stanford\.edu"):
        tiny_imagenet.prepare(tmp_path / "out", tmp_path / source)


def pack_files(jpeg, wnids, first):
    """A pack with one training and one validation image a class, and a flagged duplicate."""
    rows, files = ["file,split,label,wnid,name,duplicate,git_blob_sha1"], {"README.txt": b"a pack"}
    for k, wnid in enumerate(wnids):
        for i, split in enumerate(("train", "val", "train")):
            name = f"{split}/{wnid}/{wnid}_{i}.JPEG"
            files[name] = jpeg(first + 10 * k + i)
            blob = hashlib.sha1(b"blob %d\0" % len(files[name]) + files[name]).hexdigest()
            rows.append(f'{name},{split},{k},{wnid},"title, of {wnid}",{int(i == 2)},{blob}')
    files["index.csv"] = "\n".join(rows).encode()
    return files


def test_packs_are_joined_and_flagged_duplicates_left_out(tmp_path, jpeg):
    packs = [pack_files(jpeg, ("n01", "n03"), 0), pack_files(jpeg, ("n02", "n04"), 50)]
    for i, files in enumerate(packs):
        write_zip(tmp_path / f"tinyimagenet64-part{i}of2.zip", files)
    root = tiny_imagenet.prepare(tmp_path / "out", tmp_path, classes=3)
    kept = {n for f in packs for n in f if n.endswith("JPEG") and "_2" not in n and "n04" not in n}
    assert images(root) == {name: {**packs[0], **packs[1]}[name] for name in kept}
    manifest = verify(root)
    assert manifest["excluded_duplicates"] == 3
    assert manifest["classes"][1] == {"name": "n02", "title": "title, of n02"}
    # Another choice of archives is another set, and the first stays as it is.
    with pytest.raises(PreparationError, match="its archives"):
        tiny_imagenet.prepare(root, tmp_path / "tinyimagenet64-part0of2.zip", classes=3)
    assert images(root).keys() == kept


def test_a_pack_is_held_to_its_own_checksums_and_to_a_list_beside_it(tmp_path, jpeg, listing):
    files = pack_files(jpeg, ("n01", "n02"), 0)
    files["train/n02/n02_0.JPEG"] = jpeg(77)
    pack = write_zip(tmp_path / "tinyimagenet64-part0of4.zip", files)
    with pytest.raises(PreparationError, match=r"n02_0\.JPEG.*index\.csv"):
        tiny_imagenet.prepare(tmp_path / "out", pack)
    (tmp_path / "SHA256SUMS").write_text(f"{'0' * 64}  {pack.name}\n")
    with pytest.raises(PreparationError, match=r"part0of4\.zip.*sha256.*expected 000"):
        tiny_imagenet.prepare(tmp_path / "out", pack)
    assert listing(tmp_path) == ["SHA256SUMS", pack.name]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("git_blob_sha1", "sha", "lacks the column 'git_blob_sha1'"),
        ("n01_0.JPEG,train", "n01_9.JPEG,train", "which the pack does not hold"),
        ("n01_0.JPEG,train", "n01_0.JPEG,test", "which the pack does not hold"),
    ],
)
def test_a_pack_with_a_wrong_index_is_refused(tmp_path, jpeg, old, new, message):
    files = pack_files(jpeg, ("n01", "n02"), 0)
    files["index.csv"] = files["index.csv"].decode().replace(old, new).encode()
    pack = write_zip(tmp_path / "pack.zip", files)
    with pytest.raises(PreparationError, match=message):
        tiny_imagenet.prepare(tmp_path / "out", pack)


NAMES = ("a", "val_0", "b", "val_1", "c", "d")


def array_table(jpeg):
    pictures = [jpeg(i) for i in range(6)]
    return {
        "data": np.frombuffer(b"".join(pictures), dtype=np.uint8),
        "offsets": np.cumsum([0, *map(len, pictures)]),
        "label": np.array([0, 0, 1, 1, 0, 1], dtype=np.uint8),
        "is_val": np.array([0, 1, 0, 1, 0, 0], dtype=bool),
        "is_dup": np.array([0, 0, 0, 0, 1, 0], dtype=bool),
        "name": np.array(
            [b"a.JPEG", b"val_0.JPEG", b"b.JPEG", b"val_1.JPEG", b"c.JPEG", b"d.JPEG"]
        ),
        "wnids": np.array([b"n01", b"n02"]),
        "words": np.array([b"goldfish", b"bullfrog"]),
    }


def test_the_array_form(tmp_path, jpeg):
    np.savez(tmp_path / "tinyimagenet32.npz", **array_table(jpeg))
    root = tiny_imagenet.prepare(tmp_path / "out", tmp_path)
    assert images(root) == {
        "train/n01/a.JPEG": jpeg(0),
        "val/n01/val_0.JPEG": jpeg(1),
        "train/n02/b.JPEG": jpeg(2),
        "val/n02/val_1.JPEG": jpeg(3),
        "train/n02/d.JPEG": jpeg(5),
    }
    manifest = verify(root)
    assert (manifest["name"], manifest["excluded_duplicates"]) == ("tiny-imagenet-32px", 1)


class Trap:
    """Unpickling it would write a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"label": np.array([0, 0, 1, 1, 0, 7])}, "contradict"),
        ({"offsets": np.array([0, 5, 4, 6, 7, 8, 9])}, "contradict"),
        ({"offsets": np.array([0, 1, 2, 3, 4, 5, 10**9])}, "contradict"),
        ({"name": np.array([b"a"])}, "contradict"),
        ({"name": np.array([b"../../a.JPEG", b"b", b"c", b"d", b"e", b"f"])}, "one plain path"),
        ({"wnids": np.array([b"../n01", b"n02"])}, "leads out"),
        ({"words": np.array([b"goldfish"])}, "damaged"),
    ],
)
def test_a_hostile_array_is_refused(tmp_path, jpeg, listing, changes, message):
    np.savez(tmp_path / "tiny.npz", **{**array_table(jpeg), **changes})
    with pytest.raises(PreparationError, match=message):
        tiny_imagenet.prepare(tmp_path / "out", tmp_path / "tiny.npz")
    assert listing(tmp_path) == ["tiny.npz"]


def test_pickles_in_an_array_are_not_loaded(tmp_path, jpeg, listing):
    table = array_table(jpeg)
    table["words"] = np.array([Trap(tmp_path / "sprung"), None], dtype=object)
    np.savez(tmp_path / "tiny.npz", **table)
    with pytest.raises(PreparationError, match="damaged"):
        tiny_imagenet.prepare(tmp_path / "out", tmp_path / "tiny.npz")
    assert listing(tmp_path) == ["tiny.npz"]


@pytest.fixture(scope="module")
def shared_data():
    """The folder of the real packs, which are not part of the project."""
    default = Path(__file__).parents[2].parent / "shared" / "data"
    folder = Path(os.environ.get("DREAL_SHARED_DATA", default))
    if not list(folder.glob("tinyimagenet*")):
        pytest.skip(f"no Tiny-ImageNet packs in '{folder}'; DREAL_SHARED_DATA names their folder")
    return folder


@pytest.mark.parametrize("pattern", ["tinyimagenet64-part0of4.zip", "tinyimagenet32-200c.npz"])
def test_the_real_packs(tmp_path, shared_data, pattern):
    root = tiny_imagenet.prepare(tmp_path / "out", shared_data / pattern, classes=2)
    manifest = verify(root)
    assert manifest["classes"][0] == {"name": "n01443537", "title": "goldfish"}
    counts = [manifest["splits"][split]["images"] for split in ("train", "val")]
    # 500 and 50 a class, less the files that occur more than once.
    assert sum(counts) + manifest["excluded_duplicates"] == 1100
    assert counts[0] > 990
    side = 64 if "64" in pattern else 32
    first = Image.open(io.BytesIO(next(iter(images(root).values()))))
    assert first.size == (side, side)


def test_named_classes_are_kept(tmp_path, official):
    root = tiny_imagenet.prepare(tmp_path / "out", official(), wnids=["n03", "n01"])
    manifest = verify(root)
    assert [c["name"] for c in manifest["classes"]] == ["n01", "n03"]
    assert manifest["settings"] == {"wnids": ["n01", "n03"]}
    assert sorted(folder.name for folder in (root / "train").iterdir()) == ["n01", "n03"]
    with pytest.raises(PreparationError, match=r"hold no class n04, n05; give other wnids"):
        tiny_imagenet.prepare(tmp_path / "b", official(), wnids=["n01", "n05", "n04"])
    with pytest.raises(PreparationError, match="give one of them"):
        tiny_imagenet.prepare(tmp_path / "c", official(), wnids=["n01", "n03"], classes=2)
    assert not (tmp_path / "b").exists()


def test_wnids_are_read_from_a_file(tmp_path):
    path = tmp_path / "wnids.txt"
    path.write_text("# two\nn01443537  # goldfish\n\nn01629819\n")
    assert tiny_imagenet.read_wnids(path) == ["n01443537", "n01629819"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("n01443537\n", "two wnids or more.*got 1$"),
        ("n01443537\nn01443537\n", "got 1$"),
        ("n01443537\ngoldfish\n", "got 'goldfish'$"),
        (None, "cannot read the wnids in"),
    ],
)
def test_a_bad_file_of_wnids_is_named(tmp_path, text, said):
    path = tmp_path / "wnids.txt"
    if text is not None:
        path.write_text(text)
    with pytest.raises(PreparationError, match=said):
        tiny_imagenet.read_wnids(path)


def test_the_recorded_classes_are_twenty():
    named = Path(tiny_imagenet.__file__).with_name("two_cores_wnids.txt")
    assert len(set(tiny_imagenet.read_wnids(named))) == 20


def test_images_are_held_out_of_the_training_images(tmp_path, jpeg):
    """By the SHA-256 of their names; official images to judge and duplicates are left out."""
    names = [f"n0{label + 1}_{i}.JPEG" for label in (0, 1) for i in range(9)]
    count = len(names)
    content = [jpeg(i) for i in range(count)]
    table = array_table(jpeg) | {
        "data": np.frombuffer(b"".join(content), dtype=np.uint8),
        "offsets": np.cumsum([0, *map(len, content)]),
        "label": np.repeat(np.array([0, 1], dtype=np.uint8), 9),
        "is_val": np.arange(count) % 9 == 8,
        "is_dup": np.arange(count) == 3,
        "name": np.array([name.encode() for name in names]),
    }
    np.savez(tmp_path / "tiny.npz", **table)
    root = tiny_imagenet.prepare(tmp_path / "out", tmp_path / "tiny.npz", held_out=(4, 2))
    for label, wnid in enumerate(("n01", "n02")):
        usable = [n for i, n in enumerate(names) if i // 9 == label and i % 9 != 8 and i != 3]
        usable.sort(key=lambda name: hashlib.sha256(name.encode()).hexdigest())
        for split, expected in (("train", usable[:4]), ("val", usable[4:6])):
            start = f"{split}/{wnid}/"
            kept = {name.split("/")[2] for name in images(root) if name.startswith(start)}
            assert kept == set(expected)
    assert verify(root)["settings"] == {"classes": None, "held_out": [4, 2]}
    with pytest.raises(PreparationError, match=r"class n01 has 7 training images, and 6 \+ 2"):
        tiny_imagenet.prepare(tmp_path / "other", tmp_path / "tiny.npz", held_out=(6, 2))
    with pytest.raises(PreparationError, match="at least 1 to train"):
        tiny_imagenet.prepare(tmp_path / "other", tmp_path / "tiny.npz", held_out=(6, 0))
