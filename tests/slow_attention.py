"""Every family's formula once more, slowly, from its paper: sums written out, no module of torch.

Each function takes the weights by name (those of the module's state dict), the features
(B, C, H, W) and whether BN is in training, and returns what the module makes of the features.
`FORMULAE` holds one for each entry of `dreal_lib.attention.ATTENTION`.

Letters: B batch, C channels, H, W.
"""

import math
from collections.abc import Callable, Mapping

import slow_rga
import torch
from torch import Tensor

Weights = Mapping[str, Tensor]
EPS = 1e-5


def sigmoid(x: Tensor) -> Tensor:
    return 1 / (1 + torch.exp(-x))


def relu(x: Tensor) -> Tensor:
    return torch.where(x > 0, x, torch.zeros_like(x))


def softmax(x: Tensor) -> Tensor:
    """Over the last axis."""
    return torch.exp(x) / torch.exp(x).sum(-1, keepdim=True)


def linear(weights: Weights, name: str, x: Tensor) -> Tensor:
    """W x + b over axis 1 of x, whatever axes follow: a linear layer or 1x1 convolution."""
    matrix, bias = weights[f"{name}.weight"].flatten(1), weights.get(f"{name}.bias")
    out = torch.stack([sum(w * x[:, i] for i, w in enumerate(row)) for row in matrix], 1)
    return out if bias is None else out + along_channels(bias, out)


def along_channels(vector: Tensor, like: Tensor) -> Tensor:
    return vector.reshape([-1 if axis == 1 else 1 for axis in range(like.dim())])


def batch_norm(weights: Weights, name: str, x: Tensor, training: bool) -> Tensor:
    if training:
        others = [axis for axis in range(x.dim()) if axis != 1]
        mean = x.mean(others)
        variance = ((x - along_channels(mean, x)) ** 2).mean(others)
    else:
        mean, variance = (weights[f"{name}.running_{what}"] for what in ("mean", "var"))
    normal = (x - along_channels(mean, x)) / torch.sqrt(along_channels(variance, x) + EPS)
    weight, bias = weights[f"{name}.weight"], weights[f"{name}.bias"]
    return normal * along_channels(weight, x) + along_channels(bias, x)


def convolved(x: Tensor, kernel: Tensor, dilation: int = 1, stride: int = 1) -> Tensor:
    """One output channel, (B, H', W'): a cross-correlation, padded with 0 to keep the size.

    Args:
        x: (B, C, H, W).
        kernel: (C, K, K), K odd.
        dilation, stride: As usual.
    """
    height, width, reach = x.shape[2], x.shape[3], kernel.shape[1] // 2
    rows = []
    for i in range(0, height, stride):
        row = []
        for j in range(0, width, stride):
            total = torch.zeros(len(x), dtype=x.dtype)
            for u in range(-reach, reach + 1):
                for v in range(-reach, reach + 1):
                    p, q = i + u * dilation, j + v * dilation
                    if 0 <= p < height and 0 <= q < width:
                        total = total + (x[:, :, p, q] * kernel[:, u + reach, v + reach]).sum(1)
            row.append(total)
        rows.append(torch.stack(row, 1))
    return torch.stack(rows, 1)


def mean_over_positions(x: Tensor) -> Tensor:
    return x.flatten(2).sum(2) / (x.shape[2] * x.shape[3])


# --- one formula a family ------------------------------------------------------------------------


def squeeze_excitation(weights: Weights, x: Tensor, training: bool) -> Tensor:
    hidden = relu(linear(weights, "fc1", mean_over_positions(x)))
    return x * sigmoid(linear(weights, "fc2", hidden))[:, :, None, None]


def cbam_channel(weights: Weights, x: Tensor, training: bool, prefix: str = "") -> Tensor:
    def mlp(vector: Tensor) -> Tensor:
        return linear(weights, f"{prefix}fc2", relu(linear(weights, f"{prefix}fc1", vector)))

    largest = torch.stack([torch.stack([c.max() for c in image]) for image in x])
    return x * sigmoid(mlp(mean_over_positions(x)) + mlp(largest))[:, :, None, None]


