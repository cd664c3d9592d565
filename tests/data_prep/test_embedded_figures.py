"""Rendered figures: the same bytes from a seed, Market-1501's naming, details that decide."""

import csv
import json
import os
import subprocess
import sys
from collections import Counter
from dataclasses import asdict, replace

import numpy as np
import pytest
from numpy._core._multiarray_umath import __cpu_dispatch__
from PIL import Image

from data_prep import embedded_figures, market1501
from data_prep.errors import PreparationError
from data_prep.identity_names import market1501 as parse
from data_prep.rendering import figure_scenes
from data_prep.rendering.bodies import body
from data_prep.rendering.carried import CARRIED_THINGS
from data_prep.rendering.figure_scenes import CAMERAS, LEAST_VISIBLE, place_strip, render
from data_prep.rendering.figures import CARRIED, FAMILY, PATTERNS, family
from data_prep.rendering.outlines import FIGURE, WEAVES, Frame, paint_part, plain
from data_prep.rendering.poses import VIEWS, Pose

SMALL = {
    "train_identities": 5,
    "test_identities": 6,
    "cameras": 3,
    "images": 3,
    "distractors": 12,
    "junk": 6,
    "height": 48,
}


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    out = tmp_path_factory.mktemp("figures") / "set"
    return embedded_figures.prepare(out, seed=3, workers=1, **SMALL)


def rows(root):
    with (root / "index.csv").open() as stream:
        return list(csv.DictReader(stream))


def contents(root):
    return {str(p.relative_to(root)): p.read_bytes() for p in root.rglob("*") if p.is_file()}


def pixels(path):
    return np.asarray(Image.open(path))


def test_the_number_of_processes_changes_no_byte(small, tmp_path):
    other = embedded_figures.prepare(tmp_path / "two", seed=3, workers=2, **SMALL)
    assert contents(other) == contents(small)


def test_the_processors_vector_units_change_no_byte(tmp_path):
    """With numpy's faster code paths switched off, as on an older processor."""
    tiny = {**SMALL, "train_identities": 2, "test_identities": 2, "images": 2}
    code = (
        "from pathlib import Path; from data_prep import embedded_figures as e; "
        f"e.prepare(Path({str(tmp_path / 'without')!r}), workers=1, **{tiny!r})"
    )
    off = {**os.environ, "NPY_DISABLE_CPU_FEATURES": " ".join(__cpu_dispatch__)}
    subprocess.run([sys.executable, "-c", code], env=off, check=True, capture_output=True)
    embedded_figures.prepare(tmp_path / "with", workers=1, **tiny)
    assert contents(tmp_path / "without") == contents(tmp_path / "with")


def test_a_picture_depends_on_its_seed_identity_camera_and_number_alone(small, tmp_path):
    fewer = {**SMALL, "cameras": 2, "images": 2, "distractors": 2, "junk": 1}
    part = contents(embedded_figures.prepare(tmp_path / "part", seed=3, workers=1, **fewer))
    whole = contents(small)
    pictures = {n for n in part if n.endswith(".png") and "/0000_" not in n and "/-1_" not in n}
    assert len(pictures) == 2 * 11 * 2 * 2
    assert all(part[name] == whole[name] for name in pictures)
    other = contents(embedded_figures.prepare(tmp_path / "other", seed=4, workers=1, **fewer))
    assert not any(part[name] == other[name] for name in pictures if not name.startswith("masks"))


def test_names_folders_and_rows_agree_through_the_market_parser(small):
    folders = {"train": "bounding_box_train", "query": "query", "gallery": "bounding_box_test"}
    for row in rows(small):
        folder, _, name = row["file"].partition("/")
        assert folder == folders[row["split"]]
        assert parse(name) == (row["identity"], row["camera"])
        assert (small / row["file"]).is_file()


def test_the_market_reader_takes_the_folder_as_it_is(small, tmp_path):
    read = market1501.prepare(tmp_path / "read", small, allow_other_counts=True)

    def key(row):
        return row["file"].rpartition("/")[2], row["identity"], row["camera"], row["split"]

    assert sorted(map(key, rows(read))) == sorted(map(key, rows(small)))


