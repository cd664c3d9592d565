"""Statements of the paper on parameters and operations, decided without training: by counting.

Costs are those of `dreal_lib.diagnosis.complexity`, printed numbers those of
`book.companion.papers.dreal`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import torch

from book.companion.claims.statements import (
    CONTRADICTED,
    NOT_REPRODUCED,
    REPRODUCED,
    Statement,
    Verdict,
)
from book.companion.papers import dreal, published
from book.companion.papers.published import Published
from book.companion.text.tables import signed
from dreal_lib.actor_critic.agent import reinforce
from dreal_lib.diagnosis.complexity import (
    TABLE_1_CLASSES,
    TABLE_1_IMAGE_SIZE,
    Cost,
    count_macs,
    count_parameters,
    critics_of,
    table_1_costs,
)
from dreal_lib.networks.backbones import create_model

ATTENTIONS = {"se": "SE", "cbam": "CBAM", "srm": "SRM"}


@dataclass(frozen=True)
class Counted:
    """What was found without training."""

    verdict: Verdict
    result: str
    said: str = ""


def _judge(holds: bool, result: str, said: str = "") -> Counted:
    return Counted(REPRODUCED if holds else NOT_REPRODUCED, result, said)


def _costs() -> dict[str, Cost]:
    return {network: table_1_costs(network) for network in dreal.TABLE_1}


def parameter_growth(statement: Statement) -> Counted:
    """Parameters of the critics as a share of the network `about`, printed as in the text."""
    cost = table_1_costs(statement.about)
    added = cost.reinforced_true_parameters - cost.true_parameters
    share = 100 * added / cost.true_parameters
    printed = Published(statement.printed, "% more parameters", "section 4.1", published.DREAL)
    holds = abs(share - printed.value) <= printed.tolerance
    return _judge(holds, f"{added:,} of {cost.true_parameters:,}, {share:.3f} %")


def same_growth(_: Statement) -> Counted:
    """Whether the critics of 50 and 101 layers have as many parameters."""
    added = {
        name: cost.reinforced_true_parameters - cost.true_parameters
        for name, cost in _costs().items()
    }
    pairs = {
        label: (added[f"{kind}_resnet50"], added[f"{kind}_resnet101"])
        for kind, label in ATTENTIONS.items()
    }
    text = ", ".join(f"{label} {a:,} and {b:,}" for label, (a, b) in pairs.items())
    return _judge(all(a == b for a, b in pairs.values()), text)


def operation_growth(statement: Statement) -> Counted:
    """The largest growth of multiply-accumulates by the critics, in both ways of counting."""
    growth = {
        name: tuple(
            100 * (gmacs / c.gmacs - 1) for gmacs in (c.reinforced_paper_gmacs, c.reinforced_gmacs)
        )
        for name, c in _costs().items()
    }
    theirs, true = (max(growth, key=lambda name: growth[name][way]) for way in (0, 1))
    most, really = growth[theirs][0], growth[true][1]
    label = {name: row.label for name, row in dreal.TABLE_1.items()}
    return _judge(
        max(most, really) <= float(statement.printed or 0),
        f"at most {most:.3f} % their way ({label[theirs]}), {really:.4f} % true",
        f"Counted truly, {label[true]} grows most.",
    )


@cache
def _stage_formula() -> tuple[int, int]:
    """Section 3.2's 4 (2C + 1) and the true parameters of channel critics, over four stages."""
    with torch.device("meta"):
        model = create_model("se_resnet50", TABLE_1_CLASSES)
    agent = reinforce(model)
    critics = [critic for critic, _ in critics_of(agent.maps)]
    formula = sum(4 * (critic.lstm.weight_ih_l0.shape[1] + 1) for critic in critics)
    return formula, sum(count_parameters(critic) for critic in critics)


def formula_parameters(statement: Statement) -> Counted:
    """The complexity paragraph's parameters against true ones."""
    formula, true = _stage_formula()
    off = 100 * (true / formula - 1)
    return _judge(
        abs(off) <= (statement.limit or 0),
        f"formula {formula:,}, true {true:,} ({signed(off)} %)",
        "The rest are the LSTMs' bias vectors.",
    )


