"""Maps with a known answer, Grad-CAM against its formula, and what it leaves behind."""

import numpy as np
import pytest
import torch
from torch import nn

from dreal_lib.data.boxes import Regions
from dreal_lib.diagnosis.localization import explaining, find_layer, localize
from dreal_lib.diagnosis.map_scores import (
    area,
    area_under,
    completeness,
    energy,
    iou,
    perturbation_curve,
    pointing,
)
from dreal_lib.errors import UserError

MAP = torch.tensor([[[1.0, 0.6, 0.0, 0.0], [0.4, 0.0, 0.0, 0.0], [0.0] * 4, [0.0] * 4]])
LEFT = torch.zeros(1, 4, 4, dtype=torch.bool)
LEFT[:, :, 0] = True  # four pixels, with 1.0 and 0.4


def test_scores_of_a_map_by_hand():
    assert pointing(MAP, LEFT).item() == 1
    assert pointing(MAP, ~LEFT).item() == 0
    assert energy(MAP, LEFT).item() == pytest.approx(1.4 / 2)
    assert iou(MAP, LEFT).item() == pytest.approx(1 / 5)  # attended: 1.0 and 0.6
    assert iou(MAP, LEFT, threshold=0.4).item() == pytest.approx(2 / 5)
    assert completeness(MAP, LEFT).item() == pytest.approx(1 / 4)
    assert completeness(MAP, LEFT, threshold=0.4).item() == pytest.approx(2 / 4)
    assert area(MAP).item() == pytest.approx(2 / 16)


def test_a_perfect_map_and_a_disjoint_one():
    perfect = LEFT.float()
    for score in (pointing, energy, iou, completeness):
        assert score(perfect, LEFT).item() == 1
        assert score(perfect, ~LEFT).item() == 0


def test_a_map_of_one_value_scores_the_regions_share():
    flat = torch.full((1, 4, 4), 0.3)
    assert pointing(flat, LEFT).item() == pytest.approx(4 / 16)
    assert energy(flat, LEFT).item() == pytest.approx(4 / 16)
    assert iou(flat, LEFT).item() == pytest.approx(4 / 16)
    assert completeness(flat, LEFT).item() == area(flat).item() == 1


def test_scores_do_not_depend_on_the_maps_scale():
    generator = torch.Generator().manual_seed(0)
    maps = torch.rand(5, 4, 4, generator=generator)
    regions = torch.rand(5, 4, 4, generator=generator) > 0.5
    for score in (pointing, energy, iou, completeness):
        assert torch.allclose(score(maps * 7, regions), score(maps, regions))


def test_equal_maxima_count_with_their_share():
    two = torch.zeros(1, 4, 4)
    two[0, 0, 0] = two[0, 0, 3] = 0.9
    assert pointing(two, LEFT).item() == 0.5


def test_undefined_scores_are_nan_and_leave_their_neighbours_alone():
    maps, regions = torch.cat((MAP, MAP * 0, MAP)), torch.cat((LEFT, LEFT, LEFT & False))
    for score in (pointing, energy, iou, completeness):
        assert torch.isfinite(score(maps, regions)).tolist() == [True, False, False]
    assert torch.isfinite(area(maps)).tolist() == [True, False, True]


class Sum(nn.Module):
    """Probability of class 1 is the sigmoid of the image's sum, so every step can be foretold."""

    def forward(self, images):
        total = images.sum((1, 2, 3))
        return torch.stack((torch.zeros_like(total), total), dim=1)


def test_deletion_goes_from_the_highest_pixel_on():
    image = torch.arange(16.0).view(1, 1, 4, 4) / 100
    curve = perturbation_curve(Sum(), image, torch.tensor([1]), image[:, 0], "deletion", 4)
    left = torch.tensor([sum(range(16 - gone)) / 100 for gone in (0, 4, 8, 12, 16)])
    assert torch.allclose(curve, left.sigmoid()[None])
    against = perturbation_curve(Sum(), image, torch.tensor([1]), -image[:, 0], "deletion", 4)
    assert (area_under(against) > area_under(curve)).all()


def test_insertion_ends_with_the_image_and_begins_blurred():
    image = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    model = nn.Sequential(nn.Flatten(), nn.Linear(768, 3)).eval()
    labels = torch.tensor([0, 2])
    curve = perturbation_curve(model, image, labels, image[:, 0], "insertion", 3)
    whole = model(image).softmax(1)[[0, 1], labels]
    assert torch.allclose(curve[:, -1], whole, atol=1e-6)
    assert not torch.allclose(curve[:, 0], whole, atol=1e-3)


def test_area_under_a_curve_is_the_trapezoid_rule():
    curve = torch.tensor([[1.0, 0.0, 0.5, 0.25]])
    assert area_under(curve).item() == pytest.approx(np.trapezoid(curve[0], dx=1 / 3))


