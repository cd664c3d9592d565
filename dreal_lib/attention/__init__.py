"""Attention modules, one family a file; `create_attention` makes them by name."""

from dreal_lib.attention.actor import Actor, is_actor
from dreal_lib.attention.cbam import CBAM, ChannelAttention, SpatialAttention
from dreal_lib.attention.registry import ATTENTION, create_attention
from dreal_lib.attention.se import SqueezeExcitation
from dreal_lib.attention.srm import StyleRecalibration

__all__ = [
    "ATTENTION",
    "CBAM",
    "Actor",
    "ChannelAttention",
    "SpatialAttention",
    "SqueezeExcitation",
    "StyleRecalibration",
    "create_attention",
    "is_actor",
]
