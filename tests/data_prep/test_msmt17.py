"""MSMT17, hand-made, in both editions: what is written, what is refused, and why."""

from pathlib import Path

import pytest
from identity_archives import index, manifest, write_files

from data_prep import msmt17
from data_prep.errors import PreparationError

# Training and test number their people apart: 0000 is two people.
MSMT_LISTS = {
    "list_train.txt": "0000/0000_000_01_0303morning_0008_0.jpg 0\n",
    "list_val.txt": "0001/0001_000_02_0303noon_0017_2.jpg 1\n",
    "list_query.txt": "0000/0000_000_01_0303morning_0015_0.jpg 0\n",
    "list_gallery.txt": (
        "0000/0000_001_14_0303afternoon_0956_1.jpg 0\r\n"
        "0001/0001_019_10_0303noon_0284_2_ex.jpg 1\r\n\r\n"
    ),
}


def msmt(top: Path, train: str, test: str, lists: dict[str, str] | None = None) -> Path:
    for listing, text in MSMT_LISTS.items():
        folder = train if listing in ("list_train.txt", "list_val.txt") else test
        write_files(
            top, [f"{folder}/{line.split()[0]}" for line in text.split("\n") if " " in line]
        )
    for listing, text in (MSMT_LISTS | (lists or {})).items():
        (top / listing).write_bytes(text.encode())
    return top


@pytest.mark.parametrize(
    ("edition", "train", "test"), [("V1", "train", "test"), ("V2", "mask_train_v2", "mask_test_v2")]
)
def test_msmt17_in_both_editions(tmp_path, edition, train, test):
    source = msmt(tmp_path / "MSMT17", train, test)
    root = msmt17.prepare(tmp_path / "out", source, allow_other_counts=True)
    assert index(root) == [
        ("train/0000/0000_000_01_0303morning_0008_0.jpg", "train_0000", "01", "train"),
        ("train/0001/0001_000_02_0303noon_0017_2.jpg", "train_0001", "02", "train"),
        ("query/0000/0000_000_01_0303morning_0015_0.jpg", "test_0000", "01", "query"),
        ("gallery/0000/0000_001_14_0303afternoon_0956_1.jpg", "test_0000", "14", "gallery"),
        ("gallery/0001/0001_019_10_0303noon_0284_2_ex.jpg", "test_0001", "10", "gallery"),
    ]
    stored = root / "query/0000/0000_000_01_0303morning_0015_0.jpg"
    assert stored.read_text() == f"{test}/0000/0000_000_01_0303morning_0015_0.jpg"
    assert manifest(root)["settings"]["edition"] == edition
    with pytest.raises(PreparationError, match=r"train images: expected 32,621, found 2;"):
        msmt17.prepare(tmp_path / "other", source)


@pytest.mark.parametrize(
    ("listing", "text", "message"),
    [
        ("list_query.txt", "0000/0000_000_01_0303morning_0015_0.jpg\n", "line 1 is '0000/0000_000"),
        ("list_query.txt", "0000/0000_000_01_0303morning_0015_0.jpg 7\n", "the identity 7, its na"),
        ("list_query.txt", "0009/0009_000_01_0303morning_0015_0.jpg 9\n", "which 'test' of .* lac"),
        ("list_query.txt", "../train/0000/0000_000_01_0303morning_0008_0.jpg 0\n", "lacks"),
        ("list_val.txt", MSMT_LISTS["list_train.txt"], "may have one row"),
        ("list_gallery.txt", "", "no image for the split 'gallery'"),
    ],
)
def test_a_list_of_msmt17_that_cannot_be(tmp_path, listing, text, message):
    source = msmt(tmp_path / "MSMT17", "train", "test", {listing: text})
    with pytest.raises(PreparationError, match=message) as caught:
        msmt17.prepare(tmp_path / "out", source, allow_other_counts=True)
    assert "\n" not in str(caught.value)


def test_msmt17_without_a_list_or_with_two_editions(tmp_path):
    source = msmt(tmp_path / "MSMT17", "train", "test")
    write_files(source, ["mask_train_v2/0000/x.jpg"])
    with pytest.raises(PreparationError, match="it has both; give one edition's folder"):
        msmt17.prepare(tmp_path / "out", source)
    (source / "mask_train_v2/0000/x.jpg").unlink()
    (source / "list_val.txt").unlink()
    with pytest.raises(PreparationError, match=r"has no file 'list_val.txt'"):
        msmt17.prepare(tmp_path / "out", source)
