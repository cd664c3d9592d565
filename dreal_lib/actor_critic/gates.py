"""The attention of any network: its gates, found in one probe pass, chosen, and put into stages.

`dreal_lib.reinforce` works on what `find_gates` lists. How a gate is told from any other product:
`dreal_lib.actor_critic.gate_probe`. A map that multiplies no features (one that is added, or the
weights between tokens) cannot be told from other tensors; if a module of its own puts it out, it
can be declared (`Gate`).

Letters: B images, C channels, H and W height and width.
"""

import re
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from dreal_lib.actor_critic.blocks import PROBE_SIZE, AttentionMap, blank, naming_size
from dreal_lib.actor_critic.declared_gates import Gate, gates_declared, kind_of_declared
from dreal_lib.actor_critic.found_gate import FoundGate, kind_of_map
from dreal_lib.actor_critic.gate_passes import gates_intercepted
from dreal_lib.actor_critic.gate_probe import Product, probe
from dreal_lib.actor_critic.stages import AUTO, stages_of
from dreal_lib.errors import UserError
from dreal_lib.runtime.modes import evaluation_mode, uncompiled


def find_gates(
    model: nn.Module,
    example: Tensor | None = None,
    *,
    gates: str | Sequence[str | Gate] | None = None,
    stages: str | Sequence[str] = AUTO,
) -> list[FoundGate]:
    """The gates of a network, in the order of its forward pass.

    Args:
        model: Any network for images.
        example: Some images of the size that it is trained on, (B, C, H, W), on its device; one
            suffices. None is an image of zeros, (1, 3, 224, 224).
        gates: Which: a regular expression that a path has to match as a whole, or a list of paths
            or of their last parts ("se"), among which declared ones (`Gate`) may stand; None for
            all that are found.
        stages: Names of the modules whose gates share a critic, or "auto"
            (`dreal_lib.actor_critic.stages`); gates outside of named stages are left out.

    Raises:
        UserError: No gate is found, none is chosen, or the stages do not fit.
    """
    refuse_wrapped(model)
    if example is None:
        example = blank(model, PROBE_SIZE)
    declared = [] if gates is None or isinstance(gates, str) else list(gates)
    declared = [one for one in declared if isinstance(one, Gate)]
    names = gates if not declared else [one for one in gates if not isinstance(one, Gate)]
    found = _chosen(_products(model, example), names) if names or not declared else []
    found += [gate for one in declared for gate in gates_declared(model, one)]
    found = _measured(model, example, found)
    sides = [gate.features[-2:] if len(gate.features) > 2 else gate.features[:1] for gate in found]
    named = stages_of(model, [gate.path for gate in found], sides, stages)
    found = [replace(g, stage=s) for g, s in zip(found, named, strict=True) if s is not None]
    return _named(found)


def _products(model: nn.Module, example: Tensor) -> list[FoundGate]:
    """All products that are gates."""
    paths = {module: path for path, module in model.named_modules()}
    with naming_size(example):
        products = probe(model, example)
    found = [_found(one, paths[one.module]) for one in products]
    if not found:
        raise UserError(
            f"no gate was found in {type(model).__name__}: nowhere is a feature map multiplied by "
            f"a map that is made of it (maps that are added, or multiply matrices, are none); "
            f"reinforce another network, or declare its maps: gates=[Gate(path, map=...)]"
        )
    return [replace(g, block=b) for g, b in zip(found, _blocks(found, products), strict=True)]


def maps_of(gates: Sequence[FoundGate]) -> tuple[AttentionMap, ...]:
    """The gates as the agent takes them.

    Args:
        gates: From `find_gates`.
    """
    return tuple(AttentionMap(g.name, g.block, g.stage, g.kind, g, g.map) for g in gates)


def table(gates: Sequence[FoundGate]) -> list[str]:
    """Gates as lines of text, a head first.

    Args:
        gates: From `find_gates`.
    """
    head = ("path", "class", "F", "map", "kind", "stage", "critic")
    rows = [head]
    for gate in gates:
        sizes = (" x ".join(map(str, shape)) for shape in (gate.features, gate.map))
        rows.append((gate.path, gate.class_name, *sizes, gate.kind, gate.stage, gate.critic))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]


