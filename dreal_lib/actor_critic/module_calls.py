"""Calls of modules: what they are given and make, and another function in their forward's place."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from torch import Tensor, nn

_HIDDEN = ("forward", "_compiled_call_impl")  # a compiled module would go past its forward


@contextmanager
def forward_instead(functions: Mapping[nn.Module, Callable]) -> Iterator[None]:
    """Runs other functions in place of modules' `forward`, while the context lasts.

    Args:
        functions: By module.
    """
    # As in `blocks.intercepted`: an attribute of the instance hides the class's method.
    own = {
        module: {name: vars(module)[name] for name in _HIDDEN if name in vars(module)}
        for module in functions
    }
    try:
        for module, function in functions.items():
            vars(module)["forward"] = function
            vars(module)["_compiled_call_impl"] = None
        yield
    finally:
        for module, kept in own.items():
            for name in _HIDDEN:
                vars(module).pop(name, None)
            vars(module).update(kept)


def tensors_of(*given: object) -> tuple[Tensor, ...]:
    """The tensors among some arguments, also within tuples and lists."""
    found: list[Tensor] = []
    for one in given:
        if isinstance(one, Tensor):
            found.append(one)
        elif isinstance(one, tuple | list):
            found.extend(tensors_of(*one))
    return tuple(found)


def detached(made: object) -> object:
    """Tensors without gradient, alone or in a tuple or list."""
    if isinstance(made, Tensor):
        return made.detach()
    return type(made)(map(detached, made)) if type(made) in (tuple, list) else made


def changes(tensor: Tensor) -> int:
    """How often a tensor was written to in place, as far as torch counts."""
    return 0 if tensor.is_inference() else tensor._version
