"""Statements of the paper that its own places decide: its tables, its text and Algorithm 1.

Two places contradict each other if they cannot both be so; where they only read differently, or one
can be read in two ways, they are unclear. Numbers are those of `book.companion.papers.dreal`; a
difference of printed numbers counts as one where it is larger than their rounding allows.
"""

from collections.abc import Callable
from functools import cache

import torch
from torch import nn

from book.companion.claims.counts import ATTENTIONS, Counted
from book.companion.claims.row_sums import printed_of
from book.companion.claims.statements import CONTRADICTED, UNCLEAR, UNTRIED, Statement, Verdict
from book.companion.papers import dreal
from book.companion.text.tables import signed
from dreal_lib.comparison.rows import METHODS
from dreal_lib.diagnosis.complexity import TABLE_1_CLASSES, TABLE_1_IMAGE_SIZE, count_macs
from dreal_lib.networks.backbones import STAGES, create_model


def _printed_only(broken: Verdict | None, result: str, said: str = "") -> Counted:
    """The paper's places against each other: if they agree, that alone reproduces nothing."""
    return Counted(broken or UNTRIED, result, said)


@cache
def _passes() -> float:
    """The least that a step's four counterfactual predictions cost, in forward passes.

    Cheapest is a bypass in a stage's last block: the later stages run again.
    """
    with torch.device("meta"):
        model = create_model("se_resnet50", TABLE_1_CLASSES)
    whole = count_macs(model, TABLE_1_IMAGE_SIZE)
    parts: list[nn.Module] = [model.conv1, model.bn1, model.relu, model.maxpool]
    again = 0
    for stage in STAGES:
        parts.append(model.get_submodule(stage))
        again += whole - count_macs(nn.Sequential(*parts), TABLE_1_IMAGE_SIZE)
    return again / whole


def counterfactual_passes(_: Statement) -> Counted:
    """Whether the predictions with a bypassed block cost next to nothing."""
    passes = _passes()
    result = (
        f"at least {signed(100 * passes, 0)} % of a forward pass where every image is "
        "predicted right; near 0 at the start, where few are"
    )
    said = (
        "This is for SE-ResNet-50, with the last block of every stage drawn; other blocks cost "
        "more. By Eq. 1 an image predicted wrong needs no such prediction, so that the cost falls "
        "with the share of images predicted right. Table 1 counts the critics alone."
    )
    return _printed_only(UNCLEAR if passes > 0.001 else None, result, said)


def deeper_top5(_: Statement) -> Counted:
    """Whether Table 1's own top-5 errors gain more with 101 layers than with 50.

    If not, the sentence can still be meant of top-1 alone.
    """
    parts, broken = [], False
    for kind, label in ATTENTIONS.items():
        printed = [
            [
                printed_of(f"table_1/{kind}_resnet{depth}_{method}", "top5_error_pct")
                for method in METHODS
            ]
            for depth in (50, 101)
        ]
        few, many = (first.value - second.value for first, second in printed)
        doubt = sum(number.tolerance for pair in printed for number in pair)
        broken |= many - few < -doubt
        parts.append(f"{label} {few:.3f} with 50 layers, {many:.3f} with 101")
    return _printed_only(UNCLEAR if broken else None, "; ".join(parts))


def map_margins(_: Statement) -> Counted:
    """Section 4.2's margins in mAP against those of Table 2."""
    parts, broken = [], False
    for data, label in (("market", "Market"), ("duke", "Duke")):
        said = dreal.SECTION_4_2_MARGINS[data].mean_ap
        first, second = (dreal.TABLE_2[row][data].mean_ap for row in ("attention", "reinforced"))
        table = second.value - first.value
        doubt = said.tolerance + first.tolerance + second.tolerance
        broken |= abs(table - said.value) > doubt
        parts.append(f"{label} +{said.printed} in the text, {signed(table, 1)} by Table 2")
    return _printed_only(CONTRADICTED if broken else None, "; ".join(parts))


def nearest_rival(statement: Statement) -> Counted:
    """Whether the method `about` is the nearest on Market-1501, by Table 2."""
    rivals = {method.name: method.market for method in dreal.TABLE_2_COMPARED}
    named, parts, beaten = rivals[statement.about], [], 0
    for score, label in (("rank1", "Rank-1"), ("mean_ap", "mAP")):
        name = max(rivals, key=lambda name: getattr(rivals[name], score).value)
        best, own = getattr(rivals[name], score), getattr(named, score)
        beaten += best.value - own.value > best.tolerance + own.tolerance
        behind = "" if name == statement.about else f", {statement.about} has {own.printed}"
        parts.append(f"{label}: {name} with {best.printed}{behind}")
    return _printed_only((None, UNCLEAR, CONTRADICTED)[beaten], "; ".join(parts))


def two_places(statement: Statement) -> Counted:
    """Two places of the paper that read differently without excluding each other, by reading."""
    return Counted(UNCLEAR, statement.about)


PRINTED: dict[str, Callable[[Statement], Counted]] = {
    function.__name__: function
    for function in (counterfactual_passes, deeper_top5, map_margins, nearest_rival, two_places)
}
