"""JPEG files decoded on the device, a batch at a time: for machines with few cores to a GPU.

Worker processes read files and nothing else. An image is then cut as on the workers' path
(`dreal_lib.data.batches.loaded`), by the same transform under the same seed, so only rounding can
differ: that of two decoders, and of resizing on another device. Files that are no plain JPEG are
decoded by the workers; those that the device's decoder refuses, by Pillow.

On a GPU torchvision decodes by nvJPEG. That was never run here.
"""

import io
import math
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset
from torchvision.transforms import v2

from dreal_lib.data.batches import Files
from dreal_lib.data.images import read_image, read_plain_jpeg
from dreal_lib.data.loading import one_line_errors, open_loader
from dreal_lib.errors import UserError
from dreal_lib.runtime.seeding import seeded

Keys = tuple[tuple[int, int], ...]  # of files: (index, seed of the augmentation)


def loaded_on_device(
    files: Files,
    batches: Sequence[Sequence[tuple[int, int]]],
    device: torch.device,
    channels_last: bool = False,
    workers: int = 4,
) -> Iterator[tuple[Tensor, Tensor]]:
    """Batches of keys of `files`, decoded, cut and normalised on the device.

    Args:
        files: What to read, and how it is cut.
        batches: Keys of `files`, batch by batch.
        device: Where images (B, 3, H, W) and labels (B,) are made.
        channels_last: Memory format of the images.
        workers: Processes that read.

    Raises:
        UserError: A file cannot be decoded; with its name.
    """
    format_ = torch.channels_last if channels_last else torch.contiguous_format
    loader = open_loader(
        _Contents(files), batch_sampler=batches, num_workers=workers, collate_fn=_joined
    )
    with closing(one_line_errors(loader)) as read:  # workers end at once if decoding fails
        for flat, shapes, keys in read:
            parts = flat.split([math.prod(shape) for shape in shapes])
            contents = [part.view(shape) for part, shape in zip(parts, shapes, strict=True)]
            paths = [files.root / files.files[index] for index, _ in keys]
            images = []
            for pixels, (_, seed) in zip(_decoded(contents, paths, device), keys, strict=True):
                with seeded(seed):
                    images.append(files.transform(pixels))
            labels = torch.tensor([int(files.labels[index]) for index, _ in keys])
            yield torch.stack(images).contiguous(memory_format=format_), labels.to(device)


def refuse_without_decoder(device: torch.device) -> None:
    """Tries the decoder on a small image, so that files need not fall back to Pillow one by one.

    Raises:
        UserError: This torchvision cannot decode JPEG files on the device.
    """
    written = io.BytesIO()
    Image.new("RGB", (16, 16)).save(written, "JPEG")
    try:
        _decode([_bytes_of(written.getvalue())], device)
    except (ImportError, RuntimeError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise UserError(
            f"this torchvision cannot decode JPEG files on {device} ({reason}); "
            f"leave out --decode device"
        ) from None


class _Contents(Dataset):
    """With its key, a file's bytes (N,), or its pixels (3, H, W) if it is no plain JPEG."""

    def __init__(self, files: Files):
        self.files = files

    def __getitem__(self, key: tuple[int, int]) -> tuple[Tensor, tuple[int, int]]:
        path = self.files.root / self.files.files[key[0]]
        content = read_plain_jpeg(path)
        if content is None:
            return v2.functional.pil_to_tensor(read_image(path)), key
        return _bytes_of(content), key


def _bytes_of(content: bytes) -> Tensor:
    return torch.frombuffer(bytearray(content), dtype=torch.uint8)


def _joined(items: list[tuple[Tensor, tuple[int, int]]]) -> tuple[Tensor, list[torch.Size], Keys]:
    # One tensor a batch, as each that a worker hands over may hold an open file.
    contents, keys = zip(*items, strict=True)
    return torch.cat([c.flatten() for c in contents]), [c.shape for c in contents], keys


def _decoded(contents: list[Tensor], paths: list[Path], device: torch.device) -> Iterator[Tensor]:
    """Pixels (3, H, W) on the device, from bytes (N,) or pixels."""
    encoded = [content for content in contents if content.dim() == 1]
    try:
        done: list[Tensor | None] = list(_decode(encoded, device) if encoded else ())
    except torch.OutOfMemoryError:
        raise
    except RuntimeError:  # does not say which of them was refused
        done = [None] * len(encoded)
    decoded = iter(done)
    for content, path in zip(contents, paths, strict=True):
        if content.dim() == 3:
            yield content.to(device)
        elif (pixels := next(decoded)) is not None:
            yield pixels
        else:
            yield _decoded_alone(content, path, device)


def _decoded_alone(content: Tensor, path: Path, device: torch.device) -> Tensor:
    try:
        return _decode([content], device)[0]
    except torch.OutOfMemoryError:
        raise
    except RuntimeError:  # Pillow decodes it, or says in one line what is wrong
        return v2.functional.pil_to_tensor(read_image(path)).to(device)


def _decode(encoded: list[Tensor], device: torch.device) -> list[Tensor]:
    # Deprecated since torchvision 0.29: a version without it shall be refused, not break imports.
    from torchvision.io import ImageReadMode, decode_jpeg

    return decode_jpeg(encoded, mode=ImageReadMode.RGB, device=device)
