"""The method once more, slowly: full forward passes, one for each block, and loops.

Written from the paper (Eqs. 1 to 10, Algorithm 1) and the protocol's readings of it, not from the
library: it takes nothing of `dreal_lib` but the values of a network's weights. Losses are computed
and differentiated apart, each with respect to its own group of parameters.

Letters: B batch, C channels, H, W, K classes, S size of a map.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor

Weights = Mapping[str, Tensor]

# Parameters of the networks of Table 1 at 224 px and 1000 classes (computed, not published):
# the network alone, and with its critics.
TRUE_PARAMETERS = {
    "se_resnet50": (28_088_024, 28_118_792),
    "se_resnet101": (49_326_872, 49_357_640),
    "cbam_resnet50": (28_089_624, 28_153_760),
    "cbam_resnet101": (49_330_172, 49_394_308),
    "srm_resnet50": (25_617_448, 25_648_216),
    "srm_resnet101": (44_679_208, 44_709_976),
}
BLOCKS = {14: (1, 1, 1, 1), 26: (2, 2, 2, 2), 38: (3, 3, 3, 3), 50: (3, 4, 6, 3)}
BLOCKS |= {101: (3, 4, 23, 3)}
DEFAULTS = {
    "gamma": 1.0,
    "quality_weight": 1.0,
    "regression_weight": 1.0,
    "bypass_unit": "block",
    "bypass_mean": "entries",
    "later_maps": "recomputed",
    "reward_statistics": "batch",
    "loss_reduction": "sum",
    "spatial_state": "refined",
    "critic_input_norm": "off",
}


@dataclass(frozen=True)
class Architecture:
    """What the state dict does not say of a network."""

    attention: str
    depth: int
    stem_stride: int
    stem_pooled: bool
    last_stride: int = 2
    neck: bool = False  # a BN between the pooled features and a classifier without bias

    @property
    def blocks(self) -> list[str]:
        counts = enumerate(BLOCKS[self.depth], start=1)
        return [f"layer{stage}.{index}" for stage, count in counts for index in range(count)]

    def maps_of(self, block: str) -> list[str]:
        kinds = ("channel", "spatial") if self.attention == "cbam" else ()
        return [f"{block}.{kind}" for kind in kinds] or [block]


class HandNorm:
    """Batch normalization: "measured" (and kept), "kept" from an earlier pass, or "running"."""

    def __init__(self, weights: Weights, mode: str, kept: dict | None = None):
        self.weights, self.mode, self.kept = weights, mode, {} if kept is None else kept

    def __call__(self, name: str, x: Tensor) -> Tensor:
        axes = [axis for axis in range(x.dim()) if axis != 1]
        shape = [-1 if axis == 1 else 1 for axis in range(x.dim())]
        if self.mode == "measured":
            mean = x.mean(axes)
            variance = ((x - mean.view(shape)) ** 2).mean(axes)
            self.kept[name] = (mean.detach(), variance.detach())
        elif self.mode == "kept":
            mean, variance = self.kept[name]
        else:
            mean, variance = (self.weights[f"{name}.running_{what}"] for what in ("mean", "var"))
        normal = (x - mean.view(shape)) / torch.sqrt(variance.view(shape) + 1e-5)
        weight, bias = self.weights[f"{name}.weight"], self.weights[f"{name}.bias"]
        return normal * weight.view(shape) + bias.view(shape)


def attend(weights: Weights, kind: str, name: str, features: Tensor, norm: HandNorm) -> Tensor:
    """The map that the module `name` makes of `features`: Eqs. 4 to 7."""

    def mlp(vector: Tensor) -> Tensor:
        hidden = vector @ weights[f"{name}.fc1.weight"].T + weights[f"{name}.fc1.bias"]
        hidden = torch.clamp(hidden, min=0)
        return hidden @ weights[f"{name}.fc2.weight"].T + weights[f"{name}.fc2.bias"]

    flat = features.flatten(2)  # (B, C, HW)
    if kind == "se":  # Eq. 4
        return 1 / (1 + torch.exp(-mlp(flat.mean(2))))
    if kind == "cbam_channel":  # Eq. 6
        return 1 / (1 + torch.exp(-mlp(flat.mean(2)) - mlp(flat.max(2).values)))
    if kind == "cbam_spatial":  # Eq. 5
        pooled = torch.stack([features.mean(1), features.max(1).values], 1)
        mixed = F.conv2d(pooled, weights[f"{name}.conv.weight"], padding=3)
        return 1 / (1 + torch.exp(-norm(f"{name}.bn", mixed)))
    n = flat.shape[2]  # Eq. 7; the variance is unbiased, eps inside the root
    mean = flat.mean(2)
    deviation = torch.sqrt(((flat - mean.unsqueeze(2)) ** 2).sum(2) / (n - 1) + 1e-5)
    cfc = weights[f"{name}.cfc"]
    style = mean * cfc[:, 0] + deviation * cfc[:, 1]
    return 1 / (1 + torch.exp(-norm(f"{name}.bn", style)))


@dataclass
class Pass:
    """A forward pass: logits, and by name of the map the map, what it multiplies, the block's F."""

    logits: Tensor = None
    maps: dict[str, Tensor] = field(default_factory=dict)
    multiplied: dict[str, Tensor] = field(default_factory=dict)
    raw: dict[str, Tensor] = field(default_factory=dict)

    def state(self, name: str, spatial_state: str) -> Tensor:
        """F~: averaged over H and W, or for a spatial map over C."""
        if not name.endswith(".spatial"):
            return self.multiplied[name].mean((2, 3))
        seen = self.multiplied if spatial_state == "refined" else self.raw
        return seen[name].mean(1, keepdim=True)


