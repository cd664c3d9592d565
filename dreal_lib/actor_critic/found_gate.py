"""A gate of a foreign network: all that is needed to meet one of its maps again.

Letters: C channels, H and W height and width.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

from torch import Tensor, nn

from dreal_lib.actor_critic.chance import States
from dreal_lib.actor_critic.gate_prefix import Prefix
from dreal_lib.actor_critic.module_calls import detached


def kind_of_map(shape: tuple[int, ...]) -> str:
    """Of a map's shape for one image: one axis of numbers is over channels, the last two over both.

    Tokens (N, C) have their channels behind, features (C, H, W) and (R, C, H, W) in front.
    """
    if len(shape) == 2:
        return {(True, False): "channel", (False, True): "spatial"}.get(
            (shape[0] == 1, shape[1] == 1), "full"
        )
    if all(side == 1 for side in shape[-2:]):
        return "channel"
    return "spatial" if all(side == 1 for side in shape[:-2]) else "full"


@dataclass(frozen=True)
class Call:
    """What a gate's module was called with.

    Attributes:
        args, kwargs: As it got them.
        chance: The random states at that moment (`dreal_lib.actor_critic.chance`).
        prefix: What its parts put out before the features, where it makes these itself.
    """

    args: tuple
    kwargs: dict
    chance: States = ()
    prefix: Prefix | None = None

    @property
    def features(self) -> Tensor:
        """The first tensor among them: F of a declared gate."""
        return next(one for one in (*self.args, *self.kwargs.values()) if isinstance(one, Tensor))

    def detach(self) -> "Call":
        """The same without gradient."""
        named = {name: detached(given) for name, given in self.kwargs.items()}
        return Call(detached(self.args), named, self.chance, self.prefix)


@dataclass(frozen=True, eq=False)
class FoundGate:
    """One map of a network that multiplies features, with all that is needed to meet it again.

    Attributes:
        path: Of the module, as in `named_modules`.
        class_name: Of the module.
        features: Shape of F for one image, e.g. (C, H, W).
        map: Shape of A for one image, e.g. (C, 1, 1), without axes that `expand` has added.
        kind: "channel", "spatial", "full", or "matrix" (a declared map between tokens).
        stage: The stage whose critic judges it.
        critic: Name of that critic.
        block: What is bypassed together: gates that multiply one another's product.
        name: Of the map: the path, numbered where a module makes several.
        module: The module itself.
        product: The number of the product in the module's forward, counted from 0.
        side: Which of its two operands the map is.
        made: Where F is made: (function, number of its call), or None for an input of the module.
        in_place: Whether the product is written over F.
        maker: For a declared gate, the sub-module whose output the map is; there is no product.
    """

    path: str
    class_name: str
    features: tuple[int, ...]
    map: tuple[int, ...]
    kind: str
    stage: str
    critic: str
    block: str
    name: str
    module: nn.Module = field(repr=False)
    product: int = field(repr=False)
    side: int = field(repr=False)
    made: tuple[str, int] | None = field(repr=False)
    in_place: bool = field(repr=False)
    maker: nn.Module | None = field(default=None, repr=False)

    def parameters(self) -> Iterator[nn.Parameter]:
        """Those of the module."""
        return self.module.parameters()

    def modules(self) -> Iterator[nn.Module]:
        """The module and those below it."""
        return self.module.modules()
