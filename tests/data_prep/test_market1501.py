"""Market-1501, hand-made, in each form that researchers hold: what is written, what is refused."""

import hashlib
import os
import zipfile

import pytest
import typer
from identity_archives import contents, index, manifest, write_files, write_zip
from typer.testing import CliRunner

from data_prep import market1501
from data_prep.errors import PreparationError

MARKET = [
    "bounding_box_train/0002_c1s1_000451_03.jpg",
    "bounding_box_train/0002_c2s1_000451_03.jpg",
    "bounding_box_train/0007_c1s1_001051_00.jpg",
    "query/0001_c1s1_001051_00.jpg",
    "bounding_box_test/0001_c2s1_000301_00.jpg",
    "bounding_box_test/0000_c1s1_000151_01.jpg",
    "bounding_box_test/-1_c1s1_000401_03.jpg",
]
MARKET_ROWS = [
    ("train/0002_c1s1_000451_03.jpg", "0002", "1", "train"),
    ("train/0002_c2s1_000451_03.jpg", "0002", "2", "train"),
    ("train/0007_c1s1_001051_00.jpg", "0007", "1", "train"),
    ("query/0001_c1s1_001051_00.jpg", "0001", "1", "query"),
    ("gallery/-1_c1s1_000401_03.jpg", "-1", "1", "gallery"),
    ("gallery/0000_c1s1_000151_01.jpg", "0", "1", "gallery"),
    ("gallery/0001_c2s1_000301_00.jpg", "0001", "2", "gallery"),
]


@pytest.fixture
def market(tmp_path):
    return write_files(tmp_path / "Market-1501-v15.09.15", MARKET)


def test_market_folder(tmp_path, market, listing):
    (market / "bounding_box_test/Thumbs.db").write_bytes(b"x")  # the official zip has it
    (market / "query/._0001_c1s1_001051_00.jpg").write_bytes(b"x")
    write_files(market, ["gt_bbox/0001_c1s1_001051_00.jpg", "readme.txt"])
    before = contents(market)
    root = market1501.prepare(tmp_path / "out", market, allow_other_counts=True)
    assert index(root) == MARKET_ROWS
    for file, *_ in MARKET_ROWS:
        split, name = file.split("/")
        folder = {"train": "bounding_box_train", "gallery": "bounding_box_test"}.get(split, split)
        assert (root / file).read_text() == f"{folder}/{name}"
    assert contents(market) == before
    assert manifest(root)["splits"] == {
        "train": {"images": 3, "identities": 2},
        "query": {"images": 1, "identities": 1},
        "gallery": {"images": 3, "identities": 2, "junk": 1},
    }
    assert manifest(root)["name"] == "market1501"
    assert "skipped_unparsed" not in manifest(root)
    sums = dict(line.split("  ")[::-1] for line in (root / "SHA256SUMS").read_text().splitlines())
    assert set(sums) == {"index.csv", *(file for file, *_ in MARKET_ROWS)}
    assert all(hashlib.sha256((root / f).read_bytes()).hexdigest() == s for f, s in sums.items())
    assert not [name for name in listing(tmp_path) if "partial" in name]


def test_a_folders_images_are_linked_where_possible_and_copied_where_not(
    tmp_path, market, monkeypatch
):
    file, original = MARKET_ROWS[0][0], market / MARKET[0]
    linked = market1501.prepare(tmp_path / "linked", market, allow_other_counts=True)
    assert (linked / file).samefile(original)

    def refuse(*_):
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", refuse)
    copied = market1501.prepare(tmp_path / "copied", market, allow_other_counts=True)
    assert not (copied / file).samefile(original)
    assert contents(copied) == contents(linked)


def test_a_link_in_the_source_is_stored_as_the_picture(tmp_path, market):
    kept = tmp_path / "kept.jpg"
    (market / MARKET[0]).rename(kept)
    (market / MARKET[0]).symlink_to(kept)
    root = market1501.prepare(tmp_path / "out", market, allow_other_counts=True)
    stored = root / MARKET_ROWS[0][0]
    assert not stored.is_symlink()
    assert stored.read_bytes() == kept.read_bytes()


@pytest.mark.parametrize("top", ["", "Market-1501-v15.09.15/", "a/b/Market-1501-v15.09.15/"])
def test_market_zip(tmp_path, top):
    names = [*MARKET, "readme.txt"]
    archive = write_zip(tmp_path / "market.zip", names, top)
    with zipfile.ZipFile(archive, "a") as opened:
        opened.writestr(f"__MACOSX/{top}query/._0001_c1s1_001051_00.jpg", "x")
    root = market1501.prepare(tmp_path / "out", archive, allow_other_counts=True)
    assert index(root) == MARKET_ROWS
    assert (root / MARKET_ROWS[3][0]).read_text() == MARKET[3]
    sha256 = hashlib.sha256(archive.read_bytes()).hexdigest()
    assert manifest(root)["archives"] == [{"file": "market.zip", "sha256": sha256}]


def test_the_set_is_found_below_the_folder_given_but_two_are_refused(tmp_path, market):
    above = tmp_path / "datasets"
    above.mkdir()
    market.rename(above / "first")
    root = market1501.prepare(tmp_path / "out", above, allow_other_counts=True)
    assert index(root) == MARKET_ROWS
    write_files(above / "second", MARKET)
    with pytest.raises(PreparationError, match=r"2 sets with .*first, second; give the folder"):
        market1501.prepare(tmp_path / "other", above, allow_other_counts=True)