def formula_operations(_: Statement) -> Counted:
    """The complexity paragraph's FLOPs against what Table 1's columns differ by."""
    formula, _true = _stage_formula()
    row = dreal.TABLE_1["se_resnet101"]
    plain, critics = row.cost.gflops, row.reinforced_cost.gflops
    printed, doubt = critics.value - plain.value, critics.tolerance + plain.tolerance
    result = f"formula {formula / 1e9:.5f} GFLOPs, Table 1's {row.label} grows by {printed:.3f}"
    if abs(printed - formula / 1e9) <= doubt:
        return _judge(True, result)
    cost = table_1_costs("se_resnet101")
    said = (
        f"Their digits leave a doubt of {doubt:.3f}. The formula is one call of each stage's "
        f"critic; it is called once a block ({cost.reinforced_gmacs - cost.gmacs:.5f} in truth), "
        f"and the printed figure agrees with N(N+1) calls for N blocks "
        f"({cost.reinforced_paper_gmacs - cost.gmacs:.5f})."
    )
    return Counted(CONTRADICTED, result, said)


def printed_parameters(statement: Statement) -> Counted:
    """Table 1's Params against true ones, for the attentions named in `about`."""
    rows = [row for row in dreal.TABLE_1.values() if row.network.split("_")[0] in _kinds(statement)]
    compared = []
    for row in rows:
        cost = table_1_costs(row.network)
        alone, both = row.cost.parameters, row.reinforced_cost.parameters
        compared += [
            (alone, cost.true_parameters / 1e6, cost.paper_parameters / 1e6),
            (both, cost.reinforced_true_parameters / 1e6, cost.reinforced_paper_parameters / 1e6),
        ]
    return _printed(compared, "million parameters")


def printed_operations(statement: Statement) -> Counted:
    """Table 1's GFLOPs against true ones, "alone" or "with critics" (`about`)."""
    compared = []
    for row in dreal.TABLE_1.values():
        cost = table_1_costs(row.network)
        alone = statement.about == "alone"
        printed = row.cost.gflops if alone else row.reinforced_cost.gflops
        if printed is not None:
            true = cost.gmacs if alone else cost.reinforced_gmacs
            theirs = cost.gmacs if alone else cost.reinforced_paper_gmacs
            compared.append((printed, true, theirs))
    return _printed(compared, "GFLOPs")


def _kinds(statement: Statement) -> list[str]:
    return statement.about.split(", ")


def _printed(compared: list[tuple[Published, float, float]], unit: str) -> Counted:
    """Printed numbers against the true ones, and beside them against those counted their way."""
    true, theirs = (
        sum(abs(row[way] - row[0].value) <= row[0].tolerance + 1e-9 for row in compared)
        for way in (1, 2)  # a hair is added: printed decimals are not exact in binary
    )
    furthest = max((value - printed.value for printed, value, _ in compared), key=abs)
    result = f"{true} of {len(compared)} agree; furthest off by {signed(furthest, 4)} {unit}"
    said = f"Counted their way {theirs} of {len(compared)} agree."
    return _judge(true == len(compared), result, said)


def removable(_: Statement) -> Counted:
    """Whether a network with critics taken away is the one that went in, in size and cost."""
    same = _unchanged()
    return _judge(all(same), f"same weights and operations in {sum(same)} of {len(same)} networks")


@cache
def _unchanged() -> list[bool]:
    same = []
    for name in ("se_resnet50", "cbam_resnet50", "srm_resnet50"):
        with torch.device("meta"):
            model = create_model(name, TABLE_1_CLASSES)
        before = (count_parameters(model), tuple(model.state_dict()))
        agent = reinforce(model, TABLE_1_IMAGE_SIZE)
        after = (count_parameters(agent.actor), tuple(agent.actor.state_dict()))
        macs = count_macs(agent.actor, TABLE_1_IMAGE_SIZE)
        same.append(before == after and macs == round(table_1_costs(name).gmacs * 1e9))
    return same


COUNTED: dict[str, Callable[[Statement], Counted]] = {
    function.__name__: function
    for function in (
        parameter_growth,
        same_growth,
        operation_growth,
        formula_parameters,
        formula_operations,
        printed_parameters,
        printed_operations,
        removable,
    )
}
