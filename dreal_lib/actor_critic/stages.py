"""Which gates share a critic: the stages of a network, as its user or its maker names them.

"auto" takes the groups of a timm network (`group_matcher`, coarse), where these are more than its
blocks; else a stage is a run of gates, one after another, whose features have equal sides.
"""

import re
from collections.abc import Sequence

from torch import nn

from dreal_lib.errors import UserError, unknown_choice

AUTO = "auto"


def stages_of(
    model: nn.Module,
    paths: Sequence[str],
    sides: Sequence[tuple[int, ...]],
    stages: str | Sequence[str] = AUTO,
) -> list[str | None]:
    """The stage of each gate; None for one that lies in no stage.

    Args:
        model: The network.
        paths: Of the gates' modules, in the order of the forward pass.
        sides: Of the features of each gate, (H, W).
        stages: Names of modules, or "auto".

    Raises:
        UserError: A stage that does not exist, that holds no gate, or that overlaps another.
    """
    if stages == AUTO:
        return _named_by_timm(model, paths) or _runs(sides)
    if isinstance(stages, str):
        raise UserError(
            f"stages must be a list of names, or 'auto'; got {stages!r}; try [{stages!r}]"
        )
    names = [name for name, _ in model.named_modules() if name]
    if not stages:
        raise UserError(f"stages must name at least one module; got none; try {names[:1]}")
    found: list[str | None] = [None] * len(paths)
    for stage in stages:
        if stage not in names:
            raise unknown_choice("stage", stage, [n for n in names if "." not in n])
        within = [i for i, path in enumerate(paths) if f"{path}.".startswith(f"{stage}.")]
        if not within:
            raise UserError(
                f"stage {stage!r} holds no gate; gates are at {_some(paths)}; leave the stage out"
            )
        for index in within:
            if found[index] is not None:
                raise UserError(
                    f"stages must not overlap, as a map has one critic; got {found[index]!r} and "
                    f"{stage!r}; leave one out"
                )
            found[index] = stage
    return found


def _named_by_timm(model: nn.Module, paths: Sequence[str]) -> list[str | None] | None:
    """The groups of `group_matcher`; None where there are none, or each block is a group."""
    if not callable(getattr(model, "group_matcher", None)):
        return None
    coarse, fine = (model.group_matcher(coarse=c).get("blocks") for c in (True, False))
    if coarse == fine:
        return None
    pattern = coarse if isinstance(coarse, str) else coarse[0][0]
    matches = [re.match(pattern, path) for path in paths]
    return [match[0] for match in matches] if all(matches) else None


def _runs(sides: Sequence[tuple[int, ...]]) -> list[str | None]:
    names: list[str | None] = []
    for index, side in enumerate(sides):
        if not index or side != sides[index - 1]:
            names.append(f"stage{len(set(names)) + 1}")
        else:
            names.append(names[-1])
    return names


def _some(paths: Sequence[str], most: int = 6) -> str:
    """Some names, and how many more there are."""
    shown = ", ".join(map(repr, paths[:most]))
    return shown + (f" and {len(paths) - most} more" if len(paths) > most else "")