def test_gradcam_is_its_formula(make_network, make_batch):
    model, _ = make_network("se_resnet14", dtype=torch.float32)
    model.eval()
    nn.init.normal_(model.fc.weight, mean=0.3, generator=torch.Generator().manual_seed(3))
    images, labels = make_batch(model, size=32)
    kept = {}
    handle = model.layer4[-1].register_forward_hook(lambda m, i, o: kept.update(features=o))
    model(images)
    handle.remove()
    # Behind the last block stand global average pooling and one linear layer, so the gradient of
    # a logit is the class's weights over h w, and the map their sum with the features.
    by_hand = torch.einsum("bk,bkhw->bhw", model.fc.weight[labels], kept["features"]).clamp(min=0)
    highest = by_hand.amax((1, 2), keepdim=True)
    with explaining(model) as explain:
        maps = explain(images, labels)
    expected = torch.where(highest > 0, by_hand / highest, 0.0)
    assert torch.allclose(maps, expected.detach(), atol=1e-4)
    assert maps.shape == (6, 4, 4)
    assert maps.amax((1, 2)).sum() > 3  # else there is nothing to compare


def test_gradcam_at_a_shallow_layer_is_its_formula(make_network, make_batch):
    model, _ = make_network("cbam_resnet14", dtype=torch.float32)
    model.eval()
    images, labels = make_batch(model)
    kept = {}

    def keep(module, inputs, output):
        output.retain_grad()
        kept["features"] = output

    handle = model.layer2[0].register_forward_hook(keep)
    model(images).gather(1, labels[:, None]).sum().backward()
    handle.remove()
    features = kept["features"]
    weights = features.grad.mean((2, 3), keepdim=True)
    by_hand = (weights * features).sum(1).clamp(min=0)
    highest = by_hand.amax((1, 2), keepdim=True)
    with explaining(model, "layer2.0") as explain:
        maps = explain(images, labels)
    assert torch.allclose(maps, torch.where(highest > 0, by_hand / highest, 0.0), atol=1e-4)
    assert maps.amax((1, 2)).sum() >= 2  # else there is nothing to compare


def test_a_relu_in_place_does_not_change_what_is_tapped(make_network, make_batch):
    model, _ = make_network("se_resnet14", dtype=torch.float32)
    images, labels = make_batch(model)

    def maps():
        with explaining(model, "layer3.0.bn2", "hirescam") as explain:
            return explain(images, labels)

    in_place = maps()
    assert in_place.any()
    for module in model.modules():
        if isinstance(module, nn.ReLU):
            module.inplace = False
    assert torch.allclose(in_place, maps(), atol=1e-5)


@pytest.mark.parametrize("method", ["gradcam++", "layercam", "hirescam", "eigencam"])
def test_other_methods_give_maps(make_network, make_batch, method):
    model, _ = make_network("se_resnet14", dtype=torch.float32)
    images, labels = make_batch(model)
    with explaining(model, "layer2[0]", method) as explain:
        maps = explain(images, labels)
    assert maps.shape[0] == len(images)
    assert maps.any()
    assert maps.dim() == 3
    assert torch.all((maps >= 0) & (maps <= 1))


def test_an_images_map_does_not_depend_on_its_batch(make_network, make_batch):
    model, _ = make_network("cbam_resnet14", dtype=torch.float32)
    images, labels = make_batch(model)
    with explaining(model, "layer2[-1]") as explain:
        together = explain(images, labels)
        alone = torch.cat([explain(i[None], k[None]) for i, k in zip(images, labels, strict=True)])
    assert torch.allclose(together, alone, atol=1e-4)
    assert together.any()


def test_the_network_is_left_as_it_was(make_network, make_batch):
    model, _ = make_network("se_resnet14", dtype=torch.float32)
    images, labels = make_batch(model)
    model.train()
    model.layer1.eval()
    model.conv1.weight.requires_grad_(False)
    model(images).sum().backward()
    state = {name: value.clone() for name, value in model.state_dict().items()}
    modes = [module.training for module in model.modules()]
    gradient = model.fc.weight.grad.clone()
    with torch.no_grad():
        localize(model, [(images, labels)], steps=2)
    with pytest.raises(UserError), explaining(model, "fc") as explain:
        explain(images, labels)
    assert [module.training for module in model.modules()] == modes
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    assert torch.equal(model.fc.weight.grad, gradient)
    assert not model.conv1.weight.requires_grad
    assert model.fc.weight.requires_grad
    assert not any(module._forward_hooks for module in model.modules())


