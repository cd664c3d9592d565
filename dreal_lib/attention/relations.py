"""RGA's graphs: a map inferred from nodes and from their relations (section 3 of its paper).

Nodes are the positions or the channels of features; see `dreal_lib.attention.rga` for the paper.
All convolutions are 1x1 without bias, each followed by BN; the affinities are not scaled and pass
no softmax: all as in the authors' code. Unlike there, widths are at least 1: there
(1 + N // s1) // s2 = 0 channels fail, at the paper's ratios of 8 for fewer than 56 nodes (maps of
7x7, and every small network).

The embedding varphi is linear in the affinities R = theta^T phi up to its BN, so

    W_a R^T + W_b R  =  (W_a phi^T) theta + (W_b theta^T) phi,

and the N x N matrix R need never exist. Both forms give the same number but for rounding.

Letters: B batch, C channels, H and W height and width; N nodes of D dimensions each; d dimensions
of theta and phi, m of the embedded relations.
"""

from functools import partial
from typing import ClassVar, Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dreal_lib.attention.actor import refuse_other_size
from dreal_lib.attention.recomputed import recomputed
from dreal_lib.errors import UserError, unknown_choice
from dreal_lib.settings.rga import RGASettings

Form = Literal["cheaper", "factorised", "direct"]
AS_PUBLISHED = RGASettings()


def relation_macs(nodes: int, dimensions: int, width: int) -> dict[str, int]:
    """Multiply-accumulates of `embedded_relations` for one image, by form.

    Args:
        nodes: N.
        dimensions: d.
        width: m.
    """
    return {
        "factorised": 4 * width * nodes * dimensions,
        "direct": nodes * nodes * (dimensions + 2 * width),
    }


def cheaper_form(nodes: int, dimensions: int, width: int) -> Form:
    """The form of fewer multiply-accumulates; arguments as `relation_macs`."""
    macs = relation_macs(nodes, dimensions, width)
    return min(macs, key=macs.get)


def embedded_relations(theta: Tensor, phi: Tensor, weight: Tensor, form: Form) -> Tensor:
    """varphi's convolution of r_i = [R(i, :), R(:, i)] (section 3.2), before its BN.

    Args:
        theta, phi: Embedded nodes, (B, d, N).
        weight: W_varphi, (m, 2N): the first half meets R(i, :), the second R(:, i).
        form: "direct" makes R, as the authors' code does; "factorised" does not.

    Returns:
        (B, m, N).
    """
    if form == "direct":
        affinity = theta.mT @ phi  # Eq. 1: R, (B, N, N)
        relations = torch.cat((affinity.mT, affinity), 1)  # r_i in column i, (B, 2N, N)
        return F.conv1d(relations, weight.unsqueeze(2))
    outgoing, incoming = weight.chunk(2, 1)  # W_a, W_b, each (m, N)
    by_phi, by_theta = F.linear(phi, outgoing), F.linear(theta, incoming)  # (B, d, m)
    return torch.baddbmm(by_phi.mT @ theta, by_theta.mT, phi)


class SharedEmbedding(nn.Module):
    """A 1x1 convolution shared by all nodes, BN and ReLU: theta, phi and psi (section 3.2)."""

    def __init__(self, dimensions: int, width: int):
        super().__init__()
        self.conv = nn.Conv1d(dimensions, width, 1, bias=False)
        self.bn = nn.BatchNorm1d(width)

    def forward(self, nodes: Tensor) -> Tensor:
        # (B, D, N) -> (B, width, N)
        weight = self.conv.weight
        if nodes.mT.is_contiguous():  # node by node in memory: a convolution would copy them
            embedded = F.linear(nodes.mT, weight.squeeze(2)).mT.contiguous()
        else:
            embedded = F.conv1d(nodes, weight)
        return self.activated(embedded)

    def activated(self, embedded: Tensor) -> Tensor:
        """What follows the convolution: BN and ReLU."""
        return F.relu(self.bn(embedded), inplace=True)