def refuse_wrapped(model: nn.Module) -> None:
    """A wrapped network hides its modules, and DDP would wait for passes that other ranks skip.

    Raises:
        UserError: The network is wrapped for several processes, or compiled.
    """
    wrappers = (
        "DistributedDataParallel",
        "DataParallel",
        "FullyShardedDataParallel",
        "OptimizedModule",
    )
    if type(model).__name__ in wrappers:
        raise UserError(
            f"the network is wrapped ({type(model).__name__}); reinforce it first, then wrap the "
            f"agent"
        )


def _found(one: Product, path: str) -> FoundGate:
    shape = tuple(one.attention.shape[1:])
    return FoundGate(
        path=path,
        class_name=type(one.module).__name__,
        features=tuple(one.features.shape[1:]),
        map=shape,
        kind=kind_of_map(shape),
        stage="",
        critic="",
        block=path,
        name=path,
        module=one.module,
        product=one.number,
        side=one.side,
        made=one.made,
        in_place=one.in_place,
    )


def _blocks(found: Sequence[FoundGate], products: Sequence[Product]) -> list[str]:
    """What each gate is bypassed with: those whose products are one another's features."""
    chains: list[list[int]] = []
    ends: dict[int, list[int]] = {}  # by the product that its last gate made
    for index, one in enumerate(products):
        chain = ends.pop(id(one.features), None)
        if chain is None:
            chains.append(chain := [])
        chain.append(index)
        ends[id(one.product)] = chain
    blocks = [""] * len(found)
    for chain in chains:
        for index in chain:
            blocks[index] = _common([found[i].path for i in chain])
    return blocks


def _common(paths: Sequence[str]) -> str:
    """The module that holds some modules, or the first of them if only the network does.

    A product in the network's own forward is called "network".
    """
    parts = [path.split(".") for path in paths]
    shared = []
    for level in zip(*parts, strict=False):
        if len(set(level)) > 1:
            break
        shared.append(level[0])
    return ".".join(shared) or paths[0] or "network"


def _chosen(found: list[FoundGate], gates: str | Sequence[str] | None) -> list[FoundGate]:
    if gates is None:
        return found

    def wanted(path: str) -> bool:
        if isinstance(gates, str):
            return re.fullmatch(gates, path) is not None
        return any(path == name or path.endswith(f".{name}") for name in gates)

    chosen = [gate for gate in found if wanted(gate.path)]
    if not chosen:
        how = "matches the pattern" if isinstance(gates, str) else "has one of the names"
        paths = ", ".join(dict.fromkeys(gate.path for gate in found))
        raise UserError(f"no gate {how} {gates!r}; candidates: {paths}")
    return chosen


def _named(found: list[FoundGate]) -> list[FoundGate]:
    """With the names of maps and critics."""
    named = []
    for index, gate in enumerate(found):
        kinds = [other.kind for other in found if other.block == gate.block]
        name = gate.block
        if len(kinds) > 1:
            name += f".{gate.kind}"
        if kinds.count(gate.kind) > 1:
            before = [g for g in found[: index + 1] if (g.block, g.kind) == (gate.block, gate.kind)]
            name += str(len(before))
        critic = f"{gate.stage}_{gate.kind}".replace(".", "_")
        named.append(replace(gate, name=name, critic=critic))
    return named


@torch.no_grad()
def _measured(model: nn.Module, example: Tensor, found: list[FoundGate]) -> list[FoundGate]:
    """In the order of a pass, with the shapes of the example, which the probe may have enlarged."""
    shapes: dict[FoundGate, tuple] = {}

    def see(gate: FoundGate, features: Tensor, attention: Tensor) -> None:
        shapes[gate] = tuple(features.shape[1:]), tuple(attention.shape[1:])

    with (
        evaluation_mode(model),
        torch.random.fork_rng(devices=[]),
        gates_intercepted(found, see=see),
        naming_size(example),
        uncompiled(model, [gate.module for gate in found]),
    ):
        model(example[:1])
    for gate in found:
        if gate not in shapes:
            raise UserError(
                f"the declared map of {gate.path!r} ({gate.class_name}) was not made: its "
                f"sub-module is not called (attention that is fused makes none; timm's is not with "
                f"fused_attn = False)"
            )
    return [
        replace(
            gate,
            features=features,
            map=shape,
            kind=kind_of_declared(features, shape) if gate.maker else gate.kind,
        )
        for gate, (features, shape) in shapes.items()
    ]
