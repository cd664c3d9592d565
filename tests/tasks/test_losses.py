"""The losses of instance recognition against loops over pairs, values by hand, and torch's own."""

import math

import pytest
import torch
import torch.nn.functional as F

from dreal_lib.networks.embedding import Embedded
from dreal_lib.settings.retrieval import RetrievalSettings
from dreal_lib.tasks.losses import BatchHardTriplet, IdentityLoss, smoothed_cross_entropy


def slow_triplet(features, labels, margin, normalised=False):
    """Mean over the anchors of max(0, farthest positive - nearest negative + margin), in loops."""
    if normalised:
        features = torch.stack([row / row.square().sum().sqrt() for row in features])
    losses = []
    for a in range(len(labels)):
        to = {i: (features[a] - features[i]).square().sum().sqrt() for i in range(len(labels))}
        same = [to[i] for i in to if i != a and labels[i] == labels[a]]
        other = [to[i] for i in to if labels[i] != labels[a]]
        losses.append(torch.clamp(max(same) - min(other) + margin, min=0))
    return sum(losses) / len(losses)


def batch(identities, images, dimensions, seed, spread=0.7):
    generator = torch.Generator().manual_seed(seed)
    centres = torch.randn(identities, 1, dimensions, generator=generator, dtype=torch.float64)
    noise = torch.randn(identities, images, dimensions, generator=generator, dtype=torch.float64)
    features = (centres + spread * noise).flatten(0, 1).requires_grad_()
    return features, torch.arange(identities).repeat_interleave(images)


@pytest.mark.parametrize("normalised", [False, True])
@pytest.mark.parametrize("margin", [0.0, 0.5, 3.0])
@pytest.mark.parametrize(("identities", "images"), [(2, 2), (4, 3), (8, 4)])
def test_the_triplet_and_its_gradient_are_the_loops(identities, images, margin, normalised):
    features, labels = batch(identities, images, 5, seed=identities)
    found = BatchHardTriplet(margin, normalised)(features, labels)
    expected = slow_triplet(features, labels, margin, normalised)
    torch.testing.assert_close(found, expected)
    (gradient,) = torch.autograd.grad(found, features, retain_graph=True)
    (by_loops,) = torch.autograd.grad(expected, features)
    torch.testing.assert_close(gradient, by_loops, rtol=1e-6, atol=1e-9)


def test_the_order_of_the_batch_does_not_matter():
    features, labels = batch(5, 4, 6, seed=0)
    order = torch.randperm(20, generator=torch.Generator().manual_seed(1))
    loss = BatchHardTriplet(0.5)
    torch.testing.assert_close(loss(features[order], labels[order]), loss(features, labels))


def test_a_triplet_worked_out_by_hand():
    """On a line: A at 0 and 1, B at 3 and 7. Farthest positive less nearest negative, per image."""
    features = torch.tensor([[0.0], [1.0], [3.0], [7.0]])
    labels = torch.tensor([4, 4, 9, 9])
    # 0: 1-3, 1: 1-2, 3: 4-2, 7: 4-6; with margin 1.5: 0, 0.5, 3.5, 0
    assert BatchHardTriplet(1.5)(features, labels).item() == pytest.approx((0.5 + 3.5) / 4)


def test_satisfied_triplets_count_in_the_mean():
    features = torch.tensor([[0.0], [0.1], [10.0], [10.3]])
    loss = BatchHardTriplet(0.5)(features, torch.tensor([0, 0, 1, 1]))
    assert loss.item() == 0
    features[3] = (
        20.0  # one image: farthest 10 from its mate, nearest other 19.9; its mate: 10, 9.9
    )
    loss = BatchHardTriplet(0.5)(features, torch.tensor([0, 0, 1, 1]))
    assert loss.item() == pytest.approx((10 - 9.9 + 0.5) / 4, rel=1e-4)


def test_ties_have_the_loops_value():
    """Each image has two farthest positives and two nearest negatives."""
    square = torch.tensor([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]], dtype=torch.float64)
    features = torch.cat([square, square + torch.tensor([0.0, 2.0])]).requires_grad_()
    labels = torch.arange(2).repeat_interleave(4)
    found = BatchHardTriplet(0.5)(features, labels)
    torch.testing.assert_close(found, slow_triplet(features, labels, 0.5))
    found.backward()
    assert torch.isfinite(features.grad).all()


