"""Batches: which images, cut how, and that an epoch can be entered at any step."""

import math
import multiprocessing
import warnings

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_images import write_tiny_set
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torchvision import transforms

from dreal_lib.data import batches
from dreal_lib.data.batches import CachedBatches, Crops, StreamedBatches, random_crops, shuffled
from dreal_lib.data.cache import CachedSet
from dreal_lib.data.images import open_image_set
from dreal_lib.errors import UserError

CROPS = Crops(image_size=16, resize=20, smallest_area=0.3)
NORMALISE = transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


@pytest.fixture
def images(tmp_path):
    return open_image_set(write_tiny_set(tmp_path / "set", train=5, val=3))


def decoded(count=15, side=20, seed=0) -> CachedSet:
    """Random pixels whose label is their number."""
    generator = np.random.default_rng(seed)
    pixels = generator.integers(0, 256, (count, side, side, 3), dtype=np.uint8)
    labels = np.arange(count)
    return CachedSet(
        {"train": pixels, "val": pixels}, {"train": labels, "val": labels}, "f" * 64, ""
    )


def make(kind, images, *, batch_size=4, seed=0, training=True):
    if kind == "cached":
        split = "train" if training else "val"
        return CachedBatches(decoded(), split, CROPS, batch_size, seed=seed)
    split = images.train if training else images.val
    return StreamedBatches(split, training, CROPS, batch_size, seed=seed, workers=int(kind[-1]))


KINDS = ["cached", "streamed, workers 0"]


def test_each_image_comes_once_an_epoch_at_most():
    source = CachedBatches(decoded(), "train", CROPS, batch_size=4)
    for epoch in range(3):
        seen = torch.cat([labels for _, labels in source.epoch(epoch)])
        assert len(seen) == 12  # the last, short batch is left out
        assert len(set(seen.tolist())) == 12


def test_the_order_is_a_permutation_of_its_own_for_each_epoch_and_seed():
    orders = [shuffled(50, seed, epoch) for seed in range(3) for epoch in range(3)]
    assert all(sorted(order.tolist()) == list(range(50)) for order in orders)
    assert len({tuple(order.tolist()) for order in orders}) == 9
    assert torch.equal(shuffled(50, 1, 2), shuffled(50, 1, 2))


def test_images_left_out_in_one_epoch_come_in_another():
    source = CachedBatches(decoded(), "train", CROPS, batch_size=8)
    seen = {
        int(label) for epoch in range(20) for _, labels in source.epoch(epoch) for label in labels
    }
    assert seen == set(range(15))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("training", [True, False])
def test_lengths_count_full_batches_in_training_and_all_in_validation(kind, images, training):
    source = make(kind, images, training=training)
    sizes = [len(labels) for _, labels in source.epoch()]
    count = len(source.labels) if kind == "cached" else source.count
    whole, rest = divmod(count, 4)
    assert sizes == [4] * whole + ([rest] if rest and not training else [])
    assert len(source) == len(sizes)


@pytest.mark.parametrize("kind", KINDS)
def test_entered_at_any_step_the_epoch_goes_on_as_it_would_have(kind, images):
    source = make(kind, images)
    whole = list(source.epoch(2))
    for start in range(len(source) + 1):
        rest = list(make(kind, images).epoch(2, start))
        assert len(rest) == len(source) - start
        for (one, one_labels), (two, two_labels) in zip(whole[start:], rest, strict=True):
            assert torch.equal(one, two)
            assert torch.equal(one_labels, two_labels)


def test_worker_processes_change_nothing(images):
    for training in (True, False):
        alone = list(make("streamed, workers 0", images, training=training).epoch(1, 1))
        helped = list(make("streamed, workers 2", images, training=training).epoch(1, 1))
        assert len(alone) == len(helped) > 0
        for (one, one_labels), (two, two_labels) in zip(alone, helped, strict=True):
            assert torch.equal(one, two)
            assert torch.equal(one_labels, two_labels)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("change", [{"epoch": 1}, {"seed": 1}])
def test_epochs_and_seeds_cut_images_differently(kind, images, change):
    def one_image(seed=0, epoch=0):
        for batch, labels in make(kind, images, batch_size=15, seed=seed).epoch(epoch):
            return batch[labels.argmin()]  # one image of the first class, wherever it came

    assert torch.equal(one_image(), one_image())
    assert not torch.equal(one_image(), one_image(**change))


def test_streaming_leaves_the_global_generator_alone(images):
    before = torch.get_rng_state()
    transform = make("streamed, workers 0", images).files
    transform[(0, 5)]
    assert torch.equal(before, torch.get_rng_state())


