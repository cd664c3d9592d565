"""The attention modules by name: how each is made, what it needs, and where it sits.

One line a module. A new one needs its family's file, a line here, and a formula of its own in
`tests/slow_attention.py`, without which the common tests of all entries fail.
"""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from torch import nn

from dreal_lib.attention.bam import BottleneckAttention
from dreal_lib.attention.cbam import CBAM, ChannelAttention, SpatialAttention
from dreal_lib.attention.coordinate import CoordinateAttention
from dreal_lib.attention.eca import EfficientChannelAttention
from dreal_lib.attention.fc import (
    FullyConnectedChannel,
    FullyConnectedParallel,
    FullyConnectedSpatial,
)
from dreal_lib.attention.gc import GlobalContext
from dreal_lib.attention.ge import GatherExcite, GatherExciteTheta, GatherExciteThetaPlus
from dreal_lib.attention.non_local import NonLocal
from dreal_lib.attention.rga import (
    ChannelRelationAttention,
    ChannelThenSpatial,
    NonLocalThenSpatial,
    ParallelRelationAttention,
    SpatialRelationAttention,
    SpatialThenChannel,
)
from dreal_lib.attention.se import SqueezeExcitation
from dreal_lib.attention.srm import StyleRecalibration
from dreal_lib.errors import UserError, unknown_choice


@dataclass(frozen=True)
class Entry:
    """An attention module that has a name.

    What its maps are (`dreal_lib.attention.actor.KINDS`) its actors declare themselves.

    Attributes:
        module: Makes it, from the channels, the size where one is needed, and options.
        fixed: Options that the name decides.
        needs_size: Whether its parameters depend on (H, W) of the features.
        after_stages: Numbers (1 to 4) of the stages of a ResNet behind which its paper puts it;
            empty if it sits in every block, before the addition of the shortcut.
    """

    module: Callable[..., nn.Module]
    fixed: Mapping[str, object] = field(default_factory=dict)
    needs_size: bool = False
    after_stages: tuple[int, ...] = ()

    @property
    def options(self) -> tuple[str, ...]:
        """What may be given beside channels and size."""
        taken = {"channels", "size", *self.fixed}
        return tuple(n for n in inspect.signature(self.module).parameters if n not in taken)


def _cbam_spatial(channels: int, kernel_size: int = 7) -> SpatialAttention:
    return SpatialAttention(kernel_size)  # fits any number of channels


EVERY_STAGE = (1, 2, 3, 4)
ATTENTION = {
    "se": Entry(SqueezeExcitation),
    "cbam": Entry(CBAM),
    "srm": Entry(StyleRecalibration),
    "eca": Entry(EfficientChannelAttention),
    "ge": Entry(GatherExcite),
    "ge_theta": Entry(GatherExciteTheta, needs_size=True),
    "ge_theta_plus": Entry(GatherExciteThetaPlus, needs_size=True),
    "bam": Entry(BottleneckAttention, after_stages=(1, 2, 3)),
    "coordinate": Entry(CoordinateAttention),
    "gc": Entry(GlobalContext),
    "non_local": Entry(NonLocal, after_stages=(2, 3)),
    "non_local_rga_s": Entry(NonLocalThenSpatial, needs_size=True, after_stages=EVERY_STAGE),
    "rga_s": Entry(SpatialRelationAttention, needs_size=True, after_stages=EVERY_STAGE),
    "rga_c": Entry(ChannelRelationAttention, needs_size=True, after_stages=EVERY_STAGE),
    "rga_sc": Entry(SpatialThenChannel, needs_size=True, after_stages=EVERY_STAGE),
    "rga_cs": Entry(ChannelThenSpatial, needs_size=True, after_stages=EVERY_STAGE),
    "rga_parallel": Entry(ParallelRelationAttention, needs_size=True, after_stages=EVERY_STAGE),
    "cbam_s": Entry(_cbam_spatial),
    "cbam_c": Entry(ChannelAttention),
    "fc_s": Entry(FullyConnectedSpatial, needs_size=True, after_stages=EVERY_STAGE),
    "fc_c": Entry(FullyConnectedChannel, after_stages=EVERY_STAGE),
    "fc_parallel": Entry(FullyConnectedParallel, needs_size=True, after_stages=EVERY_STAGE),
}


def entry_of(name: str) -> Entry:
    """What the registry holds under a name.

    Raises:
        UserError: Unknown name (lists the choices).
    """
    if name not in ATTENTION:
        raise unknown_choice("attention", name, ATTENTION)
    return ATTENTION[name]


def create_attention(
    name: str, channels: int, size: int | tuple[int, int] | None = None, **options: object
) -> nn.Module:
    """The attention module that the registry `ATTENTION` holds under `name`.

    Args:
        name: A key of `ATTENTION`.
        channels: C of the features.
        size: (H, W) of the features, or their side, for a module whose parameters depend on it.
        **options: Of the module, e.g. `reduction=8`; `ATTENTION[name].options` lists them.

    Raises:
        UserError: A name or an option that there is not (lists the choices), a size that is missing
            or not taken, or channels that do not fit.
    """
    entry = entry_of(name)
    for option in options:
        if option not in entry.options:
            raise unknown_choice(f"option of attention {name!r}", option, entry.options or ["none"])
    if channels < 1:
        raise UserError(f"channels must be at least 1; got {channels}; give those of the features")
    given = {} if size is None else {"size": _height_and_width(name, size)}
    if entry.needs_size and not given:
        raise UserError(
            f"attention {name!r} needs the size of its features, on which its parameters depend; "
            f"got size None; try size=(H, W), e.g. (14, 14)"
        )
    if given and not entry.needs_size:
        raise UserError(
            f"attention {name!r} fits features of every size; got size {size!r}; leave it out"
        )
    return entry.module(channels, **given, **entry.fixed, **options)


def _height_and_width(name: str, size: object) -> tuple[int, int]:
    pair = (size, size) if isinstance(size, int) else tuple(size)
    if len(pair) != 2 or any(not isinstance(side, int) or side < 1 for side in pair):
        raise UserError(
            f"the size of the features of attention {name!r} must be (H, W), two numbers from 1; "
            f"got {size!r}; try (14, 14)"
        )
    return pair
