"""Every bit of a seed counts, and the images of seeds below 2^32 stay what they were."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from imagegen.engine.seeded_generator import seeded_generator

TOP = 2**63 - 1


def noise(seed: int) -> torch.Tensor:
    return torch.randn(64, generator=seeded_generator(seed))


@pytest.mark.parametrize("seed", [0, 1, 7, 12345, 2**31, 2**32 - 1])
def test_a_seed_of_32_bits_gives_what_torch_gives(seed: int) -> None:
    assert torch.equal(noise(seed), torch.randn(64, generator=torch.Generator("cpu").manual_seed(seed)))


@pytest.mark.parametrize("seed", [0, 1, 7, 2**31, 2**32 - 1])
def test_seeds_that_are_equal_modulo_2_to_the_32_differ(seed: int) -> None:
    others = [seed + 2**32, seed + 2**33, seed + 5 * 2**32, seed + 2**62]
    assert len({tuple(noise(each).tolist()) for each in (seed, *others)}) == 5


@given(st.integers(0, TOP), st.integers(0, 62))
def test_each_bit_changes_the_noise_and_the_same_seed_repeats_it(seed: int, bit: int) -> None:
    assert torch.equal(noise(seed), noise(seed))
    assert not torch.equal(noise(seed), noise(seed ^ (1 << bit)))


def test_consecutive_seeds_at_the_top_of_the_range_differ() -> None:
    assert len({tuple(noise(TOP - index).tolist()) for index in range(10)}) == 10


@pytest.mark.parametrize("seed", [2**32, 2**40 + 3, TOP])
def test_the_noise_of_a_large_seed_is_as_normal_as_any(seed: int) -> None:
    sample = torch.randn(200_000, generator=seeded_generator(seed))
    assert abs(float(sample.mean())) < 0.01
    assert abs(float(sample.std()) - 1) < 0.01


def test_the_twisters_words_lie_where_they_are_written() -> None:
    """torch's own state for a seed of 32 bits is numpy's, word for word: both are the authors' `init_genrand`."""
    for seed in (0, 5, 2**32 - 1):
        state = torch.Generator("cpu").manual_seed(seed).get_state().numpy().view(np.uint64)[3:627]
        assert np.array_equal(state, np.random.RandomState(seed).get_state(legacy=False)["state"]["key"])


def test_a_large_seed_draws_what_numpy_draws_from_the_same_words() -> None:
    """So it is the whole state that counts, not the half of it."""
    drawn = torch.randint(0, 2**20, (2000,), generator=seeded_generator(3 * 2**32 + 9))
    expected = np.random.RandomState([9, 3]).randint(0, 2**32, 2000, dtype=np.uint32)
    assert np.array_equal(drawn.numpy(), expected % 2**20)