def test_counts_junk_and_distractors(small):
    found = Counter((row["split"], row["identity"]) for row in rows(small))
    assert found["gallery", "-1"] == 6
    assert found["gallery", "0"] == 12
    train = {identity for split, identity in found if split == "train"}
    query = {identity for split, identity in found if split == "query"}
    gallery = {identity for split, identity in found if split == "gallery"} - {"-1", "0"}
    assert train == {f"{i:04d}" for i in range(1, 6)}
    assert query == gallery == {f"{i:04d}" for i in range(6, 12)}
    assert all(found["train", identity] == 9 for identity in train)
    assert all(found["query", identity] == 3 for identity in query)  # one a camera
    assert all(found["gallery", identity] == 6 for identity in gallery)


def test_half_of_the_distractors_show_nobody(small):
    masks = {row["file"]: pixels(small / "masks" / row["file"]) for row in rows(small)}
    strangers = [bool(m.any()) for file, m in masks.items() if "/0000_" in file]
    assert Counter(strangers) == {True: 6, False: 6}
    for file, mask in masks.items():
        assert mask.shape == (48, 24)
        assert set(np.unique(mask)) <= {0, 255}
        if "/0000_" not in file and "/-1_" not in file:
            assert 0.04 < (mask > 0).mean() < 0.6, file


def _render(number, camera, figure, passer, kind="whole", height=48):
    return render(
        np.random.default_rng(number), figure, passer, camera, place_strip(0, camera, height), kind
    )


def test_masks_show_where_the_figure_is():
    """The same picture with and without the figure differs inside the mask, not far outside."""
    figure, passer = (family(np.random.default_rng(seed))[0] for seed in (0, 1))
    strip = np.full((4 * 96, 3 * 4 * 96, 3), 0.5, dtype=np.float32)
    for number in range(12):
        image, mask = render(np.random.default_rng(number), figure, passer, 0, strip)
        plain_ground = np.abs(image.astype(float) - np.median(image, axis=(0, 1))).sum(axis=2) < 50
        assert (plain_ground & (mask > 0)).sum() < 0.35 * (mask > 0).sum(), number
        columns = np.flatnonzero(mask.any(axis=0))
        assert 24 - 14 < columns.mean() < 24 + 14


def test_obstacles_leave_enough_of_a_figure(monkeypatch):
    figure, passer = (family(np.random.default_rng(seed))[0] for seed in (0, 1))
    hidden = 0
    for number in range(24):
        camera = number % 4
        _, with_obstacle = _render(number, camera, figure, passer)
        with monkeypatch.context() as patch:
            patch.setattr(figure_scenes, "_obstruct", lambda *arguments: None)
            _, without = _render(number, camera, figure, passer)
        share = np.count_nonzero(with_obstacle) / np.count_nonzero(without)
        assert LEAST_VISIBLE - 0.05 < share <= 1
        hidden += share < 1
    assert hidden >= 3


def test_cameras_have_colour_casts_of_their_own(small):
    means = {}
    for row in rows(small):
        if row["split"] == "train":
            inside = pixels(small / "masks" / row["file"]) > 0
            colour = pixels(small / row["file"])[inside].mean(axis=0)
            means.setdefault(row["camera"], []).append(colour / colour.sum())
    means = {camera: np.mean(colours, axis=0) for camera, colours in means.items()}
    # Of the same figures: the street is redder than the hall, the hall bluer than the park.
    assert means["1"][0] > means["3"][0] + 0.01
    assert means["3"][2] > means["2"][2] + 0.01


def test_a_family_shares_its_top_and_differs_in_details():
    for seed in range(20):
        members = family(np.random.default_rng(seed))
        assert len(members) == FAMILY
        assert len({member.top for member in members}) == 1
        for detail in ("pattern", "carried", "leg_colour"):
            assert len({getattr(member, detail) for member in members}) == FAMILY, detail


