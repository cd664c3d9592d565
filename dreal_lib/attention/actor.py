"""What an attention actor is: a module that makes one map in three steps, and says what it makes.

Its forward pass calls `extract` (F_ext: features to descriptor), `attend` (descriptor to map) and
`recalibrate` (F_rec). Any module with these three methods is an actor for `dreal_lib.reinforce`.
Beside them an actor may declare

- `kind`, a key of `KINDS`: what `attend` makes. Without it, `kind_of` reads it off the map.
- `reduced_state(descriptor)`: F~, in the shape of the map, from the descriptor, so that the
  critic's side need not pool the features again. Without it, F~ is the mean of the features.
- `own_initialisation = True`: a network that initialises all convolutions leaves its alone.
- `no_weight_decay = True`: an optimizer decays none of its parameters.

Letters: B batch, C channels, H and W height and width.
"""

from math import prod

import torch
from torch import Tensor, nn

from dreal_lib.errors import UserError, unknown_choice

ACTOR_METHODS = ("extract", "attend", "recalibrate")

# What `attend` makes, by the value of `kind`.
KINDS = {
    "channel": "a number for each channel, (B, C) or (B, C, 1, 1)",
    "spatial": "a number for each position, (B, 1, H, W)",
    "full": "numbers over channels and positions, (B, C, H, W)",
    "features": "no map: features that are added to F or put in its place; cannot be reinforced",
}


def is_actor(module: nn.Module) -> bool:
    """Whether `module` works by `extract`, `attend` and `recalibrate`."""
    return all(callable(getattr(module, method, None)) for method in ACTOR_METHODS)


def makes_map(module: nn.Module) -> bool:
    """Whether `module` is an actor whose map multiplies its features, as far as it declares."""
    return is_actor(module) and getattr(module, "kind", None) != "features"


def kind_of(actor: nn.Module, features: Tensor, attention: Tensor) -> str:
    """What an actor makes, a key of `KINDS`: what it declares, else what its map looks like.

    This is the only place that infers. It can tell a channel map and a spatial one that multiply
    the features; a map over channels and positions could as well be features, so it asks.

    Args:
        actor: In evaluation mode.
        features: F of a forward pass, (B, C, H, W).
        attention: What the actor attended to in it.

    Raises:
        UserError: Declared is no kind, another one than the map has, or one that multiplies where
            the map does not; or nothing is declared and nothing can be inferred.
    """
    name, shape = type(actor).__name__, tuple(attention.shape[1:])
    seen = _kind_by_shape(shape)
    declared = getattr(actor, "kind", None)
    if declared is None:
        if seen == "full":
            raise UserError(
                f"{name} may multiply its features by {shape} or add them: a shape cannot tell; "
                f"declare it, kind = 'full' if it multiplies, kind = 'features' if it does not"
            )
        if not _multiplies(actor, features, attention):
            raise UserError(
                f"{name} does not multiply its features by its map, as recalibrate(2 F, A) is not "
                f"2 recalibrate(F, A); declare kind = 'features', or {seen!r} if it does multiply"
            )
        return seen
    if declared not in KINDS:
        raise unknown_choice(f"kind of {name}", declared, KINDS)
    if declared in ("channel", "spatial") and declared != seen:
        raise UserError(
            f"{name} declares kind {declared!r}, {KINDS[declared]}; got a map {shape} an image; "
            f"declare kind = {seen!r}, or mend the map"
        )
    if declared != "features" and not _multiplies(actor, features, attention):
        raise UserError(
            f"{name} declares kind {declared!r}, a map that multiplies its features; but "
            f"recalibrate(2 F, A) is not 2 recalibrate(F, A); declare kind = 'features'"
        )
    return declared


def _kind_by_shape(shape: tuple[int, ...]) -> str:
    if len(shape) == 3 and shape[0] == 1:  # (1, H, W), be it of one position
        return "spatial"
    return "full" if prod(shape[1:]) > 1 else "channel"


