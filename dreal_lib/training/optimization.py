"""A recipe's optimizer and its schedule: the learning rate divided by 10 in steps."""

import torch
from torch import nn

from dreal_lib.recipes import Recipe


def create_optimizer(learner: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """The recipe's optimizer over all parameters of a learner that are trained.

    Weight decay acts on everything, BN and critics too, but for modules that say
    `no_weight_decay` (SRM's, as in its authors' code). `dreal.critic_lr` is the
    critics' own rate.
    """
    exempt = {
        id(parameter)
        for module in learner.modules()
        if getattr(module, "no_weight_decay", None) is True
        for parameter in module.parameters()
    }
    critics = {id(p) for p in getattr(learner, "critics", nn.Module()).parameters()}
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for parameter in filter(lambda p: p.requires_grad, learner.parameters()):
        own_rate = id(parameter) in critics and recipe.dreal.critic_lr
        decay = 0.0 if id(parameter) in exempt else recipe.weight_decay
        groups.setdefault((own_rate or recipe.learning_rate, decay), []).append(parameter)
    members_at = [
        {"params": members, "lr": rate, "initial_lr": rate, "weight_decay": decay}
        for (rate, decay), members in groups.items()
    ]
    name, options = recipe.optimizer
    return getattr(torch.optim, name)(members_at, **options)


def decay_factor(recipe: Recipe, epoch: int) -> float:
    """What the initial learning rate is multiplied by in an epoch (from 0; there it is 1)."""
    passed = sum(epoch >= max(1, round(share * recipe.epochs)) for share in recipe.milestones)
    return 0.1**passed


def set_learning_rate(optimizer: torch.optim.Optimizer, recipe: Recipe, epoch: int) -> float:
    """Sets each group's rate for an epoch; returns the network's."""
    for group in optimizer.param_groups:
        group["lr"] = group["initial_lr"] * decay_factor(recipe, epoch)
    return recipe.learning_rate * decay_factor(recipe, epoch)
