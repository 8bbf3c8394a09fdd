"""The forwards measured are those that generating an image makes."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from perf.launch_bound_checkpoint import measure_forwards


@pytest.mark.parametrize("factor", [4, 8])
def test_latents_are_as_large_as_the_vae_of_the_pipeline_makes_them(factor: int) -> None:
    """A forward on latents of another size costs another time: the bundled checkpoint's VAE shrinks by 4."""
    shapes: list[torch.Size] = []

    class Denoiser(torch.nn.Module):
        config = SimpleNamespace(in_channels=4, cross_attention_dim=8)

        def forward(self, latents: torch.Tensor, timesteps: torch.Tensor, text: torch.Tensor) -> torch.Tensor:
            shapes.append(latents.shape)
            return latents

    pipeline = SimpleNamespace(unet=Denoiser(), tokenizer=SimpleNamespace(model_max_length=5), vae_scale_factor=factor)
    seconds = measure_forwards(pipeline, [2], side_px=128)
    assert set(seconds) == {2}
    assert set(shapes) == {torch.Size([2, 4, 128 // factor, 128 // factor])}
