"""Every choice that the paper leaves open, as a named setting; the first choice is the default."""

from dataclasses import asdict, dataclass
from typing import Literal, get_args, get_type_hints

from dreal_lib.errors import UserError, unknown_choice

LARGEST = 1e6  # of a weight or rate: float32 holds its square, and none of use is near it
# Settings that the first records (schema version 1) do not know. Not written at their default,
# they leave the hash and the recorded settings of those runs what they were.
ADDED_LATER = (
    "critic_hidden",
    "reward_fraction",
    "reward_control",
    "quality_signal",
    "full_maps",
    "unequal_maps",
)


@dataclass(frozen=True)
class Settings:
    """How DREAL is applied.

    Attributes:
        gamma: Penalty of Eq. 1 for an image predicted wrong; the paper's is 1.
        quality_weight: Weight of L_q (Eq. 8) in the loss.
        regression_weight: Weight of L_r (Eq. 9) in the loss.
        bypass_draw: A random block of each stage is bypassed anew each step, or each epoch.
        bypass_unit: A block's maps are bypassed together (one reward), or each by itself.
        bypass_mean: The mean is over the entries of an image's own map, or over the batch.
        later_maps: Maps after the bypassed one are recomputed, or held as in the main pass.
        reward_statistics: BN in both terms of Eq. 1 uses the main pass's batch statistics, or the
            running ones, as the main pass has left them (one more forward pass).
        loss_reduction: L_q and L_r are summed, or averaged, over blocks and maps.
        spatial_state: A spatial critic sees the features that its map multiplies, or the block's
            own.
        critic_init: PyTorch's initialisation of the LSTM, or one scaled by its fan-in.
        critic_input_norm: Layer norm on the critic's input.
        critic_lr: Learning rate of the critics; None is the optimizer's own.
        critic_hidden: Cells of a critic's LSTM; several are projected to the one number Q.
        reward_fraction: Share of the images predicted right for which the counterfactuals of a
            step are computed; below 1, L_r is an unbiased estimate and the step is cheaper.
        reward_control: A control of what rewards tell: critics learn each image's own reward, or
            the batch's rewards shuffled over its images, or nothing (they stay as they began).
        quality_signal: Actors follow the critics (Eq. 8), or the exact gradient of what a perfect
            critic would know, R or log p (`dreal_lib.oracle`): controls, of no use otherwise.
        full_maps: A critic reads a map over channels and positions as its means over either, or
            whole; "auto" is whole for actors that declare themselves, means for found gates.
        unequal_maps: Where the maps of a stage differ in size, its critic reads them with zeros
            behind, or each size has a critic of its own. (Actors that declare themselves are
            refused then.)

    Raises:
        UserError: A value that is no choice of its setting, or a number that cannot be.
    """

    gamma: float = 1.0
    quality_weight: float = 1.0
    regression_weight: float = 1.0
    bypass_draw: Literal["step", "epoch"] = "step"
    bypass_unit: Literal["block", "map"] = "block"
    bypass_mean: Literal["entries", "batch"] = "entries"
    later_maps: Literal["recomputed", "held"] = "recomputed"
    reward_statistics: Literal["batch", "running"] = "batch"
    loss_reduction: Literal["sum", "mean"] = "sum"
    spatial_state: Literal["refined", "raw"] = "refined"
    critic_init: Literal["pytorch", "fan_in"] = "pytorch"
    critic_input_norm: Literal["off", "layer"] = "off"
    critic_lr: float | None = None
    critic_hidden: int = 1
    reward_fraction: float = 1.0
    reward_control: Literal["none", "shuffled", "random_critic"] = "none"
    quality_signal: Literal["critic", "oracle_reward", "oracle_log_p"] = "critic"
    full_maps: Literal["auto", "means", "entries"] = "auto"
    unequal_maps: Literal["padded", "apart"] = "padded"

    def __post_init__(self):
        refuse_unknown_choices(self)
        for name in ("gamma", "quality_weight", "regression_weight"):
            if not 0 <= getattr(self, name) <= LARGEST:
                raise UserError(
                    f"{name} must be from 0 to {LARGEST:g}; got {getattr(self, name)}; try 1"
                )
        if self.critic_lr is not None and not 0 < self.critic_lr <= LARGEST:
            raise UserError(
                f"critic_lr must be above 0 and at most {LARGEST:g}; got {self.critic_lr}; try 0.1"
            )
        if not 0 < self.reward_fraction <= 1:
            raise UserError(
                f"reward_fraction must be above 0 and at most 1; got {self.reward_fraction}; "
                f"try 0.5"
            )
        if type(self.critic_hidden) is not int or self.critic_hidden < 1:
            raise UserError(
                f"critic_hidden must be a whole number above 0; got {self.critic_hidden!r}; try 16"
            )

    def as_dict(self) -> dict[str, object]:
        return asdict(self)

    def recorded(self) -> dict[str, object]:
        """As a recipe writes them: without those of `ADDED_LATER` that are at their default."""
        unchanged = [n for n in ADDED_LATER if getattr(self, n) == getattr(Settings, n)]
        return {name: value for name, value in asdict(self).items() if name not in unchanged}


def refuse_unknown_choices(settings: object) -> None:
    """Checks every field of a dataclass whose type is a `Literal` of words.

    Raises:
        UserError: A value that is no choice of its setting (lists them).
    """
    for name, kind in get_type_hints(type(settings)).items():
        value, choices = getattr(settings, name), get_args(kind)
        if choices and isinstance(choices[0], str) and value not in choices:
            raise unknown_choice(name, value, choices)