def attention_modules(architecture: Architecture, block: str) -> list[tuple[str, str, str]]:
    """(name of the map, kind, name of the module) of a block."""
    if architecture.attention != "cbam":
        return [(block, architecture.attention, f"{block}.attention")]
    return [
        (f"{block}.{kind}", f"cbam_{kind}", f"{block}.attention.{kind}")
        for kind in ("channel", "spatial")
    ]


def forward(
    weights: Weights,
    architecture: Architecture,
    images: Tensor,
    norm: HandNorm,
    substitutes: Mapping[str, Tensor] | None = None,
) -> Pass:
    """The whole network; `substitutes` stand in for the maps they name."""
    done, substitutes = Pass(), substitutes or {}
    kernel = weights["conv1.weight"].shape[-1]
    x = F.conv2d(images, weights["conv1.weight"], None, architecture.stem_stride, kernel // 2)
    x = torch.clamp(norm("bn1", x), min=0)
    if architecture.stem_pooled:
        x = F.max_pool2d(x, 3, 2, 1)
    for block in architecture.blocks:
        strides = {"layer2.0": 2, "layer3.0": 2, "layer4.0": architecture.last_stride}
        stride = strides.get(block, 1)
        shortcut = x
        if f"{block}.downsample.0.weight" in weights:
            shortcut = F.conv2d(x, weights[f"{block}.downsample.0.weight"], None, stride)
            shortcut = norm(f"{block}.downsample.1", shortcut)
        y = F.conv2d(x, weights[f"{block}.conv1.weight"])
        y = torch.clamp(norm(f"{block}.bn1", y), min=0)
        y = F.conv2d(y, weights[f"{block}.conv2.weight"], None, stride, 1)
        y = torch.clamp(norm(f"{block}.bn2", y), min=0)
        y = raw = norm(f"{block}.bn3", F.conv2d(y, weights[f"{block}.conv3.weight"]))
        for name, kind, module in attention_modules(architecture, block):
            done.raw[name], done.multiplied[name] = raw, y
            made = attend(weights, kind, module, y, norm)
            done.maps[name] = substitutes.get(name, made)
            y = y * (done.maps[name] if made.dim() == 4 else done.maps[name][:, :, None, None])
        x = torch.clamp(y + shortcut, min=0)
    pooled = norm("neck", x.mean((2, 3))) if architecture.neck else x.mean((2, 3))
    done.logits = pooled @ weights["fc.weight"].T + weights.get("fc.bias", 0)
    return done


def probabilities(logits: Tensor) -> Tensor:
    odds = torch.exp(logits - logits.max(1, keepdim=True).values)
    return odds / odds.sum(1, keepdim=True)


def mean_of(attention: Tensor, bypass_mean: str) -> Tensor:
    """The map that bypasses: one number for an image, or one map for the batch."""
    if bypass_mean == "batch":
        return torch.stack([sum(attention) / len(attention)] * len(attention))
    return torch.stack([torch.full_like(own, own.sum() / own.numel()) for own in attention])


@torch.no_grad()
def slow_rewards(
    weights: Weights, architecture: Architecture, images: Tensor, labels: Tensor, blocks, settings
) -> dict[str, Tensor]:
    """Eq. 1: one forward pass of the whole batch for each bypassed block (or map)."""
    settings = {**DEFAULTS, **settings}
    mode = {"batch": "measured", "running": "running"}[settings["reward_statistics"]]
    norm = HandNorm(weights, mode)
    full = forward(weights, architecture, images, norm)
    again = HandNorm(weights, "kept" if mode == "measured" else "running", norm.kept)
    rewards = {}
    for block in blocks:
        maps = architecture.maps_of(block)
        units = {block: maps} if settings["bypass_unit"] == "block" else {m: [m] for m in maps}
        for unit, bypassed in units.items():
            held = full.maps if settings["later_maps"] == "held" else {}
            means = {m: mean_of(full.maps[m], settings["bypass_mean"]) for m in bypassed}
            without = forward(weights, architecture, images, again, {**held, **means})
            rewards[unit] = eq_1(full.logits, without.logits, labels, settings["gamma"])
    return rewards


def eq_1(logits: Tensor, bypassed_logits: Tensor, labels: Tensor, gamma: float) -> Tensor:
    p, p_bypassed = probabilities(logits), probabilities(bypassed_logits)
    rewards = torch.zeros(len(labels), dtype=logits.dtype)
    for b, c in enumerate(labels.tolist()):
        right = all(p[b, c] >= p[b, i] for i in range(p.shape[1]))
        rewards[b] = 1 - p_bypassed[b, c] / p[b, c] if right else -gamma
    return rewards


def lstm_cell(x: Tensor, h: Tensor, c: Tensor, phi: list[Tensor]) -> tuple[Tensor, Tensor]:
    """One step for scalars h, c; phi as torch orders it: W_ih, W_hh, b_ih, b_hh; gates i, f, g, o.

    Args:
        x: (B, 2S).
        h, c: (B,).
    """
    w_ih, w_hh, b_ih, b_hh = phi
    pre = [x @ w_ih[k] + b_ih[k] + h * w_hh[k, 0] + b_hh[k] for k in range(4)]
    i, f, o = (1 / (1 + torch.exp(-pre[k])) for k in (0, 1, 3))
    c = f * c + i * torch.tanh(pre[2])
    return o * torch.tanh(c), c


def slow_critiques(
    states: list[Tensor], maps: list[Tensor], phi: list[Tensor], layer_norm: bool = False
) -> list[Tensor]:
    """Eqs. 2 and 3 for the blocks of one stage, each state and map (B, ...)."""
    h = c = torch.zeros(len(states[0]), dtype=states[0].dtype)
    critiques = []
    for state, attention in zip(states, maps, strict=True):
        x = torch.cat([state.flatten(1), attention.flatten(1)], 1)
        if layer_norm:
            centred = x - x.mean(1, keepdim=True)
            x = centred / torch.sqrt((centred**2).mean(1, keepdim=True) + 1e-5)
        h, c = lstm_cell(x, h, c, phi)
        critiques.append(h)
    return critiques


@dataclass
class SlowStep:
    """Losses, rewards and critiques of a step, and the gradient that Algorithm 1 gives each group.

    `actor_gradients` holds W (from L_c) and theta (from L_c + L_q), by name of the parameter;
    `critic_gradients` phi (from L_r), by (stage, kind), in torch's order.
    """

    classification_loss: Tensor
    quality_loss: Tensor
    regression_loss: Tensor
    rewards: dict[str, Tensor]
    critiques: dict[str, Tensor]
    actor_gradients: dict[str, Tensor]
    critic_gradients: dict[tuple[str, str], list[Tensor]]


def slow_step(
    weights: Weights,
    phi: Mapping[tuple[str, str], list[Tensor]],
    architecture: Architecture,
    images: Tensor,
    labels: Tensor,
    blocks,
    settings,
) -> SlowStep:
    """Lines 4 to 12 of Algorithm 1, each loss with a graph of its own.

    Args:
        weights: State dict of the network.
        phi: By (stage, kind), the four tensors of that critic.
        architecture: Of the network.
        images, labels, blocks, settings: Of the step.
    """
    settings = {**DEFAULTS, **settings}
    weights = {
        name: tensor.detach()
        .clone()
        .requires_grad_(tensor.is_floating_point() and "running" not in name)
        for name, tensor in weights.items()
    }
    phi = {key: [t.detach().clone().requires_grad_() for t in group] for key, group in phi.items()}
    rewards = slow_rewards(weights, architecture, images, labels, blocks, settings)
    full = forward(weights, architecture, images, HandNorm(weights, "measured"))
    p = probabilities(full.logits)
    l_c = -torch.stack([p[b, c].log() for b, c in enumerate(labels.tolist())]).mean()  # Eq. 10

    quality, regression, critiques = [], [], {}
    layer_norm = settings["critic_input_norm"] == "layer"
    for (stage, kind), group in phi.items():
        chosen = [
            entry
            for block in architecture.blocks
            for entry in attention_modules(architecture, block)
            if block.startswith(f"{stage}.")
            and entry[0].endswith(".spatial") == (kind == "spatial")
        ]
        states = [full.state(name, settings["spatial_state"]).detach() for name, _, _ in chosen]
        # theta in L_q: maps made anew from features that carry no gradient; phi is frozen.
        made = [
            attend(weights, which, module, full.multiplied[name].detach(),
                   HandNorm(weights, "measured"))
            for name, which, module in chosen
        ]  # fmt: skip
        for q in slow_critiques(states, made, [t.detach() for t in group], layer_norm):
            quality.append(-q.mean())  # Eq. 8
        # phi in L_r: maps carry no gradient either.
        fixed = [full.maps[name].detach() for name, _, _ in chosen]
        predicted = slow_critiques(states, fixed, group, layer_norm)
        for (name, _, _), q in zip(chosen, predicted, strict=True):
            critiques[name] = q.detach()
            target = rewards.get(name, rewards.get(name.removesuffix(f".{kind}")))
            if target is not None:
                regression.append(((q - target) ** 2).mean())  # Eq. 9
    reduce = torch.sum if settings["loss_reduction"] == "sum" else torch.mean
    l_q, l_r = reduce(torch.stack(quality)), reduce(torch.stack(regression))
    return SlowStep(
        l_c.detach(), l_q.detach(), l_r.detach(), rewards, critiques,
        _actor_gradients(weights, l_c, l_q * settings["quality_weight"]),
        _critic_gradients(phi, l_r * settings["regression_weight"]),
    )  # fmt: skip


def _actor_gradients(weights: Weights, l_c: Tensor, l_q: Tensor) -> dict[str, Tensor]:
    names = [name for name, tensor in weights.items() if tensor.requires_grad]
    tensors = [weights[name] for name in names]
    gradients = dict(zip(names, torch.autograd.grad(l_c, tensors), strict=True))
    theta = [name for name in names if ".attention." in name]
    extra = torch.autograd.grad(l_q, [weights[name] for name in theta])
    for name, gradient in zip(theta, extra, strict=True):
        gradients[name] = gradients[name] + gradient
    return gradients


def _critic_gradients(phi, l_r: Tensor) -> dict[tuple[str, str], list[Tensor]]:
    flat = [tensor for group in phi.values() for tensor in group]
    gradients = iter(torch.autograd.grad(l_r, flat, allow_unused=True))
    return {key: [next(gradients) for _ in group] for key, group in phi.items()}


# Open-set retrieval, one query and one gallery image at a time, on nested lists or arrays.


def slow_ranking(query, gallery, metric: str) -> list[float]:
    """Distance of one feature vector to each of the gallery's, in Python's floats."""

    def cosine(a, b) -> float:
        across = sum(x * y for x, y in zip(a, b, strict=True))
        return 1 - across / (sum(x * x for x in a) * sum(y * y for y in b)) ** 0.5

    def euclidean(a, b) -> float:
        return sum((x - y) ** 2 for x, y in zip(a, b, strict=True)) ** 0.5

    distance = {"cosine": cosine, "euclidean": euclidean}[metric]
    query = [float(x) for x in query]
    return [distance(query, [float(y) for y in other]) for other in gallery]


def slow_retrieval(
    distances, query_ids, gallery_ids, query_cameras=None, gallery_cameras=None
) -> dict[str, object]:
    """Walks down every ranking, counting; distances[q][g]; the protocol of the re-id data sets."""
    cmc, steps, trapezoids, penalties, rankings = [0] * len(gallery_ids), [], [], [], []
    queries, first_ranks = [], []
    for q, row in enumerate(distances):
        ranking = []
        for g in sorted(range(len(gallery_ids)), key=lambda g, row=row: (row[g], g)):
            same = gallery_ids[g] == query_ids[q]
            if gallery_ids[g] == -1:
                continue
            if query_cameras is not None and same and gallery_cameras[g] == query_cameras[q]:
                continue
            ranking.append(g)
        rankings.append(ranking)
        right = [bool(gallery_ids[g] == query_ids[q]) for g in ranking]
        if not any(right):
            continue
        for n in range(len(cmc)):
            cmc[n] += any(right[: n + 1])
        step = trapezoid = old_recall = 0.0
        old_precision, hits, hardest = 1.0, 0, 0
        for n, hit in enumerate(right, start=1):
            hits += hit
            recall, precision = hits / sum(right), hits / n
            if hit:
                step += precision / sum(right)
                hardest = n
            trapezoid += (recall - old_recall) * (old_precision + precision) / 2
            old_recall, old_precision = recall, precision
        queries.append(q)
        first_ranks.append(right.index(True) + 1)
        steps.append(step)
        trapezoids.append(trapezoid)
        penalties.append(sum(right) / hardest)
    valid = len(steps)
    return {
        "cmc": [count / valid for count in cmc] if valid else [],
        "map_step": sum(steps) / valid if valid else None,
        "map_trapezoid": sum(trapezoids) / valid if valid else None,
        "minp": sum(penalties) / valid if valid else None,
        "valid_queries": valid,
        "queries": queries,
        "first_ranks": first_ranks,
        "average_precisions": steps,
        "rankings": rankings,
    }


def slow_reranking(queries, gallery, metric: str, k1: int, k2: int, weight: float):
    """k-reciprocal re-ranked distances, [q][g]: sets and dense rows, an image at a time."""
    images = [[float(x) for x in row] for row in [*queries, *gallery]]
    everyone = range(len(images))
    squared = []
    for image in images:
        row = slow_ranking(image, images, metric)
        row = [2 * d if metric == "cosine" else d * d for d in row]
        squared.append([d / max(row) for d in row])
    near = [sorted(everyone, key=lambda j, i=i: (j != i, squared[i][j], j)) for i in everyone]

    def reciprocal(i: int, k: int) -> set[int]:
        return {j for j in near[i][: k + 1] if i in near[j][: k + 1]}

    encodings = []
    for i in everyone:
        expanded = set(reciprocal(i, k1))
        for j in reciprocal(i, k1):
            candidates = reciprocal(j, round(k1 / 2))
            if 3 * len(candidates & reciprocal(i, k1)) >= 2 * len(candidates):
                expanded |= candidates
        weights = [math.exp(-squared[i][j]) if j in expanded else 0.0 for j in everyone]
        encodings.append([w / sum(weights) for w in weights])
    averaged = [
        [sum(encodings[j][c] for j in near[i][:k2]) / k2 for c in everyone] for i in everyone
    ]
    distances = []
    for q in range(len(queries)):
        row = []
        for g in range(len(queries), len(images)):
            pairs = list(zip(averaged[q], averaged[g], strict=True))
            jaccard = 1 - sum(map(min, pairs)) / sum(map(max, pairs))
            row.append((1 - weight) * jaccard + weight * squared[q][g])
        distances.append(row)
    return distances
