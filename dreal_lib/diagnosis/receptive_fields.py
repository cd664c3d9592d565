"""The centres of a layer's cells, by following coordinates through a network.

One image runs through the network while each operation's own stride, padding, kernel and dilation
move the coordinates of its input to those of its output. What is followed are operations, not
modules, so functional calls and branches count too: where branches meet, their coordinates are
averaged (those of a ResNet agree). Gates and other paths that lose the place (global means,
products of matrices) have no coordinates, and those of the features that they scale stand.

A coordinate is that of the receptive field's centre, also where the field reaches beyond the edge.
Letters: H, W pixels, h, w cells.
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.weak import WeakTensorKeyDictionary

from dreal_lib.diagnosis.cells import Cells, spread
from dreal_lib.errors import UserError
from dreal_lib.runtime.modes import evaluation_mode

Axis = np.ndarray | None  # coordinates along one dimension of a tensor, in pixels, if known
aten = torch.ops.aten

_LOSE_THE_PLACE = {aten.mm, aten.bmm, aten.addmm, aten.baddbmm, aten.addbmm, aten.pixel_shuffle}


@torch.no_grad()
def cells_of_layer(model: nn.Module, layer: nn.Module, images: Tensor) -> Cells:
    """Where the cells of a layer's output lie in the images.

    Args:
        model: The network; left as it was.
        layer: A module of it that puts out a feature map (B, C, h, w).
        images: (B, 3, H, W); one of them is run.

    Returns:
        Followed through the network; where they cannot be (a network without spatial operations
        between), spread evenly.

    Raises:
        UserError: The layer puts out no feature map, or does not run.
    """
    found: list[tuple[tuple[int, ...], tuple[Axis, ...]]] = []
    size = (images.shape[-2], images.shape[-1])
    places = _Places(image := images[:1].clone())

    def note(_: nn.Module, inputs: tuple, output: object) -> None:
        if not isinstance(output, Tensor) or output.dim() != 4:
            kind = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
            raise UserError(f"the layer puts out no feature map (B, C, h, w) but {kind}")
        found.append((tuple(output.shape[2:]), places.of(output)[2:]))

    handle = layer.register_forward_hook(note)
    try:
        with evaluation_mode(model), places:
            model(image)
    finally:
        handle.remove()
    if not found:
        raise UserError("the layer does not run when the network sees an image; name another")
    counts, (rows, columns) = found[0]
    if rows is None or columns is None:
        return spread(counts, size)
    return Cells(tuple(rows.tolist()), tuple(columns.tolist()), size)


class _Places(TorchDispatchMode):
    """Coordinates of every tensor made from an image (1, 3, H, W), dimension by dimension."""

    def __init__(self, image: Tensor):
        super().__init__()
        self.known = WeakTensorKeyDictionary()
        self.known[image] = (None, None, *(np.arange(float(side)) for side in image.shape[2:]))

    def of(self, tensor: Tensor) -> tuple[Axis, ...]:
        """A tensor's coordinates; all None if it has none."""
        return self.known.get(tensor, (None,) * tensor.dim())

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        inputs = [t for t in tree_leaves((args, kwargs)) if isinstance(t, Tensor)]
        before = [(tuple(t.shape), self.of(t)) for t in inputs]
        result = func(*args, **(kwargs or {}))
        kind = func.overloadpacket
        outputs = [t for t in tree_leaves(result) if isinstance(t, Tensor)]
        if kind in _LOSE_THE_PLACE or not any(a is not None for _, axes in before for a in axes):
            return result
        for output in outputs:
            if kind in _MOVES:
                axes = _MOVES[kind](before[0][1], args, tuple(output.shape))
            else:
                axes = _kept(before, tuple(output.shape))
            if len(axes) == output.dim():
                self.known[output] = axes
        return result


def _kept(
    inputs: Sequence[tuple[tuple[int, ...], tuple[Axis, ...]]], shape: tuple[int, ...]
) -> tuple[Axis, ...]:
    """Entry by entry operations: the mean of the inputs' coordinates, where their sizes fit."""
    kept: list[Axis] = []
    for dim, size in enumerate(shape):
        fitting = [
            axes[dim]
            for own, axes in inputs
            if len(own) == len(shape) and own[dim] == size and axes[dim] is not None
        ]
        kept.append(np.mean(fitting, axis=0) if fitting else None)
    return tuple(kept)


