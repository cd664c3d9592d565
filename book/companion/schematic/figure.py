"""Fig. 1 drawn: two blocks of one stage, their attention, the critics that run through them.

Everything written in the figure comes from `text.labels`, and a gradient is drawn where
`Schematic.routes` has it; this file only knows where things stand. Lengths are in inches.

A block has a lane for each of its maps: above its row of features for the first map, below a
second row, mirrored, for the second (CBAM).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle, FancyArrowPatch, FancyBboxPatch
from matplotlib.path import Path

from book.companion.drawing import FAINT, INK, PALETTE, STYLE
from book.companion.schematic.plan import CriticPlan, MapPlan, Schematic
from book.companion.schematic.text import drawn_blocks, labels
from dreal_lib.errors import UserError

Points = Sequence[tuple[float, float]]

# Narrower than other figures, so that its text stays large where a page is scaled to a phone.
WIDTH, RIGHT_MARGIN = 6.57, 6.5
BLOCKS = (0.34, 3.49)  # left edges
# From a block's left edge: where its shortcut leaves, its columns, the way out, the critic's edges.
FORK, CONVOLUTIONS, STATE, ACTION, TIMES, PLUS, OUT = -0.21, 0.0, 0.71, 1.8, 2.46, 2.71, 2.89
CELL = (0.26, 2.32)
# From the row of features outwards: the rows of a lane.
POOL, PAIR, TO_CRITIC, LOSSES = 0.66, 1.28, 1.96, 2.62
HALF = {"high": 0.19, "sign": 0.08, "W": 0.14, "state": 0.45, "action": 0.52, "loss": 0.2}
BETWEEN_LANES = 1.12
ASIDE = 0.09  # a gradient runs this far beside the line of the forward pass
BODY_POINTS, SMALL_POINTS = 8.0, 7.5

LOSS_STYLES = {
    "L_c": (PALETTE["relative_gain"], "-"),
    "L_q": (PALETTE["critique"], (0, (3.2, 1.5))),
    "L_r": (PALETTE["reward"], (0, (1, 1.1))),
}


@dataclass(frozen=True)
class _Canvas:
    """Draws by keys of `labels`; a gradient only if the network has it."""

    axis: Axes
    texts: Mapping[str, str]
    routes: Mapping[str, tuple[str, ...]]

    def write(self, key: str, x: float, y: float, size: float = BODY_POINTS, **how) -> None:
        placed = {"ha": "center", "va": "center", "linespacing": 1.3, **how}
        self.axis.text(x, y, self.texts[key], fontsize=size, zorder=4, **placed)

    def box(self, key: str, x: float, y: float, half: float, colour: str = INK, **how) -> None:
        """A rounded box is something that computes, a square one (`rounded=False`) a tensor."""
        rounding = 0.08 if how.pop("rounded", True) else 0.0
        high = HALF["high"]
        patch = FancyBboxPatch(
            (x - half, y - high),
            2 * half,
            2 * high,
            boxstyle=f"round,pad=0,rounding_size={rounding}" if rounding else "square,pad=0",
            facecolor="none",
            edgecolor=colour,
            linewidth=1.1 if rounding else 0.7,
        )
        self.axis.add_patch(patch)
        self.write(key, x, y, **how)

    def sign(self, key: str, x: float, y: float) -> None:
        self.axis.add_patch(Circle((x, y), HALF["sign"], fill=False, edgecolor=INK, linewidth=0.8))
        self.write(key, x, y)

    def arrow(self, points: Points) -> None:
        self._line(points, INK, "-", 0.8, head=6.0)

    def gradient(self, loss: str, learner: str, points: Points, head: bool = False) -> None:
        """A piece of the way from a loss to what it teaches; nothing if it does not teach it."""
        if learner in self.routes[loss]:
            colour, dashes = LOSS_STYLES[loss]
            self._line(points, colour, dashes, 1.5, head=9.0 if head else 0.0)

    def _line(self, points: Points, colour: str, dashes, width: float, head: float) -> None:
        *_, before, end = points
        x, y = zip(*points, strict=True)
        self.axis.plot(
            x, y, color=colour, linestyle=dashes, linewidth=width, solid_capstyle="butt", zorder=2
        )
        if head:
            self.axis.add_patch(
                FancyArrowPatch(
                    path=Path([before, end]),
                    arrowstyle="-|>,head_length=0.5,head_width=0.28",
                    mutation_scale=head,
                    linewidth=0,
                    color=colour,
                    zorder=3,
                )
            )

    def barrier(self, x: float, y: float) -> None:
        """Two strokes across an upright line: no gradient passes."""
        for shift in (-0.025, 0.025):
            across = [y + shift - 0.02, y + shift + 0.02]
            self.axis.plot([x - 0.07, x + 0.07], across, color=INK, linewidth=1.1)


def method(schematic: Schematic) -> Figure:
    """Fig. 1 for a network: two blocks of its longest stage side by side.

    Args:
        schematic: From `schematic.describe`.

    Returns:
        The forward pass in thin lines, what each loss teaches in thick coloured ones.

    Raises:
        UserError: No stage has two blocks, or a block has more than two maps.
    """
    texts = labels(schematic)
    critics = schematic.of_stage(schematic.longest_stage)
    if len(critics) > 2:
        raise UserError(f"the schematic has room for two kinds of maps; got {len(critics)}")
    below = 0.62 if len(critics) == 1 else LOSSES + 0.3
    bottom = 0.98
    lowest = bottom + HALF["high"] + 0.12 + below  # the last lane's row of features
    rows = [lowest + BETWEEN_LANES * i for i in reversed(range(len(critics)))]
    height = rows[0] + LOSSES + 0.62
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(WIDTH, height))
        axis = figure.add_axes((0, 0, 1, 1))
        axis.set(xlim=(0, WIDTH), ylim=(0, height), aspect="equal")
        axis.set_axis_off()
        canvas = _Canvas(axis, texts, schematic.routes)
        for x, block in zip(BLOCKS, drawn_blocks(schematic), strict=True):
            _frame(canvas, x, rows)
            canvas.write(f"{block}/title", x + 1.2, height - 0.2, 8.5, fontweight="bold")
            for sign, y, critic in zip((1, -1), rows, critics, strict=False):
                (item,) = [item for item in critic.maps if item.block == block]
                _features(canvas, item, x, y, sign)
                _attention(canvas, item, x, y, sign)
                _critique(canvas, critic, item, x, y, sign)
            _shortcut(canvas, x, rows)
        _between_blocks(canvas, rows)
        for sign, y, critic in zip((1, -1), rows, critics, strict=False):
            _recurrence(canvas, critic, drawn_blocks(schematic), y + sign * TO_CRITIC)
        _prediction(canvas, rows[-1], bottom)
        _key(canvas)
        return figure


def _frame(canvas: _Canvas, x: float, rows: Sequence[float]) -> None:
    """What is left of a block once the critics are taken away."""
    top = rows[0] + PAIR + 0.27
    low = rows[-1] - (0.5 if len(rows) == 1 else PAIR + 0.27)
    ground = FancyBboxPatch(
        (x - 0.16, low),
        TIMES + 0.3,
        top - low,
        boxstyle="round,pad=0,rounding_size=0.1",
        facecolor=FAINT,
        alpha=0.13,
        linewidth=0,
        zorder=0,
    )
    canvas.axis.add_patch(ground)


def _features(canvas: _Canvas, item: MapPlan, x: float, y: float, sign: int) -> None:
    """The row of F and its product with A."""
    right, times = x + STATE + HALF["state"], x + TIMES
    canvas.box(f"{item.name}/state", x + STATE, y, HALF["state"], rounded=False)
    canvas.sign("recalibrate", times, y)
    canvas.arrow([(right, y), (times - HALF["sign"], y)])
    beside = y + ASIDE
    canvas.gradient("L_c", "W", [(times - ASIDE, beside), (right, beside)])
    if sign > 0:  # the first map's F comes from the block's convolutions
        left, convolutions = x + STATE - HALF["state"], x + CONVOLUTIONS
        canvas.box("W", convolutions, y, HALF["W"])
        canvas.arrow([(convolutions + HALF["W"], y), (left, y)])
        canvas.gradient("L_c", "W", [(left, beside), (convolutions + HALF["W"], beside)], head=True)


def _attention(canvas: _Canvas, item: MapPlan, x: float, y: float, sign: int) -> None:
    """Extract, attend, recalibrate; F~ and A, which the critic reads."""

    def at(row: float, edge: int = 0) -> float:
        return y + sign * (row + edge * HALF["high"])

    state, action, times = x + STATE, x + ACTION, x + TIMES
    canvas.box(f"{item.name}/extract", state, at(POOL), HALF["state"])
    canvas.box(f"{item.name}/attend", action, at(POOL), HALF["action"], size=SMALL_POINTS)
    canvas.box(f"{item.name}/reduced", state, at(PAIR), HALF["state"], rounded=False)
    canvas.box(f"{item.name}/action", action, at(PAIR), HALF["action"], rounded=False)
    canvas.arrow([(state, at(0, 1)), (state, at(POOL, -1))])
    canvas.arrow([(state, at(POOL, 1)), (state, at(PAIR, -1))])
    canvas.arrow([(state + HALF["state"], at(POOL)), (action - HALF["action"], at(POOL))])
    canvas.arrow([(action, at(POOL, 1)), (action, at(PAIR, -1))])
    edge = action + HALF["action"]
    canvas.arrow([(edge, at(PAIR)), (times, at(PAIR)), (times, y + sign * HALF["sign"])])
    if not any("W" in canvas.routes[loss] for loss in ("L_q", "L_r")):
        canvas.barrier(state, at((POOL + PAIR) / 2 - 0.03))
    outer = at(PAIR) + sign * ASIDE
    around = [(times + ASIDE, y + ASIDE), (times + ASIDE, outer), (edge, outer)]
    canvas.gradient("L_c", "theta", around)
    for loss, aside in (("L_c", -0.12), ("L_q", 0.12)):
        down = [(action + aside, at(PAIR, -1)), (action + aside, at(POOL, 1))]
        canvas.gradient(loss, "theta", down, head=True)


def _critique(
    canvas: _Canvas, critic: CriticPlan, item: MapPlan, x: float, y: float, sign: int
) -> None:
    """The critic's cell at this block, its critique, and the two losses on it."""

    def at(row: float, edge: int = 0) -> float:
        return y + sign * (row + edge * HALF["high"])

    state, action, middle = x + STATE, x + ACTION, x + sum(CELL) / 2
    canvas.box(f"{critic.name}/cell", middle, at(TO_CRITIC), (CELL[1] - CELL[0]) / 2)
    for column in (state, action):
        canvas.arrow([(column, at(PAIR, 1)), (column, at(TO_CRITIC, -1))])
    canvas.arrow([(middle, at(TO_CRITIC, 1)), (middle, at(LOSSES) - sign * HALF["high"])])
    ring = Circle((middle, at(LOSSES)), HALF["high"], fill=False, edgecolor=INK, linewidth=0.7)
    canvas.axis.add_patch(ring)
    canvas.write(f"{item.name}/critique", middle, at(LOSSES))
    canvas.box(f"{item.name}/reward", x + 0.14, at(LOSSES), 0.17, rounded=False)
    canvas.arrow([(x + 0.31, at(LOSSES)), (state - HALF["loss"], at(LOSSES))])
    for loss, column, side in (("L_r", state, -1), ("L_q", action, 1)):
        canvas.box(loss, column, at(LOSSES), HALF["loss"], LOSS_STYLES[loss][0], size=8.5)
        ends = middle + side * HALF["high"], column - side * HALF["loss"]
        canvas.arrow([(end, at(LOSSES)) for end in ends])
    canvas.gradient("L_r", "phi", [(state, at(LOSSES, -1)), (state, at(TO_CRITIC, 1))], head=True)
    aside = action + 0.12
    canvas.gradient("L_q", "theta", [(aside, at(LOSSES, -1)), (aside, at(TO_CRITIC, 1))])
    canvas.gradient("L_q", "theta", [(aside, at(TO_CRITIC, -1)), (aside, at(PAIR, 1))])


