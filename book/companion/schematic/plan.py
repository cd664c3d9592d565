"""Fig. 1 as data: what the schematic of the method says, read from a network and its critics.

Shapes are those of a forward pass of the network itself (on the meta device, so at no cost), the
critic's input is what its LSTM is called with, and who learns from which loss is what
backpropagation reaches in one training step of the same network on small images. Nothing is written
down by hand that the code decides. `text` words it, `figure` draws it.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from book.companion.pages.catalogue import check_image_size
from dreal_lib.actor_critic.agent import Agent
from dreal_lib.actor_critic.counterfactual import Trace, observed
from dreal_lib.actor_critic.reinforcement import reinforce
from dreal_lib.diagnosis.complexity import TABLE_1_CLASSES, count_parameters
from dreal_lib.networks.backbones import STAGES, create_model
from dreal_lib.runtime.modes import evaluation_mode

PROBE_SIZE = 64  # of the training step; who learns from what does not depend on it
LOSSES = {
    "L_c": "classification_loss",
    "L_q": "quality_loss",
    "L_r": "regression_loss",
}


@dataclass(frozen=True)
class MapPlan:
    """One attention map: the shapes, for one image, of all that it is made from.

    Attributes:
        name: E.g. "layer3.1" or "layer3.1.channel".
        block: E.g. "layer3.1".
        kind: "channel" or "spatial".
        actor: The class that makes the map.
        state: F, (C, H, W).
        descriptor: What F_ext makes of F.
        action: A.
        reduced: F~, the state as the critic reads it.
    """

    name: str
    block: str
    kind: str
    actor: str
    state: tuple[int, ...]
    descriptor: tuple[int, ...]
    action: tuple[int, ...]
    reduced: tuple[int, ...]


@dataclass(frozen=True)
class CriticPlan:
    """A critic and the maps that it judges, one after the other.

    Attributes:
        name: Of the module below `Agent.critics`.
        stage: E.g. "layer3".
        kind: Of its maps.
        module: Its class.
        maps: In the order in which it reads them.
        input_size: Width of the LSTM's input, 2S.
        parameters: Number of parameters of the critic.
    """

    name: str
    stage: str
    kind: str
    module: str
    maps: tuple[MapPlan, ...]
    input_size: int
    parameters: int


@dataclass(frozen=True)
class Schematic:
    """All that Fig. 1 and its table say.

    Attributes:
        network: E.g. "se_resnet50".
        image_size: Side of the images.
        critics: By stage, from shallow to deep; channel before spatial.
        routes: By loss ("L_c", "L_q", "L_r"), which parameters ("W": backbone, "theta": attention,
            "phi": critics) a step's backward pass reaches.
    """

    network: str
    image_size: int
    critics: tuple[CriticPlan, ...]
    routes: Mapping[str, tuple[str, ...]]

    def of_stage(self, stage: str) -> tuple[CriticPlan, ...]:
        return tuple(critic for critic in self.critics if critic.stage == stage)

    def blocks(self, stage: str) -> tuple[str, ...]:
        """The blocks of a stage that hold attention."""
        plans = (item for critic in self.of_stage(stage) for item in critic.maps)
        return tuple(dict.fromkeys(item.block for item in plans))

    @property
    def stages(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(critic.stage for critic in self.critics))

    @property
    def longest_stage(self) -> str:
        """The stage with the most blocks: the one that is drawn."""
        return max(self.stages, key=lambda stage: len(self.blocks(stage)))


def describe(network: str, image_size: int = 224) -> Schematic:
    """Read a network and its critics.

    Args:
        network: One with attention, e.g. "cbam_resnet50".
        image_size: Side of the images.

    Raises:
        UserError: No such network, one without attention, or a size that cannot be.
    """
    check_image_size("image_size", image_size)
    with torch.random.fork_rng(devices=[]):  # the caller's random numbers stay as they were
        model = create_model(network, TABLE_1_CLASSES)
        routes = gradient_routes(reinforce(model, PROBE_SIZE, STAGES))
        model = model.to("meta")
        critics = read_critics(reinforce(model, image_size, STAGES), image_size)
    return Schematic(network, image_size, critics, routes)


def gradient_routes(agent: Agent) -> dict[str, tuple[str, ...]]:
    """Which parameters each loss of one training step reaches, by `torch.autograd`.

    Args:
        agent: For images of `PROBE_SIZE`; its running statistics move.
    """
    images = torch.rand(2, 3, PROBE_SIZE, PROBE_SIZE)
    labels = torch.zeros(2, dtype=torch.long)
    step = agent.training_step(images, labels, [item.block for item in agent.maps])
    theta = {id(p) for item in agent.maps for p in item.actor.parameters()}
    learners = {
        "W": [p for p in agent.actor.parameters() if id(p) not in theta],
        "theta": [p for p in agent.actor.parameters() if id(p) in theta],
        "phi": list(agent.critics.parameters()),
    }
    return {
        loss: tuple(
            name
            for name, parameters in learners.items()
            if _reaches(getattr(step, attribute), parameters)
        )
        for loss, attribute in LOSSES.items()
    }


def _reaches(loss: Tensor, parameters: list[nn.Parameter]) -> bool:
    gradients = torch.autograd.grad(loss, parameters, retain_graph=True, allow_unused=True)
    return any(gradient is not None for gradient in gradients)


@torch.no_grad()
def read_critics(agent: Agent, image_size: int) -> tuple[CriticPlan, ...]:
    """Shapes of one forward pass of network and critics, in evaluation mode.

    Args:
        agent: On any device; on "meta" nothing is computed.
        image_size: That the agent was made for.
    """
    device = next(agent.parameters()).device
    image = torch.zeros(1, 3, image_size, image_size, device=device)
    with evaluation_mode(agent), observed(agent.actor, agent.maps) as trace:
        agent(image)
        return tuple(_critic_plan(agent, key, trace) for key in agent.critics.groups)


def _critic_plan(agent: Agent, key: str, trace: Trace) -> CriticPlan:
    critics, read = agent.critics, []
    critic, group = critics[key], critics.groups[key]
    hook = critic.lstm.register_forward_pre_hook(lambda _, inputs: read.append(inputs[0].shape))
    try:
        critic(*critics.inputs(key, critics.states(trace), trace.maps))
    finally:
        hook.remove()
    maps = tuple(
        MapPlan(
            name=item.name,
            block=item.block,
            kind=item.kind,
            actor=type(item.actor).__name__,
            state=tuple(trace.features[item.actor].shape[1:]),
            descriptor=tuple(trace.descriptors[item.actor].shape[1:]),
            action=tuple(trace.maps[item.actor].shape[1:]),
            reduced=tuple(critics.state(trace, item).shape[1:]),
        )
        for item in group
    )
    stage, kind, module = group[0].stage, group[0].kind, type(critic).__name__
    return CriticPlan(key, stage, kind, module, maps, read[0][-1], count_parameters(critic))
