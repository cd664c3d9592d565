"""Batches of identities: PK-sampled, augmented as the settings say, the same on every way there."""

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_identities import write_tiny_identities
from torchvision.transforms import v2

from dreal_lib.data.batches import MEAN, STD
from dreal_lib.data.identities import open_identity_set
from dreal_lib.data.identity_batches import (
    PKBatches,
    SplitBatches,
    evaluation_transform,
    training_transform,
)
from dreal_lib.errors import UserError
from dreal_lib.runtime.seeding import seeded
from dreal_lib.settings.retrieval import RetrievalSettings

SIZE = (32, 16)
PLAIN = {"flip_probability": 0.0, "erasing_probability": 0.0, "crop_padding": 0}


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """Six training identities: 4 images each, but one of them a single image."""
    root = write_tiny_identities(tmp_path_factory.mktemp("set") / "tiny", trained=6)
    index = root / "index.csv"
    lines = index.read_text().splitlines()
    kept = [line for line in lines if not line.startswith("train/t5_") or "t5_c0_0" in line]
    index.write_text("\n".join(kept) + "\n")
    return open_identity_set(root)


def batches_of(images, p=3, k=2, seed=0, workers=0, **settings):
    chosen = RetrievalSettings(**{"crop_padding": 2, **settings})
    return PKBatches(images.train, SIZE, p, k, chosen, seed=seed, workers=workers)


def assert_same(one, two):
    one, two = list(one), list(two)
    assert len(one) == len(two) > 0
    for (a, x), (b, y) in zip(one, two, strict=True):
        assert torch.equal(a, b)
        assert torch.equal(x, y)


def pixels(height=40, width=20, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(256, (3, height, width), generator=generator, dtype=torch.uint8)


def many(settings, image, count=200, size=SIZE):
    transform = training_transform(size, RetrievalSettings(**settings))
    with seeded(0):
        return torch.stack([transform(image) for _ in range(count)])


def normalised(image):
    """(3, H, W) uint8 to what the network sees, by hand."""
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (MEAN, STD))
    return (image / 255 - mean) / std


def steps_of(transform):
    """The single transforms that a composed one is made of."""
    inner = getattr(transform, "transforms", None)
    return [transform] if inner is None else [step for part in inner for step in steps_of(part)]


# --- transforms ---------------------------------------------------------------------------------


def test_images_are_resized_to_the_size_and_normalised():
    image = pixels()
    expected = normalised(v2.functional.resize(image, list(SIZE), antialias=True))
    torch.testing.assert_close(evaluation_transform(SIZE)(image), expected)
    torch.testing.assert_close(many(PLAIN, image, 1)[0], expected)  # all chance switched off
    assert many({}, image, 3).shape == (3, 3, *SIZE)
    assert many({"crop": "enlarge"}, image, 3).shape == (3, 3, *SIZE)


@pytest.mark.parametrize("fill", ["black", "mean"])
def test_images_are_padded_and_cut(fill):
    """Every cut is the padded image's at one of the places, and every place comes up."""
    image = pixels(*SIZE)
    framed = {
        "black": normalised(torch.nn.functional.pad(image.float(), (2, 2, 2, 2))),
        "mean": torch.nn.functional.pad(normalised(image), (2, 2, 2, 2)),
    }[fill]
    found = many(PLAIN | {"crop_padding": 2, "crop_fill": fill}, image, 300)
    places = {
        (y, x): framed[:, y : y + SIZE[0], x : x + SIZE[1]] for y in range(5) for x in range(5)
    }
    seen = set()
    for cut in found:
        # The colour of the frame is a whole number of 255: within half a step of the mean.
        near = [k for k, place in places.items() if (cut - place).abs().max() < 0.5 / 255 / 0.22]
        assert len(near) == 1
        seen |= set(near)
    assert seen == set(places)


def test_or_enlarged_by_an_eighth_and_cut_half_the_time():
    image = pixels(64, 32)
    found = many(PLAIN | {"crop": "enlarge"}, image, 200)
    plain = normalised(v2.functional.resize(image, list(SIZE), antialias=True))
    larger = normalised(v2.functional.resize(image, [36, 18], antialias=True))
    cuts = [larger[:, y : y + 32, x : x + 16] for y in range(5) for x in range(3)]
    as_it_is = sum(torch.allclose(one, plain, atol=1e-5) for one in found)
    cut = sum(any(torch.allclose(one, place, atol=1e-5) for place in cuts) for one in found)
    assert as_it_is + cut == 200
    assert 70 < cut < 130


