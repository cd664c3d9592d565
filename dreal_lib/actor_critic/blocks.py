"""Where the attention maps of a network are: stages, their blocks, and the maps of each block.

Names are those of `named_modules`. A stage is a module, named by the user; its blocks are the
modules right below it that hold attention; a block may hold several maps (CBAM: two). The maps'
shapes are read off one forward pass; what a map is, its actor declares
(`dreal_lib.attention.actor.kind_of`).
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from dreal_lib.actor_critic.found_gate import Call, FoundGate
from dreal_lib.actor_critic.gate_passes import gates_intercepted
from dreal_lib.attention.actor import is_actor, kind_of, makes_map
from dreal_lib.errors import UserError, unknown_choice
from dreal_lib.runtime.modes import evaluation_mode

PROBE_SIZE = 224


@dataclass(frozen=True)
class AttentionMap:
    """One attention map of a network.

    Attributes:
        name: The block's name, followed by the map's kind where a block has several
            ("layer3.1", or "layer3.1.channel").
        block: E.g. "layer3.1".
        stage: E.g. "layer3".
        kind: "channel", "spatial" or "full" (`dreal_lib.attention.actor.KINDS`).
        actor: The module that makes it, or the gate that was found
            (`dreal_lib.actor_critic.gates`).
        shape: Shape for one image, e.g. (C,), (1, H, W) or (C, H, W).
    """

    name: str
    block: str
    stage: str
    kind: str
    actor: nn.Module | FoundGate
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        """Number of entries, S."""
        return int(torch.Size(self.shape).numel())


def find_maps(
    model: nn.Module,
    stages: tuple[str, ...],
    image_size: int | tuple[int, int] | None = None,
    example: Tensor | None = None,
) -> tuple[AttentionMap, ...]:
    """The attention maps in the given stages, in the order in which the network makes them.

    Args:
        model: Any network for images (B, 3, H, W).
        stages: Names of the modules whose blocks share a critic.
        image_size: Side, or (H, W), of the images; needed where maps have positions, or where the
            network fits one size alone (without it, one of 224 pixels is tried).
        example: An image, (1, C, H, W), in place of one of zeros of that size.

    Raises:
        UserError: A stage does not exist, or holds no attention that multiplies its features; the
            kind of a map is not what its actor declares, or cannot be told; the maps of one stage
            and kind differ in size; a map over positions without `image_size`; or the network
            fails on an image of this size.
    """
    located = _locate(model, stages)
    if example is None:
        example = blank(model, image_size or PROBE_SIZE)
        known_size = image_size is not None
    else:
        known_size = True
    made = _probe(model, [actor for _, _, actor in located], example)
    called = {actor: index for index, actor in enumerate(made)}
    found = []
    in_order = sorted(located, key=lambda item: called[item[2]])
    for block in dict.fromkeys(block for _, block, _ in in_order):
        members = [(stage, actor) for stage, other, actor in in_order if other == block]
        kinds = [made[actor][0] for _, actor in members]
        for index, (stage, actor) in enumerate(members):
            name = block if len(members) == 1 else f"{block}.{kinds[index]}"
            if kinds.count(kinds[index]) > 1:
                name += str(kinds[: index + 1].count(kinds[index]))
            found.append(AttentionMap(name, block, stage, kinds[index], actor, made[actor][1]))
    _refuse_mixed_sizes(found)
    over_positions = next((item.kind for item in found if item.kind != "channel"), None)
    if over_positions and not known_size:
        raise UserError(
            f"the network has {over_positions} attention maps, whose critics need the size of the "
            f"images; got image_size None; try image_size=224"
        )
    return tuple(found)


def _locate(model: nn.Module, stages: tuple[str, ...]) -> list[tuple[str, str, nn.Module]]:
    """(stage, block, actor) of every actor within the stages whose map multiplies its features."""
    names = [name for name, _ in model.named_modules() if name]
    if not stages:
        holding = [
            name
            for name, child in model.named_children()
            if any(makes_map(module) for module in child.modules())
        ]
        raise UserError(
            f"stages must name at least one module with attention; got none; try {holding or names}"
        )
    located = []
    for stage in stages:
        if stage not in names:
            raise unknown_choice("stage", stage, [n for n in names if n.count(".") == 0])
        within = [
            (stage, ".".join(name.split(".")[: stage.count(".") + 2]), module)
            for name, module in model.named_modules()
            if (name == stage or name.startswith(f"{stage}.")) and is_actor(module)
        ]
        if not within:
            raise UserError(
                f"stage {stage!r} holds no attention module; one has the methods extract, attend "
                f"and recalibrate; leave the stage out, or adapt its modules"
            )
        if not any(makes_map(actor) for _, _, actor in within):
            raise UserError(
                f"the attention of stage {stage!r} ({type(within[0][2]).__name__}) is added to the "
                f"features or replaces them: there is no map that multiplies them, which a critic "
                f"could judge; leave the stage out"
            )
        within = [item for item in within if makes_map(item[2])]
        for earlier, _, actor in located:
            if any(actor is found for _, _, found in within):
                raise UserError(
                    f"stages must not overlap, as a map has one critic; got {earlier!r} and "
                    f"{stage!r}; leave one out"
                )
        located += within
    return located


def blank(model: nn.Module, size: int | tuple[int, int]) -> Tensor:
    """An image of zeros, (1, C, H, W), on the network's device and in its precision.

    C is what its first convolution takes.

    Args:
        model: The network.
        size: Side, or (H, W).
    """
    height, width = (size, size) if isinstance(size, int) else size
    first = next((m for m in model.modules() if isinstance(m, nn.Conv2d)), None)
    channels = 3 if first is None else first.in_channels
    return next(model.parameters()).new_zeros(1, channels, height, width)


@contextmanager
def naming_size(example: Tensor) -> Iterator[None]:
    """Says of what size an image was on which a network failed.

    Args:
        example: What the network is given within, (B, C, H, W).

    Raises:
        UserError: For any error of the network's own.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:  # of the user's own modules
        reason = " ".join(str(error).split())[:200]
        raise UserError(
            f"the network fails on an image of {' x '.join(map(str, example.shape[1:]))}, by which "
            f"its maps are found ({type(error).__name__}: {reason}); give the images' own size, "
            f"image_size=(H, W), or an example of them"
        ) from error


