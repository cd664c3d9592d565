"""PK sampling: its guarantees for both draws, on odd sets and on one of Market-1501's shape."""

import numpy as np
import pytest
import torch

from dreal_lib.data.sampling import pk_batches
from dreal_lib.errors import UserError

DRAWS = ("once", "exhaustive")
COUNTS = {"even": [6] * 7, "uneven": [1, 2, 3, 4, 5, 9, 14, 33], "exactly P": [1, 4, 8]}


def listed(counts) -> np.ndarray:
    """Identities of images, mixed, with numbers that do not run from 0."""
    identities = np.repeat(3 * np.arange(len(counts)) + 5, counts)
    return np.random.default_rng(0).permutation(identities)


def generator(seed=0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("draw", DRAWS)
@pytest.mark.parametrize("counts", COUNTS.values(), ids=COUNTS)
@pytest.mark.parametrize(("p", "k"), [(3, 4), (2, 2), (3, 40)])
def test_each_batch_has_p_identities_with_k_images_each(counts, draw, p, k):
    identities = listed(counts)
    size = dict(zip(*np.unique(identities, return_counts=True), strict=True))
    for seed in range(5):
        batches = pk_batches(identities, p, k, generator(seed), draw)
        assert batches
        for batch in batches:
            groups = batch.view(p, k).tolist()  # images of an identity side by side
            owners = [set(identities[group]) for group in groups]
            assert all(len(owner) == 1 for owner in owners)
            assert len(set.union(*owners)) == p
            for group, (owner,) in zip(groups, owners, strict=True):
                # Repeated only where there are fewer than K; then each image is there.
                assert len(set(group)) == min(k, size[owner])


@pytest.mark.parametrize("counts", COUNTS.values(), ids=COUNTS)
def test_once_draws_every_identity_but_the_rest_once(counts):
    identities = listed(counts)
    batches = pk_batches(identities, 3, 4, generator(), "once")
    drawn = [identity for batch in batches for identity in identities[batch.view(3, 4)[:, 0]]]
    assert len(drawn) == len(set(drawn)) == len(counts) // 3 * 3


@pytest.mark.parametrize("counts", COUNTS.values(), ids=COUNTS)
def test_exhaustive_draws_an_identity_as_often_as_it_has_images_and_no_image_twice(counts):
    identities = listed(counts)
    batches = pk_batches(identities, 3, 4, generator(), "exhaustive")
    drawn: dict[int, list[int]] = {}
    for batch in batches:
        for group in batch.view(3, 4).tolist():
            drawn.setdefault(int(identities[group[0]]), []).append(group)
    left = 0
    for identity, count in zip(*np.unique(identities, return_counts=True), strict=True):
        groups = drawn.get(int(identity), [])
        images = [image for group in groups for image in group]
        left += len(groups) < max(1, count // 4)
        assert len(groups) <= max(1, count // 4)
        if count >= 4:
            assert len(images) == len(set(images))
    assert left < 3  # it stops where fewer than P identities have images left


@pytest.mark.parametrize("draw", DRAWS)
def test_the_generator_alone_decides(draw):
    identities = listed(COUNTS["uneven"])
    torch.manual_seed(1)
    one = pk_batches(identities, 3, 4, generator(7), draw)
    torch.manual_seed(2)
    two = pk_batches(identities, 3, 4, generator(7), draw)
    other = pk_batches(identities, 3, 4, generator(8), draw)
    assert all(map(torch.equal, one, two))
    assert not (len(one) == len(other) and all(map(torch.equal, one, other)))


@pytest.mark.parametrize("draw", DRAWS)
def test_every_image_can_come_up_and_none_is_favoured(draw):
    identities = listed([5, 6, 7, 9])
    counts = np.zeros(len(identities))
    for seed in range(400):
        for batch in pk_batches(identities, 2, 4, generator(seed), draw):
            np.add.at(counts, batch.numpy(), 1)
    for identity in np.unique(identities):
        share = counts[identities == identity]
        assert share.min() > 0.7 * share.mean()
        assert share.max() < 1.3 * share.mean()


def test_a_few_images_are_repeated_at_random():
    identities = listed([3, 3])
    extra = {tuple(pk_batches(identities, 2, 4, generator(s))[0][:4].tolist()) for s in range(200)}
    assert len({group[3] for group in extra}) >= 3  # the fourth is any of the three


def market_like() -> np.ndarray:
    """751 identities with 12,936 images, from 2 to 72 each, as in Market-1501."""
    draw = np.random.default_rng(1)
    counts = np.clip(np.round(draw.gamma(2.6, 6.7, 751)).astype(int), 2, 72)
    while counts.sum() != 12_936:
        step = 1 if counts.sum() < 12_936 else -1
        room = np.flatnonzero((counts + step >= 2) & (counts + step <= 72))
        counts[draw.choice(room)] += step
    return np.repeat(np.arange(751), counts)


def test_an_epoch_of_market_1501_has_46_steps_or_up_to_101():
    uneven, full = market_like(), np.repeat(np.arange(751), [24] * 115 + [16] * 635 + [16])
    assert len(pk_batches(uneven, 16, 8, generator(), "once")) == 46
    assert len(full) == 751 * 16 + 115 * 8 == 12_936
    # 12,936 / 128 is 101.06. The last steps are lost where fewer than 16 identities are left, and
    # an identity's last images where they are fewer than 8.
    assert 99 <= len(pk_batches(full, 16, 8, generator(), "exhaustive")) <= 101
    counts = np.unique(uneven, return_counts=True)[1]
    groups = int(np.maximum(counts // 8, 1).sum())
    steps = len(pk_batches(uneven, 16, 8, generator(), "exhaustive"))
    assert 0.9 * groups / 16 <= steps <= groups / 16


@pytest.mark.parametrize("draw", DRAWS)
@pytest.mark.parametrize(("count", "advice"), [(3, 3), (1, 2)])
def test_fewer_identities_than_p_are_refused_with_a_number_that_fits(draw, count, advice):
    with pytest.raises(UserError) as caught:
        pk_batches(listed([4] * count), 4, 2, generator(), draw)
    message = str(caught.value)
    assert f"has {count} identities, fewer than the 4" in message
    assert f"--set identities_per_batch={advice}" in message
    assert "\n" not in message