def test_identities_are_all_different():
    looks = {
        str(sorted(asdict(embedded_figures.figure_of(0, group, member)).items()))
        for group, count in ((1, 32), (2, 24))
        for member in range(count)
    }
    assert len(looks) == 56


def test_every_detail_has_its_drawing():
    assert set(PATTERNS) == set(WEAVES)
    assert set(CARRIED) == {*CARRIED_THINGS, "nothing"}


def test_a_side_view_shows_what_hangs_on_the_near_side_in_front():
    """A bag on the left hangs before a figure that looks left, behind one that looks right."""
    figure = next(
        member
        for seed in range(100)
        for member in family(np.random.default_rng(seed))
        if member.carried == "handbag" and member.carrying_side == 1
    )
    figure = replace(figure, carried_colour=(0.1, 0.2, 0.3), hat=None)  # a colour of its own

    def place(facing):
        parts = body(figure, Pose("side", 0.5, facing))
        torso = next(i for i, part in enumerate(parts) if part.pattern == figure.pattern)
        bag = max(i for i, part in enumerate(parts) if part.colours[0] == figure.carried_colour)
        return bag > torso

    assert place(-1)
    assert not place(1)


@pytest.mark.parametrize("view", VIEWS)
def test_figures_fit_their_frame(view):
    """From the crown (or the umbrella's tip) at -0.2 down to the ground at 1."""
    for seed in range(8):
        for figure in family(np.random.default_rng(seed)):
            points = [
                point
                for part in body(figure, Pose(view, -1.0))
                for outline in part.outlines
                for point in outline
            ]
            assert min(y for _, y in points) > -0.2
            assert 0.94 < max(y for _, y in points) < 1.02
            assert max(abs(x) for x, _ in points) < 0.34


def test_a_painted_box_covers_its_pixels_and_is_mirrored():
    canvas = np.zeros((20, 40, 3), dtype=np.float32)
    owners = np.zeros((20, 40), dtype=np.uint8)
    square = [(0.2, 0.2), (0.5, 0.2), (0.5, 0.6), (0.2, 0.6)]
    paint_part((canvas, owners), plain(square, (1.0, 0.5, 0.2)), Frame(20, 0, 20), FIGURE, -1)
    rows_, columns = np.nonzero(owners)
    assert (rows_.min(), rows_.max(), columns.min(), columns.max()) == (4, 12, 24, 30)
    mirrored = np.zeros((20, 40), dtype=np.uint8)
    frame = Frame(20, 0, 20, mirrored=True)
    paint_part((canvas, mirrored), plain(square, (1.0, 0.5, 0.2)), frame, FIGURE, -1)
    columns = np.nonzero(mirrored)[1]
    assert (columns.min(), columns.max()) == (10, 16)
    assert (canvas[owners == 0][:, 0] > 0).sum() == (mirrored > 0).sum()  # nothing else is painted


def test_the_manifest_says_how_the_set_was_made(small):
    manifest = json.loads((small / "manifest.json").read_text())
    assert manifest["generator"]["module"] == "data_prep.embedded_figures"
    assert manifest["generator"]["seed"] == 3
    assert manifest["splits"]["gallery"] == {"images": 54, "identities": 7, "junk": 6}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("train_identities", 1),
        ("test_identities", 9995),
        ("cameras", len(CAMERAS) + 1),
        ("images", 1),
        ("junk", -1),
        ("height", 30),
        ("height", 49),
        ("workers", 0),
        ("seed", -1),
    ],
)
def test_values_out_of_range_are_named(tmp_path, listing, name, value):
    with pytest.raises(PreparationError, match=f"{name} must be .*got {value};"):
        embedded_figures.prepare(tmp_path / "set", **{**SMALL, name: value})
    assert listing(tmp_path) == []


def test_a_second_call_finds_the_set_and_another_seed_is_refused(small):
    assert embedded_figures.prepare(small, seed=3, **SMALL) == small
    with pytest.raises(PreparationError, match="holds another prepared set"):
        embedded_figures.prepare(small, seed=4, **SMALL)