class RelationEmbedding(nn.Module):
    """theta, phi and varphi: a node's relations with all nodes, embedded (Eqs. 1, 2 and 4)."""

    def __init__(self, nodes: int, dimensions: int, s1: int, form: Form):
        super().__init__()
        inner, self.width = max(dimensions // s1, 1), max(nodes // s1, 1)
        self.form = cheaper_form(nodes, inner, self.width) if form == "cheaper" else form
        self.theta = SharedEmbedding(dimensions, inner)
        self.phi = SharedEmbedding(dimensions, inner)
        self.varphi = SharedEmbedding(2 * nodes, self.width)

    def forward(self, nodes: Tensor) -> Tensor:
        # (B, D, N) -> (B, N // s1, N)
        theta, phi = self.theta(nodes), self.phi(nodes)
        relations = self._embedded(theta, phi)
        if self.form == "direct":
            return self.varphi.activated(relations)
        # Two small products make it again; kept, it would be the largest tensor of the module.
        with recomputed(relations, partial(self._embedded, theta.detach(), phi.detach())):
            return self.varphi.activated(relations)

    def _embedded(self, theta: Tensor, phi: Tensor) -> Tensor:
        return embedded_relations(theta, phi, self.varphi.conv.weight.squeeze(2), self.form)


class RelationGraph(nn.Module):
    """One map of features (B, C, H, W): the sigmoid of what W1 and W2 infer at each node (Eq. 3).

    Args:
        channels: C.
        size: (H, W) of the features, which the number of relations depends on.
        s1: Ratio by which nodes and relations are reduced.
        s2: Ratio between W1's two sides.
        relations: Without them, the paper's row w/o Rel.
        visual: Without the nodes themselves, the paper's row w/o Vis.
        form: How the relations are computed; see `dreal_lib.attention.relations`.
        settings: The open points.

    Raises:
        UserError: A number, size or form that cannot be, or neither relations nor visual.
    """

    kind: ClassVar[str]

    def __init__(
        self,
        channels: int,
        size: tuple[int, int],
        *,
        s1: int = 8,
        s2: int = 8,
        relations: bool = True,
        visual: bool = True,
        form: Form = "cheaper",
        settings: RGASettings = AS_PUBLISHED,
    ):
        super().__init__()
        _refuse_impossible(channels, s1, s2, form)
        if not (relations or visual):
            raise UserError("RGA needs relations, visual features or both; got neither")
        self.channels, self.size = channels, tuple(size)
        nodes, dimensions = self.nodes_and_dimensions()
        self.pooled = relations or settings.without_relations == "pooled"
        inner = max(dimensions // s1, 1)
        self.psi = SharedEmbedding(dimensions, inner) if visual else None
        self.relations = RelationEmbedding(nodes, dimensions, s1, form) if relations else None
        self.widths = [1 if self.pooled else inner] if visual else []
        self.widths += [self.relations.width] if relations else []
        hidden = max(sum(self.widths) // s2, 1)
        self.w1 = nn.Conv1d(sum(self.widths), hidden, 1, bias=False)
        self.bn1 = nn.BatchNorm1d(hidden)
        self.w2 = nn.Conv1d(hidden, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm1d(1)
        if settings.attention_init == "kaiming":
            for module in self.modules():
                if isinstance(module, nn.Conv1d):
                    nn.init.kaiming_normal_(module.weight)

    def nodes_and_dimensions(self) -> tuple[int, int]:
        """N and D."""
        raise NotImplementedError

    def inferred(self, nodes: Tensor) -> Tensor:
        """a of Eq. 3, (B, 1, N), of nodes (B, D, N)."""
        parts = []
        if self.psi is not None:
            visual = self.psi(nodes)
            parts.append(visual.mean(1, keepdim=True) if self.pooled else visual)  # pool_c
        if self.relations is not None:
            parts.append(self.relations(nodes))
        # W1 meets each part of Eq. 2's y by itself: their concatenation would be kept in memory.
        weights = self.w1.weight.split(self.widths, 1)
        hidden = sum(F.conv1d(part, weight) for part, weight in zip(parts, weights, strict=True))
        hidden = F.relu(self.bn1(hidden), inplace=True)
        return torch.sigmoid(self.bn2(self.w2(hidden)))

    def check(self, features: Tensor) -> None:
        """Raises UserError for features of another shape than the module was built for."""
        if features.shape[1] != self.channels:
            raise UserError(
                f"this RGA module was built for {self.channels} channels; got {features.shape[1]}; "
                f"build it with channels={features.shape[1]}"
            )
        refuse_other_size(self, self.size, features)


class SpatialGraph(RelationGraph):
    """The graph of RGA-S (section 3.2): positions are nodes, of C dimensions."""

    kind = "spatial"

    def nodes_and_dimensions(self) -> tuple[int, int]:
        height, width = self.size
        return height * width, self.channels

    def forward(self, features: Tensor) -> Tensor:
        """The map, (B, 1, H, W), of features (B, C, H, W)."""
        self.check(features)
        return self.inferred(features.flatten(2)).unflatten(2, self.size)


class ChannelGraph(RelationGraph):
    """The graph of RGA-C (section 3.3): channels are nodes, of HW dimensions."""

    kind = "channel"

    def nodes_and_dimensions(self) -> tuple[int, int]:
        height, width = self.size
        return self.channels, height * width

    def forward(self, features: Tensor) -> Tensor:
        """The map, (B, C), of features (B, C, H, W)."""
        self.check(features)
        return self.inferred(features.flatten(2).mT).squeeze(1)


def _refuse_impossible(channels: int, s1: int, s2: int, form: str) -> None:
    if form not in get_args(Form):
        raise unknown_choice("form of the relations", form, get_args(Form))
    for name, value in (("channels", channels), ("s1", s1), ("s2", s2)):
        if type(value) is not int or value < 1:
            raise UserError(f"{name} must be a whole number of at least 1; got {value!r}; try 8")