def makers(model: nn.Module, maps: Iterable[AttentionMap]) -> list[nn.Module | FoundGate]:
    """All that makes maps in a pass of a network: its gates if these were found, else its actors.

    Actors outside of the reinforced stages are among them, as their maps may have to be held.

    Args:
        model: The network.
        maps: Its reinforced maps.
    """
    gates = [item.actor for item in maps if isinstance(item.actor, FoundGate)]
    return gates or [module for module in model.modules() if makes_map(module)]


@torch.no_grad()
def _probe(
    model: nn.Module, actors: list[nn.Module], example: Tensor
) -> dict[nn.Module, tuple[str, tuple[int, ...]]]:
    """Kind and shape (without the batch axis) of each map, in the order of one forward pass.

    Its mode is evaluation.
    """
    features: dict[nn.Module, Tensor] = {}
    made: dict[nn.Module, tuple[str, tuple[int, ...]]] = {}

    def on_attend(actor: nn.Module, _: Tensor, attention: Tensor) -> None:
        if actor in features:
            kind = kind_of(actor, features.pop(actor), attention)
            made[actor] = (kind, tuple(attention.shape[1:]))

    def on_extract(actor: nn.Module, given: Tensor, _: Tensor) -> None:
        features[actor] = given

    with evaluation_mode(model), intercepted(actors, extract=on_extract, attend=on_attend):
        with naming_size(example):
            model(example)
    for actor in actors:
        if actor not in made:
            raise UserError(
                f"an attention module ({type(actor).__name__}) did not call its attend after "
                f"its extract; its forward must call extract, attend and recalibrate"
            )
    return made


def _refuse_mixed_sizes(maps: list[AttentionMap]) -> None:
    for stage, kind in {(item.stage, item.kind) for item in maps}:
        sizes = {item.shape for item in maps if (item.stage, item.kind) == (stage, kind)}
        if len(sizes) > 1:
            raise UserError(
                f"the {kind} maps of stage {stage!r} differ in shape ({sorted(sizes)}), and one "
                f"critic serves a stage; name smaller modules as stages"
            )


_WATCHED = ("extract", "attend")


class intercepted:
    """Watches or replaces what actors extract and attend, while the context lasts.

    Args:
        actors: Modules with `extract` and `attend`, and gates that were found.
        extract: Called as extract(actor, features, descriptor) after the actor's own. A gate's
            descriptor is what its module was called with, a `Call`.
        attend: Called as attend(actor, descriptor, attention) after the actor's own.
        replace: Maps that stand in for what an actor would attend to; its `attend` is not run.
    """

    def __init__(self, actors, *, extract=None, attend=None, replace=None):
        every = list(actors)
        self.actors = [actor for actor in every if not isinstance(actor, FoundGate)]
        self.gates = [actor for actor in every if isinstance(actor, FoundGate)]
        self.extract, self.attend = extract, attend
        self.replace: dict[nn.Module | FoundGate, Tensor] = replace or {}

    def __enter__(self):
        with ExitStack() as stack:
            if self.gates:
                stack.enter_context(self._at_gates())
            self._hide_methods()
            self.others = stack.pop_all()
        return self

    def _at_gates(self):
        calls: dict[nn.Module, Call] = {}

        def begin(gates: Sequence[FoundGate], call: Call) -> None:
            calls[gates[0].module] = call

        def see(gate: FoundGate, features: Tensor, attention: Tensor) -> None:
            call = calls[gate.module]
            if self.extract:
                self.extract(gate, features, call)
            if self.attend:
                self.attend(gate, call, attention)

        return gates_intercepted(
            self.gates,
            begin=begin if self.extract or self.attend else None,
            see=see if self.extract or self.attend else None,
            replace=self.replace,
        )

    def _hide_methods(self):
        # An attribute of the instance hides the class's method, and leaves no trace when deleted.
        # It is put into __dict__, as nn.Module refuses to hide a sub-module of that name.
        self.own = [(a, {k: vars(a)[k] for k in _WATCHED if k in vars(a)}) for a in self.actors]
        for actor in self.actors:
            if self.extract:
                vars(actor)["extract"] = _watched(actor, actor.extract, self.extract)
            if actor in self.replace:
                vars(actor)["attend"] = _constant(self.replace[actor])
            elif self.attend:
                vars(actor)["attend"] = _watched(actor, actor.attend, self.attend)

    def __exit__(self, *_):
        self.others.close()
        for actor, own in self.own:
            for method in _WATCHED:
                vars(actor).pop(method, None)
            vars(actor).update(own)


def _watched(actor, method, watch):
    def call(given: Tensor) -> Tensor:
        made = method(given)
        watch(actor, given, made)
        return made

    return call


def _constant(value: Tensor):
    return lambda _: value
