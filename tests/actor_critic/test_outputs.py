"""Other labels, other outputs, other callers: what a step takes, and what it refuses."""

import copy
import io
from typing import NamedTuple

import pytest
import torch
import torch.nn.functional as F
from foreign_networks import CLASSES, SE, Public
from slow_gates import moved
from torch import distributed, multiprocessing, nn
from torch.nn.parallel import DistributedDataParallel

from dreal_lib import create_model, reinforce
from dreal_lib.actor_critic.replay import Replay
from dreal_lib.errors import UserError

SIZE = 16
BLOCKS = ["layer1.1.attention", "layer2.1.attention"]


@pytest.fixture
def batch():
    """(model, images, labels), every other image predicted right."""
    return made_batch()


def made_batch():
    torch.manual_seed(0)
    model = moved(Public(SE))
    images = torch.randn(6, 3, SIZE, SIZE, dtype=torch.float64)
    with torch.no_grad():
        right = copy.deepcopy(model)(images).argmax(1)
    return model, images, (right + torch.arange(6) % 2) % CLASSES


def agent_of(model, images, **options):
    torch.manual_seed(1)
    return reinforce(model, example=images, **options)


class Pair(NamedTuple):
    logits: torch.Tensor
    auxiliary: torch.Tensor


class Returning(nn.Module):
    def __init__(self, model: nn.Module, how):
        super().__init__()
        self.inner, self.how = model, how

    def forward(self, images):
        return self.how(self.inner(images))


# --- outputs and labels -------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [torch.int32, torch.int16, torch.int8, torch.uint8, torch.int64])
def test_labels_of_any_whole_number_type(batch, kind):
    model, images, labels = batch
    expected = agent_of(copy.deepcopy(model), images).training_step(images, labels, BLOCKS)
    step = agent_of(model, images).training_step(images, labels.to(kind), BLOCKS)
    torch.testing.assert_close(step.loss, expected.loss, rtol=0, atol=0)
    torch.testing.assert_close(step.rewards, expected.rewards, rtol=0, atol=0)


@pytest.mark.parametrize(
    "how",
    [
        lambda logits: (logits, logits.mean()),
        lambda logits: [logits],
        lambda logits: {"logits": logits, "hidden": None},
        lambda logits: Pair(logits, logits * 2),
    ],
)
def test_outputs_that_hold_logits(batch, how):
    model, images, labels = batch
    expected = agent_of(copy.deepcopy(model), images).training_step(images, labels, BLOCKS)
    agent = agent_of(Returning(model, how), images)
    step = agent.training_step(images, labels, [f"inner.{block}" for block in BLOCKS])
    torch.testing.assert_close(step.loss, expected.loss, rtol=0, atol=0)
    torch.testing.assert_close(step.logits, expected.logits, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        (torch.tensor([0, 1, 2, 3, 4, -100]), "labels must be classes from 0 to 4; got -100"),
        (torch.tensor([0, 1, 2, 3, 4, 5]), "labels must be classes from 0 to 4; got 5"),
        (torch.rand(6, CLASSES), r"whole numbers \(6,\).*torch\.float32"),
        (torch.zeros(6, CLASSES, dtype=torch.int64), r"got torch\.int64 \(6, 5\)"),
        (torch.zeros(5, dtype=torch.int64), r"got torch\.int64 \(5,\)"),
    ],
)
def test_labels_that_are_no_classes_are_refused(batch, labels, said):
    model, images, _ = batch
    agent = agent_of(model, images)
    before = {n: b.clone() for n, b in model.named_buffers() if b.is_floating_point()}
    with pytest.raises(UserError, match=f"{said}.*reward_of"):
        agent.training_step(images, labels)
    after = {n: b for n, b in model.named_buffers() if b.is_floating_point()}
    torch.testing.assert_close(after, before, rtol=0, atol=0)


def test_an_output_without_logits_is_refused(batch):
    model, images, labels = batch
    agent = agent_of(Returning(model, lambda logits: {"masks": logits}), images)
    with pytest.raises(UserError, match=r"must return logits.*got dict.*reward_of"):
        agent.training_step(images, labels)


def by_class(output, labels):
    log_p = output.log_softmax(1)
    true_class = log_p.gather(1, labels[:, None]).squeeze(1)
    return true_class, true_class >= log_p.max(1).values


