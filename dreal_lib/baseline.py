"""Weakly supervised training: attention learns from L_c alone (the "self impl." rows)."""

from torch import Tensor, nn

from dreal_lib.agent import Step


class Baseline(nn.Module):
    """A network trained by cross-entropy, behind the interface of `dreal_lib.agent.Agent`."""

    def __init__(self, model: nn.Module):
        super().__init__()
        self.actor = model

    def forward(self, images: Tensor) -> Tensor:
        return self.actor(images)

    def training_step(self, images: Tensor, labels: Tensor) -> Step:
        """The loss of a batch: images (B, 3, H, W), labels (B,)."""
        logits = self.actor(images)
        loss = nn.functional.cross_entropy(logits.float(), labels)
        zero = loss.new_zeros(())
        return Step(loss, logits, loss, zero, zero, rewards={}, critiques={})