def cbam_spatial(weights: Weights, x: Tensor, training: bool, prefix: str = "") -> Tensor:
    pooled = torch.stack([x.sum(1) / x.shape[1], x.sort(1).values[:, -1]], 1)
    mixed = convolved(pooled, weights[f"{prefix}conv.weight"][0]).unsqueeze(1)
    return x * sigmoid(batch_norm(weights, f"{prefix}bn", mixed, training))


def cbam(weights: Weights, x: Tensor, training: bool) -> Tensor:
    return cbam_spatial(
        weights, cbam_channel(weights, x, training, "channel."), training, "spatial."
    )


def style_recalibration(weights: Weights, x: Tensor, training: bool) -> Tensor:
    mean, count = mean_over_positions(x), x.shape[2] * x.shape[3]
    squares = ((x - mean[:, :, None, None]) ** 2).flatten(2).sum(2)
    deviation = torch.sqrt(squares / (count - 1) + EPS)
    style = weights["cfc"][:, 0] * mean + weights["cfc"][:, 1] * deviation
    return x * sigmoid(batch_norm(weights, "bn", style, training))[:, :, None, None]


def efficient_channel(weights: Weights, x: Tensor, training: bool) -> Tensor:
    mean, kernel = mean_over_positions(x), weights["conv.weight"].flatten()
    reach, gates = len(kernel) // 2, []
    for c in range(x.shape[1]):
        total = torch.zeros(len(x), dtype=x.dtype)
        for k, weight in enumerate(kernel):
            if 0 <= c + k - reach < x.shape[1]:
                total = total + weight * mean[:, c + k - reach]
        gates.append(sigmoid(total))
    return x * torch.stack(gates, 1)[:, :, None, None]


def ge_minus(weights: Weights, x: Tensor, training: bool) -> Tensor:
    return x * sigmoid(mean_over_positions(x))[:, :, None, None]


def _ge_gathered(weights: Weights, x: Tensor, training: bool) -> Tensor:
    kernel = weights["gather.0.weight"][:, 0]  # (C, H, W): the map and its kernel have one size
    return batch_norm(weights, "gather.1", (x * kernel).flatten(2).sum(2), training)


def ge_theta(weights: Weights, x: Tensor, training: bool) -> Tensor:
    return x * sigmoid(_ge_gathered(weights, x, training))[:, :, None, None]


def ge_theta_plus(weights: Weights, x: Tensor, training: bool) -> Tensor:
    hidden = relu(linear(weights, "mlp.0", _ge_gathered(weights, x, training)))
    return x * sigmoid(linear(weights, "mlp.2", hidden))[:, :, None, None]


def ge_minus_of_extent(x: Tensor, extent: int) -> Tensor:
    """GE without parameters for windows of 2 extent - 1 around every extent-th position."""
    gates = torch.empty_like(x)
    height, width = x.shape[2:]
    rows, columns = (math.ceil(side / extent) for side in (height, width))
    for i in range(height):
        for j in range(width):
            # Nearest neighbour: the window whose share of the map the position lies in.
            p, q = i * rows // height * extent, j * columns // width * extent
            top, left = max(0, p - extent + 1), max(0, q - extent + 1)
            window = x[:, :, top : p + extent, left : q + extent]
            gates[:, :, i, j] = sigmoid(mean_over_positions(window))
    return x * gates


