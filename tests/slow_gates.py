"""Rewards of any network, slowly: whole forward passes on a copy, whose maps are hooked by hand.

It takes nothing of `dreal_lib`. That a module's map is the output of one of its sub-modules is said
by the test; batch statistics and random states are those of the main pass.

Letters: B images, K classes.
"""

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


def moved(model: nn.Module, seed: int = 0) -> nn.Module:
    """In float64 and training, off the initial values: no gate constant, no branch of zeros."""
    generator = torch.Generator().manual_seed(seed)
    model = model.double().train()
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, _BatchNorm):
                module.weight.uniform_(0.5, 1.5, generator=generator)
                module.bias.uniform_(-0.5, 0.5, generator=generator)
        for name, parameter in model.named_parameters():
            if name.rpartition(".")[0].rpartition(".")[2] in ("fc1", "fc2", "conv_reduce"):
                parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.3)
    return model


class _BatchStatistics:
    """The norms of a copy normalise by what they saw in the first pass."""

    def __init__(self, model: nn.Module):
        self.norms = [m for m in model.modules() if isinstance(m, _BatchNorm)]
        self.seen: dict[nn.Module, Tensor] = {}
        for norm in self.norms:
            norm.register_forward_pre_hook(self._see)

    def _see(self, norm: nn.Module, inputs: tuple[Tensor]) -> None:
        self.seen.setdefault(norm, inputs[0].detach())

    def fix(self) -> None:
        for norm, x in self.seen.items():
            values = x.transpose(0, 1).flatten(1)
            norm.running_mean, norm.running_var = values.mean(1), values.var(1, correction=0)
            norm.eval()


def _keep(means: list[Tensor], attention: Tensor) -> None:
    means.append(attention.mean(tuple(range(1, attention.dim())), keepdim=True))


@torch.no_grad()
def slow_rewards(
    model: nn.Module, images: Tensor, labels: Tensor, units: dict[str, Sequence[str]]
) -> tuple[Tensor, dict[str, Tensor]]:
    """Logits of the main pass (B, K), and R of each unit (B,), with gamma 1.

    Args:
        model: In the mode and state in which a step finds it; torch's random state, too.
        images: (B, 3, H, W).
        labels: (B,).
        units: By name, the paths of the modules whose outputs, call by call, are the unit's maps.
    """
    twin = copy.deepcopy(model)
    state, statistics = torch.get_rng_state(), _BatchStatistics(twin)
    means: dict[str, list[Tensor]] = {path: [] for paths in units.values() for path in paths}
    seeing = [
        twin.get_submodule(path).register_forward_hook(lambda m, x, a, p=path: _keep(means[p], a))
        for path in means
    ]
    full = twin(images)
    statistics.fix()
    for hook in seeing:
        hook.remove()
    rows = torch.arange(len(labels))
    p = full.softmax(1)[rows, labels]
    right = p >= full.softmax(1).max(1).values
    rewards = {}
    for unit, paths in units.items():
        hooks = [
            twin.get_submodule(path).register_forward_hook(
                lambda m, x, a, left=left: left.pop(0).expand_as(a)
            )
            for path in paths
            for left in [list(means[path])]
        ]
        torch.set_rng_state(state)
        without = twin(images).softmax(1)[rows, labels]
        rewards[unit] = torch.where(right, 1 - without / p, -1.0)
        for hook in hooks:
            hook.remove()
    torch.set_rng_state(state)
    return full, rewards
