"""Errors, statistics and rewards of a trained network, against numpy, loops and full passes."""

import itertools

import numpy as np
import pytest
import torch

from dreal_lib.actor_critic.blocks import find_maps
from dreal_lib.actor_critic.counterfactual import Bypass
from dreal_lib.diagnosis.evaluation import (
    ClassMeans,
    ErrorCounter,
    StreamingMoments,
    diagnose,
    evaluate,
)
from dreal_lib.records.arrays import OF_CLASSIFICATION, check_figure_data

STAGES = ("layer1", "layer2", "layer3", "layer4")
SIZES = ((5, 2, 1, 8), (1,) * 16, (16,))  # of batches that make up 16 images


def uneven(tensor, sizes):
    return torch.split(tensor, list(sizes))


@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize("shape", [(), (6,), (1, 3, 4)])
def test_streaming_moments_are_numpys(sizes, shape):
    values = torch.randn(16, *shape, generator=torch.Generator().manual_seed(0)) + 3
    moments = StreamingMoments()
    for part in uneven(values, sizes):
        moments.add(part)
    expected = values.double().numpy()
    assert moments.count == 16
    np.testing.assert_allclose(moments.mean.numpy(), expected.mean(0), rtol=1e-13)
    np.testing.assert_allclose(moments.variance.numpy(), expected.var(0), rtol=1e-12, atol=1e-15)


def test_streaming_moments_lose_no_digits_to_a_large_mean():
    values = 1e6 + torch.rand(1000, generator=torch.Generator().manual_seed(0)).double()
    moments = StreamingMoments()
    for part in values.split(7):
        moments.add(part)
    assert float(moments.variance) == pytest.approx(float(values.var(correction=0)), rel=1e-8)


def class_means(values, labels, classes=4, sizes=(16,)):
    means = ClassMeans.empty(classes, values[0].numel(), torch.device("cpu"))
    for part, part_labels in zip(uneven(values, sizes), uneven(labels, sizes), strict=True):
        means.add(part, part_labels)
    return means


@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize("shape", [(6,), (1, 2, 3)])
def test_between_class_variance_is_that_of_a_loop(sizes, shape):
    generator = torch.Generator().manual_seed(1)
    values = torch.rand(16, *shape, generator=generator)
    labels = torch.tensor([0, 1, 1, 3] * 4)  # class 2 has no image
    found = class_means(values, labels, sizes=sizes).between_class_variance()
    flat = values.flatten(1).double().numpy()
    overall, expected = flat.mean(0), np.zeros(6)
    for label in (0, 1, 3):
        members = flat[(labels == label).numpy()]
        expected += len(members) / 16 * (members.mean(0) - overall) ** 2
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-12)


def test_classes_that_are_all_alike_have_no_variance_between_them():
    one_of_each = torch.rand(4, 6, generator=torch.Generator().manual_seed(0))
    values = one_of_each.repeat_interleave(4, 0)  # each class has the same four maps
    labels = torch.arange(16) % 4
    assert float(class_means(values, labels).between_class_variance().abs().max()) < 1e-15


def test_maps_constant_within_classes_have_all_their_variance_between_them():
    per_class = torch.rand(4, 6, generator=torch.Generator().manual_seed(0)).double()
    labels = torch.tensor([0] * 7 + [1] * 4 + [2] * 1 + [3] * 4)
    values = per_class[labels]
    moments = StreamingMoments()
    moments.add(values)
    found = class_means(values, labels).between_class_variance()
    torch.testing.assert_close(found, moments.variance, rtol=1e-12, atol=0)


def errors_by_sorting(logits, labels):
    """Top-1 and top-5 error in per cent and mean cross-entropy, image by image, in numpy."""
    wrong1 = wrong5 = loss = 0
    for row, label in zip(logits.double().numpy(), labels.tolist(), strict=True):
        order = np.argsort(-row)
        wrong1 += order[0] != label
        wrong5 += label not in order[:5]
        loss -= row[label] - np.log(np.exp(row).sum())
    count = len(labels)
    return 100 * wrong1 / count, 100 * wrong5 / count, loss / count