def bottleneck(weights: Weights, x: Tensor, training: bool) -> Tensor:
    def normal(name: str, of: Tensor) -> Tensor:
        return batch_norm(weights, name, of, training)

    def dilated(name: str, of: Tensor) -> Tensor:
        kernels, bias = weights[f"{name}.weight"], weights[f"{name}.bias"]
        maps = torch.stack([convolved(of, kernel, dilation=4) for kernel in kernels], 1)
        return maps + along_channels(bias, maps)

    hidden = relu(normal("channel.1", linear(weights, "channel.0", mean_over_positions(x))))
    of_channels = normal("channel.4", linear(weights, "channel.3", hidden))
    hidden = relu(normal("spatial.1", linear(weights, "spatial.0", x)))
    hidden = relu(normal("spatial.4", dilated("spatial.3", hidden)))
    hidden = relu(normal("spatial.7", dilated("spatial.6", hidden)))
    of_positions = normal("spatial.10", linear(weights, "spatial.9", hidden))
    return x + x * sigmoid(of_channels[:, :, None, None] + of_positions)


def coordinate(weights: Weights, x: Tensor, training: bool) -> Tensor:
    height, width = x.shape[2:]
    rows, columns = x.sum(3) / width, x.sum(2) / height
    mixed = linear(weights, "reduce", torch.cat([rows, columns], 2))
    mixed = batch_norm(weights, "bn", mixed, training)
    mixed = mixed * torch.minimum(relu(mixed + 3), torch.full_like(mixed, 6.0)) / 6  # h-swish
    of_rows = sigmoid(linear(weights, "along_height", mixed[:, :, :height]))
    of_columns = sigmoid(linear(weights, "along_width", mixed[:, :, height:]))
    return x * of_rows[:, :, :, None] * of_columns[:, :, None, :]


def global_context(weights: Weights, x: Tensor, training: bool) -> Tensor:
    positions = x.flatten(2)
    share = softmax(linear(weights, "key", positions))  # (B, 1, HW)
    hidden = linear(weights, "reduce", (positions * share).sum(2))
    mean = hidden.mean(1, keepdim=True)
    variance = ((hidden - mean) ** 2).mean(1, keepdim=True)
    hidden = (hidden - mean) / torch.sqrt(variance + EPS)
    hidden = relu(hidden * weights["norm.weight"] + weights["norm.bias"])
    return x + linear(weights, "expand", hidden)[:, :, None, None]


def non_local(weights: Weights, x: Tensor, training: bool) -> Tensor:
    positions = x.flatten(2)
    theta, phi, g = (linear(weights, name, positions) for name in ("theta", "phi", "g"))
    seen = []
    for i in range(positions.shape[2]):
        share = softmax((theta[:, :, i : i + 1] * phi).sum(1))  # (B, HW)
        seen.append((share[:, None] * g).sum(2))
    added = linear(weights, "z", torch.stack(seen, 2)).reshape(x.shape)
    return x + batch_norm(weights, "bn", added, training)


def _released_names(weights: Weights, prefix: str, kind: str) -> dict[str, Tensor]:
    """The weights of one of RGA's graphs by the names of its authors' release."""
    places = {
        "psi.conv": f"gx_{kind}.0",
        "psi.bn": f"gx_{kind}.1",
        "relations.theta.conv": f"theta_{kind}.0",
        "relations.theta.bn": f"theta_{kind}.1",
        "relations.phi.conv": f"phi_{kind}.0",
        "relations.phi.bn": f"phi_{kind}.1",
        "relations.varphi.conv": f"gg_{kind}.0",
        "relations.varphi.bn": f"gg_{kind}.1",
        "w1": f"W_{kind}.0",
        "bn1": f"W_{kind}.1",
        "w2": f"W_{kind}.3",
        "bn2": f"W_{kind}.4",
    }
    found = {}
    for ours, released in places.items():
        for key in ("weight", "bias", "running_mean", "running_var"):
            value = weights.get(f"{prefix}.{ours}.{key}")
            if value is not None:
                found[f"{released}.{key}"] = value[..., None] if value.dim() == 3 else value
    return found


def _rga_spatial(weights: Weights, prefix: str, x: Tensor, training: bool) -> Tensor:
    return slow_rga.spatial_map(x, _released_names(weights, prefix, "spatial"), training)


