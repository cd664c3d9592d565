"""Sources of numbers that need no training: counted on networks, or printed in the paper itself.

Each says in how many comparisons the paper's words come out (`Measured.count`). Costs are those of
`dreal_lib.diagnosis.complexity`, printed numbers those of `book.companion.papers.dreal`; printed
numbers differ where they lie further apart than their rounding allows.
"""

from collections.abc import Callable, Mapping
from functools import cache

import torch
from torch import nn

from book.companion.claims.measured import Measured
from book.companion.claims.row_sums import printed_of, terms_of
from book.companion.papers import dreal, published
from book.companion.papers.published import Published
from book.companion.text.tables import signed
from dreal_lib.actor_critic.reinforcement import reinforce
from dreal_lib.diagnosis.complexity import (
    TABLE_1_CLASSES,
    TABLE_1_IMAGE_SIZE,
    Cost,
    count_macs,
    count_parameters,
    critics_of,
    table_1_costs,
)
from dreal_lib.networks.backbones import STAGES, create_model

HAIR = 1e-9  # printed decimals are not exact in binary


def _added(network: str) -> int:
    cost = table_1_costs(network)
    return cost.reinforced_true_parameters - cost.true_parameters


def share_of_parameters(_, *, network: str, share: str) -> Measured:
    """The critics' share of a network's parameters, against a printed one in per cent."""
    added, own = _added(network), table_1_costs(network).true_parameters
    claimed = Published(share, "% more parameters", "section 4.1", published.DREAL)
    agrees = abs(100 * added / own - claimed.value) <= claimed.tolerance
    return Measured(count=(agrees, 1), note=f"{added:,} of {own:,}, {100 * added / own:.3f} %")


def same_critics(_, *, networks: str) -> Measured:
    """Whether the critics of two networks ("A and B") have as many parameters."""
    first, second = (_added(name) for name in networks.split(" and "))
    return Measured(count=(first == second, 1), note=f"{first:,} and {second:,}")


# How the operations of a network with critics are counted.
WAYS: dict[str, Callable[[Cost], float]] = {
    "theirs": lambda cost: cost.reinforced_paper_gmacs,
    "true": lambda cost: cost.reinforced_gmacs,
}


def largest_growth(_, *, way: str, at_most: str, decimals: int) -> Measured:
    """The largest growth of multiply-accumulates by critics among Table 1's networks, per cent."""
    costs = {row.label: table_1_costs(name) for name, row in dreal.TABLE_1.items()}
    growth = {label: 100 * (WAYS[way](cost) / cost.gmacs - 1) for label, cost in costs.items()}
    most = max(growth, key=growth.__getitem__)
    note = f"at most {growth[most]:.{decimals}f} % ({most})"
    return Measured(count=(growth[most] <= float(at_most), 1), note=note)


def grows_most(_, *, way: str, named: str, decimals: int) -> Measured:
    """Whether the operations of a network of Table 1 grow most by critics."""
    growth = {
        name: 100 * (WAYS[way](table_1_costs(name)) / table_1_costs(name).gmacs - 1)
        for name in dreal.TABLE_1
    }
    most = max(growth, key=growth.__getitem__)
    told = dict.fromkeys((most, named))
    note = ", ".join(f"{dreal.TABLE_1[n].label} by {growth[n]:.{decimals}f} %" for n in told)
    return Measured(count=(most == named, 1), note=note)


@cache
def _stage_formula() -> tuple[int, int]:
    """Section 3.2's 4 (2C + 1) and the true parameters of channel critics, over four stages."""
    with torch.device("meta"):
        agent = reinforce(create_model("se_resnet50", TABLE_1_CLASSES))
    critics = [critic for critic, _ in critics_of(agent.maps)]
    formula = sum(4 * (critic.lstm.weight_ih_l0.shape[1] + 1) for critic in critics)
    return formula, sum(count_parameters(critic) for critic in critics)


def formula_of_parameters(_, *, within_pct: float) -> Measured:
    """The complexity paragraph's parameters against true ones."""
    formula, true = _stage_formula()
    off = 100 * (true / formula - 1)
    return Measured(
        count=(abs(off) <= within_pct, 1),
        note=f"formula {formula:,}, true {true:,} ({signed(off)} %)",
        more="The rest are the LSTMs' bias vectors.",
    )


def formula_of_operations(_, *, network: str) -> Measured:
    """The complexity paragraph's FLOPs against what Table 1's columns differ by."""
    formula, row, cost = _stage_formula()[0], dreal.TABLE_1[network], table_1_costs(network)
    plain, critics = row.cost.gflops, row.reinforced_cost.gflops
    printed, doubt = critics.value - plain.value, critics.tolerance + plain.tolerance
    return Measured(
        count=(abs(printed - formula / 1e9) <= doubt, 1),
        note=f"formula {formula / 1e9:.5f} GFLOPs, Table 1's {row.label} grows by {printed:.3f}",
        more=f"Their digits leave a doubt of {doubt:.3f}. The formula is one call of each stage's "
        f"critic; it is called once a block ({cost.reinforced_gmacs - cost.gmacs:.5f} in truth), "
        f"and the printed figure agrees with N(N+1) calls for N blocks "
        f"({cost.reinforced_paper_gmacs - cost.gmacs:.5f}).",
    )


