"""The reader of identity sets: numbers worked out by hand, both forms, and what is refused."""

import numpy as np
import pytest

from data_prep import market1501
from dreal_lib.data.identities import open_identity_set
from dreal_lib.errors import UserError

HEADER = "file,identity,camera,split"
# Sorted by name: training 10, 9; test a, b; cameras east, west.
ROWS = [
    "train/1.jpg,9,east,train",
    "train/2.jpg,10,west,train",
    "train/3.jpg,9,west,train",
    "query/1.jpg,b,west,query",
    "query/2.jpg,lonely,east,query",
    "gallery/1.jpg,b,east,gallery",
    "gallery/2.jpg,-1,west,gallery",
    "gallery/3.jpg,a,west,gallery",
]


def changed(number: int, row: str) -> list[str]:
    return [*ROWS[:number], row, *ROWS[number + 1 :]]


@pytest.fixture
def write(tmp_path):
    """A function that writes an index of the given rows, and the files that they name."""

    def make(rows=ROWS, header=HEADER, files=True):
        for row in rows if files else ():
            path = tmp_path / row.split(",")[0]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"x")
        (tmp_path / "index.csv").write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
        return tmp_path

    return make


def refused(root, message):
    with pytest.raises(UserError, match=message) as caught:
        open_identity_set(root)
    assert "\n" not in str(caught.value)


def test_the_numbers_are_those_worked_out_by_hand(write):
    root = write()
    found = open_identity_set(root)
    assert found.name == root.name
    assert found.identity_names == ("10", "9")
    assert found.test_names == ("a", "b", "lonely")
    assert found.train.files == ("train/1.jpg", "train/2.jpg", "train/3.jpg")
    expected = {
        "train": ([1, 0, 1], [0, 1, 1]),
        "query": ([1, 2], [1, 0]),  # nobody else is "lonely": evaluation skips that query
        "gallery": ([1, -1, 0], [0, 1, 1]),
    }
    for split, (identities, cameras) in expected.items():
        listed = getattr(found, split)
        assert listed.root == root
        assert len(listed) == len(identities)
        assert listed.identities.dtype == listed.cameras.dtype == np.int64
        np.testing.assert_array_equal(listed.identities, identities)
        np.testing.assert_array_equal(listed.cameras, cameras)


def test_the_order_of_rows_changes_the_order_of_files_alone(write):
    found, turned = open_identity_set(write()), open_identity_set(write(ROWS[::-1]))
    assert turned.gallery.files == found.gallery.files[::-1]
    np.testing.assert_array_equal(turned.gallery.identities, found.gallery.identities[::-1])
    np.testing.assert_array_equal(turned.query.cameras, found.query.cameras[::-1])
    assert turned.identity_names == found.identity_names


def test_columns_in_another_order_a_byte_order_mark_quotes_and_spaces(write, tmp_path):
    write()
    turned = [",".join(reversed(row.split(","))) for row in ROWS]
    text = "\r\n".join(["split,camera,identity,file,note", *(f' {row} ,"a, b"' for row in turned)])
    (tmp_path / "index.csv").write_text(text, encoding="utf-8-sig")
    found = open_identity_set(tmp_path)
    assert found.gallery.files == ("gallery/1.jpg", "gallery/2.jpg", "gallery/3.jpg")
    assert found.test_names == ("a", "b", "lonely")


def without_cameras(rows: list[str]) -> list[str]:
    return [row.replace(",east,", ",,").replace(",west,", ",,") for row in rows]


def test_without_cameras_there_are_none(write):
    found = open_identity_set(write(without_cameras(ROWS)))
    assert found.train.cameras is found.query.cameras is found.gallery.cameras is None
    np.testing.assert_array_equal(found.query.identities, [1, 2])


def test_without_cameras_any_row_of_the_identity_is_a_match(write):
    rows = changed(5, "gallery/1.jpg,b,west,gallery")  # with cameras: the query's own camera
    refused(write(rows), "seen by another camera")
    assert len(open_identity_set(write(without_cameras(rows))).query) == 2


def test_the_manifest_gives_the_name(write):
    root = write()
    (root / "manifest.json").write_text('{"name": "figures"}')
    assert open_identity_set(root).name == "figures"


def test_an_identity_may_have_one_training_image(write):
    found = open_identity_set(write())
    assert np.bincount(found.train.identities).tolist() == [1, 2]


def test_what_data_prep_writes_is_read(tmp_path):
    names = [
        "bounding_box_train/0002_c1s1_000451_03.jpg",
        "bounding_box_train/0007_c2s1_000451_03.jpg",
        "query/0001_c1s1_001051_00.jpg",
        "bounding_box_test/0001_c2s1_000301_00.jpg",
        "bounding_box_test/0000_c1s1_000151_01.jpg",
        "bounding_box_test/-1_c1s1_000401_03.jpg",
    ]
    for name in names:
        (tmp_path / "source" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "source" / name).write_bytes(name.encode())
    root = market1501.prepare(tmp_path / "out", tmp_path / "source", allow_other_counts=True)
    found = open_identity_set(root)
    assert found.name == "market1501"
    assert found.identity_names == ("0002", "0007")
    assert found.test_names == ("0", "0001")
    np.testing.assert_array_equal(found.gallery.identities, [-1, 0, 1])
    np.testing.assert_array_equal(found.gallery.cameras, [0, 0, 1])
    np.testing.assert_array_equal(found.query.identities, [1])