def _shortcut(canvas: _Canvas, x: float, rows: Sequence[float]) -> None:
    """The residual addition, and in a block with two maps the way from one to the other."""
    fork, times, plus, sign = x + FORK, x + TIMES, x + PLUS, HALF["sign"]
    first, last = rows[0], rows[-1]
    canvas.sign("add", plus, last)
    canvas.arrow([(times + sign, last), (plus - sign, last)])
    canvas.gradient("L_c", "W", [(plus, last + ASIDE), (times + ASIDE, last + ASIDE)])
    if len(rows) == 1:
        low = first - 0.36
        canvas.arrow([(fork, first), (fork, low), (plus, low), (plus, last - sign)])
        return
    high, low = first - 0.38, first - 0.62
    canvas.arrow([(fork, first), (fork, high), (plus, high), (plus, last + sign)])
    state, top = x + STATE, last + HALF["high"]
    canvas.arrow([(times, first - sign), (times, low), (state, low), (state, top)])
    back = [(state + ASIDE, top), (state + ASIDE, low - ASIDE), (times + ASIDE, low - ASIDE)]
    canvas.gradient("L_c", "W", [*back, (times + ASIDE, first + ASIDE)])


def _between_blocks(canvas: _Canvas, rows: Sequence[float]) -> None:
    """Into the first block, and from it to the second."""
    first, last = rows[0], rows[-1]
    (left, right), reach = BLOCKS, CONVOLUTIONS - HALF["W"]
    canvas.arrow([(0.02, first), (left + reach, first)])
    plus, out, end = left + PLUS, left + OUT, right + reach
    canvas.arrow([(plus + HALF["sign"], last), (out, last), (out, first), (end, first)])
    turn = out - ASIDE
    back = [(end, first + ASIDE), (turn, first + ASIDE), (turn, last + ASIDE), (plus, last + ASIDE)]
    canvas.gradient("L_c", "W", back)


