"""Decoding on the device gives the workers' images: same crops, same flips, same errors."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_images import tiny_recipe, write_tiny_set

from dreal_lib import records
from dreal_lib.data import decoding
from dreal_lib.data.batches import Crops, StreamedBatches, loaded
from dreal_lib.data.decoding import loaded_on_device, refuse_without_decoder
from dreal_lib.data.images import Split, read_plain_jpeg
from dreal_lib.errors import UserError
from dreal_lib.tasks.task import open_task
from dreal_lib.training import runs

pytestmark = pytest.mark.filterwarnings("ignore:.*TorchCodec:DeprecationWarning")

CPU = torch.device("cpu")
CROPS = Crops(image_size=48, resize=56, smallest_area=0.2)
LEVEL = 1 / 255 / 0.224  # one of 256 levels, in normalised images
# Two decoders may differ by so much (mean, most); here, with one libjpeg in both, they do not.
ROUNDING = 0.5 * LEVEL, 6 * LEVEL

KINDS = {
    "colour.jpg": {"quality": 90},
    "full.jpg": {"quality": 95, "subsampling": 0},
    "progressive.jpg": {"progressive": True},
    "small.jpg": {"quality": 60},
    "grey.jpg": {"mode": "L"},
    "inks.jpg": {"mode": "CMYK"},
    "plain_rgb.jpg": {"keep_rgb": True},
    "lossless.png": {},
    "palette.png": {"mode": "P"},
}
PLAIN = ["colour.jpg", "full.jpg", "grey.jpg", "progressive.jpg", "small.jpg"]


def photograph(seed: int) -> Image.Image:
    """Smooth colours without any symmetry, wide or tall."""
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    size = (120 - 7 * seed, 90 + 3 * seed) if seed % 2 else (80 + 5 * seed, 110 - 2 * seed)
    return Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC)


@pytest.fixture
def split(tmp_path):
    for seed, (name, how) in enumerate(KINDS.items()):
        how = dict(how)
        photograph(seed).convert(how.pop("mode", "RGB")).save(tmp_path / name, **how)
    return Split(tmp_path, tuple(KINDS), np.arange(len(KINDS)), tuple(map(str, KINDS)))


def source(split, load=loaded_on_device, *, workers=0, training=True, batch_size=3, seed=0, **more):
    return StreamedBatches(
        split, training, CROPS, batch_size, seed=seed, workers=workers, load=load, **more
    )


def by_label(batches) -> dict[int, torch.Tensor]:
    return {
        int(label): image
        for images, labels in batches
        for image, label in zip(images, labels, strict=True)
    }


def differ(one, two) -> tuple[float, float]:
    """Mean and largest difference."""
    difference = (one - two).abs()
    return float(difference.mean()), float(difference.max())


@pytest.mark.parametrize(
    ("training", "workers", "epochs"), [(True, 0, 3), (True, 2, 1), (False, 0, 1)]
)
def test_both_paths_give_the_same_images(split, training, workers, epochs):
    for epoch in range(epochs):
        pairs = zip(
            source(split, loaded, training=training).epoch(epoch),
            source(split, training=training, workers=workers).epoch(epoch),
            strict=True,
        )
        for (theirs, their_labels), (ours, labels) in pairs:
            assert ours.dtype == theirs.dtype
            assert torch.equal(labels, their_labels)
            assert labels.dtype == their_labels.dtype
            for one, two in zip(theirs, ours, strict=True):
                mean, most = differ(one, two)
                assert mean <= ROUNDING[0]
                assert most <= ROUNDING[1]


def test_a_wrong_crop_or_a_missing_flip_would_be_seen(split):
    """The bound above is far below what either does to these very images."""
    images = by_label(source(split).epoch())
    other = by_label(source(split, seed=1).epoch())
    for label in images:
        assert differ(images[label], images[label].flip(2))[0] > 20 * ROUNDING[0]
        assert differ(images[label], other[label])[0] > 20 * ROUNDING[0]


def test_only_plain_jpeg_files_are_left_to_the_device(split):
    found = [name for name in sorted(KINDS) if read_plain_jpeg(split.root / name) is not None]
    assert found == PLAIN
    content = (split.root / "grey.jpg").read_bytes()
    assert read_plain_jpeg(split.root / "grey.jpg") == content
    assert read_plain_jpeg(split.root / "nowhere.jpg") is None


def test_other_files_are_decoded_by_pillow_to_the_same_bits(split, monkeypatch):
    seen = []

    def decode(encoded, device):
        seen.append(len(encoded))
        return [torch.zeros(3, 60, 60, dtype=torch.uint8)] * len(encoded)

    monkeypatch.setattr(decoding, "_decode", decode)
    theirs, ours = by_label(source(split, loaded).epoch()), by_label(source(split).epoch())
    equal = [name for label, name in enumerate(KINDS) if torch.equal(theirs[label], ours[label])]
    assert sorted(equal + PLAIN) == sorted(KINDS)
    assert sum(seen) == len(PLAIN)


def test_what_the_device_refuses_is_decoded_by_pillow(split, monkeypatch):
    """As nvJPEG refuses some files, and with one of them the whole list."""
    decode, refused = decoding._decode, []
    progressive = len((split.root / "progressive.jpg").read_bytes())

    def particular(encoded, device):
        if progressive in map(len, encoded):
            refused.append(len(encoded))
            raise RuntimeError("nvjpegDecodeBatched failed: 4")
        return decode(encoded, device)

    monkeypatch.setattr(decoding, "_decode", particular)
    theirs = by_label(source(split, loaded, training=False, batch_size=9).epoch())
    ours = by_label(source(split, training=False, batch_size=9).epoch())
    assert refused == [len(PLAIN), 1]
    for label, image in theirs.items():
        assert differ(image, ours[label]) <= ROUNDING


def test_memory_that_runs_out_is_not_taken_for_a_refused_file(split, monkeypatch):
    def greedy(encoded, device):
        raise torch.OutOfMemoryError("out of memory")

    monkeypatch.setattr(decoding, "_decode", greedy)
    with pytest.raises(torch.OutOfMemoryError):
        list(source(split).epoch())


@pytest.mark.parametrize(
    ("name", "kept", "workers"),
    [
        *((name, kept, 0) for name in ("colour.jpg", "grey.jpg") for kept in (0, 3, 200, -2)),
        *((name, kept, 0) for name in ("inks.jpg", "lossless.png") for kept in (3, 200)),
        ("colour.jpg", -2, 2),  # found by the main process
        ("colour.jpg", 3, 2),  # found by a worker
    ],
)
def test_a_damaged_file_is_the_same_line_on_both_paths(split, name, kept, workers):
    path = split.root / name
    path.write_bytes(path.read_bytes()[:kept])
    lines = []
    for load, number in ((loaded, 0), (loaded_on_device, workers)):
        with pytest.raises(UserError) as caught:
            list(source(split, load, training=False, workers=number).epoch())
        lines.append(str(caught.value))
    assert lines[0] == lines[1]
    assert lines[0].startswith(f"cannot decode image {path} (")
    assert "\n" not in lines[0]


def test_a_file_that_is_gone_is_named(split):
    (split.root / "colour.jpg").unlink()
    with pytest.raises(UserError, match=r"cannot decode image .*colour\.jpg"):
        list(source(split).epoch())


def test_entered_at_any_step_the_epoch_goes_on_as_it_would_have(split):
    whole = list(source(split).epoch(2))
    for start in range(4):
        rest = list(source(split).epoch(2, start))
        assert len(rest) == 3 - start
        for (one, one_labels), (two, two_labels) in zip(whole[start:], rest, strict=True):
            assert torch.equal(one, two)
            assert torch.equal(one_labels, two_labels)


def test_crops_draw_nothing_from_the_global_generator(split):
    torch.manual_seed(0)
    iter(torch.utils.data.DataLoader([0]))  # which draws a seed for its workers
    expected = torch.get_rng_state()
    torch.manual_seed(0)
    list(source(split).epoch())
    assert torch.equal(torch.get_rng_state(), expected)


def test_channels_last_changes_the_format_and_not_the_values(split):
    (plain, _), (last, _) = (next(source(split, channels_last=c).epoch()) for c in (False, True))
    assert plain.is_contiguous()
    assert last.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(plain, last)


@pytest.mark.parametrize("error", [RuntimeError("not compiled with\nnvJPEG"), ImportError("gone")])
def test_a_device_without_a_decoder_is_refused_in_one_line(monkeypatch, error):
    refuse_without_decoder(CPU)

    def missing(encoded, device):
        raise error

    monkeypatch.setattr(decoding, "_decode", missing)
    with pytest.raises(UserError, match=r"cannot decode JPEG files on cpu .*--decode") as caught:
        refuse_without_decoder(CPU)
    assert "\n" not in str(caught.value)


@pytest.fixture
def train(tmp_path):
    """Function that trains on a tiny set of JPEG and PNG files and gives the stored record."""
    data = write_tiny_set(tmp_path / "data")

    def make(folder, recipe=None, **options):
        path = runs.run(
            recipe or tiny_recipe("se_resnet50_baseline", decoded_cache=False),
            data,
            tmp_path / folder,
            tmp_path / f"{folder}-records",
            device=CPU,
            cache=tmp_path / "cache",
            workers=0,
            **options,
        )
        return records.StoredRecord(records.read_record(path), path)

    return make


def test_a_run_is_that_of_the_other_path_and_its_record_says_so(train, monkeypatch):
    used = []

    def counted(*arguments):
        used.append(arguments)
        return loaded_on_device(*arguments)

    monkeypatch.setattr("dreal_lib.tasks.classification.loaded_on_device", counted)
    device, workers = train("a", decode="device"), train("b")
    assert len(used) == 2  # epochs; images to judge are decoded by the workers
    assert "--decode device --seed 0" in device.record.command
    assert "--decode" not in workers.record.command
    assert device.record.recipe_hash == workers.record.recipe_hash
    np.testing.assert_allclose(
        device.history()["classification_loss"], workers.history()["classification_loss"], rtol=0.05
    )
    first, second = device.history()["classification_loss"]
    assert first != second


def refused(train, **options) -> str:
    with pytest.raises(UserError) as caught:
        train("refused", **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_where_nothing_is_to_be_decoded_the_option_is_refused(train, tmp_path):
    cached = tiny_recipe("se_resnet50_baseline")
    line = refused(train, recipe=cached, decode="device")
    assert "decoded_cache: true" in line
    assert "--set decoded_cache=false" in line
    identities = SimpleNamespace(task="retrieval", name="table_2/resnet50_reinforced")
    with pytest.raises(UserError, match=r"table_2/resnet50_reinforced trains on identities"):
        open_task(identities, None, torch.device("cpu"), decode_on_device=True)
    assert "unknown decoder 'devise'; did you mean 'device'?" in refused(train, decode="devise")
    assert not (tmp_path / "refused").exists()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA GPU")
def test_a_gpu_gives_the_same_images(split):
    theirs = by_label(source(split, loaded).epoch())
    ours = by_label(source(split, device="cuda").epoch())
    for label, image in theirs.items():
        mean, most = differ(image, ours[label].cpu())
        assert mean <= 2 * LEVEL
        assert most <= 12 * LEVEL
