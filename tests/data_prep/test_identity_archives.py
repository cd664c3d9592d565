"""Hand-made sets in each form that researchers hold: what is written, what is refused, and why."""

import csv
import hashlib
import json
import os
import zipfile
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from data_prep import cuhk03, dukemtmc, identity_rows, market1501, msmt17
from data_prep.errors import PreparationError
from data_prep.identity_layout import (
    Entry,
    IdentityImage,
    write_identity_set,
    write_index,
)

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
DUKE = [
    "bounding_box_train/0001_c2_f0046182.jpg",
    "bounding_box_train/0007_c8_f0046182.jpg",
    "query/0005_c1_f0046985.jpg",
    "bounding_box_test/0005_c3_f0051781.jpg",
]


def write_files(top: Path, names: list[str]) -> Path:
    """Files whose content is their path, so that a mix-up shows."""
    for name in names:
        (top / name).parent.mkdir(parents=True, exist_ok=True)
        (top / name).write_bytes(name.encode())
    return top


def write_zip(path: Path, names: list[str], top: str = "") -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name in names:
            archive.writestr(f"{top}{name}", name)
    return path


def index(root: Path) -> list[tuple[str, ...]]:
    with (root / "index.csv").open(newline="") as stream:
        header, *rows = csv.reader(stream)
    assert header == ["file", "identity", "camera", "split"]
    return [tuple(row) for row in rows]


def manifest(root: Path) -> dict:
    return json.loads((root / "manifest.json").read_text())


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


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


def made(split: str, images: int, identities: int, junk: int = 0) -> list[Entry]:
    """Rows with the given counts; camera and file do not matter here."""
    names = [f"{split[0]}{number % identities:04d}" for number in range(images)] + ["-1"] * junk
    return [Entry(f"{split}/{i}.jpg", name, "1", split) for i, name in enumerate(names)]


@pytest.mark.parametrize("junk", [0, 3819])
def test_the_published_counts_pass_with_and_without_junk(junk):
    rows = made("train", 12936, 751) + made("query", 3368, 750) + made("gallery", 15913, 751, junk)
    identity_rows.check_counts("market1501", rows, market1501.PUBLISHED)
    with pytest.raises(PreparationError, match=r"\(train images: expected 12,936, found 12,935\);"):
        identity_rows.check_counts("market1501", rows[1:], market1501.PUBLISHED)


def test_the_published_counts_are_those_of_the_papers():
    images = {
        "market1501": [market1501.PUBLISHED[s].images for s in ("train", "query", "gallery")],
        "dukemtmc": [dukemtmc.PUBLISHED[s].images for s in ("train", "query", "gallery")],
        "msmt17": [msmt17.PUBLISHED[s].images for s in ("train", "query", "gallery")],
    }
    assert sum(images["market1501"]) + 3_819 == 36_036  # 12,936 + 3,368 + 19,732
    assert sum(images["dukemtmc"]) == 36_411
    assert sum(images["msmt17"]) == 126_441  # paper/rga_paper.txt
    labelled, detected = cuhk03.PUBLISHED["labelled"], cuhk03.PUBLISHED["detected"]
    assert sum(split.images for split in labelled.values()) == 14_096
    assert sum(split.images for split in detected.values()) == 14_097
    assert labelled["train"].identities + labelled["query"].identities == 1_467
    assert msmt17.PUBLISHED["train"].identities + msmt17.PUBLISHED["query"].identities == 4_101


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


@pytest.mark.parametrize("prepare", [market1501.prepare, cuhk03.prepare, msmt17.prepare])
def test_where_nothing_is_the_home_is_named(tmp_path, prepare):
    (tmp_path / "empty").mkdir()
    for source in (tmp_path / "absent", tmp_path / "empty"):
        with pytest.raises(PreparationError, match=r"(nothing is at|holds no) .*https://"):
            prepare(tmp_path / "out", source)


def test_duke_is_read_and_never_offered(tmp_path):
    source = write_files(tmp_path / "DukeMTMC-reID", DUKE)
    root = dukemtmc.prepare(tmp_path / "out", source, allow_other_counts=True)
    assert index(root)[0] == ("train/0001_c2_f0046182.jpg", "0001", "2", "train")
    assert len(index(root)) == 4
    with pytest.raises(PreparationError, match=r"expected 16,522, found 2; .*expected 702, fou"):
        dukemtmc.prepare(tmp_path / "other", source)
    with pytest.raises(PreparationError, match="withdrawn by its authors and is downloaded for no"):
        dukemtmc.prepare(tmp_path / "other", tmp_path / "absent")
    assert "withdrew" in dukemtmc.__doc__
    assert "http" not in Path(dukemtmc.__file__).read_text()


