"""Weakly supervised training: attention learns from L_c alone (the "self impl." rows)."""

import torch.nn.functional as F
from torch import Tensor, nn

from dreal_lib.actor_critic.agent import Step
from dreal_lib.actor_critic.losses import Loss, summed
from dreal_lib.actor_critic.reward import logits_of


class Baseline(nn.Module):
    """A network trained by L_c alone, behind the interface of `dreal_lib.actor_critic.agent.Agent`.

    Args:
        model: The network.
        classification_loss: As for `dreal_lib.actor_critic.reinforcement.reinforce`.
    """

    def __init__(self, model: nn.Module, classification_loss: Loss = F.cross_entropy):
        super().__init__()
        self.actor, self.classification_loss = model, classification_loss

    def forward(self, images: Tensor) -> Tensor:
        return self.actor(images)

    def training_step(self, images: Tensor, labels: Tensor) -> Step:
        """The loss of a batch: images (B, 3, H, W), labels (B,)."""
        output = self.actor(images)
        loss, parts = summed(self.classification_loss(output, labels))
        zero = loss.new_zeros(())
        return Step(
            loss, logits_of(output), loss, zero, zero, rewards={}, critiques={}, parts=parts
        )
