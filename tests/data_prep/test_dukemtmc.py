"""DukeMTMC-reID, hand-made: read from a copy, offered nowhere."""

from pathlib import Path

import pytest
from identity_archives import index, write_files

from data_prep import dukemtmc, market1501
from data_prep.errors import PreparationError

DUKE = [
    "bounding_box_train/0001_c2_f0046182.jpg",
    "bounding_box_train/0007_c8_f0046182.jpg",
    "query/0005_c1_f0046985.jpg",
    "bounding_box_test/0005_c3_f0051781.jpg",
]


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
