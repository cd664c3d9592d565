"""What a step needs at least, against what torch really keeps, and who is refused."""

import pytest
import torch
from tiny_images import tiny_recipe
from torch import nn

from dreal_lib.errors import UserError
from dreal_lib.networks.backbones import create_model
from dreal_lib.training.memory import memory_bytes, refuse_beyond_memory, step_bytes

GIB = 2**30


def test_bytes_worked_out_by_hand():
    model = nn.Sequential(nn.Conv2d(3, 4, 1, bias=False), nn.Sigmoid())
    # The images and the weights for the convolution, the sigmoid's own result.
    assert step_bytes(model, 5, (6, 7)) == 4 * (5 * 3 * 42 + 3 * 4 + 5 * 4 * 42)


def test_bytes_are_those_that_a_real_pass_keeps():
    model = create_model("se_resnet14", 4, width=4, stem="cifar").train()
    kept = {}
    with torch.autograd.graph.saved_tensors_hooks(
        lambda t: kept.setdefault(t.untyped_storage().data_ptr(), t), lambda t: t
    ):
        model(torch.zeros(2, 3, 16, 16))
    real = sum(t.untyped_storage().nbytes() for t in kept.values())
    assert step_bytes(model, 2, (16, 16)) == pytest.approx(real, rel=0.05)
    assert next(model.parameters()).device.type == "cpu"


def test_a_network_that_wants_values_counts_its_images():
    class Looking(nn.Module):
        def forward(self, images):
            return images if images.sum().item() else -images

    assert step_bytes(Looking(), 2, (8, 8)) == 2 * 3 * 64 * 4


@pytest.mark.parametrize("model", [None, "network"])
def test_images_too_large_for_the_memory_are_refused(model):
    recipe = tiny_recipe("se_resnet50_baseline", image_size=4000, resize=4000)
    model = model and create_model("se_resnet14", 3, width=recipe.width, stem=recipe.stem)
    with pytest.raises(UserError, match="image_size") as caught:
        refuse_beyond_memory(recipe, model, memory=GIB // 2)
    assert "\n" not in str(caught.value)
    refuse_beyond_memory(recipe, model, memory=4000 * GIB)


def test_this_machine_has_memory():
    found = memory_bytes()
    assert found is None or found > GIB // 8