@pytest.mark.parametrize("fraction", [1.0, 0.5])
def test_a_reward_of_ones_own_that_reads_classes_changes_nothing(batch, fraction):
    model, images, labels = batch
    steps = []
    for own in ({}, {"reward_of": by_class}):
        generator = torch.Generator().manual_seed(3)
        options = {"reward_fraction": fraction, "generator": generator, **own}
        agent = agent_of(copy.deepcopy(model), images, **options)
        steps.append(agent.training_step(images, labels, BLOCKS))
    torch.testing.assert_close(
        steps[1].rewards, steps[0].rewards, rtol=0, atol=1e-12, equal_nan=True
    )
    torch.testing.assert_close(steps[1].loss, steps[0].loss)


def test_dense_labels_with_pixels_left_out(batch):
    """A map of classes for each image, in a dict, -100 where there is no truth."""
    model, images, _ = batch
    labels = torch.randint(CLASSES, (6, 4, 4))
    labels[:, 0] = -100

    def dense(logits):
        return {"out": logits[:, :, None, None] * torch.linspace(0.5, 1.5, 4, dtype=logits.dtype)}

    def loss(output, labels):
        return F.cross_entropy(output["out"].expand(-1, -1, 4, 4), labels)

    def reward_of(output, labels):
        scores = output["out"].expand(-1, -1, 4, 4).log_softmax(1)
        known = labels >= 0
        of_truth = scores.gather(1, labels.clamp(min=0)[:, None]).squeeze(1)
        log_p = (of_truth * known).sum((1, 2)) / known.sum((1, 2))
        return log_p, log_p > log_p.median()

    agent = agent_of(Returning(model, dense), images, reward_of=reward_of, classification_loss=loss)
    blocks = [f"inner.{block}" for block in BLOCKS]
    step = agent.training_step(images, labels, blocks)
    with torch.no_grad():
        _, right = reward_of(step.logits, labels)
    for reward in step.rewards.values():
        assert torch.equal(reward == -1, ~right)
        assert (reward[right].abs() > 1e-9).all()
    step.loss.backward()


@pytest.mark.parametrize(
    "wrong",
    [
        lambda output, labels: (output, labels == labels),
        lambda output, labels: (output[:, 0], labels),
        lambda output, labels: (output[:, 0].mean(), labels == 0),
        lambda output, labels: (0.5, True),
    ],
)
def test_a_reward_of_of_another_form_is_refused(batch, wrong):
    model, images, labels = batch
    with pytest.raises(UserError, match=r"reward_of must return log p, \(6,\), and right"):
        agent_of(model, images, reward_of=wrong).training_step(images, labels)


# --- callers ------------------------------------------------------------------------------------


def test_the_agent_called_with_labels_returns_the_step(batch):
    model, images, labels = batch
    agent = agent_of(copy.deepcopy(model), images)
    expected = agent_of(copy.deepcopy(model), images).training_step(images, labels, BLOCKS)
    torch.testing.assert_close(agent(images, labels, BLOCKS).loss, expected.loss, rtol=0, atol=0)
    assert torch.equal(agent.eval()(images), agent.actor(images))


def test_a_call_past_accelerate_is_refused(batch):
    """Its `prepare` sets both attributes; mixed precision lives in the new forward alone."""
    model, images, labels = batch
    agent = agent_of(model, images)
    agent._original_forward, agent.forward = agent.forward, agent.forward
    with pytest.raises(UserError, match=r"accelerate.*wrapped\(images, labels\)"):
        agent.training_step(images, labels)
    assert agent(images, labels).loss.isfinite()


def _of_rank(rank: int, store: str, results) -> None:
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", f"file://{store}", rank=rank, world_size=2)
    model, images, labels = made_batch()
    own = slice(0, 3) if rank == 0 else slice(3, 6)
    wrong = (labels[own] + 1) % CLASSES if rank else labels[own]  # other numbers of right images
    wrapped = DistributedDataParallel(agent_of(model, images))
    try:
        wrapped.module.training_step(images[own], wrong)
        refused = ""
    except UserError as error:
        refused = str(error)
    wrapped(images[own], wrong, BLOCKS).loss.backward()
    gradients = [p.grad.numpy() for p in wrapped.parameters() if p.grad is not None]
    results.put((rank, refused, gradients))
    distributed.destroy_process_group()


def test_ddp_trains_the_agent_and_going_past_it_is_refused(tmp_path):
    """Gradients are equal to the last bit; past the wrapper they would be each process's own."""
    context = multiprocessing.get_context("fork")
    results = context.Queue()
    given = (str(tmp_path / "store"), results)
    processes = [context.Process(target=_of_rank, args=(rank, *given)) for rank in range(2)]
    for process in processes:
        process.start()
    found = dict((rank, rest) for rank, *rest in (results.get(timeout=60) for _ in processes))
    for process in processes:
        process.join()
    assert all("there are 2 processes" in refused for refused, _ in found.values())
    assert len(found[0][1]) == len(found[1][1]) > 0
    for first, second in zip(found[0][1], found[1][1], strict=True):
        assert (first == second).all()
    assert any(gradient.any() for gradient in found[0][1])


