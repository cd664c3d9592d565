"""ImageNet from tiny hand-made archives of the official format."""

import csv
import hashlib
import io
import tarfile

import numpy as np
import pytest
from torchvision.datasets.imagenet import ARCHIVE_META

from data_prep import imagenet
from data_prep.errors import PreparationError
from data_prep.layout import verify

scipy_io = pytest.importorskip("scipy.io", reason="the devkit is read through scipy")

XML = """<annotation><filename>{name}</filename>
<size><width>{size[0]}</width><height>{size[1]}</height><depth>3</depth></size>
{objects}</annotation>"""
OBJECT = """<object><name>{wnid}</name><bndbox><xmin>{box[0]}</xmin><ymin>{box[1]}</ymin>
<xmax>{box[2]}</xmax><ymax>{box[3]}</ymax></bndbox></object>"""


def tar_bytes(files, mode="w"):
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode=mode) as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return stream.getvalue()


def devkit(labels=(2, 1, 2)):
    """Classes 1 and 2 and, as in the official file, an inner node that is no class."""
    fields = [(name, object) for name in ("ILSVRC2012_ID", "WNID", "words", "gloss")]
    fields += [("num_children", object)]
    rows = [
        (1, "n02", "kit fox, Vulpes macrotis", "a fox", 0),
        (2, "n01", "English setter", "a dog", 0),
        (3, "n00", "animal", "a node", 2),
    ]
    stream = io.BytesIO()
    scipy_io.savemat(stream, {"synsets": np.array(rows, dtype=fields)})
    base = "ILSVRC2012_devkit_t12"
    truth = "".join(f"{label}\n" for label in labels).encode()
    return {
        f"{base}/readme.txt": b"read me",
        f"{base}/data/meta.mat": stream.getvalue(),
        f"{base}/data/ILSVRC2012_validation_ground_truth.txt": truth,
    }


def official(jpeg):
    val = {f"ILSVRC2012_val_0000000{i}.JPEG": jpeg(i, (20, 10)) for i in (1, 2, 3)}
    train = {
        f"{wnid}.tar": tar_bytes({f"{wnid}_{i}.JPEG": jpeg(10 * k + i) for i in range(2)})
        for k, wnid in enumerate(("n01", "n02"))
    }
    return {"train": train, "val": val, "devkit": devkit()}


@pytest.fixture
def source(tmp_path, monkeypatch):
    """A function that writes archives whose checksums count as the known ones."""

    def write(contents, boxes=None):
        folder = tmp_path / "ilsvrc"
        folder.mkdir(exist_ok=True)
        archives = {
            imagenet.TRAIN: tar_bytes(contents["train"]),
            imagenet.VAL: tar_bytes(contents["val"]),
            imagenet.DEVKIT: tar_bytes(contents["devkit"], "w:gz"),
        }
        if boxes is not None:
            archives[imagenet.VAL_BOXES] = tar_bytes(boxes, "w:gz")
        for name, content in archives.items():
            (folder / name).write_bytes(content)
            monkeypatch.setitem(imagenet.MD5, name, hashlib.md5(content).hexdigest())
        return folder

    return write


def images(root):
    paths = [p for split in ("train", "val") for p in (root / split).rglob("*") if p.is_file()]
    return {p.relative_to(root).as_posix(): p.read_bytes() for p in paths}


def test_the_checksums_are_those_that_torchvision_knows():
    for name, md5 in ARCHIVE_META.values():
        assert imagenet.MD5[name] == md5


def test_the_official_archives(tmp_path, source, jpeg):
    root = imagenet.prepare(tmp_path / "out", source(official(jpeg)))
    assert images(root) == {
        "train/n01/n01_0.JPEG": jpeg(0),
        "train/n01/n01_1.JPEG": jpeg(1),
        "train/n02/n02_0.JPEG": jpeg(10),
        "train/n02/n02_1.JPEG": jpeg(11),
        "val/n01/ILSVRC2012_val_00000001.JPEG": jpeg(1, (20, 10)),
        "val/n02/ILSVRC2012_val_00000002.JPEG": jpeg(2, (20, 10)),
        "val/n01/ILSVRC2012_val_00000003.JPEG": jpeg(3, (20, 10)),
    }
    manifest = verify(root)
    assert manifest["classes"] == [
        {"name": "n01", "title": "English setter"},
        {"name": "n02", "title": "kit fox"},
    ]
    assert [a["file"] for a in manifest["archives"]] == [
        imagenet.TRAIN,
        imagenet.VAL,
        imagenet.DEVKIT,
    ]
    assert not (root / "boxes.csv").exists()
    before = (root / "manifest.json").stat().st_mtime_ns
    assert imagenet.prepare(root, tmp_path / "ilsvrc") == root
    assert (root / "manifest.json").stat().st_mtime_ns == before


def annotation(number, size, objects):
    name = f"ILSVRC2012_val_0000000{number}"
    text = "".join(OBJECT.format(wnid=wnid, box=box) for wnid, box in objects)
    return {f"val/{name}.xml": XML.format(name=name, size=size, objects=text).encode()}