def test_another_sets_names_are_refused(tmp_path):
    source = write_files(tmp_path / "DukeMTMC-reID", DUKE)
    with pytest.raises(PreparationError, match="4 of 4 do not"):
        market1501.prepare(tmp_path / "out", source, allow_other_counts=True)


CUHK_NP = [
    "bounding_box_train/0001_c1_1.png",
    "bounding_box_train/0003_c2_21.png",
    "query/0002_c1_11.png",
    "bounding_box_test/0002_c2_16.png",
]


def test_cuhk03_np_folders_of_both_boxes(tmp_path):
    names = [f"{boxes}/{name}" for boxes in ("labeled", "detected") for name in CUHK_NP]
    extra = "detected/bounding_box_test/0002_c2_17.png"
    archive = write_zip(tmp_path / "cuhk03-np.zip", [*names, extra], "cuhk03-np/")
    labelled = cuhk03.prepare(tmp_path / "l", archive, allow_other_counts=True)
    detected = cuhk03.prepare(tmp_path / "d", archive, boxes="detected", allow_other_counts=True)
    assert index(labelled) == [
        ("train/0001_c1_1.png", "0001", "1", "train"),
        ("train/0003_c2_21.png", "0003", "2", "train"),
        ("query/0002_c1_11.png", "0002", "1", "query"),
        ("gallery/0002_c2_16.png", "0002", "2", "gallery"),
    ]
    assert (labelled / "query/0002_c1_11.png").read_text() == "labeled/query/0002_c1_11.png"
    assert len(index(detected)) == 5
    assert (detected / "query/0002_c1_11.png").read_text() == "detected/query/0002_c1_11.png"
    assert manifest(labelled)["name"] == "cuhk03-labelled"
    assert manifest(detected)["name"] == "cuhk03-detected"
    with pytest.raises(PreparationError, match="holds another prepared set"):
        cuhk03.prepare(tmp_path / "l", archive, boxes="detected", allow_other_counts=True)
    with pytest.raises(PreparationError, match="must be one of labelled, detected; got 'drawn'"):
        cuhk03.prepare(tmp_path / "x", archive, boxes="drawn")


# As torchreid writes it: training identities renumbered from 0, cameras from 0, paths of the
# machine that wrote the list. Number 1 is 1_002 in training and 1_003 in test.
SPLIT = {
    "train": [
        ["/data/cuhk03/images_labeled/1_001_1_01.png", 0, 0],
        ["/data/cuhk03/images_labeled/1_002_2_06.png", 1, 1],
    ],
    "query": [["/data/cuhk03/images_labeled/1_003_1_01.png", 1, 0]],
    "gallery": [["/data/cuhk03/images_labeled/1_003_2_07.png", 1, 1]],
    "num_train_pids": 2,
}


def extracted(top: Path, split: dict | list) -> Path:
    rows = [row for name in ("train", "query", "gallery") for row in SPLIT[name]]
    write_files(top, [f"images_labeled/{Path(path).name}" for path, _, _ in rows])
    (top / "splits_new_labeled.json").write_text(json.dumps(split))
    return top


def test_cuhk03_as_torchreid_extracts_it(tmp_path):
    root = cuhk03.prepare(
        tmp_path / "out", extracted(tmp_path / "cuhk03", [SPLIT]), allow_other_counts=True
    )
    assert index(root) == [
        ("train/1_001_1_01.png", "1_001", "1", "train"),
        ("train/1_002_2_06.png", "1_002", "2", "train"),
        ("query/1_003_1_01.png", "1_003", "1", "query"),
        ("gallery/1_003_2_07.png", "1_003", "2", "gallery"),
    ]


@pytest.mark.parametrize(
    ("split", "message"),
    [
        ([SPLIT, SPLIT], "not torchreid's list of the new protocol"),  # the classic one has 20
        ([{"train": []}], "not torchreid's list of the new protocol"),
        ("text", "not torchreid's list of the new protocol"),
        ([{**SPLIT, "query": [["x/1_009_1_01.png", 9, 0]]}], "lists '1_009_1_01.png', which"),
        ([{**SPLIT, "query": [["x/1_003_1_01.png", 1, 1]]}], "identity 1 and camera 1; its name"),
        ([{**SPLIT, "train": [[p, 0, c] for p, _, c in SPLIT["train"]]}], "one number to several"),
        ([{**SPLIT, "query": [["x/1_001_1_01.png", 7, 0]]}], "in training and in test; 1 do"),
    ],
)
def test_a_list_of_torchreid_that_cannot_be(tmp_path, split, message):
    source = extracted(tmp_path / "cuhk03", split)
    with pytest.raises(PreparationError, match=message) as caught:
        cuhk03.prepare(tmp_path / "out", source, allow_other_counts=True)
    assert "\n" not in str(caught.value)


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


