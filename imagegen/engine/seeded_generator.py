"""One random generator an image, from a seed whose every bit counts."""

from __future__ import annotations

import numpy as np
import torch

_BITS_OF_TORCH = 32  # torch's CPU generator is a Mersenne Twister that is seeded with the low 32 bits alone
_MASK = 2**_BITS_OF_TORCH - 1
# The layout of torch.Generator("cpu").get_state(), in 64-bit words: seed, two counters, then the twister's own state,
# one of its 32-bit words in each (CPUGeneratorImplStateLegacy in torch's CPUGeneratorImpl.cpp).
_FIRST_WORD = 3
_WORDS = 624


def seeded_generator(seed: int) -> torch.Generator:
    """A generator on the CPU, so that a seed means the same image on every device.

    Below 2^32 it is torch's own for that seed. Above, where torch would take the seed modulo 2^32, the twister's state
    is made from both halves, by the `init_by_array` of its authors (Matsumoto and Nishimura, 2002), as numpy has it.

    Args:
        seed: 0..2^63-1.
    """
    generator = torch.Generator("cpu").manual_seed(seed)
    high = seed >> _BITS_OF_TORCH
    if high:
        words = np.random.RandomState([seed & _MASK, high]).get_state(legacy=False)["state"]["key"]
        state = generator.get_state()
        state.numpy().view(np.uint64)[_FIRST_WORD : _FIRST_WORD + _WORDS] = words
        generator.set_state(state)
    return generator
