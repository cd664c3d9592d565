"""Batches of images of identities: PK-sampled and augmented for training, in order for test.

Transforms are torchvision's (v2), applied image by image; what an image becomes depends on the
seed, the epoch, its batch and its place there alone, so an epoch can be entered at any step.
"""

import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from torchvision.transforms import v2

from dreal_lib.data.batches import MEAN, STD, Files, loaded
from dreal_lib.data.identities import IdentitySplit
from dreal_lib.data.sampling import pk_batches
from dreal_lib.runtime import distributed
from dreal_lib.runtime.seeding import derived_generator, derived_seed
from dreal_lib.settings.retrieval import RetrievalSettings

ENLARGED = 9 / 8  # of the size, before a random cut (torchreid)


def training_transform(size: tuple[int, int], settings: RetrievalSettings) -> v2.Transform:
    """Crop, flip, normalise, erase, in the paper's order; for uint8 images (3, H, W)."""
    resize = v2.Resize(list(size), antialias=True)
    if settings.crop == "pad":
        mean = tuple(round(255 * value) for value in MEAN)
        fill = {"black": 0, "mean": mean}[settings.crop_fill]
        crop = [resize, v2.RandomCrop(list(size), padding=settings.crop_padding, fill=fill)]
    else:
        larger = [math.ceil(side * ENLARGED) for side in size]
        enlarge = v2.Compose([v2.Resize(larger, antialias=True), v2.RandomCrop(list(size))])
        crop = [v2.RandomChoice([resize, enlarge])]
    return v2.Compose(
        [
            *crop,
            v2.RandomHorizontalFlip(settings.flip_probability),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize(MEAN, STD),
            v2.RandomErasing(
                settings.erasing_probability,
                (settings.erasing_smallest_area, settings.erasing_largest_area),
                (settings.erasing_aspect, 1 / settings.erasing_aspect),
                # The images are normalised: there 0 is the mean colour, and MEAN another one.
                value={"mean_as_number": list(MEAN), "mean": 0}[settings.erasing_fill],
            ),
        ]
    )


def evaluation_transform(size: tuple[int, int]) -> v2.Transform:
    """Resize and normalise."""
    return v2.Compose(
        [
            v2.Resize(list(size), antialias=True),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize(MEAN, STD),
        ]
    )


class PKBatches:
    """Training batches: images (P * K, 3, H, W) and identities (P * K,).

    Args:
        split: The training images.
        size: (H, W), pixels.
        per_batch, per_identity: P and K.
        settings: Augmentation, and what an epoch is.
        device: Where batches are put.
        seed: Of sampling and augmentation.
        channels_last: Memory format of the images.
        workers: Processes that decode.
    """

    def __init__(
        self,
        split: IdentitySplit,
        size: tuple[int, int],
        per_batch: int,
        per_identity: int,
        settings: RetrievalSettings,
        device: torch.device | str = "cpu",
        seed: int = 0,
        channels_last: bool = False,
        workers: int = 4,
    ):
        self.split, self.per_batch, self.per_identity = split, per_batch, per_identity
        self.draw, self.seed, self.workers = settings.draw, seed, workers
        self.device, self.channels_last = torch.device(device), channels_last
        # Whole identities, as the hardest positive and negative are looked for in the shard.
        mine = distributed.shard(per_batch, "identities_per_batch")
        self.shard = slice(mine.start * per_identity, mine.stop * per_identity)
        self.files = Files(
            split.root, split.files, split.identities, training_transform(size, settings)
        )
        # With draw="exhaustive" epochs may differ by a step or two; the first one's length stands.
        self.steps = len(self._batches(0))

    def __len__(self) -> int:
        return self.steps

    def _batches(self, epoch: int) -> list[Tensor]:
        generator = derived_generator(self.seed, "order", epoch)
        return pk_batches(
            self.split.identities, self.per_batch, self.per_identity, generator, self.draw
        )

    def epoch(self, epoch: int = 0, start: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
        """The batches of an epoch from number `start` on; of each, this process's shard."""
        keys = [
            [
                (int(i), derived_seed(self.seed, "augmentation", epoch, step, place))
                for place, i in enumerate(batch)
            ][self.shard]
            for step, batch in enumerate(self._batches(epoch))
        ]
        yield from loaded(self.files, keys[start:], self.device, self.channels_last, self.workers)


class SplitBatches:
    """The images of one or more test splits in order: images (B, 3, H, W) and places (B,).

    Args:
        split: Query or gallery.
        size: (H, W), pixels.
        batch_size: B.
        device, channels_last, workers: As for `PKBatches`.
    """

    def __init__(
        self,
        split: IdentitySplit,
        size: tuple[int, int],
        batch_size: int = 128,
        device: torch.device | str = "cpu",
        channels_last: bool = False,
        workers: int = 4,
    ):
        self.split, self.batch_size, self.workers = split, batch_size, workers
        self.device, self.channels_last = torch.device(device), channels_last
        places = range(len(split))
        self.files = Files(split.root, split.files, places, evaluation_transform(size))

    def __len__(self) -> int:
        return math.ceil(len(self.split) / self.batch_size)

    def chosen(self, places: Sequence[int]) -> Iterator[tuple[Tensor, Tensor]]:
        """Batches of some images, in the order given."""
        keys = [(int(place), 0) for place in places]
        cut = [keys[i : i + self.batch_size] for i in range(0, len(keys), self.batch_size)]
        yield from loaded(self.files, cut, self.device, self.channels_last, self.workers)

    def epoch(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Batches of all images."""
        yield from self.chosen(range(len(self.split)))

    def part(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Batches of this process's part of the images."""
        yield from self.chosen(range(len(self.split))[distributed.part(len(self.split))])
