"""Seeds by counters: stable, distinct, and without effect on anybody else's random numbers."""

import hashlib
from itertools import product

import torch

from dreal_lib.runtime.seeding import derived_generator, derived_seed, seed_initialisation, seeded


def test_seeds_stay_what_they_were():
    # Every record depends on these values: a change of them is a change of all runs.
    assert derived_seed(0, "order", 0) == 3955691223199900983
    assert derived_seed(7, "augmentation", 3, 5) == 3173899134535758718


def test_the_seed_is_the_documented_hash():
    digest = hashlib.sha256(b"7/augmentation/3/5").digest()
    assert derived_seed(7, "augmentation", 3, 5) == int(digest.hex()[:16], 16) // 2


def test_purposes_epochs_steps_and_runs_get_different_seeds():
    keys = list(product(range(3), ("order", "augmentation", "bypass"), range(20), range(20)))
    assert len({derived_seed(*key) for key in keys}) == len(keys)


def test_counters_do_not_run_together():
    assert derived_seed(0, "a", 1, 23) != derived_seed(0, "a", 12, 3)
    assert derived_seed(1, "a", 1) != derived_seed(11, "a")


def test_seeds_fit_a_signed_64_bit_integer():
    assert all(0 <= derived_seed(0, "x", index) < 2**63 for index in range(200))


def test_a_generator_repeats_and_leaves_the_global_one_alone():
    before = torch.get_rng_state()
    one = torch.rand(5, generator=derived_generator(0, "a"))
    two = torch.rand(5, generator=derived_generator(0, "a"))
    other = torch.rand(5, generator=derived_generator(0, "b"))
    assert torch.equal(one, two)
    assert not torch.equal(one, other)
    assert torch.equal(before, torch.get_rng_state())


def test_seeded_gives_the_global_generator_back():
    before = torch.get_rng_state()
    with seeded(5):
        one = torch.rand(3)
    with seeded(5):
        two = torch.rand(3)
    assert torch.equal(one, two)
    assert torch.equal(before, torch.get_rng_state())


def test_first_weights_depend_on_the_seed_alone():
    def weights(seed):
        torch.rand(seed + 1)  # what was drawn before does not matter
        seed_initialisation(seed)
        return torch.nn.Linear(3, 3).weight

    with seeded(0):
        assert torch.equal(weights(1), weights(1))
        assert not torch.equal(weights(1), weights(2))
