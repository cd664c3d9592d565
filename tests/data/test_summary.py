"""What is said of a data set before it is trained on."""

from tiny_images import noise, write_tiny_set

from dreal_lib.data.images import open_image_set
from dreal_lib.data.summary import class_summary, named, sizes_text


def test_images_classes_sizes_and_what_was_left_out(tmp_path):
    root = write_tiny_set(tmp_path / "pets", train=3, val=1)
    for path in (root / "val" / "cat").iterdir():
        path.unlink()
    folder = root / "train" / "ant"
    for name in ("a.heic", "b.HEIC", "c.gif"):
        (folder / name).touch()
    (folder / "link.png").symlink_to(tmp_path / "nowhere.png")
    (folder / "deeper").mkdir()
    noise(0).save(folder / "deeper" / "1.png")
    noise(1, 30, 20).save(folder / "9.png")
    first, unjudged, left_out = class_summary(open_image_set(root))
    assert first == (
        "data: pets, 3 classes (ant, bee, cat), 10 training images (3 to 4 a class), 2 to judge, "
        "20x20 to 30x23 px"
    )
    assert unjudged.endswith(": cat")
    for part in ("2 .heic", "1 .gif", "1 broken link", "1 folder", "not one folder deeper"):
        assert part in left_out


def test_a_clean_set_has_one_line(tmp_path):
    assert len(class_summary(open_image_set(write_tiny_set(tmp_path / "pets")))) == 1


def test_many_names_are_cut_short_and_damaged_files_left_to_the_reader(tmp_path):
    assert named(("a", "b", "c"), most=2) == "a, b and 1 more"
    assert sizes_text(tmp_path, ["none.png"]) == "sizes unknown"


def test_a_turned_photograph_has_the_size_it_is_shown_in(tmp_path):
    image = noise(0, 24, 20)
    exif = image.getexif()
    exif[0x0112] = 6
    image.save(tmp_path / "1.jpg", exif=exif)
    assert sizes_text(tmp_path, ["1.jpg"]) == "20x24 px"
