"""What the four re-identification sets have in common: published counts, homes, options."""

import pytest
import typer
from typer.testing import CliRunner

from data_prep import cuhk03, dukemtmc, identity_rows, market1501, msmt17
from data_prep.errors import PreparationError
from data_prep.identity_layout import Entry


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


@pytest.mark.parametrize("prepare", [market1501.prepare, cuhk03.prepare, msmt17.prepare])
def test_where_nothing_is_the_home_is_named(tmp_path, prepare):
    (tmp_path / "empty").mkdir()
    for source in (tmp_path / "absent", tmp_path / "empty"):
        with pytest.raises(PreparationError, match=r"(nothing is at|holds no) .*https://"):
            prepare(tmp_path / "out", source)


def test_an_archive_that_is_no_zip_is_to_be_unpacked(tmp_path, listing):
    (tmp_path / "MSMT17_V1.tar.gz").write_bytes(b"x")
    with pytest.raises(PreparationError, match=r"unpack this archive and give its folder"):
        msmt17.prepare(tmp_path / "out", tmp_path / "MSMT17_V1.tar.gz")
    assert listing(tmp_path) == ["MSMT17_V1.tar.gz"]


@pytest.mark.parametrize("module", [market1501, dukemtmc, cuhk03, msmt17])
def test_each_command_has_its_options(module):
    app = typer.Typer()
    app.command()(module.main)
    text = CliRunner().invoke(app, ["--help"], env={"COLUMNS": "120"}).output
    for option in ("--allow-other-counts", "--skip-unparsed"):
        assert option in text
    assert ("--boxes" in text) == (module is cuhk03)
    assert f"python -m {module.__name__} " in text
