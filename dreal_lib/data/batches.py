"""Batches of an epoch: images (B, 3, H, W), normalised, on the device, and labels (B,).

Two sources with one interface: decoded images from the cache, augmented as a batch on the device,
and files streamed by worker processes through torchvision's transforms. Both train on random
resized crops with horizontal flips and evaluate centre crops (section 4.1). What an image becomes
depends on the seed, the epoch and its place in the epoch alone, so an epoch can be entered at any
step.
"""

import copy
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import Dataset
from torchvision.transforms import v2

from dreal_lib.data.cache import CachedSet
from dreal_lib.data.images import Split, read_image
from dreal_lib.data.loading import one_line_errors, open_loader
from dreal_lib.errors import UserError
from dreal_lib.runtime import distributed
from dreal_lib.runtime.seeding import derived_generator, derived_seed, seeded

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet, in [0, 1]
ASPECTS = (3 / 4, 4 / 3)


@dataclass(frozen=True)
class Crops:
    """How images are cut.

    Attributes:
        image_size: Side of what the network sees, pixels.
        resize: Side to which an evaluated image's shorter side is resized before the centre crop.
        smallest_area: Least share of the image's area in a random training crop.
    """

    image_size: int
    resize: int
    smallest_area: float = 0.08


def shuffled(count: int, seed: int, epoch: int) -> Tensor:
    """The order of the training images in one epoch, (N,)."""
    return torch.randperm(count, generator=derived_generator(seed, "order", epoch))


def random_crops(count: int, smallest_area: float, generator: torch.Generator) -> Tensor:
    """Affine matrices of random resized crops with flips, (B, 2, 3), for `affine_grid`.

    Area uniform in [smallest_area, 1], aspect log-uniform in [3/4, 4/3], a side cut off at the
    image's, position uniform, flipped with probability 1/2. Coordinates run from -1 to 1.
    """
    area = torch.empty(count).uniform_(smallest_area, 1, generator=generator)
    log_aspect = torch.empty(count).uniform_(*map(math.log, ASPECTS), generator=generator)
    width = (area * log_aspect.exp()).sqrt().clamp(max=1)
    height = (area / log_aspect.exp()).sqrt().clamp(max=1)
    x, y = torch.empty(2, count).uniform_(-1, 1, generator=generator)
    flip = torch.randint(2, (count,), generator=generator) * 2.0 - 1
    zero = torch.zeros(count)
    return torch.stack(
        (
            torch.stack((width * flip, zero, x * (1 - width)), 1),
            torch.stack((zero, height, y * (1 - height)), 1),
        ),
        dim=1,
    )


