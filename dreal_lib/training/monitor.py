"""What is watched during an epoch: losses and errors, and critique and reward map by map.

Sums are kept on the device in float64, so watching costs no synchronisation, and an interrupted
epoch can be continued from them.
"""

import torch
from torch import Tensor

from dreal_lib.actor_critic.agent import Step

SATURATED_BELOW = 0.01  # a critique that its gates can move by less is called saturated
ROUNDING = 1e-12  # of a mean square; a variance below it is rounding, not spread

_LOSSES = ("classification_loss", "quality_loss", "regression_loss")
_SUMS = ("n", "q", "r", "qq", "rr", "qr", "right", "right_r", "saturated")


class EpochMonitor:
    """Sums over one epoch.

    Args:
        map_rewards: For each attention map, the unit whose reward it shares (see `Step.rewards`).
        device: Where the sums are kept.
        parts: Names of what L_c is the sum of, if of several (see `Step.parts`).
    """

    def __init__(
        self,
        map_rewards: dict[str, str],
        device: torch.device | str,
        parts: tuple[str, ...] = (),
    ):
        self.map_rewards, self.parts = map_rewards, parts
        self.losses = torch.zeros(len(_LOSSES) + len(parts) + 2, dtype=torch.float64, device=device)
        self.blocks = torch.zeros(len(map_rewards), len(_SUMS), dtype=torch.float64, device=device)

    @torch.no_grad()
    def add(self, step: Step, labels: Tensor) -> None:
        """Adds a step; labels (B,)."""
        wrong = (step.logits.argmax(1) != labels).sum()
        values = [getattr(step, name) for name in _LOSSES]
        values += [step.parts[name] for name in self.parts]
        losses = torch.stack([value.detach().double() for value in values])
        counts = torch.stack([wrong.double(), torch.ones_like(wrong).double() * len(labels)])
        self.losses += torch.cat((losses * len(labels), counts))
        # Not by `step.logits`: rewards may come from another pass, and their parts must be theirs.
        right = None if step.right is None else step.right.double()
        counts = step.reward_weights  # images left out by a reward_fraction count nothing
        for index, (name, unit) in enumerate(self.map_rewards.items()):
            if unit in step.rewards:
                q, r = step.critiques[name].double(), step.rewards[unit].double()
                saturated = (step.sensitivities[name] < SATURATED_BELOW).double()
                if counts is not None:
                    r = torch.where(counts > 0, r, 0.0)
                terms = (torch.ones_like(q), q, r, q * q, r * r, q * r, right, right * r, saturated)
                stacked = torch.stack(terms)
                self.blocks[index] += (stacked if counts is None else stacked * counts).sum(1)

    def loss_row(self) -> dict[str, float]:
        """Means of the losses over the images, and the training error in per cent."""
        *losses, wrong, count = self.losses.tolist()
        row = {
            name: value / count for name, value in zip((*_LOSSES, *self.parts), losses, strict=True)
        }
        return row | {"train_top1_error_pct": 100 * wrong / count}

    def block_rows(self) -> list[dict[str, float | str]]:
        """A row for each map that was evaluated: critique and reward over the same images."""
        rows = []
        for name, sums in zip(self.map_rewards, self.blocks.tolist(), strict=True):
            s = dict(zip(_SUMS, sums, strict=True))
            if not s["n"]:
                continue
            n = s["n"]
            q, r = s["q"] / n, s["r"] / n
            q_variance = _variance(s["qq"] / n, q)
            r_variance = _variance(s["rr"] / n, r)
            rows.append(
                {
                    "map": name,
                    "images": round(n),
                    "critique_mean": q,
                    "reward_mean": r,
                    "right_share": s["right"] / n,
                    "reward_right_mean": s["right_r"] / s["right"] if s["right"] else float("nan"),
                    "critique_rmse": max(0.0, s["qq"] / n - 2 * s["qr"] / n + s["rr"] / n) ** 0.5,
                    "correlation": _correlation(s["qr"] / n - q * r, q_variance, r_variance),
                    "saturated_share": s["saturated"] / n,
                }
            )
        return rows


def _variance(mean_square: float, mean: float) -> float:
    # The difference of two nearly equal sums leaves a rest of either sign where all are equal.
    variance = mean_square - mean * mean
    return variance if variance > ROUNDING * mean_square else 0.0


def _correlation(covariance: float, q_variance: float, r_variance: float) -> float:
    if not q_variance * r_variance:  # a constant has no correlation
        return float("nan")
    return max(-1.0, min(1.0, covariance / (q_variance * r_variance) ** 0.5))
