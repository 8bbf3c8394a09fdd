"""An encoding that is sampled without a generator is the mode; with one it is what the VAE samples."""

from __future__ import annotations

import torch

from imagegen.engine.seeded_vae import SeededVae
from tests.unit.tiny_pipelines.parts import kl_autoencoder

IMAGE = torch.linspace(-1, 1, 3 * 16 * 16).reshape(1, 3, 16, 16)


@torch.no_grad()
def test_nobody_s_generator_gives_the_mode() -> None:
    vae = kl_autoencoder()
    seeded = SeededVae(vae)
    first, second = (seeded.encode(IMAGE).latent_dist.sample() for _ in range(2))
    assert torch.equal(first, vae.encode(IMAGE).latent_dist.mode())
    assert torch.equal(first, second)


@torch.no_grad()
def test_a_generator_samples_as_ever() -> None:
    vae = kl_autoencoder()
    one, other = (
        each.encode(IMAGE).latent_dist.sample(torch.Generator().manual_seed(3)) for each in (vae, SeededVae(vae))
    )
    assert torch.equal(one, other)
    assert not torch.equal(one, vae.encode(IMAGE).latent_dist.mode())


@torch.no_grad()
def test_the_real_one_stays_as_it_is_and_the_rest_is_its_own() -> None:
    vae = kl_autoencoder()
    seeded = SeededVae(vae)
    latents = seeded.encode(IMAGE).latent_dist.mode()
    assert seeded.config is vae.config
    assert torch.equal(seeded.decode(latents).sample, vae.decode(latents).sample)
    assert type(vae.encode(IMAGE).latent_dist).__name__ == "DiagonalGaussianDistribution"