def test_sizes_of_the_paper_are_enlarged_to_432_x_144():
    transform = training_transform((384, 128), RetrievalSettings(crop="enlarge"))
    sizes = [step.size for step in steps_of(transform) if isinstance(step, v2.Resize)]
    assert sizes == [[384, 128], [432, 144]]


@pytest.mark.parametrize("probability", [0.0, 0.3, 1.0])
def test_images_are_mirrored_as_often_as_set(probability):
    image = pixels(*SIZE)
    found = many(PLAIN | {"flip_probability": probability}, image)
    mirrored = normalised(image).flip(2)
    share = sum(torch.allclose(one, mirrored, atol=1e-5) for one in found) / len(found)
    assert share == pytest.approx(probability, abs=0.1 * (0 < probability < 1))


FILLS = {"mean_as_number": torch.tensor([0.485, 0.456, 0.406]), "mean": torch.zeros(3)}


def erased(settings, size=(96, 48), count=300):
    """Masks (N, H, W) of what was erased from a white image."""
    white = torch.full((3, *size), 255, dtype=torch.uint8)
    found = many(PLAIN | settings, white, count, size)
    full = normalised(torch.full((3, 1, 1), 255.0))
    fill = FILLS[settings.get("erasing_fill", "mean_as_number")].view(3, 1, 1)
    mask = (found == fill).all(1)
    assert torch.where(mask[:, None], full, found).allclose(full)  # all else as it was
    return mask


@pytest.mark.parametrize("fill", FILLS)
def test_erased_pixels_are_the_fill_as_the_network_sees_it(fill):
    assert erased({"erasing_probability": 1.0, "erasing_fill": fill}, count=20).any((1, 2)).all()


def test_boxes_of_the_set_areas_are_erased():
    bounds = {"erasing_smallest_area": 0.1, "erasing_largest_area": 0.3, "erasing_aspect": 0.5}
    mask = erased({"erasing_probability": 1.0, **bounds})
    areas = mask.float().mean((1, 2))
    assert areas.min() > 0.1 * 0.9  # a box has whole pixels
    assert areas.max() < 0.3 * 1.1
    assert areas.max() - areas.min() > 0.1
    heights, widths = mask.any(2).sum(1), mask.any(1).sum(1)
    assert torch.equal(heights * widths, mask.sum((1, 2)))  # a full box, no holes
    aspects = heights / widths
    assert aspects.min() > 0.5 * 0.85
    assert aspects.max() < 2 * 1.15
    assert aspects.min() < 0.7
    assert aspects.max() > 1.5


@pytest.mark.parametrize("probability", [0.0, 0.5, 1.0])
def test_images_are_erased_as_often_as_set(probability):
    share = erased({"erasing_probability": probability}).any(2).any(1).float().mean().item()
    assert share == pytest.approx(probability, abs=0.1 * (probability == 0.5))


def test_the_defaults_are_the_protocols():
    steps = {type(step): step for step in steps_of(training_transform(SIZE, RetrievalSettings()))}
    kinds = [v2.Resize, v2.RandomCrop, v2.RandomHorizontalFlip, v2.ToDtype, v2.Normalize]
    assert list(steps) == [*kinds, v2.RandomErasing]  # in the order of the paper
    pad, flip, erasing = (steps[k] for k in (v2.RandomCrop, kinds[2], v2.RandomErasing))
    assert pad.padding in (10, [10, 10, 10, 10])
    assert pad.fill == 0
    assert list(erasing.value) == [0.485, 0.456, 0.406]
    assert (flip.p, erasing.p, tuple(erasing.scale)) == (0.5, 0.5, (0.02, 0.4))
    assert tuple(erasing.ratio) == pytest.approx((0.3, 1 / 0.3))


# --- batches ------------------------------------------------------------------------------------


@pytest.mark.parametrize("draw", ["once", "exhaustive"])
def test_batches_have_p_identities_with_k_images_each(images, draw):
    batches = batches_of(images, p=4, k=3, draw=draw)
    found = list(batches.epoch(0))
    assert len(found) == len(batches)
    for x, labels in found:
        assert x.shape == (12, 3, *SIZE)
        assert x.dtype == torch.float32
        assert labels.dtype == torch.int64
        assert len(labels.unique()) == 4
        assert torch.equal(labels, labels.view(4, 3)[:, :1].expand(4, 3).flatten())