def _at(axis: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Coordinates at fractional places of an axis, linear also beyond its ends."""
    if len(axis) == 1:
        return np.repeat(axis, len(places))
    left = np.clip(np.floor(places).astype(int), 0, len(axis) - 2)
    return axis[left] + (places - left) * (axis[left + 1] - axis[left])


def _pair(value: Sequence[int] | int, dim: int) -> int:
    return value if isinstance(value, int) else value[dim if len(value) > 1 else 0]


Move = Callable[[tuple[Axis, ...], tuple, tuple[int, ...]], tuple[Axis, ...]]


def _moved(place: Callable[[tuple, int, int, int], np.ndarray]) -> Move:
    """Of the places in the input that the last two dimensions of an output answer for.

    Args:
        place: From arguments, dimension (0: rows), sizes of input and output to places (size,).
    """

    def move(axes: tuple[Axis, ...], args: tuple, shape: tuple[int, ...]) -> tuple[Axis, ...]:
        if len(axes) != 4 or len(shape) != 4:  # along something else than an image's sides
            return (None,) * len(shape)
        made = [
            None if axis is None else _at(axis, place(args, dim, len(axis), size))
            for dim, (axis, size) in enumerate(zip(axes[-2:], shape[-2:], strict=True))
        ]
        return (None, None, *made)

    return move


def _window(args: tuple, dim: int, _: int, out: int) -> np.ndarray:
    """Middles of windows: (input, kernel, stride, padding[, dilation]) of a pooling."""
    kernel = _pair(args[1], dim)
    stride = _pair(args[2], dim) if len(args) > 2 and args[2] not in ([], ()) else kernel
    padding = _pair(args[3], dim) if len(args) > 3 else 0
    return np.arange(out) * stride - padding + (kernel - 1) / 2


def _dilated_window(args: tuple, dim: int, size: int, out: int) -> np.ndarray:
    kernel = _pair(args[1], dim)
    dilation = _pair(args[4], dim) if len(args) > 4 else 1
    return _window(args, dim, size, out) + (dilation - 1) * (kernel - 1) / 2


def _convolved(args: tuple, dim: int, _: int, out: int) -> np.ndarray:
    """Of (input, weight, bias, stride, padding, dilation, transposed, ...)."""
    stride, padding, dilation = (_pair(args[i], dim) for i in (3, 4, 5))
    middle = dilation * (args[1].shape[2 + dim] - 1) / 2 - padding
    places = np.arange(out)
    return (places - middle) / stride if args[6] else places * stride + middle


def _adaptive(args: tuple, dim: int, size: int, out: int) -> np.ndarray:
    places = np.arange(out)
    first, last = places * size // out, -(-(places + 1) * size // out) - 1
    return (first + last) / 2


def _nearest(args: tuple, dim: int, size: int, out: int) -> np.ndarray:
    return np.floor(np.arange(out) * size / out)


def _interpolated(args: tuple, dim: int, size: int, out: int) -> np.ndarray:
    """Of (input, size, align_corners, ...)."""
    if args[2]:
        return np.arange(out) * (size - 1) / max(1, out - 1)
    return ((np.arange(out) + 0.5) * size / out - 0.5).clip(0, size - 1)


def _padded(args: tuple, dim: int, _: int, out: int) -> np.ndarray:
    """Of (input, (left, right, top, bottom), ...)."""
    before = args[1][2] if dim == 0 and len(args[1]) > 2 else args[1][0] if dim else 0
    return np.arange(out) - float(before)


def _permuted(axes: tuple[Axis, ...], args: tuple, shape: tuple[int, ...]) -> tuple[Axis, ...]:
    return tuple(axes[dim] for dim in args[1])


def _transposed(axes: tuple[Axis, ...], args: tuple, shape: tuple[int, ...]) -> tuple[Axis, ...]:
    swapped = list(axes)
    swapped[args[1]], swapped[args[2]] = swapped[args[2]], swapped[args[1]]
    return tuple(swapped)


def _sliced(axes: tuple[Axis, ...], args: tuple, shape: tuple[int, ...]) -> tuple[Axis, ...]:
    dim, start, end, step = (*args[1:], *(0, None, None, 1)[len(args) - 1 :])
    cut = list(axes)
    if cut[dim] is not None:
        cut[dim] = cut[dim][slice(start, end, step)]
    return tuple(cut)


def _viewed(axes: tuple[Axis, ...], args: tuple, shape: tuple[int, ...]) -> tuple[Axis, ...]:
    """The last dimensions, as far as they stay what they were."""
    given, kept = tuple(args[0].shape), []
    for own, size, axis in zip(given[::-1], shape[::-1], axes[::-1], strict=False):
        if own != size:
            break
        kept.insert(0, axis)
    return (None,) * (len(shape) - len(kept)) + tuple(kept)


_MOVES: dict[object, Move] = {
    aten.convolution: _moved(_convolved),
    aten.max_pool2d_with_indices: _moved(_dilated_window),
    aten.max_pool2d: _moved(_dilated_window),
    aten.avg_pool2d: _moved(_window),
    aten._adaptive_avg_pool2d: _moved(_adaptive),
    aten.adaptive_max_pool2d: _moved(_adaptive),
    aten.upsample_nearest2d: _moved(_nearest),
    aten.upsample_bilinear2d: _moved(_interpolated),
    aten.upsample_bicubic2d: _moved(_interpolated),
    aten.constant_pad_nd: _moved(_padded),
    aten.reflection_pad2d: _moved(_padded),
    aten.replication_pad2d: _moved(_padded),
    aten.permute: _permuted,
    aten.transpose: _transposed,
    aten.slice: _sliced,
    aten.view: _viewed,
    aten._unsafe_view: _viewed,
}
