"""Modes that a network is in for a while: frozen, evaluating, uncompiled, computing in bfloat16."""

from collections.abc import Collection, Iterator
from contextlib import contextmanager

import torch
from torch import nn


@contextmanager
def frozen(module: nn.Module) -> Iterator[None]:
    """Builds graphs in which the parameters of `module` are constants."""
    trained = [p for p in module.parameters() if p.requires_grad]
    try:
        for parameter in trained:
            parameter.requires_grad_(False)
        yield
    finally:
        for parameter in trained:
            parameter.requires_grad_(True)


@contextmanager
def evaluation_mode(model: nn.Module) -> Iterator[None]:
    """`model.eval()` for a while; every module gets its own mode back."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode


def is_compiled(module: nn.Module) -> bool:
    """Whether `module.compile()` was called."""
    return module._compiled_call_impl is not None


@contextmanager
def uncompiled(model: nn.Module, holding: Collection[nn.Module]) -> Iterator[None]:
    """Runs compiled modules as they are written for a while, those that hold certain modules.

    Args:
        model: The network.
        holding: What a module has to hold, itself included.
    """
    wanted = set(holding)
    aside = [
        (module, module._compiled_call_impl)
        for module in model.modules()
        if is_compiled(module) and not wanted.isdisjoint(module.modules())
    ]
    try:
        for module, _ in aside:
            module._compiled_call_impl = None
        yield
    finally:
        for module, compiled in aside:
            module._compiled_call_impl = compiled


def autocast(precision: str, device: torch.device) -> torch.autocast:
    """A recipe's precision ("bf16", or any other for none), as a context."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16")