def test_a_damaged_zip_and_other_archives_are_refused(tmp_path, listing):
    archive = write_zip(tmp_path / "market.zip", MARKET)
    content = bytearray(archive.read_bytes())
    content[content.index(b"query/") + len(MARKET[3])] ^= 1  # one bit of the image itself
    archive.write_bytes(content)
    (tmp_path / "MSMT17_V1.tar.gz").write_bytes(b"x")
    with pytest.raises(PreparationError, match=r"market.zip' is damaged or truncated"):
        market1501.prepare(tmp_path / "out", archive, allow_other_counts=True)
    with pytest.raises(PreparationError, match=r"unpack this archive and give its folder"):
        msmt17.prepare(tmp_path / "out", tmp_path / "MSMT17_V1.tar.gz")
    assert listing(tmp_path) == ["MSMT17_V1.tar.gz", "market.zip"]


ENTRIES = [
    Entry("train/a.png", "a", "", "train"),
    Entry("query/b.png", "b", "", "query"),
    Entry("gallery/b.png", "b", "", "gallery"),
]


def test_rendered_images_with_masks_and_notes(tmp_path):
    images = [IdentityImage(entry, entry.file.encode(), mask=b"mask") for entry in ENTRIES]
    settings, notes = {"seed": 1}, {"generator": {"version": 1}}
    root = write_identity_set(
        tmp_path / "out", "figures", "rendered", images, settings=settings, notes=notes
    )
    assert (root / "masks/query/b.png").read_bytes() == b"mask"
    assert manifest(root)["generator"] == {"version": 1}
    assert [row[0] for row in index(root)] == [entry.file for entry in ENTRIES]

    def never():
        raise AssertionError("a set that is there is not rendered again")
        yield

    write_identity_set(tmp_path / "out", "figures", "rendered", never(), settings=settings)


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        (ENTRIES[:2], "no image for the split 'gallery'"),
        ([*ENTRIES, ENTRIES[0]], "two files of the set have the path|may have one row"),
        ([*ENTRIES, Entry("gallery/c.png", "c", "2", "gallery")], "3 have none, the first 'tra"),
        ([*ENTRIES, Entry("gallery/c.png", "a", "", "gallery")], "in training and in test"),
        ([*ENTRIES, Entry("../c.png", "c", "", "gallery")], "leads out|inside"),
        ([*ENTRIES, Entry("gallery//c.png", "c", "", "gallery")], "write 'gallery/c.png'"),
        ([*ENTRIES, Entry("val/c.png", "c", "", "val")], "a split of train, query, gallery"),
        ([*ENTRIES, Entry("gallery/c.png", "", "", "gallery")], "needs an identity"),
    ],
)
def test_a_set_that_breaks_a_rule_leaves_nothing(tmp_path, listing, entries, message):
    images = [IdentityImage(entry, b"x") for entry in entries]
    with pytest.raises(PreparationError, match=message):
        write_identity_set(tmp_path / "out", "figures", "rendered", images, settings={})
    assert listing(tmp_path) == []


def test_an_index_alone_is_written_once(tmp_path):
    path = write_index(tmp_path, ENTRIES)
    assert path.read_text().splitlines()[1] == "train/a.png,a,,train"
    with pytest.raises(PreparationError, match="exists and is not overwritten"):
        write_index(tmp_path, ENTRIES)


@pytest.mark.parametrize("module", [market1501, dukemtmc, cuhk03, msmt17])
def test_each_command_has_its_options(module):
    app = typer.Typer()
    app.command()(module.main)
    text = CliRunner().invoke(app, ["--help"], env={"COLUMNS": "120"}).output
    for option in ("--allow-other-counts", "--skip-unparsed"):
        assert option in text
    assert ("--boxes" in text) == (module is cuhk03)


def test_the_command_prepares(tmp_path, market):
    app = typer.Typer()
    app.command()(market1501.main)
    out = tmp_path / "out"
    result = CliRunner().invoke(app, [str(out), str(market), "--allow-other-counts"])
    assert result.exit_code == 0, result.output
    assert index(out) == MARKET_ROWS
