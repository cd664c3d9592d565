"""CUHK03, hand-made, in the two forms in use: what is written, what is refused, and why."""

import json
from pathlib import Path

import pytest
from identity_archives import index, manifest, write_files, write_zip

from data_prep import cuhk03
from data_prep.errors import PreparationError

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
