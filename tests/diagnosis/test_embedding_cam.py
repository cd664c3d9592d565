"""Grad-CAM for an embedding, against the formula and in its limits."""

import pytest
import torch
import torch.nn.functional as F

from dreal_lib.diagnosis.embedding_cam import Similarities, similarity_maps
from dreal_lib.errors import UserError
from dreal_lib.networks.embedding import create_embedding


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return create_embedding("cbam_resnet14", 3, width=4, stem="tiny").eval()


@pytest.fixture(scope="module")
def images():
    return torch.randn(3, 3, 16, 8, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def references():
    return torch.randn(2, 128, generator=torch.Generator().manual_seed(2))


def by_formula(network, image, reference):
    """Selvaraju et al.'s Eqs. 1 and 2 by autograd alone; the map over its maximum."""
    kept = []
    hook = network.layer4[-1].register_forward_hook(lambda m, i, out: kept.append(out))
    feature = network(image[None]).after_neck
    hook.remove()
    cosine = F.cosine_similarity(feature, reference[None])
    (gradient,) = torch.autograd.grad(cosine.sum(), kept[0])
    weights = gradient.mean((2, 3), keepdim=True)
    map_ = (weights * kept[0].detach()).sum(1)[0].clamp(min=0)
    return map_ / map_.max() if map_.max() > 0 else map_


def test_it_is_the_formula_with_the_cosine_as_the_score(network, images, references):
    to = torch.tensor([1, 0, 1])
    found = similarity_maps(network, [(images[:2],), (images[2:],)], references, to)
    expected = [by_formula(network, images[i], references[to[i]]) for i in range(3)]
    assert torch.allclose(found, torch.stack(expected), atol=1e-4)
    assert found.amax((1, 2)).max() == 1
    other = similarity_maps(network, [(images,)], references, 1 - to)
    assert not torch.allclose(found, other, atol=1e-2)  # the reference matters


def test_similarity_is_the_cosine_of_the_compared_feature(network, images, references):
    with torch.no_grad():
        found = Similarities(network, references)(images)
        feature = network(images).after_neck
    expected = F.cosine_similarity(feature[:, None], references[None], dim=2)
    assert torch.allclose(found, expected, atol=1e-6)


def test_the_network_is_left_as_it_was(network, images, references):
    network.train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    similarity_maps(network, [(images,)], references, torch.tensor([0, 0, 1]))
    assert network.training
    assert all(p.grad is None for p in network.parameters())
    assert network.conv1.weight.requires_grad
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())
    network.eval()


@pytest.mark.parametrize("numbers", [0, 2, 4])
def test_one_number_an_image(network, images, references, numbers):
    to = torch.zeros(numbers, dtype=torch.long)
    with pytest.raises(UserError, match=f"{numbers} numbers are given"):
        similarity_maps(network, [(images[:2],), (images[2:],)], references, to)