FOLDERS = [
    "train/dog/1.jpg",
    "train/dog/2.png",
    "train/cat/1.JPG",
    "query/bird/1.jpg",
    "gallery/bird/2.jpg",
    "gallery/-1/1.jpg",
]


def fill(root, names=FOLDERS):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x")
    return root


def test_folders_are_read_without_cameras(tmp_path):
    fill(tmp_path, [*FOLDERS, "train/dog/notes.txt", "train/dog/._1.jpg", "train/.hidden/1.jpg"])
    found = open_identity_set(tmp_path)
    assert found.identity_names == ("cat", "dog")
    assert found.train.files == ("train/cat/1.JPG", "train/dog/1.jpg", "train/dog/2.png")
    np.testing.assert_array_equal(found.train.identities, [0, 1, 1])
    assert found.gallery.files == ("gallery/-1/1.jpg", "gallery/bird/2.jpg")
    np.testing.assert_array_equal(found.gallery.identities, [-1, 0])
    assert found.query.cameras is None


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ([], r"neither index.csv .* nor the folder train/ .*dreal prepare"),
        (FOLDERS[:4], "nor the folder gallery/"),
        ([*FOLDERS, "gallery/dog/1.jpg"], "training and in test; .* 1 in both, such as dog"),
        ([*FOLDERS, "query/-1/1.jpg"], r"in the gallery alone; .* has 1 in query"),
        ([*FOLDERS[1:3], "query/1.jpg", *FOLDERS[4:]], "no image in the split query"),
        ([*FOLDERS[:2], *FOLDERS[3:]], "at least two identities; .* has one, dog"),
    ],
)
def test_folders_that_are_no_set(tmp_path, names, message):
    refused(fill(tmp_path, names), message)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], "no image in the split train"),
        (ROWS[:5], "no image in the split gallery"),
        (changed(7, "gallery/3.jpg,a,west,galery"), "split in line 9 .*'galery'; did you mean"),
        (changed(7, "gallery/3.jpg,a,west,val"), "unknown split in line 9 of .*choices: train"),
        (changed(7, "gallery/3.jpg,,west,gallery"), "line 9 of .* has no identity"),
        (changed(7, "gallery/3.jpg,a,,gallery"), "1 of 8 in .* have none, such as gallery/3.jpg"),
        (changed(7, "gallery/3.jpg,a,gallery"), "line 9 of .* another number of columns"),
        (changed(7, "gallery/3.jpg,a,w,x,gallery"), "line 9 of .* another number of columns"),
        (changed(7, "gallery/3.jpg,9,west,gallery"), "training and in test; .* 1 in both, .* 9;"),
        (changed(3, "query/1.jpg,-1,west,query"), "in the gallery alone; .* 1 in query, .*query/1"),
        (changed(0, "train/1.jpg,-1,east,train"), "in the gallery alone; .* 1 in train"),
        ([*ROWS, ROWS[0]], "one row in .*; 1 have more, such as train/1.jpg"),
        ([*ROWS, "train//1.jpg,9,east,train"], "1 have more, such as train/1.jpg"),
        (changed(5, "gallery/1.jpg,b,west,gallery"), "seen by another camera .*none of the 2 quer"),
        (changed(5, "gallery/1.jpg,c,east,gallery"), "none of the 2 queries"),
        ([row.replace("east", "west") for row in ROWS], "one camera only, west; leave the camera"),
        (
            without_cameras(changed(5, "gallery/1.jpg,c,east,gallery")),
            "needs an image of its identity in the gallery; none of the 2",
        ),
    ],
)
def test_an_index_that_is_no_set(write, rows, message):
    refused(write(rows), message)


@pytest.mark.parametrize(
    "file", ["../1.jpg", "/tmp/1.jpg", "train/../../1.jpg", "gallery\\3.jpg", "", "."]
)
def test_a_path_outside_the_root_is_refused(write, file):
    write()
    refused(write(changed(7, f"{file},a,west,gallery"), files=False), "inside .*; line 9 has")


def test_a_missing_file_is_named(write):
    root = write()
    (root / "gallery/3.jpg").unlink()
    refused(root, "lists gallery/3.jpg, which is not in")


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ("file,identity,camera", "it lacks split; add it"),
        ("path,id,camera,split", "it lacks file,identity; add it"),
        ("", "it lacks file,identity,camera,split"),
        ("file;identity;camera;split", "semicolons.*commas"),
    ],
)
def test_a_missing_column_is_named(write, header, message):
    refused(write(header=header), message)


@pytest.mark.parametrize("content", [b"", b"\xff\xfe\x00", b'file,identity,camera,split\n"a\n'])
def test_what_is_no_csv_is_one_line(tmp_path, content):
    (tmp_path / "index.csv").write_bytes(content)
    refused(tmp_path, "index.csv")
