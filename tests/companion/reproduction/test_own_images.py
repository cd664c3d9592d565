"""Which scale a batch is of, by its images; records of other images stop it before it trains."""

import pytest
from synthetic_records import write_run
from tiny_images import write_tiny_set

from book.companion.reproduction.own_images import placed_variant, refuse_records_of_other_images
from dreal_lib.errors import UserError
from dreal_lib.recipes import load_recipe
from dreal_lib.records import record_path
from dreal_lib.tasks.task import open_data

ROW = "table_1/se_resnet50_baseline"


def test_given_photographs_have_a_scale_of_their_own_and_rendered_images_none(tmp_path):
    photos = write_tiny_set(tmp_path / "photos")
    fingerprint = open_data(load_recipe(ROW), photos, None).facts.fingerprint
    own = f"own-{fingerprint[:8]}"
    assert placed_variant("pair", photos, "smoke", None) == own
    assert placed_variant("pair", photos, "desktop", None).startswith("own-")
    assert placed_variant("pair", None, "smoke", None) is None


def test_a_record_of_other_images_stops_a_batch(tmp_path):
    photos = write_tiny_set(tmp_path / "photos")
    facts = open_data(load_recipe(ROW), photos, None).facts
    path = record_path(tmp_path, "smoke", None, ROW, 0)

    def check():
        refuse_records_of_other_images([(ROW, path)], photos, "smoke", None, tmp_path / "build")

    check()  # nothing is there
    write_run(tmp_path, ROW, data=facts.model_dump())
    check()
    write_run(tmp_path, ROW)
    with pytest.raises(UserError, match=r"\(made-up, fingerprint f{12}; these are photos, "):
        check()


def test_what_is_still_to_be_rendered_is_not_compared(tmp_path):
    write_run(tmp_path, ROW)
    path = record_path(tmp_path, "smoke", None, ROW, 0)
    refuse_records_of_other_images([(ROW, path)], None, "smoke", None, tmp_path / "build")
