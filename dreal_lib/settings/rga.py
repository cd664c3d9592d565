"""What the second paper (RGA, arXiv 1904.02998v1) leaves open, as named settings; defaults first.

Three groups: the forms of its own module, the designs it compares, and its CIFAR networks. Its
recipe for instance recognition is one of `dreal_lib.settings.retrieval`.
"""

from dataclasses import dataclass
from typing import Literal

from dreal_lib.errors import UserError
from dreal_lib.settings.dreal import refuse_unknown_choices


@dataclass(frozen=True)
class RGASettings:
    """The forms of Relation-Aware Global Attention.

    Attributes:
        parallel_fusion: Of RGA-S//C, "parallel with a fusion" (section 4.1.2): x * S(x) * C(x); the
            mean of x * S(x) and x * C(x); or their concatenation and a 1x1 convolution back to C.
        without_relations: Of the rows w/o Rel.: Eq. 2 without its second part, so the attention is
            inferred from one pooled number a node; or from psi(x) unpooled.
        attention_init: torch's own initialisation, as in the authors' code, or Kaiming's normal
            one by the fan-in, which that code defines and does not apply to the modules.

    Raises:
        UserError: A value that is no choice of its setting.
    """

    parallel_fusion: Literal["product", "mean", "concatenation"] = "product"
    without_relations: Literal["pooled", "unpooled"] = "pooled"
    attention_init: Literal["torch", "kaiming"] = "torch"

    def __post_init__(self):
        refuse_unknown_choices(self)


@dataclass(frozen=True)
class FullyConnectedSettings:
    """The fully connected designs of Table 2; defaults are those of the code of Liu et al. (2019).

    Attributes:
        hidden: Width between FC-S's two layers: twice the positions, or an eighth of them.
        spatial_input: FC-S's mean over channels is of the embedded features, or of them as they
            are.
        embedding: Channels of the 1x1 embedding: 256 whatever the stage, or an eighth of its own.
        parallel_gate: FC-S//C is the sigmoid of the product of both, from one shared embedding; or
            the product of the two maps, each with an embedding of its own.

    Raises:
        UserError: A value that is no choice of its setting.
    """

    hidden: Literal["double", "eighth"] = "double"
    spatial_input: Literal["embedded", "raw"] = "embedded"
    embedding: Literal["fixed", "eighth"] = "fixed"
    parallel_gate: Literal["shared", "separate"] = "shared"

    def __post_init__(self):
        refuse_unknown_choices(self)


@dataclass(frozen=True)
class CifarSettings:
    """The networks of Table 7.

    Attributes:
        shortcut: Where a ResNet's shape changes, its shortcut is padded with zeros (A), or
            convolved (B). Both give the printed parameters.
        densenet_place: The attention stands behind the first transition, where the printed
            16x16x108 exists, or before it, right after the first dense block.
        resnet_ratio, densenet_ratio: s1 and s2 of RGA in each family (section 4.3). For DenseNet
            without bottlenecks only 4 gives the printed 7.3M, and the text says 8.

    Raises:
        UserError: A value that is no choice of its setting, or a ratio below 1.
    """

    shortcut: Literal["A", "B"] = "A"
    densenet_place: Literal["transition", "block"] = "transition"
    resnet_ratio: int = 4
    densenet_ratio: int = 8

    def __post_init__(self):
        refuse_unknown_choices(self)
        for name in ("resnet_ratio", "densenet_ratio"):
            value = getattr(self, name)
            if type(value) is not int or value < 1:
                raise UserError(f"{name} must be a whole number of at least 1; got {value!r}")
