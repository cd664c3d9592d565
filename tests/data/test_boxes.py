"""Boxes and masks in the evaluated crop, by hand and against the pixels that the network sees."""

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_images import write_tiny_set

from dreal_lib.data.batches import CachedBatches, Crops, StreamedBatches
from dreal_lib.data.boxes import open_objects, read_boxes, rectangles
from dreal_lib.data.cache import open_cache
from dreal_lib.data.images import open_image_set
from dreal_lib.errors import UserError

HEADER = "file,x_min,y_min,x_max,y_max\n"


@pytest.fixture
def make_set(tmp_path):
    """Function that writes one white-on-black val image of class a and its box; gives the split."""

    def make(size=(40, 20), box=(10, 4, 18, 12), rows=None, mask=None):
        for split in ("train", "val"):
            for name in ("a", "b"):
                (tmp_path / split / name).mkdir(parents=True)
                Image.new("RGB", size).save(tmp_path / split / name / "0.png")
        picture = Image.new("RGB", size)
        picture.paste((255, 255, 255), box)
        picture.save(tmp_path / "val/a/0.png")
        rows = [box] if rows is None else rows
        text = "".join(f"val/a/0.png,{','.join(map(str, row))}\n" for row in rows)
        (tmp_path / "boxes.csv").write_text(HEADER + text)
        if mask is not None:
            (tmp_path / "masks/val/a").mkdir(parents=True)
            mask.save(tmp_path / "masks/val/a/0.png")
        return open_image_set(tmp_path)

    return make


def region(images, crops, **how):
    return open_objects(images.val, crops, **how).regions(0, 1)


def test_a_box_by_hand(make_set):
    # 40 x 20 stays, the centre square is columns 10 to 30, the centre 16 of it 12 to 28, rows 2 on.
    box = rectangles(region(make_set(), Crops(16, 20)).box)
    assert box.tolist() == [[0, 2, 6, 10]]


def test_a_box_is_halved_with_its_image(make_set):
    # 40 x 20 becomes 20 x 10, of which columns 5 to 15 are seen.
    box = rectangles(region(make_set(box=(12, 4, 20, 12)), Crops(10, 10)).box)
    assert box.tolist() == [[1, 2, 5, 6]]


