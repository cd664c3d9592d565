"""The papers' names of stages, blocks and maps; both count blocks from zero."""

import re
from collections.abc import Iterable, Sequence

from dreal_lib.errors import UserError

STAGES = ("layer1", "layer2", "layer3", "layer4")


def maps_by_stage(maps: Sequence[str]) -> dict[str, list[str]]:
    """Maps by stage ("layer1"), in the network's order."""
    stages: dict[str, list[str]] = {}
    for name in maps:
        stages.setdefault(name.split(".")[0], []).append(name)
    return dict(sorted(stages.items()))


def depth(name: str) -> tuple[str, int, str]:
    """What maps are sorted by: stage, index of the block, kind."""
    stage, index, *kind = name.split(".")
    return stage, int(index), ".".join(kind)


def block_of(name: str) -> str:
    """The block that a map belongs to: `layer1.0.channel` is in `layer1.0`."""
    return ".".join(name.split(".")[:2])


def last_of_stages(maps: Sequence[str]) -> tuple[str, ...]:
    """The map of the last block of each stage."""
    return tuple({name.split(".")[0]: name for name in sorted(maps, key=depth)}.values())


def block_title(name: str) -> str:
    """The paper's name of a map's block: `layer1.0.channel` is of `conv2_0`."""
    return paper_block_name(block_of(name))


def blocks_of_stages(maps: Iterable[str]) -> dict[str, int]:
    """How many blocks each stage has, which is how many steps its critics take (Eq. 2).

    Args:
        maps: Names of attention maps; two of one block are one step for each of two critics.
    """
    blocks = {depth(name)[:2] for name in maps}
    stages = sorted(stage for stage, _ in blocks)
    return {stage: stages.count(stage) for stage in stages}


def stage_name(stage: str) -> str:
    """The paper's name of a stage: `layer1` is `conv2_x`."""
    return f"conv{int(stage.removeprefix('layer')) + 1}_x"


def paper_block_name(block: str) -> str:
    """The paper's name of a block, or of one of its maps: both count blocks from zero.

    `layer2.3` is `conv3_3`, `layer4.2` is `conv5_2`, `layer1.0.spatial` is `conv2_0 spatial`.

    Raises:
        UserError: If the name is not of this form.
    """
    match = re.fullmatch(r"layer([1-4])\.(\d+)(?:\.(channel|spatial))?", block)
    if match is None:
        raise UserError(
            f"{block!r} is no block; blocks are named like layer2.3 or layer2.3.spatial"
        )
    stage, index, kind = match.groups()
    return f"conv{int(stage) + 1}_{index}" + (f" {kind}" if kind else "")
