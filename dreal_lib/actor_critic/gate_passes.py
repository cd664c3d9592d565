"""Foreign gates at work: a gate is a module whose forward multiplies features F by a map A.

Such a module has no `extract` or `attend` to watch. While a context lasts, its forward runs under
a `TorchFunctionMode` of its own, which finds the product by its number and shows F and A, or puts
another map in A's place. Nothing else of the network runs under it, and nothing is left behind.
Where a gate was declared, the map is the output of a sub-module, and F the module's first input.

Letters: B batch, C channels, H and W height and width.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from dreal_lib.actor_critic.chance import states_of
from dreal_lib.actor_critic.found_gate import Call, FoundGate
from dreal_lib.actor_critic.gate_prefix import Prefix
from dreal_lib.actor_critic.module_calls import detached, forward_instead

IN_PLACE = (Tensor.mul_, Tensor.multiply_, Tensor.__imul__)
PRODUCTS = frozenset(
    (
        *(torch.mul, torch.multiply, Tensor.mul, Tensor.multiply),
        *(Tensor.__mul__, Tensor.__rmul__, *IN_PLACE),
    )
)
_PRODUCT_NAMES = frozenset(getattr(function, "__name__", "") for function in PRODUCTS)
LEAST_AXES = 3  # of features: images, channels (or tokens), and at least one more


def unexpanded(tensor: Tensor) -> Tensor:
    """The tensor behind `expand`: axes of stride 0, but for the first, have the size 1."""
    for axis in range(1, tensor.dim()):
        if tensor.stride(axis) == 0 and tensor.size(axis) > 1:
            tensor = tensor.narrow(axis, 0, 1)
    return tensor


def is_product(function: Callable, args: tuple) -> bool:
    """Whether a call multiplies two tensors of as many axes as features have.

    A number for each image is no map, but drops images at random, and that in training alone.
    """
    if function not in PRODUCTS or len(args) < 2:
        return False
    first, second = args[:2]
    if not all(isinstance(one, Tensor) and one.dim() >= LEAST_AXES for one in (first, second)):
        return False
    return not (_by_image(first, second) or _by_image(second, first))


def _by_image(mask: Tensor, features: Tensor) -> bool:
    return mask.numel() == mask.size(0) and features[0, 0].numel() > 1


class CallCounter(TorchFunctionMode):
    """Numbers the calls within one forward pass of a module: products, and whatever makes features.

    As FX names its nodes, a call is the k-th of its function. Tensors of few axes do not count:
    BatchNorm counts its batches in training alone.
    """

    def __init__(self):
        super().__init__()
        self.products = 0
        self.calls: dict[str, int] = {}

    def numbered(self, function: Callable, args: tuple, made: object) -> tuple[str, int] | None:
        """The name and number of a call that made a tensor like features."""
        every = made if isinstance(made, tuple | list) else (made,)
        if function in PRODUCTS and not is_product(function, args):
            return None
        if not any(isinstance(one, Tensor) and one.dim() >= LEAST_AXES for one in every):
            return None
        name = getattr(function, "__name__", repr(function))
        self.calls[name] = self.calls.get(name, -1) + 1
        return name, self.calls[name]


class _Enough(Exception):
    """All maps that were asked for are made."""


class _GatePass(CallCounter):
    """One forward pass of a gate's module.

    Args:
        gates: Those of the module.
        see: Called as see(gate, F, A) before each product whose map is not replaced.
        replace: Maps by gate that stand in for A.
        cut: F and all before it are constants.
        prefix: Is told when F is made.
    """

    def __init__(self, gates, see=None, replace=None, cut=False, prefix=None):
        super().__init__()
        self.gates = {gate.product: gate for gate in gates if not gate.maker}
        self.see, self.replace, self.cut, self.prefix = see, replace or {}, cut, prefix
        self.cuts = {gate.made for gate in gates if gate.made} if cut or prefix else set()

    def __torch_function__(self, function, types, args=(), kwargs=None):
        if is_product(function, args):
            gate, self.products = self.gates.get(self.products), self.products + 1
            if gate:
                args = self._meet(gate, args)
        made = function(*args, **(kwargs or {}))
        if self.cuts and self.numbered(function, args, made) in self.cuts:
            if self.prefix:
                self.prefix.features_made()
            if self.cut:
                return detached(made)
        return made

    def _meet(self, gate: FoundGate, args: tuple) -> tuple:
        features, attention = args[1 - gate.side], args[gate.side]
        if gate in self.replace:
            given = self.replace[gate].to(attention.dtype).expand_as(attention)
            return (given, *args[1:]) if gate.side == 0 else (args[0], given, *args[2:])
        elif self.see:
            self.see(gate, features.clone() if gate.in_place else features, unexpanded(attention))
        return args


@contextmanager
def gates_intercepted(
    gates: Sequence[FoundGate],
    *,
    begin: Callable[[Sequence[FoundGate], Call], None] | None = None,
    see: Callable[[FoundGate, Tensor, Tensor], None] | None = None,
    replace: Mapping[FoundGate, Tensor] | None = None,
) -> Iterator[None]:
    """Watches or replaces the maps of foreign gates, while the context lasts.

    Args:
        gates: Those that are met.
        begin: Called as begin(gates of a module, call) before the module's forward.
        see: Called as see(gate, F, A) before each product whose map is not replaced.
        replace: Maps by gate that stand in for A.
    """
    by_module: dict[nn.Module, list[FoundGate]] = {}
    for gate in gates:
        by_module.setdefault(gate.module, []).append(gate)
    given: dict[nn.Module, Tensor] = {}  # F of modules whose gates were declared

    def keep(members: Sequence[FoundGate], call: Call) -> None:
        given[members[0].module] = call.features
        if begin:
            begin(members, call)

    instead = {
        gate.maker: _declared(gate.maker.forward, gate, given, see, replace or {})
        for gate in gates
        if gate.maker
    }
    begin_and_keep = keep if instead else begin
    instead |= {
        module: _under_watch(module.forward, members, begin_and_keep, see, replace)
        for module, members in by_module.items()
    }
    with forward_instead(instead):
        yield


def _declared(forward, gate, given, see, replace):
    def watched(*args, **kwargs):
        attention = forward(*args, **kwargs)
        if gate in replace:
            return replace[gate].to(attention.dtype).expand_as(attention)
        if see:
            see(gate, given[gate.module], attention)
        return attention

    return watched


def _under_watch(forward, gates, begin, see, replace):
    # Made within, but not by the product of another map of the module.
    own_features = any(gate.made and gate.made[0] not in _PRODUCT_NAMES for gate in gates)

    def watched(*args, **kwargs):
        prefix = None
        if begin:
            kept = tuple(map(_kept, args)) if any(g.in_place for g in gates) else args
            prefix = Prefix(gates[0].module) if own_features else None
            begin(gates, Call(kept, kwargs, states_of(*args), prefix))
        with prefix or nullcontext(), _GatePass(gates, see, replace, prefix=prefix):
            return forward(*args, **kwargs)

    return watched


def _kept(given: object) -> object:
    return given.clone() if isinstance(given, Tensor) else given


def _put_out(output: Tensor) -> Callable[..., Tensor]:
    return lambda *_, **__: output


def attend_again(
    gates: Sequence[FoundGate], call: Call, reused: bool = True
) -> dict[FoundGate, Tensor]:
    """The maps of one module once more, of features that are constants.

    Gradients reach the module's own parameters alone, and of these what makes maps of features.

    Args:
        gates: All of one module.
        call: What the module was called with.
        reused: Whether what it did before the features is put out again; not where it draws at
            random, as all draws are to be repeated.
    """
    module = gates[0].module
    like = next((p for p in module.parameters() if p.is_floating_point()), None)
    copied = any(gate.in_place for gate in gates)

    def constant(given: object) -> object:
        if not isinstance(given, Tensor):
            return given
        given = given.detach()
        if like is not None and given.is_floating_point():  # else autocast left its own type
            given = given.to(like.dtype)
        return given.clone() if copied else given

    declared = [gate for gate in gates if gate.maker]
    made: dict[FoundGate, Tensor] = {}

    def see(gate: FoundGate, _: Tensor, attention: Tensor) -> None:
        made[gate] = attention
        if len(made) == len(gates):
            raise _Enough

    outputs = call.prefix.outputs() if call.prefix and reused else {}
    functions = {part: _put_out(constant(output)) for part, output in outputs.items()}
    functions |= {
        g.maker: _declared(g.maker.forward, g, {module: call.features}, see, {}) for g in declared
    }
    with forward_instead(functions):
        try:
            with _GatePass(gates, see, cut=True):
                module.forward(
                    *map(constant, call.args), **{k: constant(v) for k, v in call.kwargs.items()}
                )
        except _Enough:
            pass
    return made
