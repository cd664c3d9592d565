"""The optimizer's groups and the schedule of the learning rate."""

import pytest
import torch
from tiny_identities import tiny_retrieval_recipe
from tiny_images import tiny_recipe

from dreal_lib.actor_critic.baseline import Baseline
from dreal_lib.actor_critic.reinforcement import reinforce
from dreal_lib.attention.registry import create_attention
from dreal_lib.networks.backbones import create_model
from dreal_lib.recipes import load_recipe
from dreal_lib.tasks.retrieval import create_learner
from dreal_lib.training.optimization import create_optimizer, decay_factor, set_learning_rate

ROW = "table_1/se_resnet50_reinforced"


def learner_and_optimizer(attention="srm", reinforced=True, **dreal):
    recipe = tiny_recipe(
        weight_decay=0.01,
        learning_rate=0.2,
        momentum=0.8,
        dreal={name: value for name, value in dreal.items()},
    )
    model = create_model(f"{attention}_resnet14", 3, width=4, stem="cifar")
    learner = reinforce(model, 16) if reinforced else Baseline(model)
    return learner, create_optimizer(learner, recipe)


def value_of(optimizer, parameter, key):
    (value,) = [
        group[key]
        for group in optimizer.param_groups
        for member in group["params"]
        if member is parameter
    ]
    return value


@pytest.mark.parametrize("attention", ["se", "cbam", "srm"])
@pytest.mark.parametrize("reinforced", [False, True])
@pytest.mark.parametrize("critic_lr", [None, 0.5])
def test_each_parameter_is_in_exactly_one_group(attention, reinforced, critic_lr):
    learner, optimizer = learner_and_optimizer(attention, reinforced, critic_lr=critic_lr)
    grouped = [id(p) for group in optimizer.param_groups for p in group["params"]]
    assert sorted(grouped) == sorted(id(p) for p in learner.parameters())
    assert len(set(grouped)) == len(grouped)
    assert all(group["momentum"] == 0.8 for group in optimizer.param_groups)


def test_srms_own_parameters_are_not_decayed_and_all_others_are():
    learner, optimizer = learner_and_optimizer("srm")
    kinds = {True: 0, False: 0}
    for name, parameter in learner.named_parameters():
        exempt = ".attention." in name
        kinds[exempt] += 1
        assert value_of(optimizer, parameter, "weight_decay") == (0.0 if exempt else 0.01), name
    # Of each of the four blocks: the CFC's weight, and weight and bias of its BN.
    assert kinds[True] == 4 * len(list(create_attention("srm", 16).parameters())) == 12


@pytest.mark.parametrize("attention", ["se", "cbam"])
def test_nothing_else_is_exempt_from_decay(attention):
    _, optimizer = learner_and_optimizer(attention)
    assert {group["weight_decay"] for group in optimizer.param_groups} == {0.01}


@pytest.mark.parametrize(("critic_lr", "expected"), [(None, 0.2), (0.5, 0.5)])
def test_critics_have_their_own_rate_if_one_is_set(critic_lr, expected):
    learner, optimizer = learner_and_optimizer("cbam", critic_lr=critic_lr)
    for parameter in learner.critics.parameters():
        assert value_of(optimizer, parameter, "lr") == expected
        assert value_of(optimizer, parameter, "weight_decay") == 0.01
    for parameter in learner.actor.parameters():
        assert value_of(optimizer, parameter, "lr") == 0.2


@pytest.mark.parametrize(
    ("epoch", "factor"),
    [(0, 1), (29, 1), (30, 0.1), (59, 0.1), (60, 0.01), (89, 0.01), (90, 0.001), (99, 0.001)],
)
def test_the_papers_schedule(epoch, factor):
    recipe = load_recipe(ROW, "paper")  # 100 epochs, divided by 10 at 30, 60, 90
    assert decay_factor(recipe, epoch) == pytest.approx(factor, rel=1e-12)


@pytest.mark.parametrize(
    ("epochs", "drops"), [(12, [6, 9, 11]), (40, [20, 30, 36]), (1, []), (2, [1])]
)
def test_milestones_are_shares_of_the_epochs(epochs, drops):
    recipe = load_recipe(ROW, overrides={"epochs": epochs, "milestones": [0.5, 0.75, 0.9]})
    factors = [decay_factor(recipe, epoch) for epoch in range(epochs)]
    assert factors[0] == 1
    found = [epoch for epoch in range(1, epochs) if factors[epoch] < factors[epoch - 1]]
    assert found == drops


