"""RGA written out node by node, from the paper and from what the authors' release holds.

It knows nothing of `dreal_lib`: parameters are a dict by the release's names, and every affinity is
one dot product. Slow, float64, differentiable. Batch normalisation is by the batch (training) or by
the running statistics.
"""

import math

import torch
from torch import Tensor

EPS = 1e-5


def released_shapes(
    channels: int, positions: int, kinds: tuple[str, ...], s1: int, s2: int
) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the release's state dict, without `num_batches_tracked`."""
    shapes: dict[str, tuple[int, ...]] = {}

    def layer(name: str, conv: int, before: int, after: int) -> None:
        shapes[f"{name}.{conv}.weight"] = (after, before, 1, 1)
        for entry in ("weight", "bias", "running_mean", "running_var"):
            shapes[f"{name}.{conv + 1}.{entry}"] = (after,)

    for kind in kinds:
        nodes, dims = (positions, channels) if kind == "spatial" else (channels, positions)
        layer(f"gx_{kind}", 0, dims, dims // s1)
        layer(f"theta_{kind}", 0, dims, dims // s1)
        layer(f"phi_{kind}", 0, dims, dims // s1)
        layer(f"gg_{kind}", 0, 2 * nodes, nodes // s1)
        layer(f"W_{kind}", 0, 1 + nodes // s1, (1 + nodes // s1) // s2)
        layer(f"W_{kind}", 3, (1 + nodes // s1) // s2, 1)
    return shapes


def made_up_state(shapes: dict[str, tuple[int, ...]], seed: int = 0) -> dict[str, Tensor]:
    """Values off any initial one: weights of unit variance by fan-in, positive variances."""
    generator = torch.Generator().manual_seed(seed)
    state = {}
    for name, shape in shapes.items():
        value = torch.randn(shape, generator=generator, dtype=torch.float64)
        if name.endswith("running_var"):
            value = 0.5 + value.abs()
        elif len(shape) == 4:
            value = value / math.sqrt(shape[1])
        state[name] = value
    return state


def normalised(rows: list[list[Tensor]], state, name: str, training: bool) -> list[list[Tensor]]:
    """BN of vectors rows[b][i] over all images and nodes."""
    everything = torch.stack([vector for image in rows for vector in image])
    if training:
        mean = everything.sum(0) / len(everything)
        variance = ((everything - mean) ** 2).sum(0) / len(everything)
    else:
        mean, variance = state[f"{name}.running_mean"], state[f"{name}.running_var"]
    scale, shift = state[f"{name}.weight"], state[f"{name}.bias"]
    return [
        [scale * (vector - mean) / torch.sqrt(variance + EPS) + shift for vector in image]
        for image in rows
    ]


def layer(rows, state, name: str, training: bool, conv: int = 0, relu: bool = True):
    """1x1 convolution without bias, BN, and ReLU if there is one."""
    weight = state[f"{name}.{conv}.weight"][:, :, 0, 0]
    rows = [[weight @ vector for vector in image] for image in rows]
    rows = normalised(rows, state, f"{name}.{conv + 1}", training)
    return [[vector.clamp(min=0) if relu else vector for vector in image] for image in rows]


def attention_of_nodes(
    rows,
    state,
    kind: str,
    training: bool,
    relations: bool = True,
    visual: bool = True,
    pooled: bool = True,
) -> Tensor:
    """a of Eq. 3, (B, N), of nodes rows[b][i], each a vector."""
    y: list[list[list[Tensor]]] = [[[] for _ in image] for image in rows]
    if visual:
        for b, image in enumerate(layer(rows, state, f"gx_{kind}", training)):
            for i, vector in enumerate(image):
                y[b][i].append(vector.mean().reshape(1) if pooled else vector)
    if relations:
        theta = layer(rows, state, f"theta_{kind}", training)
        phi = layer(rows, state, f"phi_{kind}", training)
        related = []
        for b in range(len(rows)):
            nodes = range(len(rows[b]))
            r = [[theta[b][i].dot(phi[b][j]) for j in nodes] for i in nodes]
            related.append([torch.stack(r[i] + [r[j][i] for j in nodes]) for i in nodes])
        for b, image in enumerate(layer(related, state, f"gg_{kind}", training)):
            for i, vector in enumerate(image):
                y[b][i].append(vector)
    joined = [[torch.cat(parts) for parts in image] for image in y]
    hidden = layer(joined, state, f"W_{kind}", training)
    logits = layer(hidden, state, f"W_{kind}", training, conv=3, relu=False)
    return torch.stack([torch.cat(image) for image in logits]).sigmoid()


def spatial_map(x: Tensor, state, training: bool, **parts) -> Tensor:
    """(B, 1, H, W): positions are nodes, row by row of the image."""
    b, _, h, w = x.shape
    rows = [[image[:, i // w, i % w] for i in range(h * w)] for image in x]
    return attention_of_nodes(rows, state, "spatial", training, **parts).reshape(b, 1, h, w)


def channel_map(x: Tensor, state, training: bool, **parts) -> Tensor:
    """(B, C, 1, 1): channels are nodes, whose vectors list the positions row by row."""
    rows = [[channel.flatten() for channel in image] for image in x]
    return attention_of_nodes(rows, state, "channel", training, **parts)[..., None, None]


def rga(x: Tensor, state, kinds: tuple[str, ...], training: bool) -> Tensor:
    """The release's module: the spatial map first, the channel map of what it modulated."""
    if "spatial" in kinds:
        x = x * spatial_map(x, state, training)
    if "channel" in kinds:
        x = x * channel_map(x, state, training)
    return x
