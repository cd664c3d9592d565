"""Costs of Table 1: computed figures to their last digit, and a count by hand."""

import pytest
import torch
from slow_reference import BLOCKS, TRUE_PARAMETERS
from torch import nn

from dreal_lib import create_model, reinforce
from dreal_lib.actor_critic.critic import RecurrentCritic
from dreal_lib.diagnosis.complexity import (
    Cost,
    count_cell_macs,
    count_leaf_parameters,
    count_macs,
    count_parameters,
    critics_of,
    table_1_costs,
)
from dreal_lib.errors import UserError

# In the paper's convention: parameters alone and with critics.
PAPER_PARAMETERS = TRUE_PARAMETERS | {
    "srm_resnet50": (25_587_240, 25_618_008),
    "srm_resnet101": (44_614_184, 44_644_952),
}
# Computed GMACs, alone and with critics, and the published ones with critics.
GMACS = {
    "se_resnet50": ("4.0917", "4.0918", "4.092"),
    "se_resnet101": ("7.8061", "7.8064", "7.811"),
    "cbam_resnet50": ("4.0956", "4.0958", "4.097"),
    "cbam_resnet101": ("7.8126", "7.8130", "7.819"),
    "srm_resnet50": ("4.0892", "4.0893", "4.090"),
    "srm_resnet101": ("7.8014", "7.8017", "7.806"),
}


def multiplications_by_hand(attention: str, depth: int, size: int = 224) -> int:
    """Layer by layer, from the shapes of the bottleneck ResNet and its attention."""
    side = size // 2
    total = side**2 * 64 * 3 * 49
    side, channels = side // 2, 64
    for stage, count in enumerate(BLOCKS[depth]):
        planes = 64 * 2**stage
        for index in range(count):
            before, out = side, 4 * planes
            side = side // 2 if stage and not index else side
            total += before**2 * channels * planes + side**2 * (9 * planes**2 + planes * out)
            total += side**2 * channels * out if not index else 0
            mlp = 2 * out * (out // 16)
            total += {"se": mlp, "cbam": 2 * mlp + side**2 * 2 * 49, "srm": 0}[attention]
            channels = out
    return total + channels * 1000


@pytest.mark.parametrize("network", TRUE_PARAMETERS)
def test_parameters_of_table_1(network):
    cost = table_1_costs(network)
    assert (cost.true_parameters, cost.reinforced_true_parameters) == TRUE_PARAMETERS[network]
    paper = cost.paper_parameters, cost.reinforced_paper_parameters
    assert paper == PAPER_PARAMETERS[network]


@pytest.mark.parametrize("network", GMACS)
def test_multiply_accumulates_of_table_1(network):
    cost, (alone, with_critics, printed) = table_1_costs(network), GMACS[network]
    assert f"{cost.gmacs:.4f}" == alone
    assert f"{cost.reinforced_gmacs:.4f}" == with_critics
    assert f"{cost.reinforced_paper_gmacs:.3f}" == printed


@pytest.mark.parametrize("network", GMACS)
def test_multiply_accumulates_by_hand(network):
    attention, _, depth = network.partition("_resnet")
    alone = multiplications_by_hand(attention, int(depth))
    cost = table_1_costs(network)
    assert round(cost.gmacs * 1e9) == alone
    once = paper = 0
    for stage, blocks in enumerate(BLOCKS[int(depth)]):
        sizes = [256 * 2**stage] + ([(56 // 2**stage) ** 2] if attention == "cbam" else [])
        cell = sum(4 * (2 * size + 1) for size in sizes)
        once, paper = once + blocks * cell, paper + blocks * (blocks + 1) * cell
    assert round(cost.reinforced_gmacs * 1e9) == alone + once
    assert round(cost.reinforced_paper_gmacs * 1e9) == alone + paper


@pytest.mark.parametrize("network", ["se_resnet26", "cbam_resnet14", "srm_resnet14"])
def test_critics_are_those_that_reinforce_makes(network):
    with torch.device("meta"):
        agent = reinforce(create_model(network), image_size=64)
    critics = critics_of(agent.maps)
    added = sum(count_parameters(critic) for critic, _ in critics)
    assert added == count_parameters(agent) - count_parameters(agent.actor)
    assert [blocks for _, blocks in critics] == [
        len(group) for group in agent.critics.groups.values()
    ]


def test_a_network_of_ones_own_by_hand():
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=2, padding=1),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Conv2d(8, 8, 5, padding=2, groups=4, bias=False),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(8, 10),
    )
    for size, positions in ((32, 16 * 16), ((32, 64), 16 * 32)):
        macs = positions * (8 * 3 * 9 + 8 * 2 * 25) + 8 * 10
        assert count_macs(model, size) == macs
    assert count_parameters(model) == (8 * 27 + 8) + 16 + 8 * 2 * 25 + (80 + 10)
    assert count_leaf_parameters(model) == count_parameters(model)


def test_a_parameter_beside_sub_modules_is_what_a_leaf_counter_overlooks():
    class Beside(nn.Module):
        def __init__(self):
            super().__init__()
            self.own, self.linear = nn.Parameter(torch.zeros(7)), nn.Linear(2, 3)

    assert count_parameters(Beside()) == 7 + 9
    assert count_leaf_parameters(Beside()) == 9


def test_a_shared_parameter_counts_once():
    linear = nn.Linear(4, 4)
    assert count_parameters(nn.Sequential(linear, nn.ReLU(), linear)) == 20


def test_the_cell_is_four_linear_maps_of_the_inputs_and_h():
    assert count_cell_macs(RecurrentCritic(49)) == 4 * (98 + 1)


def test_counting_changes_nothing(make_network):
    model, _ = make_network("srm_resnet14")
    model.layer3.eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    modes = [module.training for module in model.modules()]
    assert count_macs(model, 32) == count_macs(model, 32) > 0
    assert [module.training for module in model.modules()] == modes
    assert all(parameter.device.type == "cpu" for parameter in model.parameters())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_costs_are_computed_once_and_cannot_be_changed():
    cost = table_1_costs("se_resnet50")
    assert cost is table_1_costs("se_resnet50")
    assert isinstance(cost, Cost)
    with pytest.raises(AttributeError):
        cost.gmacs = 0.0


def test_an_unknown_network_lists_the_choices():
    with pytest.raises(UserError, match=r"unknown model 'se_resnet5O'; did you mean 'se_resnet50'"):
        table_1_costs("se_resnet5O")
    with pytest.raises(UserError, match="holds no attention"):
        table_1_costs("resnet50")