@torch.no_grad()
def _multiplies(actor: nn.Module, features: Tensor, attention: Tensor) -> bool:
    """Whether F_rec is homogeneous in F: adding a term or replacing F is not."""
    if features.is_meta:
        return True

    def spread(like: Tensor, low: float, high: float) -> Tensor:
        return torch.linspace(low, high, like.numel()).reshape(like.shape).to(like)

    features, attention = spread(features, 0.5, 1.5), spread(attention, 0.25, 0.75)
    # It may write to what it gets.
    once = actor.recalibrate(features.clone(), attention.clone())
    return torch.allclose(actor.recalibrate(2 * features, attention.clone()), 2 * once, rtol=1e-3)


def reduce_to_map(features: Tensor, attention: Tensor) -> Tensor:
    """F~: the features reduced to the shape of a map by averaging (section 3.2).

    Averaged are the axes that the map lacks: H and W under a channel map, C under a spatial one,
    none under a full map, whose F~ is F.

    Args:
        features: (B, C, H, W).
        attention: (B, C), (B, 1, H, W) or any shape of one axis size or 1 per axis of `features`.

    Returns:
        Same shape as `attention`.

    Raises:
        UserError: The map has axes that the features have not.
    """
    full = attention.shape + (1,) * (features.dim() - attention.dim())
    sizes = zip(full, features.shape, strict=False)
    if len(full) != features.dim() or any(a not in (1, f) for a, f in sizes):
        raise UserError(
            f"features {tuple(features.shape)} cannot be averaged to a map "
            f"{tuple(attention.shape)}; give its actor a method reduced_state(descriptor)"
        )
    axes = [axis for axis in range(1, features.dim()) if full[axis] == 1]
    reduced = features.mean(axes, keepdim=True) if axes else features
    return reduced.reshape(attention.shape)


def reduced_state(
    actor: nn.Module, features: Tensor, descriptor: Tensor, attention: Tensor
) -> Tensor:
    """F~ of an actor: its own `reduced_state` where it has one, else the mean of its features.

    Args:
        actor: The actor.
        features, descriptor, attention: What a forward pass gave it and it made, (B, ...).

    Returns:
        Same shape as `attention`.
    """
    if hasattr(actor, "reduced_state"):
        return actor.reduced_state(descriptor)
    return reduce_to_map(features, attention)


class Actor(nn.Module):
    """Base of the attention modules here: the order of the three steps.

    Attributes:
        kind: A key of `KINDS`, declared by each subclass or instance.
    """

    kind: str

    def forward(self, features: Tensor) -> Tensor:
        descriptor = self.extract(features)
        attention = self.attend(descriptor)
        return self.recalibrate(features, attention)

    def extract(self, features: Tensor) -> Tensor:
        raise NotImplementedError

    def attend(self, descriptor: Tensor) -> Tensor:
        raise NotImplementedError

    def recalibrate(self, features: Tensor, attention: Tensor) -> Tensor:
        """F_rec: the features times the map, broadcast over the axes the map lacks."""
        missing = (1,) * (features.dim() - attention.dim())
        return features * attention.reshape(attention.shape + missing)


def bottleneck_width(channels: int, reduction: int) -> int:
    """C / r, the width of the narrow part of an attention module.

    Raises:
        UserError: It is no whole number (names the nearest reduction that fits).
    """
    if reduction < 1 or channels % reduction:
        fitting = [r for r in range(1, channels + 1) if channels % r == 0]
        nearest = min(fitting, key=lambda r: abs(r - reduction))
        raise UserError(
            f"reduction must divide the channels; got {channels} channels, "
            f"reduction {reduction}; try {nearest}"
        )
    return channels // reduction


def refuse_other_size(actor: nn.Module, size: tuple[int, int], features: Tensor) -> None:
    """Refuses features of another size than an actor was made for.

    Args:
        actor: Named in the error.
        size: (H, W) that it was made for.
        features: (B, C, H, W).

    Raises:
        UserError: They are of another size.
    """
    given = tuple(features.shape[2:])
    if given != size:
        raise UserError(
            f"{type(actor).__name__} was made for features of size {size}; got {given}; make the "
            f"network for the images' own size, or resize them"
        )