def _rga_channel(weights: Weights, prefix: str, x: Tensor, training: bool) -> Tensor:
    return slow_rga.channel_map(x, _released_names(weights, prefix, "channel"), training)


def rga_s(weights: Weights, x: Tensor, training: bool) -> Tensor:
    return x * _rga_spatial(weights, "graph", x, training)


def rga_c(weights: Weights, x: Tensor, training: bool) -> Tensor:
    return x * _rga_channel(weights, "graph", x, training)


def rga_sc(weights: Weights, x: Tensor, training: bool) -> Tensor:
    x = x * _rga_spatial(weights, "spatial.graph", x, training)
    return x * _rga_channel(weights, "channel.graph", x, training)


def rga_cs(weights: Weights, x: Tensor, training: bool) -> Tensor:
    x = x * _rga_channel(weights, "channel.graph", x, training)
    return x * _rga_spatial(weights, "spatial.graph", x, training)


def rga_parallel(weights: Weights, x: Tensor, training: bool) -> Tensor:
    spatial = _rga_spatial(weights, "spatial", x, training)
    return x * spatial * _rga_channel(weights, "channel", x, training)


def non_local_rga_s(weights: Weights, x: Tensor, training: bool) -> Tensor:
    inner = {k.removeprefix("non_local."): v for k, v in weights.items()}
    x = non_local(inner, x, training)
    return x * _rga_spatial(weights, "spatial.graph", x, training)


def _fc_embedded(weights: Weights, x: Tensor, training: bool) -> Tensor:
    return relu(batch_norm(weights, "embedding.1", linear(weights, "embedding.0", x), training))


def _fc_logits(weights: Weights, x: Tensor, training: bool) -> tuple[Tensor, Tensor]:
    """Of FC-S, (B, 1, H, W), and of FC-C, (B, C, 1, 1), from one embedding."""
    embedded = _fc_embedded(weights, x, training)
    spatial = channel = torch.zeros(1, dtype=x.dtype)
    if "positions.0.weight" in weights:
        mean = (embedded.sum(1) / embedded.shape[1]).flatten(1)
        hidden = relu(linear(weights, "positions.0", mean))
        spatial = linear(weights, "positions.2", hidden).reshape(-1, 1, *x.shape[2:])
    if "channel.weight" in weights:
        channel = linear(weights, "channel", mean_over_positions(embedded))[:, :, None, None]
    return spatial, channel


def fc_s(weights: Weights, x: Tensor, training: bool) -> Tensor:
    return x * sigmoid(_fc_logits(weights, x, training)[0])


def fc_c(weights: Weights, x: Tensor, training: bool) -> Tensor:
    return x * sigmoid(_fc_logits(weights, x, training)[1])


def fc_parallel(weights: Weights, x: Tensor, training: bool) -> Tensor:
    spatial, channel = _fc_logits(weights, x, training)
    return x * sigmoid(spatial * channel)


FORMULAE: dict[str, Callable[[Weights, Tensor, bool], Tensor]] = {
    "se": squeeze_excitation,
    "cbam": cbam,
    "cbam_s": cbam_spatial,
    "cbam_c": cbam_channel,
    "srm": style_recalibration,
    "eca": efficient_channel,
    "ge": ge_minus,
    "ge_theta": ge_theta,
    "ge_theta_plus": ge_theta_plus,
    "bam": bottleneck,
    "coordinate": coordinate,
    "gc": global_context,
    "non_local": non_local,
    "non_local_rga_s": non_local_rga_s,
    "rga_s": rga_s,
    "rga_c": rga_c,
    "rga_sc": rga_sc,
    "rga_cs": rga_cs,
    "rga_parallel": rga_parallel,
    "fc_s": fc_s,
    "fc_c": fc_c,
    "fc_parallel": fc_parallel,
}
