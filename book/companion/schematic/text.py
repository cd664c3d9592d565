"""What Fig. 1 and its page say in words and numbers, from a `schematic.Schematic` alone."""

import pandas as pd

from book.companion.papers.names import paper_block_name, stage_name
from book.companion.schematic.plan import MapPlan, Schematic
from book.companion.text.tables import Marked, Table
from dreal_lib.errors import UserError

TIMES = "\N{MULTIPLICATION SIGN}"


def shape_text(shape: tuple[int, ...]) -> str:
    """(1024, 14, 14) in words: 1024 by 14 by 14."""
    return TIMES.join(str(size) for size in shape)


SYMBOLS = {
    "W": r"$\mathcal{W}$",
    "theta": r"$\theta$",
    "phi": r"$\phi$",
    "L_c": r"$\mathcal{L}_c$",
    "L_q": r"$\mathcal{L}_q$",
    "L_r": r"$\mathcal{L}_r$",
}
LEARNER_NAMES = {"W": "the backbone", "theta": "the attention", "phi": "the critics"}


def drawn_blocks(schematic: Schematic) -> tuple[str, str]:
    """The two blocks that are drawn: the first of the longest stage, where its critics start.

    Raises:
        UserError: No stage has two.
    """
    blocks = schematic.blocks(schematic.longest_stage)
    if len(blocks) < 2:
        raise UserError(
            f"the schematic shows two blocks of one stage; {schematic.network} has one in each; "
            "try a deeper network, e.g. se_resnet50"
        )
    return blocks[0], blocks[1]


def labels(schematic: Schematic) -> dict[str, str]:
    """Every text of the figure, by where it stands; mathematics in matplotlib's notation.

    Raises:
        UserError: No stage has two blocks.
    """
    first, second = drawn_blocks(schematic)
    stage_blocks = schematic.blocks(schematic.longest_stage)
    texts = {name: SYMBOLS[name] for name in ("L_c", "L_q", "L_r", "W")}
    texts |= {
        "prediction": r"$p(\mathbf{X} \mid \mathbf{A})$",
        "reward": r"$R_l = 1 - p_c(\bar{\mathbf{A}}_l)\,/\,p_c(\mathbf{A})$, or $-\gamma$"
        "\n"
        r"$\bar{\mathbf{A}}_l$: $\mathbf{A}_l$ replaced by its mean",
        "recalibrate": TIMES,
        "add": "+",
        "start": "0",
        "rest": f"{stage_blocks[2]} …\nclassifier"
        if stage_blocks[2:]
        else "later stages,\nclassifier",
    }
    for block in (first, second):
        texts[f"{block}/title"] = f"{paper_block_name(block)}  ({block})"
    for critic in schematic.of_stage(schematic.longest_stage):
        texts[f"{critic.name}/cell"] = (
            f"{critic.module} {SYMBOLS['phi']}\nreads {shape_text(critic.maps[0].reduced)} + "
            f"{shape_text(critic.maps[0].action)} = {critic.input_size}"
        )
        for item in critic.maps:
            if item.block in (first, second):
                texts |= _map_labels(item, len(schematic.of_stage(critic.stage)) > 1)
    for loss, learners in schematic.routes.items():
        reached = " and ".join(f"{LEARNER_NAMES[name]} {SYMBOLS[name]}" for name in learners)
        texts[f"key/{loss}"] = f"{SYMBOLS[loss]} teaches {reached or 'nothing'}"
    texts["key/stop"] = "no gradient passes"
    return texts


def _map_labels(item: MapPlan, several: bool) -> dict[str, str]:
    index = item.block.rsplit(".", 1)[1]
    place = f"_{{{index}}}" + (f"^{{\\,{item.kind[0]}}}" if several else "")
    return {
        f"{item.name}/state": f"$\\mathbf{{F}}{place}$\n{shape_text(item.state)}",
        f"{item.name}/extract": f"extract\n{shape_text(item.descriptor)}",
        f"{item.name}/attend": f"attend {SYMBOLS['theta']}\n{item.actor}",
        f"{item.name}/action": f"$\\mathbf{{A}}{place}$\n{shape_text(item.action)}",
        f"{item.name}/reduced": f"$\\tilde{{\\mathbf{{F}}}}{place}$\n{shape_text(item.reduced)}",
        f"{item.name}/critique": f"$Q{place}$",
        f"{item.name}/reward": f"$R_{{{index}}}$",
        f"{item.name}/carry": f"$h{place}, c{place}$",
    }


def stage_table(schematic: Schematic) -> Table:
    """All stages with their shapes; a line a critic."""
    rows = tuple(
        (
            Marked(f"{stage_name(critic.stage)}, {critic.kind}", "computed"),
            f"`{critic.maps[0].block}` to `{critic.maps[-1].block}`",
            *(shape_text(getattr(critic.maps[0], s)) for s in ("state", "descriptor", "action")),
            str(critic.input_size),
            f"{critic.parameters:,}",
        )
        for critic in schematic.critics
    )
    columns = ("Maps", "Blocks", "F", "Extracted", r"A and $\tilde{F}$", "Input", "Critic")
    return Table.of(columns, rows, words=2)


def sentences(schematic: Schematic) -> list[str]:
    """What the figure and the table add up to."""
    kinds = dict.fromkeys(critic.kind for critic in schematic.critics)
    totals = {
        kind: sum(c.parameters for c in schematic.critics if c.kind == kind) for kind in kinds
    }
    maps = sum(len(critic.maps) for critic in schematic.critics)
    blocks = sum(len(schematic.blocks(stage)) for stage in schematic.stages)
    each = ", ".join(f"{total:,} for {kind} maps" for kind, total in totals.items())
    each = each if len(totals) > 1 else f"all for {next(iter(totals))} maps"
    return [
        f"{blocks} blocks of {schematic.network} make {maps} attention maps, which "
        f"{len(schematic.critics)} critics judge.",
        f"At {schematic.image_size} px the critics hold {sum(totals.values()):,} parameters, "
        f"{each}. They are needed during training alone.",
        *(_route(schematic, loss) for loss in schematic.routes),
    ]


def _route(schematic: Schematic, loss: str) -> str:
    names = {"L_c": "classification loss", "L_q": "quality loss", "L_r": "regression loss"}
    learners = [LEARNER_NAMES[name] for name in schematic.routes[loss]]
    return f"The {names[loss]} teaches {' and '.join(learners) or 'nothing'}."


def of_schematic(plan: "Schematic") -> pd.DataFrame:
    """The shapes that Fig. 1 and its page show, a row an attention map.

    Args:
        plan: From `book.companion.schematic.plan.describe`.

    Returns:
        Columns map, block, kind, actor, state, descriptor, action, reduced (shapes for one image,
        "64x56x56"), critic, input_size (of the critic).
    """
    shapes = ("state", "descriptor", "action", "reduced")
    columns = ("map", "block", "kind", "actor", *shapes, "critic", "input_size")
    rows = [
        (
            *(item.name, item.block, item.kind, item.actor),
            *("x".join(map(str, getattr(item, shape))) for shape in shapes),
            *(critic.name, critic.input_size),
        )
        for critic in plan.critics
        for item in critic.maps
    ]
    return pd.DataFrame(rows, columns=columns)