def crop_windows(count=10_000, smallest_area=0.3, seed=0):
    """Width, height (shares of the image), centre x and y (-1 to 1) and flips of random crops."""
    matrices = random_crops(count, smallest_area, torch.Generator().manual_seed(seed)).double()
    assert matrices.shape == (count, 2, 3)
    assert torch.count_nonzero(matrices[:, 0, 1]) == torch.count_nonzero(matrices[:, 1, 0]) == 0
    width, height = matrices[:, 0, 0], matrices[:, 1, 1]
    return width.abs(), height, matrices[:, 0, 2], matrices[:, 1, 2], width < 0


@pytest.mark.parametrize("smallest_area", [0.08, 0.4, 1.0])
def test_crop_windows_lie_inside_the_image(smallest_area):
    width, height, x, y, _ = crop_windows(smallest_area=smallest_area)
    assert float((x.abs() + width).max()) <= 1 + 1e-6
    assert float((y.abs() + height).max()) <= 1 + 1e-6
    assert float(height.min()) > 0


def test_areas_and_aspects_of_crops_are_as_documented():
    width, height, *_ = crop_windows(smallest_area=0.1)
    area, aspect = width * height, width / height
    inside = (width < 1) & (height < 1)  # the others are cut off at the image's sides
    assert float(aspect[inside].min()) >= 3 / 4 - 1e-5
    assert float(aspect[inside].max()) <= 4 / 3 + 1e-5
    assert float(area.min()) >= 0.1 - 1e-6
    # Areas below 3/4 are never cut off, so there the uniform distribution is untouched.
    for low, high in ((0.1, 0.3), (0.3, 0.5), (0.5, 0.7)):
        share = float(((area >= low) & (area < high)).double().mean())
        assert share == pytest.approx((high - low) / 0.9, abs=0.02)
    logs = aspect[area < 0.7].log() / math.log(4 / 3)
    assert float(logs.mean()) == pytest.approx(0, abs=0.03)
    assert float(logs.std()) == pytest.approx(1 / math.sqrt(3), abs=0.02)  # uniform in [-1, 1]


def test_positions_and_flips_of_crops_are_as_documented():
    width, height, x, y, flipped = crop_windows(smallest_area=0.1)
    assert float(flipped.double().mean()) == pytest.approx(0.5, abs=0.02)
    for centre, size in ((x, width), (y, height)):
        free = size < 0.99
        where = centre[free] / (1 - size[free])  # uniform in [-1, 1]
        assert float(where.mean()) == pytest.approx(0, abs=0.03)
        assert float(where.std()) == pytest.approx(1 / math.sqrt(3), abs=0.02)
    corners = torch.stack((width.log(), height.log(), x, y, flipped.double()))
    correlations = torch.corrcoef(corners)[2:, :].abs()
    assert float((correlations - torch.eye(5)[2:]).max()) < 0.04  # independent of each other


def cut_by(matrix, monkeypatch, image_size=20):
    """The first training image as an affine matrix cuts it, and the raw one, both normalised."""
    monkeypatch.setattr(
        batches, "random_crops", lambda count, *_: torch.tensor([matrix]).expand(count, 2, 3)
    )
    cached, crops = decoded(), Crops(image_size, 20)
    images, labels = next(CachedBatches(cached, "train", crops, 4).epoch())
    raw = torch.from_numpy(cached.images["train"][labels[0]]).permute(2, 0, 1) / 255
    return images[0], NORMALISE(raw)


def test_the_whole_image_as_a_crop_is_the_image(monkeypatch):
    cut, raw = cut_by([[1.0, 0, 0], [0, 1.0, 0]], monkeypatch)
    torch.testing.assert_close(cut, raw, rtol=1e-5, atol=1e-5)


def test_a_flip_mirrors_left_and_right(monkeypatch):
    cut, raw = cut_by([[-1.0, 0, 0], [0, 1.0, 0]], monkeypatch)
    torch.testing.assert_close(cut, raw.flip(2), rtol=1e-5, atol=1e-5)


def test_a_crop_window_is_where_its_matrix_says(monkeypatch):
    # Half the width and height, centred at x = -1/2, y = +1/2: the lower left quarter.
    cut, raw = cut_by([[0.5, 0, -0.5], [0, 0.5, 0.5]], monkeypatch, image_size=10)
    torch.testing.assert_close(cut, raw[:, 10:, :10], rtol=1e-5, atol=1e-5)


def test_training_images_stay_within_the_range_of_pixels():
    source = CachedBatches(decoded(), "train", CROPS, 4)
    black, white = NORMALISE(torch.zeros(3, 1, 1)), NORMALISE(torch.ones(3, 1, 1))
    for images, _ in source.epoch():
        assert (images >= black - 1e-5).all()
        assert (images <= white + 1e-5).all()


