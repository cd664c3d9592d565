"""The layout of an identity set: what is written, and the rules that rows are held to."""

import pytest
from identity_archives import index, manifest

from data_prep.errors import PreparationError
from data_prep.identity_layout import Entry, IdentityImage, write_identity_set

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
