"""A projection is fitted to any family's VAE, and gives an image's colours at each place of its latents."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn.functional import avg_pool2d, conv2d

from imagegen.pipelines.previews import Projection, fit_projection
from tests.unit import tiny_pipelines as tiny

FACTOR = 4


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


class LinearVae(torch.nn.Module):
    """A VAE whose colours are known: each latent is a fixed mix of the mean colour of its place."""

    def __init__(self, **config: Any) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(3)
        self.mix = torch.nn.Parameter(torch.randn(6, 3, 1, 1, generator=generator))
        self.config = SimpleNamespace(**config)
        self.device, self.dtype = torch.device("cpu"), torch.float32

    def encode(self, image: torch.Tensor) -> tuple[torch.Tensor]:
        return (conv2d(avg_pool2d(image, FACTOR), self.mix) + 0.5,)


def pipeline_of(vae: Any, **parts: Any) -> Any:
    return SimpleNamespace(vae=vae, vae_scale_factor=FACTOR, **parts)


@pytest.mark.parametrize(
    "config",
    [
        {},
        {"scaling_factor": 0.2},
        {"scaling_factor": 0.3, "shift_factor": 0.1},
        {"latents_mean": [0.1] * 6, "latents_std": [0.5, 1, 2, 3, 4, 5]},
        {"latents_mean": [0.1] * 6, "latents_std": [2.0] * 6, "scaling_factor": 0.5},
    ],
)
def test_the_colours_of_a_linear_vae_come_out(config: dict[str, Any]) -> None:
    vae = LinearVae(**config)
    projection = fit_projection(pipeline_of(vae))
    assert projection is not None
    image = torch.rand(1, 3, 32, 48, generator=torch.Generator().manual_seed(9)) * 2 - 1
    (latents,) = vae.encode(image)
    if "latents_mean" in config:
        std = torch.tensor(config["latents_std"]).reshape(1, -1, 1, 1)
        latents = (latents - 0.1) / std * config.get("scaling_factor", 1)
    else:
        latents = (latents - config.get("shift_factor", 0)) * config.get("scaling_factor", 1)
    pixels = projection.pixels(latents.detach(), (48, 32))
    assert pixels.dtype == torch.uint8
    assert pixels.shape == (8, 12, 3)
    expected = avg_pool2d(image, FACTOR)[0].permute(1, 2, 0).numpy() * 127.5 + 127.5
    assert np.abs(pixels.numpy() - expected).max() < 8


@pytest.mark.parametrize(
    "family", ["sd", "sdxl", "sd3", "flux", "pixart_sigma", "sana", "lumina2", "qwen_image", "z_image"]
)
def test_every_family_has_one(family: str) -> None:
    assert fit_projection(getattr(tiny, family)()) is not None


def test_it_is_the_same_each_time() -> None:
    one, other = (fit_projection(pipeline_of(LinearVae())) for _ in range(2))
    assert one is not None
    assert other is not None
    assert torch.equal(one._weight, other._weight)


def test_packed_latents_are_unpacked_by_the_pipeline() -> None:
    projection = Projection(tiny.flux(), torch.eye(4)[:, :3] * 100, torch.zeros(3))
    spatial = torch.rand(1, 4, 8, 4)
    packed = spatial.view(1, 4, 4, 2, 2, 2).permute(0, 2, 4, 1, 3, 5).reshape(1, 8, 16)
    pixels = projection.pixels(packed, (8, 16))
    assert np.array_equal(pixels, (spatial[0, :3] * 100).round().permute(1, 2, 0).numpy().astype(np.uint8))


def test_latents_out_of_any_range_give_pixels() -> None:
    projection = Projection(None, torch.ones(4, 3), torch.zeros(3))
    latents = torch.tensor([float("nan"), float("inf"), -float("inf"), 7.0]).reshape(1, 4, 1, 1).expand(1, 4, 2, 2)
    assert projection.pixels(latents, (16, 16)).shape == (2, 2, 3)


@pytest.mark.parametrize("vae", [None, SimpleNamespace(bn=1), torch.nn.Linear(1, 1)])
def test_what_is_not_understood_has_no_previews(vae: Any) -> None:
    assert fit_projection(pipeline_of(vae)) is None


def test_a_vae_that_overflows_has_no_previews() -> None:
    vae = LinearVae()
    vae.mix.data *= float("inf")
    assert fit_projection(pipeline_of(vae)) is None


def test_it_moves_with_the_latents() -> None:
    projection = Projection(None, torch.ones(4, 3), torch.zeros(3))
    projection.to("meta")
    assert projection.pixels(torch.zeros(1, 4, 2, 2, device="meta"), (16, 16)).device.type == "meta"
