"""What a gate's module does before its features are there, not done again for L_q.

Selective-kernel and split attention make their features by convolutions of their own. When their
maps are made once more, of features that are constants, what those sub-modules put out is, too.
"""

from torch import Tensor, nn

from dreal_lib.actor_critic.module_calls import changes


class Prefix:
    """Keeps the outputs of a module's parts while it runs, within `with Prefix(...) as prefix:`.

    Args:
        module: Whose forward is running.
    """

    def __init__(self, module: nn.Module):
        self.module = module
        self.made: dict[nn.Module, tuple[Tensor, int]] = {}
        self.calls: dict[nn.Module, int] = {}
        self.before: dict[nn.Module, tuple[Tensor, int]] | None = None

    def __enter__(self) -> "Prefix":
        parts = [part for part in self.module.modules() if part is not self.module]
        self.hooks = [part.register_forward_hook(self._ended) for part in parts]
        return self

    def __exit__(self, *_: object) -> None:
        for hook in self.hooks:
            hook.remove()

    def _ended(self, part: nn.Module, args: tuple, output: object) -> None:
        self.calls[part] = self.calls.get(part, 0) + 1
        if isinstance(output, Tensor):
            self.made[part] = output, changes(output)

    def features_made(self) -> None:
        """Says that the features are there: what ended until now came before them."""
        if self.before is None:
            self.before = dict(self.made)

    def outputs(self) -> dict[nn.Module, Tensor]:
        """By part, what it put out before the features; the largest parts alone."""
        found = {
            part: output
            for part, (output, version) in (self.before or {}).items()
            if self.calls[part] == 1 and changes(output) == version
        }
        inside = {below for part in found for below in part.modules() if below is not part}
        return {part: output for part, output in found.items() if part not in inside}