@pytest.mark.parametrize("size", [(40, 20), (23, 37), (31, 30)])
@pytest.mark.parametrize("crops", [Crops(16, 20), Crops(15, 18), Crops(18, 18), Crops(21, 26)])
@pytest.mark.parametrize("squared", [True, False])
def test_the_region_is_where_the_network_sees_the_object(make_set, tmp_path, size, crops, squared):
    box = (size[0] // 2 - 5, size[1] // 2 - 6, size[0] // 2 + 6, size[1] // 2 + 5)
    images = make_set(size, box)
    if squared:
        cached = open_cache(images, crops.resize, tmp_path / "cache")
        batches = CachedBatches(cached, "val", crops, 2)
    else:
        batches = StreamedBatches(images.val, False, crops, 2, workers=0)
    seen, _ = next(iter(batches.epoch()))
    grey = seen[0].mean(0)
    white = grey > (grey.min() + grey.max()) / 2
    found = region(images, crops, squared=squared).box[0]
    # Antialiased edges round either way by a grey level, so a few pixels of the edge may differ.
    assert (found != white).sum() <= 0.04 * white.sum()


def test_several_boxes_are_one_region_and_overhang_is_cut_off(make_set):
    images = make_set(size=(20, 20), rows=[(0, 0, 4, 4), (16, 16, 30, 24)])
    found = region(images, Crops(20, 20)).box[0]
    assert found.sum() == 2 * 16
    assert found[:4, :4].all()
    assert found[16:, 16:].all()


def test_a_mask_is_the_shape_and_not_the_box(make_set):
    mask = Image.new("L", (20, 20))
    mask.paste(255, (4, 4, 8, 16))
    images = make_set(size=(20, 20), box=(4, 4, 16, 16), mask=mask)
    found = region(images, Crops(20, 20))
    assert rectangles(found.box).tolist() == [[4, 4, 16, 16]]
    assert rectangles(found.shape).tolist() == [[4, 4, 8, 16]]
    assert found.masked.tolist() == [True]


def test_a_mask_without_a_box_gives_the_box(make_set):
    mask = Image.new("L", (20, 20))
    mask.paste(255, (4, 4, 8, 8))
    mask.paste(255, (10, 12, 12, 14))
    found = region(make_set(size=(20, 20), rows=[], mask=mask), Crops(20, 20))
    assert rectangles(found.box).tolist() == [[4, 4, 12, 14]]
    assert found.shape.sum() == 16 + 4


@pytest.mark.parametrize("rows", [[(0, 0, 5, 20)], [(50, 50, 60, 60)], [(19, 9, 20, 10)]])
def test_an_object_out_of_sight_is_unknown(make_set, rows):
    found = region(make_set(rows=rows), Crops(5, 6))  # cut off, outside, or too small
    assert not found.box.any()
    assert not found.shape.any()
    assert rectangles(found.box).tolist() == [[-1] * 4]


def test_an_image_without_an_entry_is_unknown(make_set):
    found = open_objects(make_set().val, Crops(16, 20)).regions(0, 2)
    assert found.box.any(2).any(1).tolist() == [True, False]


def test_a_set_without_objects_says_so(make_set, tmp_path):
    images = make_set()
    (tmp_path / "boxes.csv").write_text(HEADER + "train/a/0.png,0,0,4,4\n")
    assert open_objects(images.val, Crops(16, 20)) is None
    (tmp_path / "boxes.csv").unlink()
    assert open_objects(images.val, Crops(16, 20)) is None


def test_past_the_end_there_is_nothing(make_set):
    found = open_objects(make_set().val, Crops(16, 20)).regions(2, 5)
    assert found.box.shape == (0, 16, 16)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("file,x_min,y_min,x_max\nval/a/0.png,0,0,4\n", "lacks the column 'y_max'"),
        (HEADER + "val/a/0.png,0,0,4,4\nval/a/0.png,4,0,4,4\n", "line 3 .* is no box"),
        (HEADER + "val/a/0.png,0,zero,4,4\n", "line 2 .* is no box"),
        (HEADER + "val/a/0.png,0,,4,4\n", "line 2 .* is no box"),
        (HEADER + "val/a/0.png,0,0.5,4,4\n", "line 2 .* is no box"),
        (HEADER + "val/a/0.png,0,0,inf,4\n", "line 2 .* is no box"),
        ("", "lacks the column 'file'"),
        (HEADER.replace(",", ";") + "val/a/0.png;0;0;4;4\n", "semicolons.*commas"),
    ],
)
def test_a_damaged_table_is_refused_in_one_line(tmp_path, text, message):
    path = tmp_path / "boxes.csv"
    path.write_text(text)
    with pytest.raises(UserError, match=message) as caught:
        read_boxes(path, {"val/a/0.png"})
    assert "\n" not in str(caught.value)


def test_a_mask_of_another_size_or_damaged_is_refused(make_set, tmp_path):
    images = make_set(mask=Image.new("L", (20, 20), 255))
    with pytest.raises(UserError, match="20 x 20 pixels and its image 40 x 20"):
        region(images, Crops(16, 20))
    (tmp_path / "masks/val/a/0.png").write_bytes(b"no picture")
    with pytest.raises(UserError, match="cannot decode mask"):
        region(images, Crops(16, 20))


def test_rectangles_by_hand():
    regions = torch.zeros(2, 5, 7, dtype=torch.bool)
    regions[0, 1, 6] = regions[0, 4, 2] = True
    assert rectangles(regions).tolist() == [[2, 1, 7, 5], [-1] * 4]
    assert rectangles(regions).dtype == torch.int16
    assert np.asarray(rectangles(regions[:0])).shape == (0, 4)


def test_boxes_of_another_set_are_one_line(tmp_path):
    root = write_tiny_set(tmp_path / "set")
    (root / "boxes.csv").write_text("file,x_min,y_min,x_max,y_max\nimages/1.jpg,0,0,2,2\n")
    split = open_image_set(root).val
    with pytest.raises(UserError, match=r"none of the 1 boxes in .* names 'images/1.jpg'"):
        open_objects(split, Crops(8, 8))
    (root / "boxes.csv").write_text(
        f"file,x_min,y_min,x_max,y_max\n{open_image_set(root).train.files[0]},0,0,2,2\n"
    )
    assert open_objects(split, Crops(8, 8)) is None  # boxes of the other split alone
