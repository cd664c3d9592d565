"""Where a network multiplies features by a map: found by watching forward passes of an example.

A gate is a product F * A in the forward of some module, the smallest one that is running, where
A keeps the images' axis, has as many axes as F and lacks one of them (behind `expand`), is no
parameter, and is made by the module's parameters if it has any (a norm's scale is not). A map as
large as F counts only if F is an input of a module with parameters; else it might be anything.
Of the products of a module the last one counts, and those that made its features: F A1 A2.

Letters: B images of the example, C channels, H and W height and width.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from dreal_lib.actor_critic.gate_passes import (
    IN_PLACE,
    CallCounter,
    is_product,
    unexpanded,
)
from dreal_lib.actor_critic.module_calls import forward_instead, tensors_of
from dreal_lib.runtime.modes import evaluation_mode, uncompiled

ENLARGEMENTS = 4  # each doubles the sides: maps of one position cannot be told from features


@dataclass(frozen=True, eq=False)
class Product:
    """A product that is a gate; `features` and `attention` are the tensors of the probe's pass.

    Attributes:
        module: Whose forward multiplies.
        number: Of the product in that forward.
        side: Which operand the map is.
        made: Where F is made: (function, number of its call), or None for an input of the module.
        in_place: Whether the product is written over F.
        features: F, (B, ...).
        attention: A, (B, ...), without axes that `expand` has added.
        product: F * A.
    """

    module: nn.Module
    number: int
    side: int
    made: tuple[str, int] | None
    in_place: bool
    features: Tensor
    attention: Tensor
    product: Tensor


@torch.no_grad()
def probe(model: nn.Module, example: Tensor) -> list[Product]:
    """The gates of a network in the order of its forward pass, in evaluation mode.

    Where features have one position only, the example is enlarged until none have, if the network
    takes it.

    Args:
        model: The network.
        example: Images, (B, C, H, W); two are taken, or one twice.
    """
    batch = torch.cat((example[:1], example[:2]))[-2:]
    whole = uncompiled(model, list(model.modules()))
    with evaluation_mode(model), torch.random.fork_rng(devices=[]), whole:
        watched = _watched_pass(model, batch)
        for _ in range(ENLARGEMENTS if batch.dim() == 4 else 0):
            if not watched.blind:
                break
            larger = F.interpolate(batch, scale_factor=2)
            try:
                watched, batch = _watched_pass(model, larger), larger
            except (RuntimeError, AssertionError, ValueError):  # made for images of its own size
                break
        return _traced_pass(model, batch, list(watched.found))


def map_side(first: Tensor, second: Tensor, inputs: tuple[Tensor, ...], learns: bool) -> int | None:
    """Which of two operands is a map that gates the other, 0 or 1; None if neither is.

    Args:
        first, second: Of a product.
        inputs: Of the module in whose forward it is.
        learns: Whether that module has parameters.
    """
    if _gates(first, second):
        return 1
    if _gates(second, first):
        return 0
    if learns and first.shape == second.shape and unexpanded(second).shape == first.shape:
        if any(first is given for given in inputs) and not isinstance(second, nn.Parameter):
            return 1
        if any(second is given for given in inputs) and not isinstance(first, nn.Parameter):
            return 0
    return None


def _gates(features: Tensor, attention: Tensor) -> bool:
    if isinstance(attention, nn.Parameter) or attention.dim() != features.dim():
        return False
    if attention.size(0) != features.size(0):
        return False
    behind = unexpanded(attention)
    # More than a number for each image: that is a mask which drops whole images at random.
    return features.size(0) < behind.numel() < unexpanded(features).numel() and all(
        a in (1, f) for a, f in zip(behind.shape[1:], features.shape[1:], strict=True)
    )


class _Watched(TorchFunctionMode):
    """The modules in whose own forward features are multiplied by what may be a map.

    Attributes:
        found: Those modules, in order.
        blind: Whether features of a single position were multiplied, where nothing can be told.
    """

    def __init__(self):
        super().__init__()
        self.running: list[tuple[nn.Module, tuple[Tensor, ...]]] = []
        self.found: dict[nn.Module, None] = {}
        self.blind = False

    def __torch_function__(self, function, types, args=(), kwargs=None):
        if self.running and is_product(function, args):
            module, inputs = self.running[-1]
            first, second = args[:2]
            learns = next(module.parameters(), None) is not None
            if map_side(first, second, inputs, learns) is not None:
                self.found[module] = None
            elif first.shape == second.shape and first.dim() > 3 and first.shape[-2:] == (1, 1):
                self.blind = True
        return function(*args, **(kwargs or {}))


def _watched_pass(model: nn.Module, batch: Tensor) -> _Watched:
    watched = _Watched()

    def begin(module: nn.Module, args: tuple, kwargs: dict) -> None:
        watched.running.append((module, tensors_of(*args, *kwargs.values())))

    def end(*_: object) -> None:
        watched.running.pop()

    hooks = []
    try:
        for module in model.modules():
            hooks.append(module.register_forward_pre_hook(begin, with_kwargs=True))
            hooks.append(module.register_forward_hook(end, always_call=True))
        with watched:
            model(batch)
    finally:
        for hook in hooks:
            hook.remove()
    return watched


class _Tracer(CallCounter):
    """One forward pass of a module: its products, and what each tensor was made of."""

    def __init__(self):
        super().__init__()
        self.kept: list[tuple] = []  # keeps tensors alive, so that an id stays theirs
        self.made: dict[int, tuple[str, int]] = {}
        self.sources: dict[int, tuple[Tensor, ...]] = {}
        self.multiplied: list[tuple[int, Callable, Tensor, Tensor, Tensor]] = []

    def __torch_function__(self, function, types, args=(), kwargs=None):
        number = self.products if is_product(function, args) else None
        self.products += number is not None
        made = function(*args, **(kwargs or {}))
        given, results = tensors_of(*args, *(kwargs or {}).values()), tensors_of(made)
        self.kept.append((given, results))
        name = self.numbered(function, args, made)
        for result in results:
            self.sources[id(result)] = self.sources.get(id(result), ()) + given
            if name:
                self.made.setdefault(id(result), name)
        if number is not None:
            self.multiplied.append((number, function, args[0], args[1], made))
        return made

    def learnt(self, attention: Tensor, features: Tensor) -> bool:
        """Whether parameters lie between the features and the map."""
        seen, waiting = {id(features)}, [attention]
        while waiting:
            one = waiting.pop()
            if isinstance(one, nn.Parameter):
                return True
            if id(one) not in seen:
                seen.add(id(one))
                waiting.extend(self.sources.get(id(one), ()))
        return False


def _gates_of(module: nn.Module, tracer: _Tracer, inputs: tuple[Tensor, ...]) -> list[Product]:
    """The gates in one traced forward pass: the last product, and those that made its features."""
    learns = next(module.parameters(), None) is not None
    candidates: dict[int, Product] = {}
    for number, function, first, second, product in tracer.multiplied:
        side = map_side(first, second, inputs, learns)
        if side is None:
            continue
        features, attention = (second, first) if side == 0 else (first, second)
        if learns and not tracer.learnt(attention, features):
            continue
        given = any(features is one for one in inputs)
        made = None if given else tracer.made.get(id(features))
        if given or made:
            candidates[id(product)] = Product(
                module,
                number,
                side,
                made,
                function in IN_PLACE,
                features,
                unexpanded(attention),
                product,
            )
    if not candidates:
        return []
    chain = [max(candidates.values(), key=lambda one: one.number)]
    while (before := candidates.get(id(chain[-1].features))) and before.number < chain[-1].number:
        chain.append(before)
    return chain[::-1]


def _traced_pass(model: nn.Module, batch: Tensor, modules: list[nn.Module]) -> list[Product]:
    found: dict[nn.Module, list[Product]] = {}

    def traced(module: nn.Module, forward: Callable) -> Callable:
        def run(*args, **kwargs):
            with _Tracer() as tracer:
                made = forward(*args, **kwargs)
            inputs = tensors_of(*args, *kwargs.values())
            found.setdefault(module, _gates_of(module, tracer, inputs))
            return made

        return run

    with forward_instead({module: traced(module, module.forward) for module in modules}):
        model(batch)
    return [gate for gates in found.values() for gate in gates]
