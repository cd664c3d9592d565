"""The embedded set: the same bytes from the same seed, true boxes and masks, honest classes."""

import csv
import os
import signal
import subprocess
import sys
import time
from collections import Counter

import numpy as np
import pytest
from numpy._core._multiarray_umath import __cpu_dispatch__
from PIL import Image

from data_prep import embedded
from data_prep.command import run
from data_prep.errors import PreparationError
from data_prep.layout import verify
from data_prep.rendering.scenes import CLASSES, LEAST_VISIBLE, class_name, draw_scene, render
from data_prep.rendering.shapes import FIELD_EXTENT, distance_field

SMALL = {"train_images": 40, "val_images": 20, "image_size": 32}


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    return embedded.prepare(tmp_path_factory.mktemp("small") / "set", seed=3, workers=1, **SMALL)


def contents(root):
    return {str(p.relative_to(root)): p.read_bytes() for p in root.rglob("*") if p.is_file()}


def rng(number, seed=0):
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(9, number)))


def command(*arguments, off=""):
    """Start the module as a user does; `off` names processor features that numpy shall not use."""
    return subprocess.Popen(
        [sys.executable, "-m", "data_prep.embedded", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={**os.environ, "NPY_DISABLE_CPU_FEATURES": off},
    )


def test_the_number_of_processes_changes_no_byte(small, tmp_path):
    other = embedded.prepare(tmp_path / "two", seed=3, workers=2, **SMALL)
    assert contents(other) == contents(small)


def test_a_picture_depends_on_its_seed_and_number_alone(small, tmp_path):
    fewer = {**SMALL, "train_images": 20, "val_images": 10}
    part, whole = contents(embedded.prepare(tmp_path / "part", seed=3, **fewer)), contents(small)
    pictures = {name for name in part if name.endswith(".png")}
    assert len(pictures) == 60
    assert all(part[name] == whole[name] for name in pictures)
    other = contents(embedded.prepare(tmp_path / "other", seed=4, **fewer))
    assert not any(part[n] == other[n] for n in pictures if not n.startswith("masks"))


def test_the_processors_vector_units_change_no_byte(tmp_path):
    """With numpy's faster code paths switched off, as on an older processor."""
    sizes = ("--train-images", 20, "--val-images", 10, "--workers", 1)
    process = command(tmp_path / "without", *sizes, off=" ".join(__cpu_dispatch__))
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    embedded.prepare(tmp_path / "with", train_images=20, val_images=10, workers=1)
    assert contents(tmp_path / "without") == contents(tmp_path / "with")


def test_the_manifest_says_how_the_set_was_made(small):
    manifest = verify(small)
    assert manifest["generator"] == {
        "module": "data_prep.embedded",
        "seed": 3,
        **SMALL,
        "generator_version": embedded.VERSION,
        "numpy": np.__version__,
        "pillow": Image.__version__,
    }
    assert manifest["splits"] == {"train": {"images": 40}, "val": {"images": 20}}
    titles = {entry["name"]: entry["title"] for entry in manifest["classes"]}
    assert titles["striped_star"] == "striped star"
    assert list(titles) == sorted(titles)


def test_classes_are_balanced(small):
    for split, each in (("train", 4), ("val", 2)):
        found = Counter(path.parent.name for path in (small / split).rglob("*.png"))
        assert found == {class_name(i): each for i in range(len(CLASSES))}


def test_neither_shape_nor_texture_alone_makes_a_class():
    assert len(set(CLASSES)) == len(CLASSES) == 10
    assert set(Counter(texture for texture, _ in CLASSES).values()) == {2}
    assert set(Counter(shape for _, shape in CLASSES).values()) == {2}


def test_boxes_are_the_extents_of_the_masks(small):
    with (small / "boxes.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == 60
    for row in rows:
        image = small / row["file"]
        mask = np.asarray(Image.open(small / "masks" / row["file"]))
        assert np.asarray(Image.open(image)).shape == (*mask.shape, 3) == (32, 32, 3)
        assert set(np.unique(mask)) == {0, 255}
        inside = [(x, y) for y in range(32) for x in range(32) if mask[y, x]]
        expected = (
            min(x for x, _ in inside),
            min(y for _, y in inside),
            max(x for x, _ in inside) + 1,
            max(y for _, y in inside) + 1,
        )
        assert tuple(int(row[k]) for k in ("x_min", "y_min", "x_max", "y_max")) == expected


def test_masks_cover_the_object_and_occluders_leave_enough_of_it():
    occluded = 0
    for number in range(40):
        scene = draw_scene(rng(number), number % 10)
        _, mask = render(rng(number), number % 10, 64)
        # The outline's area in radii, counted on the shape's field.
        whole = outline_area(scene.target.shape) * (scene.target.radius * 64) ** 2
        share = np.count_nonzero(mask) / (whole * scene.target.squash)
        # A little of an object may lie beyond the picture's edge.
        assert LEAST_VISIBLE - 0.08 < share < 1.03, number
        occluded += share < 0.97
    assert occluded > 10


def outline_area(shape):
    return float((distance_field(shape) > 0).mean()) * (2 * FIELD_EXTENT) ** 2


def test_the_same_scene_is_painted_at_every_size():
    for number in range(6):
        small_image, small_mask = render(rng(number), number, 48)
        large_image, large_mask = render(rng(number), number, 144)
        reduced = np.asarray(Image.fromarray(large_mask).reduce(3)) >= 128
        union = np.count_nonzero(reduced | (small_mask > 0))
        assert np.count_nonzero(reduced & (small_mask > 0)) / union > 0.85
        inside = small_mask > 0
        shrunk = np.asarray(Image.fromarray(large_image).reduce(3), dtype=float)
        assert np.abs(shrunk - small_image)[inside].mean() < 20


def test_colour_does_not_tell_the_class():
    """Nearest mean colour over the object's own pixels finds the class hardly more than by luck."""
    colours = np.zeros((240, 3))
    for number in range(240):
        image, mask = render(rng(number), number % 10, 24)
        colours[number] = image[mask > 0].mean(axis=0)
    labels = np.arange(240) % 10
    means = np.stack([colours[:160][labels[:160] == k].mean(axis=0) for k in range(10)])
    guesses = ((colours[160:, None] - means) ** 2).sum(axis=2).argmin(axis=1)
    assert (guesses == labels[160:]).mean() < 0.25  # luck: 0.1, standard error 0.034


def test_rendering_is_quick():
    start = time.process_time()
    for number in range(40):
        render(rng(number), number % 10, 64)
    # The full set may cost 16 ms of processor time a picture; twice that for a busy machine.
    assert (time.process_time() - start) / 40 < 0.032


@pytest.mark.parametrize(
    ("name", "value"),
    [("train_images", 9), ("val_images", 0), ("image_size", 15), ("workers", 0), ("seed", -1)],
)
def test_values_out_of_range_are_named(tmp_path, listing, name, value):
    with pytest.raises(PreparationError, match=rf"{name} must be at least \d+; got {value};"):
        embedded.prepare(tmp_path / "set", **{name: value})
    assert listing(tmp_path) == []


def test_a_second_call_finds_the_set_and_another_seed_is_refused(small):
    before = {path: path.stat().st_mtime_ns for path in small.rglob("*")}
    assert embedded.prepare(small, seed=3, workers=2, **SMALL) == small
    with pytest.raises(PreparationError, match='"seed": 3'):
        embedded.prepare(small, seed=4, **SMALL)
    assert {path: path.stat().st_mtime_ns for path in small.rglob("*")} == before


def test_the_command_prints_one_line_and_exits_with_2(tmp_path, monkeypatch, capsys):
    (tmp_path / "mine.txt").write_text("mine")
    monkeypatch.setattr(sys, "argv", ["embedded", str(tmp_path)])
    with pytest.raises(SystemExit) as stop:
        run(embedded.main)
    assert stop.value.code == 2
    printed = capsys.readouterr()
    assert printed.err.startswith("error: ")
    assert printed.err.count("\n") == 1
    assert printed.out == ""
    assert os.listdir(tmp_path) == ["mine.txt"]


def test_the_help_text_has_an_example(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["embedded", "--help"])
    with pytest.raises(SystemExit) as stop:
        run(embedded.main)
    assert stop.value.code == 0
    assert "Example: python -m data_prep.embedded" in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_command_leaves_nothing(tmp_path, number):
    process = command(tmp_path / "set", "--train-images", 20000, "--workers", 2)
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob(".set.partial-*/train/*/*.png")):
        assert time.monotonic() < deadline, "rendering did not begin"
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    # To the whole group for Ctrl-C, as a terminal does it; to the process alone for a kill.
    os.killpg(process.pid, number) if number == signal.SIGINT else process.send_signal(number)
    _, errors = process.communicate(timeout=120)
    assert process.returncode != 0
    assert "Traceback" not in errors
    assert os.listdir(tmp_path) == []