def test_all_rates_decay_together_from_their_first_values():
    _, optimizer = learner_and_optimizer(critic_lr=0.5)
    recipe = load_recipe(ROW, "paper", overrides={"learning_rate": 0.2})
    for epoch, factor in ((95, 0.001), (0, 1), (40, 0.1), (40, 0.1)):  # in any order, repeatedly
        assert set_learning_rate(optimizer, recipe, epoch) == pytest.approx(0.2 * factor)
        for group in optimizer.param_groups:
            first = 0.5 if group["initial_lr"] == 0.5 else 0.2
            assert group["lr"] == pytest.approx(first * factor)


def test_a_step_is_sgd_with_momentum_and_decay_as_written_by_hand():
    learner, optimizer = learner_and_optimizer("se", reinforced=False)
    parameter = learner.actor.fc.weight
    value, momentum = parameter.detach().clone(), torch.zeros_like(parameter)
    for step in range(3):
        gradient = torch.full_like(parameter, 0.3 * (step + 1))
        parameter.grad = gradient.clone()
        optimizer.step()
        momentum = 0.8 * momentum + gradient + 0.01 * value
        value = value - 0.2 * momentum
        torch.testing.assert_close(parameter.detach(), value)


# --- AMSGrad, the optimizer of instance recognition ---------------------------------------------


def embedding_and_optimizer(row="resnet50_reinforced", **changes):
    recipe = tiny_retrieval_recipe(row, learning_rate=0.02, weight_decay=0.01, **changes)
    learner = create_learner(recipe, 4, torch.device("cpu"), 0)
    return learner, create_optimizer(learner, recipe)


@pytest.mark.parametrize("row", ["resnet50_baseline", "resnet50_attention", "resnet50_reinforced"])
@pytest.mark.parametrize("critic_lr", [None, 0.5])
def test_embeddings_are_trained_by_amsgrad_over_all_that_is_trained(row, critic_lr):
    changes = {"dreal.critic_lr": critic_lr, "betas": [0.8, 0.95]}
    learner, optimizer = embedding_and_optimizer(row, **changes)
    assert type(optimizer) is torch.optim.Adam  # decay is part of the gradient, not apart from it
    for group in optimizer.param_groups:
        assert group["amsgrad"]
        assert group["betas"] == (0.8, 0.95)
        assert group["weight_decay"] == 0.01
    grouped = [id(p) for group in optimizer.param_groups for p in group["params"]]
    frozen = {"actor.neck.bias"}
    trained = {name: p for name, p in learner.named_parameters() if name not in frozen}
    assert sorted(grouped) == sorted(id(p) for p in trained.values())
    for name, parameter in trained.items():
        own = critic_lr if name.startswith("critics.") and critic_lr else 0.02
        assert value_of(optimizer, parameter, "lr") == own


def test_a_learned_neck_bias_is_trained():
    learner, optimizer = embedding_and_optimizer(**{"retrieval.neck_bias": "learned"})
    assert value_of(optimizer, learner.actor.neck.bias, "lr") == 0.02


def test_a_step_is_amsgrad_as_written_by_hand():
    learner, optimizer = embedding_and_optimizer("resnet50_baseline", betas=[0.8, 0.95])
    parameter = learner.actor.fc.weight
    value = parameter.detach().clone().double()
    first, second, largest = (torch.zeros_like(value) for _ in range(3))
    for step, size in enumerate((2.0, 0.1, 0.2), start=1):  # smaller later: the maximum matters
        parameter.grad = torch.full_like(parameter, size)
        optimizer.step()
        gradient = size + 0.01 * value
        first = 0.8 * first + 0.2 * gradient
        second = 0.95 * second + 0.05 * gradient**2
        largest = torch.maximum(largest, second)
        size_of_step = (largest / (1 - 0.95**step)).sqrt() + 1e-8
        value = value - 0.02 * first / (1 - 0.8**step) / size_of_step
        torch.testing.assert_close(parameter.detach().double(), value, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("epoch", "factor"),
    [(0, 1), (39, 1), (40, 0.1), (79, 0.1), (80, 0.01), (119, 0.01), (120, 0.001), (159, 0.001)],
)
def test_the_papers_schedule_of_instance_recognition(epoch, factor):
    recipe = load_recipe("table_2/resnet50_reinforced", "paper")
    assert decay_factor(recipe, epoch) == pytest.approx(factor, rel=1e-12)
