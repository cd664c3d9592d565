"""Decoding image files: the pixels that were written, or one line that names the file."""

import io
import random
import warnings

import numpy as np
import pytest
from PIL import Image
from tiny_images import noise

from dreal_lib.data.images import read_image, read_plain_jpeg
from dreal_lib.errors import UserError


def refusal(function, *arguments) -> str:
    with pytest.raises(UserError) as caught:
        function(*arguments)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def pixels_of(path) -> np.ndarray:
    image = read_image(path)
    assert image.mode == "RGB"
    return np.asarray(image).astype(int)


def test_colour_is_decoded_as_it_was_written(tmp_path):
    noise(3).save(tmp_path / "x.png")
    assert np.array_equal(pixels_of(tmp_path / "x.png"), np.asarray(noise(3)))


@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_greyscale_becomes_three_equal_channels(tmp_path, suffix):
    grey = Image.fromarray(np.full((6, 5), 77, dtype=np.uint8))
    grey.save(tmp_path / f"x.{suffix}")
    pixels = pixels_of(tmp_path / f"x.{suffix}")
    assert pixels.shape == (6, 5, 3)
    assert np.abs(pixels - 77).max() <= 1


def test_a_palette_with_transparency_keeps_its_colours_and_warns_nobody(tmp_path):
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 200, 100, 50])
    image.putdata([0, 1])
    image.save(tmp_path / "x.png", transparency=bytes([0, 128]))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pixels = pixels_of(tmp_path / "x.png")
    assert pixels.tolist() == [[[10, 20, 30], [200, 100, 50]]]


def test_cmyk_becomes_the_colour_it_prints(tmp_path):
    Image.new("CMYK", (8, 8), (0, 255, 255, 0)).save(tmp_path / "x.jpg", quality=100)
    assert np.abs(pixels_of(tmp_path / "x.jpg") - [255, 0, 0]).max() <= 3


def test_an_alpha_channel_is_dropped(tmp_path):
    Image.new("RGBA", (2, 2), (9, 8, 7, 0)).save(tmp_path / "x.png")
    assert np.array_equal(pixels_of(tmp_path / "x.png")[0, 0], [9, 8, 7])


def test_sixteen_bits_are_refused_not_clipped_to_white(tmp_path):
    path = tmp_path / "x.png"
    Image.fromarray(np.full((4, 4), 20000, dtype=np.uint16)).save(path)
    message = refusal(read_image, path)
    assert str(path) in message
    assert "8 bits" in message


@pytest.mark.parametrize("keep", [0, 3, 40, 0.3, 0.9])
@pytest.mark.parametrize("suffix", ["jpg", "png"])
def test_a_truncated_file_is_named(tmp_path, suffix, keep):
    path = tmp_path / f"x.{suffix}"
    noise(1, 64, 64).save(path)
    content = path.read_bytes()
    path.write_bytes(content[: keep if isinstance(keep, int) else int(keep * len(content))])
    message = refusal(read_image, path)
    assert str(path) in message
    assert "replace or remove the file" in message


def test_a_missing_file_is_named(tmp_path):
    assert str(tmp_path / "x.jpg") in refusal(read_image, tmp_path / "x.jpg")


def test_an_enormous_image_is_refused(tmp_path, monkeypatch):
    noise(1).save(tmp_path / "x.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    assert str(tmp_path / "x.png") in refusal(read_image, tmp_path / "x.png")


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "PPM"])
def test_damage_of_any_kind_gives_an_image_or_one_line(tmp_path, kind):
    generator = random.Random(0)
    buffer = io.BytesIO()
    noise(1).save(buffer, kind)
    for index in range(80):
        content = bytearray(buffer.getvalue())
        for _ in range(generator.randint(1, 6)):
            content[generator.randrange(16, len(content))] = generator.randrange(256)
        path = tmp_path / f"{index}.jpg"
        path.write_bytes(content)
        try:
            said = f"{path}" if read_image(path).mode == "RGB" else "another mode"
        except UserError as error:
            said = str(error)
        assert str(path) in said
        assert "\n" not in said


@pytest.mark.parametrize("kind", ["jpg", "png", "tif", "webp"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_an_image_is_turned_as_viewers_show_it(tmp_path, orientation, kind):
    # Four colours, by the corner of the shown image: where row 0 and column 0 are stored is what
    # EXIF's table of orientations says, independently of Pillow's names of turns.
    shown = np.zeros((16, 32, 3), np.uint8)
    shown[:8, :16], shown[:8, 16:], shown[8:, :16] = (255, 0, 0), (0, 255, 0), (0, 0, 255)
    rows_first = {
        1: lambda a: a,
        2: lambda a: a[:, ::-1],  # row 0 top, column 0 right
        3: lambda a: a[::-1, ::-1],  # bottom, right
        4: lambda a: a[::-1],  # bottom, left
        5: lambda a: a.swapaxes(0, 1),  # left, top
        6: lambda a: a[:, ::-1].swapaxes(0, 1),  # right, top
        7: lambda a: a[::-1, ::-1].swapaxes(0, 1),  # right, bottom
        8: lambda a: a[::-1].swapaxes(0, 1),  # left, bottom
    }
    stored = Image.fromarray(np.ascontiguousarray(rows_first[orientation](shown)))
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / f"image.{kind}"
    options = {"quality": 100, "subsampling": 0} if kind == "jpg" else {}
    options |= {"lossless": True} if kind == "webp" else {}
    stored.save(path, exif=exif, **options)
    assert np.abs(np.asarray(read_image(path)).astype(int) - shown).max() < 12
    if kind == "jpg":  # another decoder would not turn it
        assert (read_plain_jpeg(path) is not None) == (orientation == 1)