def test_boxes_of_the_images_class_in_the_stored_images_pixels(tmp_path, source, jpeg):
    boxes = {
        **annotation(1, (20, 10), [("n01", (0, 2, 19, 9)), ("n02", (1, 1, 2, 2))]),
        # Annotated at twice the stored size, with two objects.
        **annotation(2, (40, 20), [("n02", (4, 0, 9, 19)), ("n02", (20, 10, 39, 15))]),
    }
    root = imagenet.prepare(tmp_path / "out", source(official(jpeg), boxes))
    with (root / "boxes.csv").open() as stream:
        rows = [tuple(row.values()) for row in csv.DictReader(stream)]
    assert rows == [
        ("val/n01/ILSVRC2012_val_00000001.JPEG", "0", "2", "20", "10"),
        ("val/n02/ILSVRC2012_val_00000002.JPEG", "2", "0", "5", "10"),
        ("val/n02/ILSVRC2012_val_00000002.JPEG", "10", "5", "20", "8"),
    ]
    verify(root)
    # The set with boxes is another than the one without.
    (tmp_path / "ilsvrc" / imagenet.VAL_BOXES).unlink()
    with pytest.raises(PreparationError, match="its settings"):
        imagenet.prepare(root, tmp_path / "ilsvrc")


@pytest.mark.parametrize(
    ("box", "stated", "actual", "expected"),
    [
        ((0, 0, 500, 375), (500, 375), (500, 375), (0, 0, 500, 375)),
        ((0, 0, 501, 376), (500, 375), (500, 375), (0, 0, 500, 375)),
        ((100, 50, 200, 100), (500, 400), (250, 800), (50, 100, 100, 200)),
        ((499, 374, 500, 375), (500, 375), (50, 38), (49, 37, 50, 38)),
    ],
)
def test_scaled_boxes_stay_inside_and_are_not_empty(box, stated, actual, expected):
    assert imagenet.scaled_box(box, stated, actual) == expected


@pytest.mark.parametrize(
    "xml",
    [
        b"<annotation><size>",
        b"<annotation><object><name>n01</name></object></annotation>",
        b'<!DOCTYPE a [<!ENTITY b "c">]><annotation>&b;</annotation>',
    ],
)
def test_a_wrong_annotation_is_named_and_leaves_nothing(tmp_path, source, jpeg, listing, xml):
    folder = source(official(jpeg), {"val/ILSVRC2012_val_00000001.xml": xml})
    before = listing(tmp_path)
    with pytest.raises(PreparationError, match=r"00000001\.xml.*is no annotation"):
        imagenet.prepare(tmp_path / "out", folder)
    assert listing(tmp_path) == before


def test_missing_archives_say_what_to_request_where_and_where_to_put_it(tmp_path, source, jpeg):
    folder = source(official(jpeg))
    (folder / imagenet.DEVKIT).unlink()
    (folder / imagenet.VAL).unlink()
    with pytest.raises(PreparationError) as caught:
        imagenet.prepare(tmp_path / "out", folder)
    message = str(caught.value)
    assert "\n" not in message
    for part in ("by hand", imagenet.VAL, imagenet.DEVKIT, "https://image-net.org", str(folder)):
        assert part in message
    assert imagenet.TRAIN not in message


@pytest.mark.parametrize("name", [imagenet.TRAIN, imagenet.VAL, imagenet.DEVKIT])
def test_a_damaged_archive_is_found_before_anything_is_stored(
    tmp_path, source, jpeg, listing, name
):
    folder = source(official(jpeg))
    content = (folder / name).read_bytes()
    (folder / name).write_bytes(content[: len(content) // 2])
    before = listing(tmp_path)
    with pytest.raises(PreparationError, match=rf"{name}.*md5.*download it again"):
        imagenet.prepare(tmp_path / "out", folder)
    assert listing(tmp_path) == before


@pytest.mark.parametrize(
    ("part", "files", "message"),
    [
        ("train", {"n09.tar": tar_bytes({"n09_0.JPEG": b"x"})}, "no class of the devkit"),
        ("train", {"n01.tar": b"no tar" * 200}, r"n01\.tar.*damaged"),
        ("train", {"n01.tar": tar_bytes({"../../n01_0.JPEG": b"x"})}, "leads out of its folder"),
        ("val", {"ILSVRC2012_val_00000004.JPEG": b"x"}, "no label"),
        ("val", {"holiday.JPEG": b"x"}, "no label"),
        ("devkit", devkit(labels=(1, 2, 7)), "labels that it does not define, such as 7"),
        ("devkit", devkit(labels=()), "lacks one of"),
        ("devkit", {**devkit(), "ILSVRC2012_devkit_t12/data/meta.mat": b"no mat"}, "cannot read"),
        ("devkit", {"readme.txt": b"x"}, "lacks one of"),
    ],
)
def test_wrong_contents_are_named_and_leave_nothing(
    tmp_path, source, jpeg, listing, part, files, message
):
    contents = official(jpeg)
    contents[part] = {**(contents[part] if part == "val" else {}), **files}
    folder = source(contents)
    before = listing(tmp_path)
    with pytest.raises(PreparationError, match=message) as caught:
        imagenet.prepare(tmp_path / "out", folder)
    assert "\n" not in str(caught.value)
    assert listing(tmp_path) == before