# By column of Table 1: what is printed, what is true, what was counted their way.
COLUMNS: dict[str, Callable[[dreal.Table1Row, Cost], tuple[Published | None, float, float]]] = {
    "Params": lambda row, c: (
        row.cost.parameters, c.true_parameters / 1e6, c.paper_parameters / 1e6
    ),
    "Params with critics": lambda row, c: (
        row.reinforced_cost.parameters,
        c.reinforced_true_parameters / 1e6,
        c.reinforced_paper_parameters / 1e6,
    ),
    "GFLOPs": lambda row, c: (row.cost.gflops, c.gmacs, c.gmacs),
    "GFLOPs with critics": lambda row, c: (
        row.reinforced_cost.gflops, c.reinforced_gmacs, c.reinforced_paper_gmacs
    ),
}  # fmt: skip


def printed_costs(_, *, columns: str, unit: str, attentions: str = "se cbam srm") -> Measured:
    """Columns of Table 1 ("Params, GFLOPs") against true costs, where our copy has a number."""
    rows = [r for r in dreal.TABLE_1.values() if r.network.split("_")[0] in attentions.split()]
    compared = [
        COLUMNS[column](row, table_1_costs(row.network))
        for row in rows
        for column in columns.split(", ")
    ]
    found = [(p, true, theirs) for p, true, theirs in compared if p is not None]
    agree, theirs = (
        sum(abs(row[way] - row[0].value) <= row[0].tolerance + HAIR for row in found)
        for way in (1, 2)
    )
    furthest = max((true - printed.value for printed, true, _ in found), key=abs)
    return Measured(
        count=(agree, len(found)),
        note=f"{agree} of {len(found)} agree; furthest off by {signed(furthest, 4)} {unit}",
        more=f"Counted their way {theirs} of {len(found)} agree.",
    )


@cache
def removable(_) -> Measured:
    """Whether a network with critics taken away is the one that went in, in size and cost."""
    same = []
    for name in ("se_resnet50", "cbam_resnet50", "srm_resnet50"):
        with torch.device("meta"):
            model = create_model(name, TABLE_1_CLASSES)
        before = (count_parameters(model), tuple(model.state_dict()))
        agent = reinforce(model, TABLE_1_IMAGE_SIZE)
        after = (count_parameters(agent.actor), tuple(agent.actor.state_dict()))
        macs = count_macs(agent.actor, TABLE_1_IMAGE_SIZE)
        same.append(before == after and macs == round(table_1_costs(name).gmacs * 1e9))
    count = (sum(same), len(same))
    note = f"same weights and operations in {count[0]} of {count[1]} networks"
    return Measured(count=count, note=note)


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


def counterfactual_passes(_, *, at_most_pct: float) -> Measured:
    """Whether the predictions with a bypassed block cost next to nothing."""
    return Measured(
        count=(100 * _passes() <= at_most_pct, 1),
        note=f"at least {signed(100 * _passes(), 0)} % of a forward pass where every image is "
        "predicted right; near 0 at the start, where few are",
        more="This is for SE-ResNet-50, with the last block of every stage drawn; other blocks "
        "cost more. By Eq. 1 an image predicted wrong needs no such prediction, so that the cost "
        "falls with the share of images predicted right. Table 1 counts the critics alone.",
    )


def in_print(
    _,
    *,
    sums: Mapping[str, str],
    metric: str,
    data: str = "",
    rising: bool = False,
    larger: bool = False,
) -> Measured:
    """Whether two sums of printed numbers are equal, or the second is no smaller, or larger.

    Args:
        sums: "A - B" of rows (`row_sums`), by what each is called.
        metric: Of the rows.
        data: Where the paper has several sets.
        rising: The second may be larger.
        larger: The second has to be larger, by more than rounding.
    """
    values, doubt, decimals = [], HAIR, 0
    for rows in sums.values():
        terms = [(sign, printed_of(name, metric, data)) for sign, name in terms_of(rows)]
        values.append(sum(sign * number.value for sign, number in terms))
        doubt += sum(number.tolerance for _, number in terms)
        decimals = max(decimals, *(number.decimals for _, number in terms))
    off = values[1] - values[0]
    note = ", ".join(f"{signed(v, decimals)} {n}" for v, n in zip(values, sums, strict=True))
    holds = off > doubt if larger else -doubt <= off and (rising or off <= doubt)
    return Measured(count=(holds, 1), note=note)


def nearest(_, *, named: str, score: str) -> Measured:
    """Whether a method has the best printed score on Market-1501 among those compared."""
    rivals = {m.name: getattr(m.market, score) for m in dreal.TABLE_2_COMPARED}
    name = max(rivals, key=lambda name: rivals[name].value)
    best, own = rivals[name], rivals[named]
    beaten = best.value - own.value > best.tolerance + own.tolerance
    behind = "" if name == named else f", {named} has {own.printed}"
    return Measured(count=(not beaten, 1), note=f"{name} with {best.printed}{behind}")


COUNTED: dict[str, Callable[..., Measured]] = {
    "share of parameters": share_of_parameters,
    "same critics": same_critics,
    "largest growth": largest_growth,
    "grows most": grows_most,
    "formula of parameters": formula_of_parameters,
    "formula of operations": formula_of_operations,
    "printed costs": printed_costs,
    "removable": removable,
    "counterfactual passes": counterfactual_passes,
    "in print": in_print,
    "nearest": nearest,
}