def test_an_image_comes_with_its_own_identity(images):
    """Without augmentation each image of a batch is a file of the identity that goes with it."""
    plain = {}
    transform = evaluation_transform(SIZE)
    for file, identity in zip(images.train.files, images.train.identities, strict=True):
        with Image.open(images.train.root / file) as opened:
            raw = torch.from_numpy(np.array(opened.convert("RGB"))).permute(2, 0, 1)
        plain.setdefault(int(identity), []).append(transform(raw))
    for x, labels in batches_of(images, **PLAIN).epoch(0):
        for image, label in zip(x, labels.tolist(), strict=True):
            assert any(torch.allclose(image, own, atol=1e-5) for own in plain[label])


def test_an_image_that_is_repeated_is_augmented_anew(images):
    """An identity of one image fills its K places with it, each cut and erased on its own."""
    alone = images.identity_names.index("t5")
    x, labels = next(iter(batches_of(images, p=6, k=4, crop_padding=4).epoch(0)))
    own = x[labels == alone]
    assert len(own) == 4
    assert len({image.numpy().tobytes() for image in own}) == 4


@pytest.mark.parametrize("draw", ["once", "exhaustive"])
def test_an_epoch_entered_in_the_middle_is_the_same(images, draw):
    batches = batches_of(images, p=2, k=2, draw=draw)
    assert_same(batches.epoch(3, 1), list(batches.epoch(3))[1:])
    assert list(batches.epoch(3, len(list(batches.epoch(3))))) == []


def test_workers_and_what_was_drawn_before_change_nothing(images):
    alone = list(batches_of(images).epoch(1))
    torch.manual_seed(5)
    again = batches_of(images)
    list(again.epoch(0))
    assert_same(again.epoch(1), alone)
    assert_same(batches_of(images, workers=2).epoch(1), alone)


def test_epochs_and_seeds_differ(images):
    first = next(iter(batches_of(images).epoch(0)))[0]
    for other in (batches_of(images).epoch(1), batches_of(images, seed=1).epoch(0)):
        assert not torch.equal(next(iter(other))[0], first)


def test_global_random_numbers_are_left_alone(images):
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    transform = batches_of(images).files
    transform[(0, 7)]
    assert torch.equal(torch.rand(3), expected)


def test_more_identities_than_there_are_is_refused(images):
    with pytest.raises(UserError, match="6 identities, fewer than the 7") as caught:
        batches_of(images, p=7)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_damaged_image_is_named_in_one_line(images, tmp_path, workers):
    root = write_tiny_identities(tmp_path / "tiny")
    (root / "train" / "t1_c0_0.png").write_bytes(b"no image")
    damaged = open_identity_set(root)
    with pytest.raises(UserError, match=r"t1_c0_0\.png") as caught:
        list(batches_of(damaged, p=4, k=4, workers=workers).epoch(0))
    assert "\n" not in str(caught.value)


# --- test splits --------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 4, 100])
def test_a_test_split_comes_whole_and_in_order(images, size):
    split = images.gallery
    batches = SplitBatches(split, SIZE, size, workers=0)
    found = list(batches.epoch())
    assert len(found) == len(batches) == -(-len(split) // size)
    x, places = (torch.cat(parts) for parts in zip(*found, strict=True))
    assert places.tolist() == list(range(len(split)))
    chosen, numbers = next(iter(SplitBatches(split, SIZE, workers=0).chosen([3, 0])))
    assert numbers.tolist() == [3, 0]
    assert torch.equal(chosen, x[[3, 0]])
    with Image.open(split.root / split.files[3]) as opened:
        raw = torch.from_numpy(np.array(opened.convert("RGB"))).permute(2, 0, 1)
    torch.testing.assert_close(x[3], evaluation_transform(SIZE)(raw))


def test_channels_last_is_a_matter_of_memory_alone(images):
    plain = next(iter(batches_of(images).epoch(0)))[0]
    chosen = RetrievalSettings(crop_padding=2)
    last = PKBatches(images.train, SIZE, 3, 2, chosen, channels_last=True, workers=0)
    x = next(iter(last.epoch(0)))[0]
    assert x.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(x, plain)