@pytest.mark.parametrize("normalised", [False, True])
def test_an_identity_of_one_repeated_image_gives_finite_gradients(normalised):
    """Distance 0, where the root has no derivative: what PK sampling makes of a single image."""
    features, labels = batch(3, 4, 5, seed=2)
    features = features.detach()
    features[:4] = features[0]
    features.requires_grad_()
    found = BatchHardTriplet(2.0, normalised)(features, labels)
    torch.testing.assert_close(found.detach(), slow_triplet(features, labels, 2.0, normalised))
    found.backward()
    assert torch.isfinite(features.grad).all()
    assert features.grad[:4].any()  # still pushed away from the others


def test_a_collapsed_embedding_costs_the_margin():
    features = torch.ones(8, 3, requires_grad=True)
    loss = BatchHardTriplet(0.5)(features, torch.arange(4).repeat_interleave(2))
    assert loss.item() == pytest.approx(0.5)
    loss.backward()
    assert torch.isfinite(features.grad).all()


def test_distances_of_many_float32_images_keep_their_digits():
    """128 features of 2,048 dimensions: there a matrix product replaces the differences."""
    features, labels = batch(16, 8, 2048, seed=3)
    expected = slow_triplet(features.detach(), labels, 0.5)
    found = BatchHardTriplet(0.5)(features.detach().float(), labels)
    assert found.item() == pytest.approx(expected.item(), rel=1e-3)


def test_half_precision_is_widened():
    features, labels = batch(4, 3, 5, seed=4)
    rounded = features.detach().bfloat16()
    found = BatchHardTriplet(0.5)(rounded, labels)
    assert found.dtype == torch.float32
    assert found.item() == pytest.approx(
        slow_triplet(rounded.double(), labels, 0.5).item(), rel=1e-5
    )
    assert smoothed_cross_entropy(rounded, labels % 5).dtype == torch.float32


# --- smoothed cross-entropy ---------------------------------------------------------------------


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.7, 1.0])
def test_over_all_classes_it_is_torchs(smoothing):
    logits, labels = batch(6, 2, 6, seed=5)
    found = smoothed_cross_entropy(logits, labels, smoothing, "all")
    torch.testing.assert_close(found, F.cross_entropy(logits, labels, label_smoothing=smoothing))


@pytest.mark.parametrize(
    ("over", "true_share", "other_share"), [("all", 0.9 + 0.1 / 3, 0.1 / 3), ("others", 0.9, 0.05)]
)
def test_both_ways_by_hand(over, true_share, other_share):
    p = [0.5, 0.3, 0.2]
    found = smoothed_cross_entropy(torch.tensor([p]).log(), torch.tensor([1]), 0.1, over)
    logs = [math.log(value) for value in p]
    expected = -(true_share * logs[1] + other_share * (logs[0] + logs[2]))
    assert found.item() == pytest.approx(expected, rel=1e-6)


def test_others_is_a_loop_over_the_images():
    logits, labels = batch(7, 3, 7, seed=6)
    log_p = torch.log_softmax(logits, 1)
    losses = []
    for row, c in zip(log_p, labels.tolist(), strict=True):
        spread = sum(row[i] for i in range(7) if i != c) / 6
        losses.append(-(0.8 * row[c] + 0.2 * spread))
    found = smoothed_cross_entropy(logits, labels, 0.2, "others")
    torch.testing.assert_close(found, sum(losses) / len(losses))


def test_large_logits_do_not_overflow():
    logits = torch.tensor([[1e4, 0.0]])
    assert smoothed_cross_entropy(logits, torch.tensor([0]), 0.0).item() == 0
    assert smoothed_cross_entropy(logits, torch.tensor([1]), 0.0).item() == pytest.approx(1e4)


# --- both together ------------------------------------------------------------------------------


@pytest.mark.parametrize("feature", ["before_neck", "after_neck"])
@pytest.mark.parametrize("distance", ["euclidean", "normalised"])
def test_the_parts_follow_the_settings(feature, distance):
    before, labels = batch(4, 2, 5, seed=7)
    after, logits = batch(4, 2, 5, seed=8)[0], batch(4, 2, 4, seed=9)[0]
    settings = RetrievalSettings(
        margin=0.3,
        smoothing=0.2,
        smoothing_over="others",
        triplet_feature=feature,
        triplet_distance=distance,
    )
    parts = IdentityLoss(settings)(Embedded(logits, before, after), labels)
    assert set(parts) == {"identity_loss", "triplet_loss"}
    seen = {"before_neck": before, "after_neck": after}[feature]
    torch.testing.assert_close(
        parts["triplet_loss"], slow_triplet(seen, labels, 0.3, distance == "normalised")
    )
    torch.testing.assert_close(
        parts["identity_loss"], smoothed_cross_entropy(logits, labels, 0.2, "others")
    )
