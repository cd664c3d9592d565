"""Networks, labels and losses that do not fit: one line naming the rule, no wrong number."""

import pytest
import torch
import torch.nn.functional as F
from actor_critic.test_reinforce_use import OwnGate, OwnNetwork
from torch import nn

from dreal_lib.actor_critic.reinforcement import reinforce
from dreal_lib.errors import UserError


def refusal(function, *arguments, **keywords) -> str:
    with pytest.raises(UserError) as caught:
        function(*arguments, **keywords)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def batch(labels=(0, 1, 2, 0)):
    generator = torch.Generator().manual_seed(0)
    return torch.randn(len(labels), 3, 8, 8, generator=generator), torch.tensor(labels)


LABELS = {
    "ignored": torch.tensor([0, -100, 2, 0]),
    "float": torch.tensor([0.0, 1.0, 2.0, 0.0]),
    "soft": torch.eye(3)[[0, 1, 2, 0]],
    "too few": torch.tensor([0, 1, 2]),
}


@pytest.mark.parametrize("labels", LABELS.values(), ids=LABELS)
def test_labels_that_no_reward_can_be_given_for_are_refused(labels):
    agent = reinforce(OwnNetwork(), stages=["early", "late"])
    assert "labels" in refusal(agent.training_step, batch()[0], labels)


def test_an_empty_batch_is_refused():
    agent = reinforce(OwnNetwork(), stages=["early", "late"])
    images, labels = batch()
    assert "at least one image" in refusal(agent.training_step, images[:0], labels[:0])


def by_image(logits, labels):
    return F.cross_entropy(logits, labels, reduction="none")


@pytest.mark.parametrize("loss", [by_image, lambda *given: {"a": by_image(*given)}, lambda *_: 1.0])
def test_a_loss_that_is_not_one_number_is_refused(loss):
    agent = reinforce(OwnNetwork(), stages=["early", "late"], classification_loss=loss)
    assert "reduction='mean'" in refusal(agent.training_step, *batch())


class InPlaceGate(OwnGate):
    """As users write it to save memory."""

    def recalibrate(self, x, gate):
        return x.mul_(gate[:, :, None, None])


class InPlaceMap(OwnGate):
    def recalibrate(self, x, gate):
        return x * gate.mul_(2)[:, :, None, None]


@pytest.mark.parametrize("kind", [InPlaceGate, InPlaceMap])
@pytest.mark.parametrize("statistics", ["batch", "running"])
def test_what_critics_still_need_is_not_written_over(kind, statistics):
    model = OwnNetwork()
    model.early["b"].gate = kind(6)
    agent = reinforce(model, stages=["early", "late"], reward_statistics=statistics)
    line = refusal(agent.training_step, *batch())
    assert "early.b.gate" in line
    assert kind.__name__ in line


def test_the_same_gates_out_of_place_are_let_through():
    torch.manual_seed(0)
    agent = reinforce(OwnNetwork(), stages=["early", "late"])
    agent.training_step(*batch()).loss.backward()


def test_stages_that_differ_by_a_dot_have_a_critic_each():
    model = OwnNetwork()
    model.early_a = model.early.pop("a")
    model.forward = lambda images: model.head(
        model.late(model.early["b"](model.early_a(model.stem(images)))).mean((2, 3))
    )
    model.early["a"] = nn.Sequential(model.early.pop("b"))
    model.early["b"] = model.early["a"][0]
    agent = reinforce(model, stages=["early.a", "early_a"])
    assert len(agent.critics) == 2
    first, second = (group[0].stage for group in agent.critics.groups.values())
    assert {first, second} == {"early.a", "early_a"}


class OneSize(OwnNetwork):
    """Its head fits 8 x 8 pixels and no other."""

    def __init__(self, channels: int = 3):
        super().__init__()
        self.stem = nn.Conv2d(channels, 6, 3, padding=1)
        self.head = nn.Linear(6 * 64, 3)

    def forward(self, images):
        x = self.stem(images)
        for block in self.early.values():
            x = block(x)
        return self.head(self.late(x).flatten(1))


def test_a_network_of_one_size_is_told_to_name_it():
    assert "image_size" in refusal(reinforce, OneSize(), stages=["early", "late"])
    agent = reinforce(OneSize(), 8, stages=["early", "late"])
    agent.training_step(*batch()).loss.backward()


@pytest.mark.parametrize("channels", [1, 5])
def test_maps_are_found_on_images_of_the_networks_own_channels(channels):
    agent = reinforce(OneSize(channels), 8, stages=["early", "late"])
    images, labels = torch.randn(4, channels, 8, 8), batch()[1]
    agent.training_step(images, labels).loss.backward()
