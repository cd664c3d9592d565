"""Fixtures shared by the tests of the method: small networks with weights that are not trivial.

And the order of modules: `make test` keeps a module on one worker, so the longest go first.
"""

import signal
from pathlib import Path

import pytest
import torch
from slow_reference import Architecture

from dreal_lib.actor_critic.reinforcement import reinforce
from dreal_lib.networks.backbones import STEMS, create_model

LONGEST_FIRST = (
    "test_cli.py",
    "runtime/test_distributed.py",
    "training/test_trainer.py",
    "diagnosis/test_critic_audit.py",
    "actor_critic/test_compile.py",
    "training/test_retrieval_resume.py",
    "training/test_survival.py",
    "training/test_runs.py",
    "companion/pages/test_page.py",
    "companion/schematic/test_schematic.py",
    "tasks/test_retrieval.py",
    "actor_critic/test_counterfactual_cost.py",
    "project/test_workflow_killed.py",
    "project/test_workflow.py",
    "project/test_wheel.py",
    "training/test_resumed_runs.py",
)

# A script that starts the tests in the background has Ctrl-C ignored, in them and in every process
# that they start, and no test of an interruption could then pass.
for ignored in (signal.SIGINT, signal.SIGQUIT):
    if signal.getsignal(ignored) is signal.SIG_IGN:
        default = signal.default_int_handler if ignored == signal.SIGINT else signal.SIG_DFL
        signal.signal(ignored, default)

torch.set_num_threads(1)  # the tests run side by side, and small tensors gain nothing from threads


def pytest_collection_modifyitems(items):
    folder = Path(__file__).parent
    place = {folder / name: number for number, name in enumerate(LONGEST_FIRST)}
    items.sort(key=lambda item: place.get(item.path, len(place)))  # stable: the rest as collected


def randomise(model: torch.nn.Module, generator: torch.Generator) -> None:
    """Moves every parameter and buffer off its initial value, so that no gate is constant."""

    def uniform(tensor, low, high):
        tensor.copy_(torch.rand(tensor.shape, generator=generator) * (high - low) + low)

    with torch.no_grad():
        for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
            if name.endswith("num_batches_tracked"):
                continue
            if name.endswith("running_var") or (".bn" in name and name.endswith("weight")):
                uniform(tensor, 0.5, 1.5)
            elif name.endswith("fc1.bias"):
                uniform(tensor, 1.0, 2.0)  # a hidden unit or two: keep them from dying
            elif name.endswith(("running_mean", "bias")):
                uniform(tensor, -0.5, 0.5)
            elif ".attention." in name:
                uniform(tensor, -1.5, 1.5)
            elif name == "fc.weight":
                uniform(tensor, -0.5, 0.5)


@pytest.fixture
def make_network():
    """Function from a name to (network, its `Architecture`), in float64 and training mode."""

    def make(name, *, num_classes=4, width=4, stem="cifar", dtype=torch.float64, seed=0):
        torch.manual_seed(seed)
        model = create_model(name, num_classes, width=width, stem=stem)
        randomise(model, torch.Generator().manual_seed(seed))
        attention, _, depth = name.partition("resnet")
        return model.to(dtype), Architecture(attention.rstrip("_"), int(depth), *STEMS[stem][1:])

    return make


@pytest.fixture
def make_batch():
    """Function from a network to (images, labels): even images are predicted right, odd wrong."""

    def make(model, *, count=6, size=16, seed=1):
        generator = torch.Generator().manual_seed(seed)
        dtype = next(model.parameters()).dtype
        images = torch.randn(count, 3, size, size, generator=generator).to(dtype)
        kept = {name: buffer.clone() for name, buffer in model.named_buffers()}
        with torch.no_grad():
            logits = model(images)
            for name, buffer in model.named_buffers():
                buffer.copy_(kept[name])
        wrong = torch.arange(count) % 2
        return images, (logits.argmax(1) + wrong) % logits.shape[1]

    return make


@pytest.fixture
def make_agent(make_network, make_batch):
    """Function from a name to (agent, architecture, images, labels); settings as `reinforce`'s."""

    def make(name, *, size=16, stem="cifar", width=4, dtype=torch.float64, **settings):
        model, architecture = make_network(name, stem=stem, width=width, dtype=dtype)
        torch.manual_seed(2)
        agent = reinforce(model, size, **settings)
        with torch.no_grad():
            for critic in agent.critics.values():
                # Small enough weights that no gate is saturated: else gradients test nothing.
                critic.lstm.weight_ih_l0.mul_(0.3)
        return agent, architecture, *make_batch(model, size=size)

    return make


@pytest.fixture
def cuda():
    """The CUDA device, or a skip."""
    if not torch.cuda.is_available():
        pytest.skip("no CUDA GPU here")
    return torch.device("cuda")
