"""Gates that are declared, as no probe can find them: maps that a module of their own puts out.

Maps that are added to features, and the weights between tokens that multiply as matrices, look
like any other tensor. Where a sub-module puts one out, its path says enough.
"""

from dataclasses import dataclass
from fnmatch import fnmatchcase

from torch import nn

from dreal_lib.actor_critic.found_gate import FoundGate, kind_of_map
from dreal_lib.errors import UserError, unknown_choice


@dataclass(frozen=True)
class Gate:
    """A gate that is declared: in each module of some paths, the output of a sub-module is the map.

    Attributes:
        path: Of the modules, as in `named_modules`; "*" stands for anything, "blocks.*.attn".
        map: Of the sub-module within each, "attn_drop".
    """

    path: str
    map: str


def gates_declared(model: nn.Module, gate: Gate) -> list[FoundGate]:
    """The gates that a declaration stands for; their shapes and order are measured later.

    Args:
        model: The network.
        gate: The declaration.

    Raises:
        UserError: No module has such a path, or one has no such sub-module.
    """
    modules = dict(model.named_modules())
    paths = [path for path in modules if fnmatchcase(path, gate.path)]
    if not paths:
        raise UserError(
            f"no module has the path {gate.path!r}; some there are: "
            f"{', '.join([path for path in modules if path][:6])}"
        )
    found = []
    for path in paths:
        maker = modules.get(f"{path}.{gate.map}" if path else gate.map)
        if maker is None:
            inside = [name for name, _ in modules[path].named_children()]
            raise unknown_choice(f"sub-module of {path!r}", gate.map, inside)
        made = FoundGate(
            path=path,
            class_name=type(modules[path]).__name__,
            features=(),
            map=(),
            kind="",
            stage="",
            critic="",
            block=path,
            name=path,
            module=modules[path],
            product=-1,
            side=0,
            made=None,
            in_place=False,
            maker=maker,
        )
        found.append(made)
    return found


def kind_of_declared(features: tuple[int, ...], shape: tuple[int, ...]) -> str:
    """As for products, if the map could multiply its features; else it lies between tokens.

    Args:
        features, shape: Of F and of the map, for one image.
    """
    fits = len(shape) == len(features) and all(
        a in (1, f) for a, f in zip(shape, features, strict=True)
    )
    return kind_of_map(shape) if fits else "matrix"