def test_cached_validation_is_torchvisions_centre_crop():
    cached = decoded()
    source = CachedBatches(cached, "val", CROPS, 4)
    found = torch.cat([images for images, _ in source.epoch()])
    to_tensor = transforms.Compose([transforms.ToTensor(), transforms.CenterCrop(16), NORMALISE])
    expected = torch.stack([to_tensor(pixels) for pixels in cached.images["val"]])
    torch.testing.assert_close(found, expected)
    assert torch.cat([labels for _, labels in source.epoch()]).tolist() == list(range(15))


def test_streamed_validation_is_torchvisions_resize_and_centre_crop(images):
    source = make("streamed, workers 0", images, training=False)
    found = torch.cat([batch for batch, _ in source.epoch()])
    cut = transforms.Compose(
        [transforms.Resize(20), transforms.CenterCrop(16), transforms.ToTensor(), NORMALISE]
    )
    files = [images.val.root / file for file in images.val.files]
    expected = torch.stack([cut(Image.open(file).convert("RGB")) for file in files])
    # One resizes pixels of the file, the other of a tensor: they round differently.
    assert float((found - expected).abs().max()) < 2.5 / 255 / 0.224
    assert float((found - expected).abs().mean()) < 0.3 / 255 / 0.224


def test_validation_sees_the_same_images_each_time(images):
    for kind in KINDS:
        source = make(kind, images, training=False)
        for (one, _), (two, _) in zip(source.epoch(0), source.epoch(3), strict=True):
            assert torch.equal(one, two)


@pytest.mark.parametrize("kind", KINDS)
def test_a_training_split_smaller_than_a_batch_is_refused(kind, images):
    with pytest.raises(UserError, match="15 images, less than one batch of 16") as caught:
        make(kind, images, batch_size=16)
    assert "--set batch_size=7" in str(caught.value)
    assert len(make(kind, images, batch_size=16, training=False)) == 1


@pytest.mark.parametrize("kind", KINDS)
def test_channels_last_changes_the_format_and_not_the_values(kind, images):
    if kind == "cached":
        sources = [CachedBatches(decoded(), "train", CROPS, 4, channels_last=c) for c in (0, 1)]
    else:
        sources = [
            StreamedBatches(images.train, True, CROPS, 4, channels_last=c, workers=0)
            for c in (0, 1)
        ]
    (plain, _), (last, _) = (next(source.epoch()) for source in sources)
    assert plain.is_contiguous()
    assert last.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(plain, last)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_corrupt_file_is_one_line_even_from_a_worker(images, workers):
    broken = images.val.root / images.val.files[1]
    broken.write_bytes(b"no image")
    source = StreamedBatches(images.val, False, CROPS, 4, workers=workers)
    with pytest.raises(UserError) as caught:
        list(source.epoch())
    assert str(caught.value).startswith(f"cannot decode image {broken}")
    assert "\n" not in str(caught.value)
    assert not multiprocessing.active_children()


class CopiesToDevice(TorchDispatchMode):
    """Counts tensors that are moved from the host; one from pageable memory makes it wait."""

    count = 0

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        made = operation(*args, **(kwargs or {}))
        given = [a for a in args if isinstance(a, torch.Tensor)]
        if isinstance(made, torch.Tensor) and made.device.type == "cuda" and given:
            self.count += all(tensor.device.type == "cpu" for tensor in given)
        return made


@pytest.mark.parametrize("split", ["train", "val"])
def test_on_a_gpu_decoded_images_lie_there_and_a_step_copies_next_to_nothing(
    split, tmp_path, monkeypatch
):
    """Tensors without content stand for a GPU's; the images are mapped read-only, as a cache's."""
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda tensor: tensor)  # there is no fake of it
    np.save(tmp_path / "pixels.npy", decoded().images["train"])
    pixels = np.load(tmp_path / "pixels.npy", mmap_mode="r")
    cached = CachedSet({split: pixels}, {split: np.arange(15)}, "f" * 64, "")
    with warnings.catch_warnings(), FakeTensorMode(allow_non_fake_inputs=True):
        warnings.simplefilter("error")
        source = CachedBatches(cached, split, CROPS, 4, device="cuda", channels_last=True).epoch()
        next(source)
        with CopiesToDevice() as copies:
            images, labels = next(source)
    assert images.device.type == labels.device.type == "cuda"
    assert images.shape == (4, 3, 16, 16)
    assert copies.count == (split == "train")  # the crops, from pinned memory
