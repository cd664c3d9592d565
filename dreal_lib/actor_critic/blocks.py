"""Where the attention maps of a network are: stages, their blocks, and the maps of each block.

Names are those of `named_modules`. A stage is a module, named by the user; its blocks are the
modules right below it that hold attention; a block may hold several maps (CBAM: two). The maps'
shapes are read off one forward pass, so nothing is assumed of the network.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from dreal_lib.attention.actor import is_actor
from dreal_lib.errors import UserError, unknown_choice

PROBE_SIZE = 224


@dataclass(frozen=True)
class AttentionMap:
    """One attention map of a network.

    Attributes:
        name: The block's name, followed by the map's kind where a block has several
            ("layer3.1", or "layer3.1.channel").
        block: E.g. "layer3.1".
        stage: E.g. "layer3".
        kind: "channel" for a map (B, C) or (B, C, 1, 1), "spatial" for a map (B, 1, H, W).
        actor: The module that makes it.
        shape: Shape for one image: (C,) or (1, H, W).
    """

    name: str
    block: str
    stage: str
    kind: str
    actor: nn.Module
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        """Number of entries, S."""
        return int(torch.Size(self.shape).numel())


def find_maps(
    model: nn.Module, stages: tuple[str, ...], image_size: int | tuple[int, int] | None = None
) -> tuple[AttentionMap, ...]:
    """The attention maps in the given stages, in the order in which the network makes them.

    Args:
        model: Any network for images (B, 3, H, W).
        stages: Names of the modules whose blocks share a critic.
        image_size: Side, or (H, W), of the images; needed where there are spatial maps.

    Raises:
        UserError: A stage does not exist, or holds no attention; the maps of one stage and kind
            differ in size; a spatial map without `image_size`.
    """
    located = _locate(model, stages)
    shapes = _probe(model, [actor for _, _, actor in located], image_size)
    called = {actor: index for index, actor in enumerate(shapes)}
    found = []
    in_order = sorted(located, key=lambda item: called[item[2]])
    for block in dict.fromkeys(block for _, block, _ in in_order):
        members = [(stage, actor) for stage, other, actor in in_order if other == block]
        kinds = [_kind(shapes[actor]) for _, actor in members]
        for index, (stage, actor) in enumerate(members):
            name = block if len(members) == 1 else f"{block}.{kinds[index]}"
            if kinds.count(kinds[index]) > 1:
                name += str(kinds[: index + 1].count(kinds[index]))
            found.append(AttentionMap(name, block, stage, kinds[index], actor, shapes[actor]))
    _refuse_mixed_sizes(found)
    if image_size is None and any(item.kind == "spatial" for item in found):
        raise UserError(
            "the network has spatial attention maps, whose critics need the size of the images; "
            "got image_size None; try image_size=224"
        )
    return tuple(found)


def _kind(shape: tuple[int, ...]) -> str:
    spatial = len(shape) == 3 and shape[0] == 1  # (1, H, W), be it of one position
    return "spatial" if spatial or any(size > 1 for size in shape[1:]) else "channel"


def _locate(model: nn.Module, stages: tuple[str, ...]) -> list[tuple[str, str, nn.Module]]:
    """(stage, block, actor) of every actor within the stages."""
    names = [name for name, _ in model.named_modules() if name]
    if not stages:
        raise UserError(f"stages must name at least one module; got none; try {names[:1]}")
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
        for earlier, _, actor in located:
            if any(actor is found for _, _, found in within):
                raise UserError(
                    f"stages must not overlap, as a map has one critic; got {earlier!r} and "
                    f"{stage!r}; leave one out"
                )
        located += within
    return located


@torch.no_grad()
def _probe(
    model: nn.Module, actors: list[nn.Module], image_size: int | tuple[int, int] | None
) -> dict[nn.Module, tuple[int, ...]]:
    """Shapes of the maps, without the batch axis, from one image of zeros in evaluation mode."""
    size = image_size or PROBE_SIZE
    height, width = (size, size) if isinstance(size, int) else size
    parameter = next(model.parameters())
    image = torch.zeros(1, 3, height, width, device=parameter.device, dtype=parameter.dtype)
    shapes: dict[nn.Module, tuple[int, ...]] = {}
    with intercepted(actors, attend=lambda actor, _, made: shapes.setdefault(actor, made.shape)):
        modes = {module: module.training for module in model.modules()}
        model.eval()
        try:
            model(image)
        finally:
            for module, mode in modes.items():
                module.training = mode
    for actor in actors:
        if actor not in shapes:
            raise UserError(
                f"an attention module ({type(actor).__name__}) did not call its attend in the "
                f"forward pass; its forward must call extract, attend and recalibrate"
            )
    return {actor: tuple(shape[1:]) for actor, shape in shapes.items()}


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
        actors: Modules with `extract` and `attend`.
        extract: Called as extract(actor, features, descriptor) after the actor's own.
        attend: Called as attend(actor, descriptor, attention) after the actor's own.
        replace: Maps that stand in for what an actor would attend to; its `attend` is not run.
    """

    def __init__(self, actors, *, extract=None, attend=None, replace=None):
        self.actors, self.extract, self.attend = list(actors), extract, attend
        self.replace: dict[nn.Module, Tensor] = replace or {}

    def __enter__(self):
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
        return self

    def __exit__(self, *_):
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
