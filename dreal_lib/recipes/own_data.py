"""The border between a reproduction and its user's own data: how a scale says which it is.

A scale's numbers are of certain images (`dreal_lib.recipes.sets`). A run on others is own data: its
scale ends in `own-` and the first digits of the images' fingerprint, `smoke+own-1a2b3c4d`, where no
page of the reproduction looks unless it is asked to. In a record that is part of the variant.
"""

import re

OWN_DATA = re.compile(r"(?:(?P<variant>[^+]+)\+)?(?P<own>own-[0-9a-f]{8})")
CUSTOM = re.compile(r"custom-[0-9a-f]{8}")  # settings by hand (`dreal_lib.recipes.load_recipe`)


def own_label(fingerprint: str) -> str:
    """`own-1a2b3c4d`, for images of this fingerprint."""
    return f"own-{fingerprint[:8]}"


def with_own_data(variant: str | None, fingerprint: str) -> str:
    """A variant on own data: `two_cores+own-1a2b3c4d`, or `own-1a2b3c4d` without one."""
    own = own_label(fingerprint)
    return own if variant is None else f"{variant}+{own}"


def without_own_data(variant: str | None) -> str | None:
    """The variant that a recipe has a name for: `two_cores` of `two_cores+own-1a2b3c4d`."""
    found = OWN_DATA.fullmatch(variant or "")
    return found["variant"] if found else variant


def is_reproduction(variant: str | None) -> bool:
    """Whether it names a scale of the reproduction: no own data, and nothing set by hand.

    Of runs with settings by hand no two need be alike.
    """
    return without_own_data(variant) == variant and not (variant or "").startswith("custom")