class CachedBatches:
    """Batches of decoded images.

    Args:
        cached: The decoded set.
        split: "train" (shuffled, augmented, full batches only) or "val" (in order, all images).
        crops: How images are cut.
        batch_size: B.
        device: Where batches are made.
        seed: Of order and augmentation.
        channels_last: Memory format of the images.
    """

    def __init__(
        self,
        cached: CachedSet,
        split: str,
        crops: Crops,
        batch_size: int,
        device: torch.device | str = "cpu",
        seed: int = 0,
        channels_last: bool = False,
    ):
        self.device, self.seed = torch.device(device), seed
        self.images = cached.images[split]
        self.labels = torch.from_numpy(cached.labels[split]).to(self.device)
        self.mean, self.std = (torch.tensor(values, device=self.device) for values in (MEAN, STD))
        self.training, self.crops, self.batch_size = split == "train", crops, batch_size
        self.format = torch.channels_last if channels_last else torch.contiguous_format
        _refuse_small_split(len(self.labels), batch_size, self.training)
        self.shard = distributed.shard(batch_size) if self.training else slice(None)
        if self.device.type == "cuda":  # a small set fits there, and spares a copy a step
            self.images = torch.tensor(self.images, device=self.device)

    def __len__(self) -> int:
        return _batch_count(len(self.labels), self.batch_size, self.training)

    def epoch(self, epoch: int = 0, start: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
        """The batches of an epoch from number `start` on; of training, this process's shards."""
        count = len(self.labels)
        order = shuffled(count, self.seed, epoch) if self.training else torch.arange(count)
        yield from self._batches(order, epoch, start)

    def chosen(self, indices: np.ndarray) -> "CachedBatches":
        """Batches of the images at these places alone."""
        few, places = copy.copy(self), torch.from_numpy(indices)
        few.images = self.images[places if isinstance(self.images, Tensor) else indices]
        few.labels = self.labels[places]
        return few

    def part(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Batches of this process's part of the images to judge."""
        yield from self._batches(torch.arange(len(self.labels))[distributed.part(len(self.labels))])

    def _batches(
        self, order: Tensor, epoch: int = 0, start: int = 0
    ) -> Iterator[tuple[Tensor, Tensor]]:
        order = order.to(self.device)  # at once: a copy a step would wait for all work before it
        for step in range(start, _batch_count(len(order), self.batch_size, self.training)):
            chosen = order[step * self.batch_size : (step + 1) * self.batch_size][self.shard]
            images = self._normalised(chosen)
            if self.training:
                images = self._augmented(images, epoch, step)
            else:
                images = v2.functional.center_crop(images, [self.crops.image_size] * 2)
            yield images.contiguous(memory_format=self.format), self.labels[chosen]

    def _normalised(self, chosen: Tensor) -> Tensor:
        if isinstance(self.images, Tensor):
            raw = self.images[chosen]
        else:
            raw = torch.from_numpy(self.images[chosen.numpy()])
        images = raw.permute(0, 3, 1, 2).float().div(255)
        return v2.functional.normalize(images, self.mean, self.std)

    def _augmented(self, images: Tensor, epoch: int, step: int) -> Tensor:
        generator = derived_generator(self.seed, "augmentation", epoch, step)
        # Drawn for the global batch, so that an image is cut alike whoever has it.
        matrices = random_crops(self.batch_size, self.crops.smallest_area, generator)[self.shard]
        if self.device.type == "cuda":  # from pinned memory the copy waits for nothing
            matrices = matrices.pin_memory()
        size = (len(images), 3, self.crops.image_size, self.crops.image_size)
        matrices = matrices.to(self.device, non_blocking=True)
        grid = F.affine_grid(matrices, size, align_corners=False)
        return F.grid_sample(images, grid, padding_mode="border", align_corners=False)


class Files(Dataset):
    """Decodes and transforms single files; the key is (index, seed of its augmentation).

    Args:
        root: The data root.
        files: Paths relative to it.
        labels: Of each file, a whole number.
        transform: From uint8 (3, H, W) to what the network sees.
    """

    def __init__(
        self, root: Path, files: Sequence[str], labels: Sequence[int], transform: v2.Transform
    ):
        self.root, self.files, self.labels, self.transform = root, files, labels, transform

    def __getitem__(self, key: tuple[int, int]) -> tuple[Tensor, int]:
        index, seed = key
        image = v2.functional.pil_to_tensor(read_image(self.root / self.files[index]))
        with seeded(seed):
            return self.transform(image), int(self.labels[index])


def loaded(
    files: Files,
    batches: Sequence[Sequence[tuple[int, int]]],
    device: torch.device,
    channels_last: bool = False,
    workers: int = 4,
) -> Iterator[tuple[Tensor, Tensor]]:
    """Decodes batches of keys of `files` in worker processes and puts them on the device."""
    format_ = torch.channels_last if channels_last else torch.contiguous_format
    loader = open_loader(
        files, batch_sampler=batches, num_workers=workers, pin_memory=device.type == "cuda"
    )
    for images, labels in one_line_errors(loader):
        images = images.to(device, non_blocking=True, memory_format=format_)
        yield images, labels.to(device, non_blocking=True)


class StreamedBatches:
    """Batches of files too many to keep decoded; arguments as for `CachedBatches`.

    Args:
        split: The listed files.
        training: Shuffled, augmented and full batches only, or in order and all images.
        workers: Number of worker processes that decode.
        load: Makes batches of keys: `loaded`, or `dreal_lib.data.decoding.loaded_on_device`.
    """

    def __init__(
        self,
        split: Split,
        training: bool,
        crops: Crops,
        batch_size: int,
        device: torch.device | str = "cpu",
        seed: int = 0,
        channels_last: bool = False,
        workers: int = 4,
        load: Callable[..., Iterator[tuple[Tensor, Tensor]]] = loaded,
    ):
        self.training, self.batch_size, self.seed = training, batch_size, seed
        self.device, self.workers, self.count = torch.device(device), workers, len(split)
        self.channels_last, self.load = channels_last, load
        _refuse_small_split(self.count, batch_size, training)
        self.shard = distributed.shard(batch_size) if training else slice(None)
        size = [crops.image_size] * 2
        if training:
            area = (crops.smallest_area, 1.0)
            cut = [v2.RandomResizedCrop(size, area, antialias=True), v2.RandomHorizontalFlip()]
        else:
            cut = [v2.Resize(crops.resize, antialias=True), v2.CenterCrop(size)]
        scale = [v2.ToDtype(torch.float32, scale=True), v2.Normalize(MEAN, STD)]
        self.files = Files(split.root, split.files, split.labels, v2.Compose(cut + scale))

    def __len__(self) -> int:
        return _batch_count(self.count, self.batch_size, self.training)

    def epoch(self, epoch: int = 0, start: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
        """The batches of an epoch from number `start` on; of training, this process's shards."""
        order = shuffled(self.count, self.seed, epoch) if self.training else range(self.count)
        yield from self._batches(order, epoch, start)

    def chosen(self, indices: np.ndarray) -> "StreamedBatches":
        """Batches of the images at these places alone."""
        few, own = copy.copy(self), self.files
        files, labels = ([values[i] for i in indices] for values in (own.files, own.labels))
        few.files, few.count = Files(own.root, files, labels, own.transform), len(indices)
        return few

    def part(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Batches of this process's part of the images to judge."""
        yield from self._batches(range(self.count)[distributed.part(self.count)])

    def _batches(
        self, order: Sequence[int] | Tensor, epoch: int = 0, start: int = 0
    ) -> Iterator[tuple[Tensor, Tensor]]:
        keys = [(int(i), derived_seed(self.seed, "augmentation", epoch, int(i))) for i in order]
        size, count = self.batch_size, _batch_count(len(order), self.batch_size, self.training)
        cut = [keys[step * size : (step + 1) * size][self.shard] for step in range(start, count)]
        yield from self.load(self.files, cut, self.device, self.channels_last, self.workers)


def _batch_count(count: int, batch_size: int, training: bool) -> int:
    # A short last batch would be normalised by statistics of few images.
    return count // batch_size if training else math.ceil(count / batch_size)


def _refuse_small_split(count: int, batch_size: int, training: bool) -> None:
    if training and count < batch_size:
        raise UserError(
            f"the training split has {count} images, less than one batch of {batch_size}; "
            f"try --set batch_size={max(2, count // 2)}"
        )
