"""A counterfactual begins where its map is: what the main pass had finished is put out again.

The outputs of modules are kept while the main pass runs. In a counterfactual every module that had
ended before the first bypassed map was met returns what it returned then, the largest ones first.
That is exact: a module is run all the same if it ran twice, wrote into its input, returned
something else than a tensor, or if somebody has written into its output since. What lies between
modules is computed again.

Letters: B images of the main pass, N of them in a counterfactual.
"""

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from torch import Tensor, nn

from dreal_lib.actor_critic.chance import States, put_back, states_of
from dreal_lib.actor_critic.module_calls import changes, forward_instead, tensors_of
from dreal_lib.runtime.modes import is_compiled


@dataclass(frozen=True)
class _Finished:
    """The output of a module, its version when the module ended, and the moment and states then."""

    output: Tensor
    version: int
    moment: int
    states: States


class Replay:
    """Keeps what the modules of a network put out, within `with Replay(...) as replay:`.

    Args:
        model: The network.
        waiting: What is going to be bypassed: actors or found gates. `met` is told of each.
        chance: Whether random states are kept, too, so that draws between modules are repeated.
    """

    def __init__(self, model: nn.Module, waiting: Collection[object], chance: bool):
        self.model, self.waiting, self.chance = model, set(waiting), chance
        self.moment = 0
        self.finished: dict[nn.Module, _Finished] = {}
        self.begun: dict[nn.Module, int] = {}  # number of calls
        self.moments: dict[object, int] = {}
        self.versions: list[list[tuple[Tensor, int]]] = []
        inside = {getattr(one, "module", one) for one in waiting}
        # Within these the parts are kept, too; of the others the output of the whole is enough.
        self.opened = {m for m in model.modules() if not inside.isdisjoint(m.modules())}

    def __enter__(self) -> "Replay":
        self.hooks = []
        for module in _seen(self.model):
            self.hooks.append(module.register_forward_pre_hook(self._begin, with_kwargs=True))
            self.hooks.append(module.register_forward_hook(self._end))
        return self

    def __exit__(self, *_: object) -> None:
        for hook in self.hooks:
            hook.remove()
        self.versions.clear()

    def met(self, actor: object) -> None:
        """Says that the map of an actor is being multiplied now."""
        self.moments.setdefault(actor, self.moment)
        self.waiting.discard(actor)

    def _begin(self, module: nn.Module, args: tuple, kwargs: dict) -> None:
        self.begun[module] = self.begun.get(module, 0) + 1
        given = tensors_of(*args, *kwargs.values())
        self.versions.append([(tensor, changes(tensor)) for tensor in given])

    def _end(self, module: nn.Module, args: tuple, output: object) -> None:
        given = self.versions.pop()
        self.moment += 1
        if not self.waiting:
            return  # nothing that ends from now on is needed
        if not isinstance(output, Tensor) or any(changes(t) != v for t, v in given):
            return
        states = states_of(output) if self.chance else ()
        self.finished[module] = _Finished(output, changes(output), self.moment, states)
        if module not in self.opened:
            for part in module.children():
                self.finished.pop(part, None)

    @contextmanager
    def until(self, actor: object, subset: Tensor | None) -> Iterator[None]:
        """Within it, what had ended before the map of `actor` was met is not run.

        Args:
            actor: One of those that were waited for.
            subset: Indices of the images that the network is given, (N,); None for all.
        """
        ended = self._ended(self.model, self.moments[actor])
        functions = {module: _again(self.finished[module], subset) for module in ended}
        with forward_instead(functions):
            yield

    def _ended(self, module: nn.Module, moment: int) -> Iterator[nn.Module]:
        made = self.finished.get(module)
        usable = made is not None and made.moment <= moment and self.begun[module] == 1
        if usable and changes(made.output) == made.version:
            yield module
            return
        for part in module.children():
            yield from self._ended(part, moment)


def _seen(module: nn.Module) -> Iterator[nn.Module]:
    """A module and those below it, but nothing compiled: hooks would become a part of its graph."""
    if not is_compiled(module):
        yield module
        for part in module.children():
            yield from _seen(part)


def _again(made: _Finished, subset: Tensor | None) -> Callable[..., Tensor]:
    def forward(*_: object, **__: object) -> Tensor:
        if made.states:
            put_back(made.states)
        output = made.output.detach()
        return output.clone() if subset is None else output[subset]

    return forward
