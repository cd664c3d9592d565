"""BN in training steps that pass through the network more than once.

Numerator and denominator of Eq. 1 must be normalised alike, else the reward measures BN noise. So
a counterfactual uses the batch statistics of the main pass, and running statistics move once a
step, by the main pass alone.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from dreal_lib.errors import UserError
from dreal_lib.runtime.distributed import world_size


class MainPassStatistics:
    """Keeps the batch statistics of a main pass for the counterfactuals that follow.

    Use: `with MainPassStatistics(model) as statistics:` around the main pass and the
    counterfactuals, the latter within `with statistics.reused():`. On leaving, the running
    statistics have moved as by the main pass alone.

    While it lasts, each training BN writes to buffers of its own with momentum 1, which then hold
    the batch's mean and unbiased variance. (Buffers are exchanged, not written to, because
    autograd has saved those of the main pass.)
    """

    def __init__(self, model: nn.Module):
        refuse_untracked_norms(model)
        self.modules = [
            module
            for module in model.modules()
            if isinstance(module, _BatchNorm) and module.training and module.track_running_stats
        ]

    def __enter__(self) -> "MainPassStatistics":
        self.running = [(m.running_mean, m.running_var, m.momentum) for m in self.modules]
        self.counts: dict[nn.Module, int] = {}
        self.hooks = [m.register_forward_pre_hook(self._count) for m in self.modules]
        for module in self.modules:
            module.running_mean = torch.empty_like(module.running_mean)
            module.running_var = torch.empty_like(module.running_var)
            module.momentum = 1.0
        self.batches = [m.num_batches_tracked for m in self.modules]
        if self.modules:  # all at once, as a GPU would wait for the launch of each
            self.tracked = torch._foreach_add(self.batches, 0)
            torch._foreach_zero_([m.running_mean for m in self.modules])
            torch._foreach_zero_([m.running_var for m in self.modules])
        return self

    def _count(self, module: nn.Module, inputs: tuple[Tensor]) -> None:
        if not module.training:
            return
        if module in self.counts:
            raise UserError(
                "a BatchNorm is used twice in one forward pass, so its batch statistics are not "
                "one; try reward_statistics='running'"
            )
        count = inputs[0].numel() // inputs[0].shape[1]
        # SyncBatchNorm's statistics are those of all shards, which are of one size.
        shards = world_size() if isinstance(module, nn.SyncBatchNorm) else 1
        self.counts[module] = count * shards

    @contextmanager
    def reused(self) -> Iterator[None]:
        """Normalises with the main pass's batch statistics (biased variance, as BN does)."""
        batch_variances = [module.running_var for module in self.modules]
        biased = [(n - 1) / n for n in self.counts.values()]
        if biased:
            scaled = torch._foreach_mul([m.running_var for m in self.counts], biased)
            for module, variance in zip(self.counts, scaled, strict=True):
                module.running_var = variance
                module.eval()
        try:
            yield
        finally:
            for module, variance in zip(self.modules, batch_variances, strict=True):
                module.running_var = variance
                module.train()

    @torch.no_grad()
    def __exit__(self, failure: type[BaseException] | None, *_) -> None:
        for hook in self.hooks:
            hook.remove()
        if failure is not None and self.modules:
            torch._foreach_copy_(self.batches, self.tracked)
        moved: dict[float, list[tuple[Tensor, Tensor]]] = {}  # by momentum: running, of the batch
        for module, (mean, variance, momentum) in zip(self.modules, self.running, strict=True):
            batch_mean, batch_variance = module.running_mean, module.running_var
            module.running_mean, module.running_var = mean, variance
            module.momentum = momentum
            if failure is not None or module not in self.counts:
                continue  # a pass that broke off left no batch statistics, or half of them
            share = momentum if momentum is not None else 1 / float(module.num_batches_tracked)
            moved.setdefault(share, []).extend(((mean, batch_mean), (variance, batch_variance)))
        for share, pairs in moved.items():
            running, of_batch = map(list, zip(*pairs, strict=True))
            torch._foreach_mul_(running, 1 - share)
            torch._foreach_add_(running, of_batch, alpha=share)


def refuse_untracked_norms(model: nn.Module) -> None:
    """A BN without running statistics would normalise a counterfactual by its own few images."""
    for name, module in model.named_modules():
        if isinstance(module, _BatchNorm) and module.running_mean is None:
            raise UserError(
                f"{name!r} is a BatchNorm without running statistics, so a reward would depend on "
                f"its neighbours; try track_running_stats=True"
            )


@contextmanager
def running_statistics_untouched(modules: list[nn.Module]) -> Iterator[None]:
    """Training BNs use batch statistics with gradient, and leave the running ones alone."""
    tracking = [
        m for m in modules if isinstance(m, _BatchNorm) and m.training and m.track_running_stats
    ]
    try:
        for module in tracking:
            module.track_running_stats = False
        yield
    finally:
        for module in tracking:
            module.track_running_stats = True


@contextmanager
def refusing_moved_state(model: nn.Module) -> Iterator[None]:
    """Refuses state other than BatchNorm's that a forward pass moves in training.

    Norms over the batch with an own running estimate (EvoNorm) normalise a counterfactual by its
    own few images; parametrizations with state (spectral norm) change weights in every pass.

    Raises:
        UserError: A buffer was written to.
    """

    def versions() -> dict[str, tuple[int, int]]:
        return {
            f"{path}.{name}".lstrip("."): (id(buffer), buffer._version)
            for path, module in model.named_modules()
            if not isinstance(module, _BatchNorm)
            for name, buffer in module.named_buffers(recurse=False)
            if buffer.is_floating_point()
        }

    before = versions()
    yield
    after = versions()
    for name, (which, version) in before.items():
        if after.get(name, (0, 0))[0] == which and after[name][1] != version:
            path = name.rpartition(".")[0]
            module = model.get_submodule(path)
            raise UserError(
                f"{path!r} ({type(module).__name__}) moves {name!r} in every forward pass of the "
                f"training, so a counterfactual would differ by more than its map; put that "
                f"module into evaluation mode, or try reward_statistics='running'"
            )


@contextmanager
def refusing_chance(device: torch.device) -> Iterator[None]:
    """Refuses dropout and the like: the reward compares two passes that must differ by a map alone.

    Raises:
        UserError: Something drew from torch's global generators.
    """

    def states() -> list[torch.Tensor]:
        cuda = [torch.cuda.get_rng_state(device)] if device.type == "cuda" else []
        return [torch.get_rng_state(), *cuda]

    before = states()
    yield
    if not all(map(torch.equal, before, states())):
        raise UserError(
            "the network drops at random in its forward pass (dropout or the like), so the two "
            "terms of Eq. 1 would differ by chance; try reward_statistics='running'"
        )