@pytest.mark.parametrize("classes", [2, 4, 5, 6, 20])
@pytest.mark.parametrize("sizes", SIZES)
def test_errors_are_counted_as_by_sorting(classes, sizes):
    generator = torch.Generator().manual_seed(classes)
    logits = torch.randn(16, classes, generator=generator)
    labels = torch.randint(classes, (16,), generator=generator)
    counter = ErrorCounter()
    for part, part_labels in zip(uneven(logits, sizes), uneven(labels, sizes), strict=True):
        counter.add(part, part_labels)
    found = counter.errors()
    expected = errors_by_sorting(logits, labels)
    assert (found.top1_error_pct, found.top5_error_pct, found.val_loss) == pytest.approx(expected)
    if classes <= 5:
        assert found.top5_error_pct == 0


def test_the_loss_of_confident_half_precision_logits_is_finite_and_right():
    logits, labels = torch.tensor([[100.0, -100.0], [30.0, 0.0]]).bfloat16(), torch.tensor([1, 0])
    counter = ErrorCounter()
    counter.add(logits, labels)
    assert counter.errors().val_loss == pytest.approx(100.0)
    assert counter.errors().top1_error_pct == 50


@pytest.fixture
def network_and_batches(make_network, make_batch):
    def make(name, count=7):
        model, _ = make_network(name)
        model.eval()
        images = torch.randn(
            count, 3, 16, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(3)
        )
        with torch.no_grad():
            best = model(images).argmax(1)
        labels = (best + torch.arange(count) % 2) % 4  # every other one is wrong
        model.train()
        return model, list(zip(uneven(images, (3, 1, 3)), uneven(labels, (3, 1, 3)), strict=True))

    return make


def test_evaluation_counts_in_evaluation_mode_and_gives_modes_back(network_and_batches):
    model, batches = network_and_batches("cbam_resnet14")
    model.layer2.eval()  # a mixture of modes, as of a network that is partly frozen
    modes = [module.training for module in model.modules()]
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    found = evaluate(model, batches)
    assert [module.training for module in model.modules()] == modes
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert found.top1_error_pct == pytest.approx(100 * 3 / 7)
    logits = torch.cat([model.eval()(images) for images, _ in batches]).detach()
    labels = torch.cat([labels for _, labels in batches])
    assert found.val_loss == pytest.approx(errors_by_sorting(logits, labels)[2])


def test_modes_come_back_after_a_failure(network_and_batches):
    model, batches = network_and_batches("se_resnet14")
    broken = [*batches, (torch.zeros(1, 5, 5), torch.zeros(1, dtype=torch.int64))]
    with pytest.raises(RuntimeError):
        evaluate(model, broken)
    assert all(module.training for module in model.modules())


def naive_maps(model, images, actors):
    """The attention maps of a full pass, by listening to each actor's `attend`."""
    maps = {}

    def listening(actor, attend):
        def call(descriptor):
            maps[actor] = attend(descriptor)
            return maps[actor]

        return call

    for actor in actors:
        actor.attend = listening(actor, actor.attend)
    logits = model(images)
    for actor in actors:
        del actor.attend
    return logits, maps


def naive_rewards(model, images, labels, gamma, mean=(1, 2, 3)):
    """Eq. 1 by one full forward pass for each image and block, in evaluation mode."""
    blocks = {n: m for n, m in model.named_modules() if hasattr(m, "attention")}
    actors_of = {
        name: [m for m in block.attention.modules() if hasattr(m, "attend")]
        for name, block in blocks.items()
    }
    rewards = {name: torch.zeros(len(labels), dtype=torch.float64) for name in blocks}
    for index, name in itertools.product(range(len(labels)), blocks):
        image, label = images[index : index + 1], labels[index]
        actors = actors_of[name]
        logits, maps = naive_maps(model, image, actors)
        p_full = logits.softmax(1)[0]
        if p_full[label] < p_full.max():
            rewards[name][index] = -gamma
            continue
        for actor in actors:
            level = torch.full_like(maps[actor], float(maps[actor].mean()))
            actor.attend = lambda _, level=level: level
        p_bypassed = model(image).softmax(1)[0]
        for actor in actors:
            del actor.attend
        rewards[name][index] = 1 - p_bypassed[label] / p_full[label]
    return rewards


