"""What an attention actor is: a module that makes one map in three steps.

Its forward pass calls `extract` (F_ext: features to descriptor), `attend` (descriptor to map) and
`recalibrate` (F_rec). `dreal_lib.reinforce` needs nothing else of it, so any module with these
three methods is an actor.

Letters: B batch, C channels, H and W height and width.
"""

from torch import Tensor, nn

from dreal_lib.errors import UserError

ACTOR_METHODS = ("extract", "attend", "recalibrate")


def is_actor(module: nn.Module) -> bool:
    """Whether `module` makes one attention map by `extract`, `attend` and `recalibrate`."""
    return all(callable(getattr(module, method, None)) for method in ACTOR_METHODS)


def reduce_to_map(features: Tensor, attention: Tensor) -> Tensor:
    """F~: the features reduced to the shape of a map by averaging (section 3.2).

    Args:
        features: (B, C, H, W).
        attention: (B, C), (B, 1, H, W) or any shape of one axis size or 1 per axis of `features`.

    Returns:
        Same shape as `attention`.
    """
    full = attention.shape + (1,) * (features.dim() - attention.dim())
    axes = [axis for axis in range(1, features.dim()) if full[axis] == 1]
    reduced = features.mean(axes, keepdim=True) if axes else features
    return reduced.reshape(attention.shape)


class Actor(nn.Module):
    """Base of the attention modules here: the order of the three steps.

    An actor may also have a method `reduced_state`, which returns F~ from the descriptor, so that
    the critic's side need not pool the features again. Without it, F~ is computed.
    """

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
    if channels % reduction:
        fitting = [r for r in range(1, channels + 1) if channels % r == 0]
        nearest = min(fitting, key=lambda r: abs(r - reduction))
        raise UserError(
            f"reduction must divide the channels; got {channels} channels, "
            f"reduction {reduction}; try {nearest}"
        )
    return channels // reduction
