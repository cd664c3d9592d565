"""`torch.compile` of each block changes nothing, for baseline and reinforced steps.

No graph may break within a block (`fullgraph=True`). What must be set for Dynamo stands in
CONTRIBUTING.md.
"""

import shutil

import pytest
import torch
import torch._dynamo as dynamo
import torch._inductor.config as inductor

from dreal_lib.actor_critic.baseline import Baseline
from dreal_lib.actor_critic.reinforcement import reinforce
from dreal_lib.networks.backbones import create_model

COMPILERS = ("c++", "g++", "clang++")


@pytest.fixture(autouse=True)
def dynamo_as_documented(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "inductor"))
    dynamo.reset()
    with dynamo.config.patch(skip_nnmodule_hook_guards=False, recompile_limit=256):
        yield
    dynamo.reset()


def learner(name: str, method: str):
    """Two calls give the same weights and, of a reinforced learner, the same draws."""
    torch.manual_seed(0)
    model = create_model(name, 3, width=4, stem="cifar")
    if method == "baseline":
        return Baseline(model)
    return reinforce(model, image_size=16, generator=torch.Generator().manual_seed(0))


def batches(count: int):
    generator = torch.Generator().manual_seed(1)
    for _ in range(count):
        images = torch.randn(8, 3, 16, 16, generator=generator)
        yield images, torch.randint(3, (8,), generator=generator)


def stepped(learner, images, labels) -> tuple[dict, dict]:
    """What a step gives: losses and rewards, and gradients; with running statistics among them."""
    learner.zero_grad()
    step = learner.training_step(images, labels)
    step.loss.backward()
    made = {"loss": step.loss.detach(), "logits": step.logits.detach(), **step.rewards}
    made |= {name: buffer.clone() for name, buffer in learner.named_buffers()}
    gradients = {n: p.grad.clone() for n, p in learner.named_parameters() if p.grad is not None}
    return made, gradients


@pytest.mark.parametrize(
    ("name", "method"),
    [("se_resnet26", "reinforced"), ("cbam_resnet14", "reinforced"), ("srm_resnet14", "baseline")],
)
def test_a_block_is_captured_whole_and_computes_the_same(name, method):
    """Dynamo captures, torch itself computes: to the bit. With two blocks a stage, draws vary.

    Stages differ in size alone, but for the first, which keeps its input's.
    """
    plain, compiled = learner(name, method), learner(name, method)
    for stage in ("layer1", "layer2"):
        for block in compiled.actor.get_submodule(stage):
            block.compile(fullgraph=True, backend="eager")
    dynamo.utils.counters.clear()
    drawn = set()
    for images, labels in batches(3):
        expected, found = stepped(plain, images, labels), stepped(compiled, images, labels)
        for one, two in zip(expected, found, strict=True):
            assert one.keys() == two.keys()
            for key, value in one.items():
                torch.testing.assert_close(two[key], value, rtol=0, atol=0, equal_nan=True)
        drawn.add(tuple(getattr(plain, "drawn", None) or ()))
    assert dynamo.utils.counters["stats"]["unique_graphs"] >= 2
    assert not dynamo.utils.counters["graph_break"]
    assert len(drawn) > 1 or name != "se_resnet26" or method == "baseline"


@pytest.mark.skipif(not any(map(shutil.which, COMPILERS)), reason="Inductor needs a C++ compiler")
def test_a_block_compiled_by_inductor_learns_the_same():
    """The default backend, on one block: each of its graphs takes the compiler many seconds."""
    plain, compiled = (learner("se_resnet14", "reinforced") for _ in range(2))
    compiled.actor.layer4[0].compile(fullgraph=True)
    dynamo.utils.counters.clear()
    with inductor.patch(compile_threads=1):  # no processes that outlive the test
        for images, labels in batches(2):
            expected, found = stepped(plain, images, labels), stepped(compiled, images, labels)
            for key, value in expected[0].items():
                torch.testing.assert_close(found[0][key], value, rtol=1e-4, atol=1e-5)
            assert expected[1].keys() == found[1].keys()
            for key, gradient in expected[1].items():
                largest = float(gradient.abs().max())
                assert float((found[1][key] - gradient).abs().max()) <= 1e-3 * largest + 1e-7
    assert dynamo.utils.counters["stats"]["unique_graphs"] >= 1
    assert dynamo.utils.counters["inductor"]
    assert not dynamo.utils.counters["graph_break"]


class Tail(torch.nn.Sequential):
    """Without a gate."""


def test_found_gates_beside_compiled_blocks():
    """Blocks with a found gate run as they are written in a step; the others stay compiled."""
    from foreign_networks import SE, Public

    def network():
        torch.manual_seed(0)
        model = Public(SE)
        model.fc = Tail(torch.nn.Linear(16, 8), torch.nn.ReLU(), torch.nn.Linear(8, 3))
        return model

    plain, compiled = (
        reinforce(network(), 16, generator=torch.Generator().manual_seed(0)) for _ in range(2)
    )
    compiled.critics.load_state_dict(plain.critics.state_dict())
    block = compiled.actor.layer1[0]
    block.compile(backend="eager")
    compiled.actor.fc.compile(backend="eager")
    dynamo.utils.counters.clear()
    for images, labels in batches(2):
        expected, found = stepped(plain, images, labels), stepped(compiled, images, labels)
        for one, two in zip(expected, found, strict=True):
            assert one.keys() == two.keys()
            for key, value in one.items():
                torch.testing.assert_close(two[key], value, rtol=0, atol=0)
    assert block._compiled_call_impl is not None
    assert dynamo.utils.counters["stats"]["unique_graphs"] >= 1
    assert not dynamo.utils.counters["graph_break"]
