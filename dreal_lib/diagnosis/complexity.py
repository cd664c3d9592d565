"""Parameters and multiply-accumulates, of a network alone and with its critics (Table 1).

True figures, and beside them the paper's convention, which differs in two ways: a counter of leaf
modules overlooks a parameter that sits next to sub-modules (the CFC weight of SRM, 2C a block),
and the LSTM shared by the N blocks of a stage is counted N(N+1) times, though N calls are made.
Neither is stated in the paper; both are read off its figures.

Counted are convolutions and matrix products, as everywhere in this field: no biases, pooling, BN
or activations, and of an LSTM cell its linear maps. Nothing is computed: networks run on the meta
device.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from dreal_lib.actor_critic.blocks import AttentionMap, find_maps
from dreal_lib.actor_critic.critic import RecurrentCritic
from dreal_lib.networks.backbones import STAGES, create_model
from dreal_lib.runtime.modes import evaluation_mode

TABLE_1_IMAGE_SIZE = 224
TABLE_1_CLASSES = 1000


@dataclass(frozen=True)
class Cost:
    """What a network costs per image, alone and while it is trained with critics.

    Attributes:
        true_parameters: Every parameter of the network.
        paper_parameters: Those that a counter of leaf modules sees.
        gmacs: Multiply-accumulates of one forward pass, in 10^9; the paper calls them GFLOPs.
        reinforced_true_parameters: With the critics.
        reinforced_paper_parameters: With the critics, of leaf modules.
        reinforced_gmacs: With one call of the critic for each map. Counterfactual predictions,
            up to one more forward pass for each stage, are not in it, nor in the paper's figure.
        reinforced_paper_gmacs: With N(N+1) calls for the N maps of a stage and kind.
    """

    true_parameters: int
    paper_parameters: int
    gmacs: float
    reinforced_true_parameters: int
    reinforced_paper_parameters: int
    reinforced_gmacs: float
    reinforced_paper_gmacs: float


def count_parameters(model: nn.Module) -> int:
    """Number of parameters of a module; one that is used in several places counts once."""
    return sum(parameter.numel() for parameter in model.parameters())


def count_leaf_parameters(model: nn.Module) -> int:
    """Number of parameters held by modules without sub-modules: the paper's convention."""
    leaves = (module for module in model.modules() if not list(module.children()))
    return sum(p.numel() for leaf in leaves for p in leaf.parameters(recurse=False))


def count_macs(model: nn.Module, image_size: int | tuple[int, int]) -> int:
    """Multiply-accumulates of convolutions and matrix products for one image.

    Args:
        model: Any network for images (B, 3, H, W); it is neither run nor changed.
        image_size: Side, or (H, W).
    """
    height, width = (image_size, image_size) if isinstance(image_size, int) else image_size
    dtype = next(model.parameters()).dtype
    image = torch.zeros(1, 3, height, width, device="meta", dtype=dtype)
    tensors = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    on_meta = {name: tensor.detach().to("meta") for name, tensor in tensors.items()}
    counter = FlopCounterMode(display=False)
    with evaluation_mode(model), torch.no_grad(), counter:
        torch.func.functional_call(model, on_meta, (image,))
    return counter.get_total_flops() // 2  # a multiplication and an addition


def critics_of(maps: Sequence[AttentionMap]) -> list[tuple[RecurrentCritic, int]]:
    """The critics of the given maps, on the meta device, and the number of maps each judges."""
    stages = dict.fromkeys((item.stage, item.kind) for item in maps)
    judged = [[m for m in maps if (m.stage, m.kind) == stage] for stage in stages]
    with torch.device("meta"):
        return [(RecurrentCritic(group[0].size), len(group)) for group in judged]


def count_cell_macs(critic: RecurrentCritic) -> int:
    """Multiply-accumulates of one call: four gates, each a product with (F~, A) and with h."""
    return critic.lstm.weight_ih_l0.numel() + critic.lstm.weight_hh_l0.numel()


@cache
def table_1_costs(network: str) -> Cost:
    """What a network of Table 1 costs, at 224 px and 1000 classes.

    Args:
        network: One with attention, e.g. "se_resnet50".

    Raises:
        UserError: Unknown network (lists the choices), or one without attention.
    """
    with torch.device("meta"):
        model = create_model(network, TABLE_1_CLASSES, image_size=TABLE_1_IMAGE_SIZE)
    critics = critics_of(find_maps(model, STAGES, TABLE_1_IMAGE_SIZE))
    true, seen = count_parameters(model), count_leaf_parameters(model)
    macs = count_macs(model, TABLE_1_IMAGE_SIZE)
    added = sum(count_parameters(critic) for critic, _ in critics)
    calls = sum(count_cell_macs(critic) * blocks for critic, blocks in critics)
    paper_calls = sum(count_cell_macs(c) * blocks * (blocks + 1) for c, blocks in critics)
    return Cost(
        true_parameters=true,
        paper_parameters=seen,
        gmacs=macs / 1e9,
        reinforced_true_parameters=true + added,
        reinforced_paper_parameters=seen + added,
        reinforced_gmacs=(macs + calls) / 1e9,
        reinforced_paper_gmacs=(macs + paper_calls) / 1e9,
    )