@pytest.mark.parametrize("name", ["se_resnet14", "cbam_resnet14", "srm_resnet26"])
@torch.no_grad()
def test_diagnosed_rewards_are_those_of_full_passes(network_and_batches, name):
    model, batches = network_and_batches(name)
    before = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    found = diagnose(model, batches, find_maps(model, STAGES, 16), gamma=0.7)
    assert all(module.training for module in model.modules())
    assert all(torch.equal(tensor, before[key]) for key, tensor in model.state_dict().items())
    images, labels = (torch.cat(parts) for parts in zip(*batches, strict=True))
    expected = naive_rewards(model.eval(), images, labels, gamma=0.7)
    assert found.rewards.keys() == expected.keys()
    for block, reward in expected.items():
        torch.testing.assert_close(torch.cat(found.rewards[block]), reward, rtol=1e-9, atol=1e-12)
        assert (reward == -0.7).sum() == 3
        assert (reward != -0.7).any()


@torch.no_grad()
def test_held_maps_give_other_rewards_but_in_the_last_block(network_and_batches):
    model, batches = network_and_batches("se_resnet14")
    maps = find_maps(model, STAGES, 16)
    recomputed = diagnose(model, batches, maps).rewards
    held = diagnose(model, batches, maps, how=Bypass(later_maps="held")).rewards
    same = {b: torch.allclose(torch.cat(recomputed[b]), torch.cat(held[b])) for b in held}
    assert same == {"layer1.0": False, "layer2.0": False, "layer3.0": False, "layer4.0": True}


@torch.no_grad()
def test_diagnosed_arrays_hold_what_the_figures_need(network_and_batches):
    model, batches = network_and_batches("cbam_resnet14")
    maps = find_maps(model, STAGES, 16)
    found = diagnose(model, batches, maps)
    arrays = found.arrays()
    images, labels = (torch.cat(parts) for parts in zip(*batches, strict=True))
    actors = [item.actor for item in maps]
    _, by_hand = naive_maps(model.eval(), images, actors)
    for item in maps:
        expected = by_hand[item.actor].numpy()
        expected = expected if item.kind == "channel" else expected[:, 0]
        statistics = {"mean": expected.mean(0), "variance": expected.var(0)}
        overall = expected.mean(0)
        statistics["between_class_variance"] = sum(
            (labels == k).double().mean().item()
            * (expected[(labels == k).numpy()].mean(0) - overall) ** 2
            for k in labels.unique()
        )
        for statistic, value in statistics.items():
            array = arrays[f"attention/{item.name}/{statistic}"]
            assert array.dtype == np.float32
            np.testing.assert_allclose(array, value, rtol=1e-5, atol=1e-9)
    assert arrays["reward_blocks"].tolist() == ["layer1.0", "layer2.0", "layer3.0", "layer4.0"]
    assert arrays["rewards"].shape == (7, 4)
    assert arrays["rewards"].dtype == np.float16
    check_figure_data(arrays, OF_CLASSIFICATION)
    for column, block in enumerate(arrays["reward_blocks"]):
        expected = torch.cat(found.rewards[block]).numpy()
        np.testing.assert_allclose(arrays["rewards"][:, column], expected, rtol=1e-3, atol=1e-7)
    assert arrays["right"].tolist() == [True, False, True, False, True, False, True]
    assert arrays["labels"].tolist() == labels.tolist()
    assert arrays["labels"].dtype == np.int16
    assert set(arrays) == {
        "rewards",
        "reward_blocks",
        "right",
        "labels",
        *(
            f"attention/layer{s}.0.{kind}/{statistic}"
            for s in range(1, 5)
            for kind in ("channel", "spatial")
            for statistic in ("mean", "variance", "between_class_variance")
        ),
    }


def test_statistics_alone_are_those_of_a_whole_diagnosis(network_and_batches):
    model, batches = network_and_batches("se_resnet14")
    maps = find_maps(model, STAGES, 16)
    whole = diagnose(model, batches, maps).arrays()
    alone = diagnose(model, batches, maps, rewards=False).arrays()
    assert whole.keys() - alone.keys() == {"rewards", "reward_blocks"}
    for name, array in alone.items():
        assert (array == whole[name]).all(), name
