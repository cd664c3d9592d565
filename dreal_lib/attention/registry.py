"""The attention modules by name."""

from torch import nn

from dreal_lib.attention.cbam import CBAM
from dreal_lib.attention.se import SqueezeExcitation
from dreal_lib.attention.srm import StyleRecalibration
from dreal_lib.errors import unknown_choice

ATTENTION = {
    "se": SqueezeExcitation,
    "cbam": CBAM,
    "srm": StyleRecalibration,
}


def create_attention(name: str, channels: int) -> nn.Module:
    """The attention module that the registry `ATTENTION` holds under `name`.

    Raises:
        UserError: The name is unknown (lists the choices), or the channels do not fit.
    """
    if name not in ATTENTION:
        raise unknown_choice("attention", name, ATTENTION)
    return ATTENTION[name](channels)