def test_a_saved_agent_goes_on_as_it_would_have(batch):
    model, images, labels = batch
    agent = agent_of(model, images)
    agent.training_step(images, labels)
    file = io.BytesIO()
    torch.save(agent, file)
    file.seek(0)
    other = torch.load(file, weights_only=False)
    for _ in range(3):
        steps = [one.training_step(images, labels) for one in (agent, other)]
        torch.testing.assert_close(steps[1].loss, steps[0].loss, rtol=0, atol=0)
        assert list(steps[1].rewards) == list(steps[0].rewards)


# --- precision, state, and what no class tells ----------------------------------------------------


def test_critics_of_a_bf16_network_are_in_float32(batch):
    model, images, labels = batch
    model, images = model.bfloat16(), images.bfloat16()
    agent = agent_of(model, images)
    assert {p.dtype for p in agent.critics.parameters()} == {torch.float32}
    step = agent.training_step(images, labels)
    assert {c.dtype for c in step.critiques.values()} == {torch.float32}
    step.loss.backward()
    with pytest.raises(UserError, match=r"half precision.*agent\.critics\.float\(\)"):
        agent.bfloat16().training_step(images, labels)


class OwnNorm(nn.Module):
    """Divides by the batch's spread, and keeps a running one, as EvoNorm does."""

    def __init__(self, remembers: bool):
        super().__init__()
        self.remembers = remembers
        self.register_buffer("spread", torch.ones(12))

    def forward(self, x):
        if not self.training:
            return x / self.spread[None, :, None, None]
        spread = x.std((0, 2, 3))
        if self.remembers:
            self.spread.lerp_(spread.detach(), 0.1)
        return x / spread[None, :, None, None]


def test_a_norm_that_moves_state_of_its_own_is_refused(batch):
    model, images, labels = batch
    model.layer1.append(OwnNorm(remembers=True).double())
    agent = agent_of(model, images)
    with pytest.raises(UserError, match=r"'layer1\.2' \(OwnNorm\) moves 'layer1\.2\.spread'"):
        agent.training_step(images, labels)
    model.layer1[2].eval()
    assert agent.training_step(images, labels).loss.isfinite()


def test_spectral_norm_is_refused(batch):
    model, images, labels = batch
    nn.utils.parametrizations.spectral_norm(model.conv1)
    agent = agent_of(model, images)
    with pytest.raises(UserError, match=r"conv1\.parametrizations.*moves"):
        agent.training_step(images, labels)
    agent = agent_of(model, images, reward_statistics="running")
    assert agent.training_step(images, labels).loss.isfinite()


def test_verify_finds_what_a_class_does_not_tell(batch):
    model, images, labels = batch
    agent = agent_of(model, images)
    before = copy.deepcopy(model.state_dict())
    state = torch.get_rng_state()
    assert agent.verify(images, labels) < 1e-12
    torch.testing.assert_close(dict(model.state_dict()), dict(before), rtol=0, atol=0)
    assert torch.equal(torch.get_rng_state(), state)
    model.layer1.append(OwnNorm(remembers=False).double())  # by the batch, without state
    with pytest.raises(UserError, match=r"put back, every other image.*'running'"):
        agent_of(model, images).verify(images, labels)


def test_verify_of_declared_attention_and_of_chance():
    torch.manual_seed(0)
    model = create_model("cbam_resnet14", 4, width=4, stem="cifar").double()
    images = torch.randn(4, 3, SIZE, SIZE, dtype=torch.float64)
    assert reinforce(model, example=images).verify(images) < 1e-12
    dropping = moved(nn.Sequential(Public(SE), nn.Dropout(0.5)))
    assert reinforce(dropping, example=images).verify(images) < 1e-12


def test_verify_finds_a_replay_that_is_not_exact(batch, monkeypatch):
    """The fault is planted: outputs of another pass."""
    model, images, _ = batch
    agent = agent_of(model, images)
    ended = Replay._end

    def spoilt(self, module, args, output):
        return ended(self, module, args, output * 1.01 if output.dim() == 4 else output)

    monkeypatch.setattr(Replay, "_end", spoilt)
    with pytest.raises(UserError, match="put back"):
        agent.verify(images)
