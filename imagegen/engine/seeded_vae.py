"""A VAE whose encodings depend on nothing but their image, whoever samples them."""

from __future__ import annotations

import copy
from typing import Any

import torch

from imagegen.engine.module_proxy import ModuleProxy


class SeededVae(ModuleProxy):
    """Stands in for the VAE of a pipeline that samples from it without a generator.

    Such a pipeline takes the process's own random numbers, which no seed settles and which all requests share. It gets
    the mode of the distribution instead. What it samples with a generator stays as it is.
    """

    __slots__ = ()

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """The real VAE's output."""
        return self._module(*args, **kwargs)

    def encode(self, *args: Any, **kwargs: Any) -> Any:
        """The VAE's encoding of images [B, C, H, W]."""
        encoded = copy.copy(self._module.encode(*args, **kwargs))
        encoded["latent_dist"] = encoded.latent_dist = _SeededDistribution(encoded.latent_dist)
        return encoded


class _SeededDistribution:
    def __init__(self, distribution: Any) -> None:
        self._distribution = distribution

    def __getattr__(self, name: str) -> Any:
        return getattr(self._distribution, name)

    def sample(self, generator: torch.Generator | None = None) -> torch.Tensor:
        """A sample of the generator; the mode without one."""
        if generator is None:
            mode: torch.Tensor = self._distribution.mode()
            return mode
        sampled: torch.Tensor = self._distribution.sample(generator)
        return sampled
