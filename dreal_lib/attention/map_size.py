"""Modules whose weights depend on the size of their features: the size, and its refusals."""

from torch import Tensor

from dreal_lib.errors import UserError


def checked_size(module: str, size: tuple[int, int]) -> tuple[int, int]:
    """(H, W) as it is, if it can be one.

    Raises:
        UserError: It is not two whole numbers of at least 1.
    """
    sides = tuple(size) if isinstance(size, tuple | list) else ()
    if len(sides) != 2 or any(type(side) is not int or side < 1 for side in sides):
        raise UserError(
            f"{module} needs the size of its features, (H, W); got {size!r}; try (16, 8)"
        )
    return sides


def refuse_another_size(module: str, size: tuple[int, int], features: Tensor) -> None:
    """Refuses features (B, C, H, W) of another size than a module was built for.

    Raises:
        UserError: The sizes differ (names both).
    """
    height, width = features.shape[2:]
    if (height, width) != size:
        raise UserError(
            f"{module} was built for features of {size[0]}x{size[1]} (height, width); got "
            f"{height}x{width}; build it with size=({height}, {width}), or give images of the size "
            f"that it was built for"
        )
