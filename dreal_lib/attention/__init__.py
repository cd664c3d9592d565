"""Attention modules, one family a file; `create_attention` makes them by name.

Users need `create_attention`, `ATTENTION` (what there is, with options and places), and for
modules of their own the base class `Actor` and the vocabulary `KINDS`.
"""

from dreal_lib.attention.actor import KINDS, Actor, is_actor
from dreal_lib.attention.registry import ATTENTION, create_attention

__all__ = ["ATTENTION", "KINDS", "Actor", "create_attention", "is_actor"]