def _recurrence(canvas: _Canvas, critic: CriticPlan, blocks: Sequence[str], y: float) -> None:
    """Hidden and cell state from block to block, and what the later critique teaches by them."""
    maps = [next(m for m in critic.maps if m.block == block) for block in blocks]
    (left, right), (begin, end) = BLOCKS, CELL
    canvas.write("start", 0.12, y)
    canvas.arrow([(0.22, y), (left + begin, y)])
    canvas.arrow([(left + end, y), (right + begin, y)])
    canvas.gradient("L_q", "theta", [(right + begin, y - ASIDE), (left + end, y - ASIDE)])
    canvas.write(f"{maps[0].name}/carry", (left + end + right + begin) / 2, y + 0.13, SMALL_POINTS)
    canvas.arrow([(right + end, y), (RIGHT_MARGIN - 0.2, y)])
    canvas.write(
        f"{maps[1].name}/carry", (right + end + RIGHT_MARGIN - 0.2) / 2, y + 0.13, SMALL_POINTS
    )


def _prediction(canvas: _Canvas, y: float, bottom: float) -> None:
    """From the second block on: the rest of the network, its prediction, L_c and the reward."""
    plus, high, loss_half = BLOCKS[1] + PLUS, HALF["high"], HALF["loss"]
    rest, prediction, loss, reward = 5.53, 4.24, 3.25, 1.45
    out = [(plus + HALF["sign"], y), (RIGHT_MARGIN - ASIDE, y), (RIGHT_MARGIN - ASIDE, bottom)]
    canvas.arrow([*out, (rest + 0.5, bottom)])
    canvas.box("rest", rest, bottom, 0.5)
    canvas.box("prediction", prediction, bottom, 0.48, rounded=False)
    canvas.box("L_c", loss, bottom, loss_half, LOSS_STYLES["L_c"][0], size=9)
    canvas.box("reward", reward, bottom, 1.28, rounded=False)
    canvas.arrow([(rest - 0.5, bottom), (prediction + 0.48, bottom)])
    canvas.arrow([(prediction - 0.48, bottom), (loss + loss_half, bottom)])
    leave, under = bottom - high, bottom - high - 0.12
    canvas.arrow([(prediction, leave), (prediction, under), (reward, under), (reward, leave)])
    beside = bottom - ASIDE
    canvas.gradient("L_c", "W", [(loss + loss_half, beside), (prediction - 0.48, beside)])
    canvas.gradient("L_c", "W", [(prediction + 0.48, beside), (rest - 0.5, beside)])
    up = [(rest + 0.5, beside), (RIGHT_MARGIN, beside), (RIGHT_MARGIN, y + ASIDE)]
    canvas.gradient("L_c", "W", [*up, (plus, y + ASIDE)])


def _key(canvas: _Canvas) -> None:
    places = {"L_c": (0.3, 0.38), "L_q": (0.3, 0.16), "L_r": (3.6, 0.38)}
    for loss, (x, y) in places.items():
        colour, dashes = LOSS_STYLES[loss]
        canvas.axis.plot([x, x + 0.35], [y, y], color=colour, linestyle=dashes, linewidth=1.5)
        canvas.write(f"key/{loss}", x + 0.45, y, ha="left")
    canvas.axis.plot([3.775, 3.775], [0.08, 0.24], color=INK, linewidth=0.8)
    canvas.barrier(3.775, 0.16)
    canvas.write("key/stop", 4.05, 0.16, ha="left")