def test_the_same_set_is_found_again_and_another_is_refused(tmp_path, market):
    root = market1501.prepare(tmp_path / "out", market, allow_other_counts=True)
    times = {p: p.stat().st_mtime_ns for p in root.rglob("*")}
    market1501.prepare(tmp_path / "out", market, allow_other_counts=True)
    assert {p: p.stat().st_mtime_ns for p in root.rglob("*")} == times
    (market / MARKET[0]).unlink()
    with pytest.raises(PreparationError, match=r"holds another prepared set: its settings"):
        market1501.prepare(tmp_path / "out", market, allow_other_counts=True)
    assert len(index(root)) == len(MARKET_ROWS)


def test_a_count_that_differs_is_named(tmp_path, market, listing):
    with pytest.raises(PreparationError) as caught:
        market1501.prepare(tmp_path / "out", market)
    message = str(caught.value)
    assert "\n" not in message
    for part in (
        "train images: expected 12,936, found 3",
        "train identities: expected 751, found 2",
        "query images: expected 3,368, found 1",
        "gallery images: expected 15,913, found 2",  # junk is counted apart
        "gallery junk images: expected 3,819, found 1",
        "--allow-other-counts",
    ):
        assert part in message
    assert "out" not in listing(tmp_path)


def test_a_name_that_does_not_parse_is_counted_listed_and_refused_or_skipped(tmp_path, market):
    strange = [f"query/holiday{number}.jpg" for number in range(5)]
    write_files(market, strange)
    with pytest.raises(
        PreparationError,
        match=r"5 of 12 do not, such as holiday0.jpg, holiday1.jpg, holiday2.jpg; .*--skip-unpars",
    ):
        market1501.prepare(tmp_path / "out", market, allow_other_counts=True)
    root = market1501.prepare(tmp_path / "out", market, allow_other_counts=True, skip_unparsed=True)
    assert index(root) == MARKET_ROWS
    assert manifest(root)["skipped_unparsed"] == 5


@pytest.mark.parametrize(
    ("remove", "add", "message"),
    [
        ([], ["query/0002_c3s1_000451_03.jpg"], "training and in test; 1 do, such as 0002"),
        ([], ["query/-1_c3s1_000451_03.jpg"], "the split 'query' has 1 such images"),
        ([], ["bounding_box_train/-1_c3s1_000451_03.jpg"], "the split 'train' has 1"),
        (MARKET[3:4], [], "has no images in 'query'"),
        (MARKET[:3], [], "has no images in 'bounding_box_train'"),
    ],
)
def test_what_a_set_must_not_be(tmp_path, market, remove, add, message):
    for name in remove:
        (market / name).unlink()
    write_files(market, add)
    with pytest.raises(PreparationError, match=message) as caught:
        market1501.prepare(tmp_path / "out", market, allow_other_counts=True)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_an_output_that_is_in_use_is_left_alone(tmp_path, market):
    mine = write_files(tmp_path / "mine", ["holiday.jpg"])
    with pytest.raises(PreparationError, match="not empty and not a prepared set"):
        market1501.prepare(mine, market, allow_other_counts=True)
    assert contents(mine) == {"holiday.jpg": b"holiday.jpg"}


@pytest.mark.parametrize(
    ("member", "message"),
    [
        ("../outside.jpg", "leads out of its folder"),
        ("/etc/0002_c1s1_000451_03.jpg", "is absolute"),
        ("query\\0002_c1s1_000451_03.jpg", "is a Windows path"),
        (MARKET[0], "there twice"),
    ],
)
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_hostile_zip_is_refused_before_anything_is_written(tmp_path, listing, member, message):
    archive = write_zip(tmp_path / "market.zip", [*MARKET, member])
    with pytest.raises(PreparationError, match=message):
        market1501.prepare(tmp_path / "out", archive, allow_other_counts=True)
    assert listing(tmp_path) == ["market.zip"]


def test_a_zip_that_would_not_fit_is_refused(tmp_path, monkeypatch, listing):
    archive = write_zip(tmp_path / "market.zip", MARKET)
    total = sum(len(name) for name in MARKET)
    asked = []
    monkeypatch.setattr(
        "data_prep.identity_layout.require_room", lambda _, needed, __: asked.append(needed)
    )
    market1501.prepare(tmp_path / "out", archive, allow_other_counts=True)
    assert asked == [total]


def test_a_damaged_zip_is_refused(tmp_path, listing):
    archive = write_zip(tmp_path / "market.zip", MARKET)
    content = bytearray(archive.read_bytes())
    content[content.index(b"query/") + len(MARKET[3])] ^= 1  # one bit of the image itself
    archive.write_bytes(content)
    with pytest.raises(PreparationError, match=r"market.zip' is damaged or truncated"):
        market1501.prepare(tmp_path / "out", archive, allow_other_counts=True)
    assert listing(tmp_path) == ["market.zip"]


def test_the_command_prepares(tmp_path, market):
    app = typer.Typer()
    app.command()(market1501.main)
    out = tmp_path / "out"
    result = CliRunner().invoke(app, [str(out), str(market), "--allow-other-counts"])
    assert result.exit_code == 0, result.output
    assert index(out) == MARKET_ROWS