class FixedObjects:
    """The left half is every object; the third image has none."""

    def regions(self, start, count):
        box = torch.zeros(count, 16, 16, dtype=torch.bool)
        box[:, 2:, :8] = True
        box[[i for i in range(count) if start + i == 2]] = False
        return Regions(box, box, torch.zeros(count, dtype=torch.bool))


def test_localize_counts_what_is_undefined_and_batches_do_not_matter(make_network, make_batch):
    model, _ = make_network("se_resnet14", dtype=torch.float32)
    images, labels = make_batch(model)
    whole = localize(model, [(images, labels)], FixedObjects(), layer="layer2[-1]", steps=2)
    halves = [(images[:4], labels[:4]), (images[4:], labels[4:])]
    split = localize(model, halves, FixedObjects(), layer="layer2[-1]", steps=2)
    assert whole.settings == split.settings
    assert whole.settings["objects"] == 5
    assert whole.boxes.tolist()[2:4] == [[-1] * 4, [0, 2, 8, 16]]
    assert np.isnan(whole.scores["iou"][2])
    for name, values in whole.scores.items():
        assert np.allclose(values, split.scores[name], atol=1e-4, equal_nan=True), name
    arrays = whole.arrays()
    assert arrays["cam/maps"].dtype == np.float16
    assert not any(array.dtype.hasobject for array in arrays.values())
    assert {"localization/deletion", "localization/energy", "cam/object_share"} <= arrays.keys()


def test_a_network_that_sees_nothing_has_empty_maps_and_no_scores(make_network, make_batch):
    model, _ = make_network("se_resnet14", dtype=torch.float32)
    images, labels = make_batch(model)
    nn.init.zeros_(model.fc.weight)
    found = localize(model, [(images, labels)], FixedObjects(), steps=1)
    assert not found.cam.any()
    assert all(np.isnan(values).all() for values in found.scores.values())


def test_without_objects_only_the_area_is_scored(make_network, make_batch):
    model, _ = make_network("se_resnet14", dtype=torch.float32)
    found = localize(model, [make_batch(model)])
    assert set(found.scores) == {"area"}
    assert set(found.arrays()) == {"cam/maps", "cam/settings", "localization/area"}


def test_layers_are_found_by_name_and_by_place(make_network):
    model, _ = make_network("se_resnet14")
    assert find_layer(model, "layer4[-1]") is find_layer(model, "layer4.0") is model.layer4[0]


@pytest.mark.parametrize("name", ["layer5[-1]", "layer4[7]", "", "fc[0]", "layer4.0.conv9"])
def test_an_unknown_layer_lists_those_there_are(make_network, name):
    model, _ = make_network("se_resnet14")
    with pytest.raises(UserError, match=r"unknown layer .*choices: .*layer4\.0"):
        find_layer(model, name)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"method": "gradcan"}, "did you mean 'gradcam'"),
        ({"threshold": 0.0}, "threshold"),
        ({"steps": 0}, "steps"),
        ({"layer": "fc"}, "no feature map"),
    ],
)
def test_bad_settings_are_refused(make_network, make_batch, changed, message):
    model, _ = make_network("se_resnet14", dtype=torch.float32)
    with pytest.raises(UserError, match=message):
        localize(model, [make_batch(model)], **changed)


def test_no_image_and_objects_of_another_crop_are_refused(make_network, make_batch):
    model, _ = make_network("se_resnet14", dtype=torch.float32)
    with pytest.raises(UserError, match="no image"):
        localize(model, [])
    with pytest.raises(UserError, match="same crops"):
        localize(model, [make_batch(model, size=12)], FixedObjects())


@pytest.mark.gpu
def test_a_gpu_gives_the_same_maps(make_network, make_batch, cuda):
    model, _ = make_network("se_resnet14", dtype=torch.float32)
    images, labels = make_batch(model)
    here = localize(model, [(images, labels)], FixedObjects(), layer="layer2[-1]", steps=2)
    batch = [(images.to(cuda), labels.to(cuda))]
    there = localize(model.to(cuda), batch, FixedObjects(), layer="layer2[-1]", steps=2)
    assert np.allclose(here.cam, there.cam, atol=1e-2)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_maps_of_half_precision_are_near_those_of_float32(make_network, make_batch, dtype):
    model, _ = make_network("se_resnet14", dtype=torch.float32)
    nn.init.normal_(model.fc.weight, mean=0.3, generator=torch.Generator().manual_seed(3))
    images, labels = make_batch(model, size=32)
    exact = localize(model, [(images, labels)], steps=2)
    half = localize(model.to(dtype), [(images.to(dtype), labels)], steps=2)
    assert np.abs(half.cam.astype(float) - exact.cam.astype(float)).mean() < 0.03
    assert half.scores.keys() == exact.scores.keys()
