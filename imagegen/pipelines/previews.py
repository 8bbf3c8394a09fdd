"""Previews: from latents to a few pixels by one small matrix, at a thousandth of the VAE's cost.

A latent channel is close to a linear mix of colours. The mix differs by VAE, so it is fitted when a checkpoint is
loaded, to images that its own VAE encodes.
"""

from __future__ import annotations

import logging
from typing import Any

import torch
from torch.nn.functional import adaptive_avg_pool2d, interpolate

# Few and small, for every start waits for them: 2 s of a CPU with Stable Diffusion's VAE. Eight times as many pixels
# bring a preview of the bundled checkpoint 2 levels nearer to the image, of 29.
_IMAGES_A_KIND = 4
_COARSENESS = (2, 4)  # colours across an image, of each kind
_SIDE_LATENTS = 8
_RIDGE = 1e-3  # holds back channels that hardly vary
_SEED = 0

_log = logging.getLogger(__name__)


class Projection:
    """A linear map from the channels of the latents to RGB.

    Args:
        pipeline: whose latents they are.
        weight: float32 [C, 3].
        bias: float32 [3]; with it 0..255.
    """

    def __init__(self, pipeline: Any, weight: torch.Tensor, bias: torch.Tensor) -> None:
        self._pipeline = pipeline
        self._weight = weight
        self._bias = bias

    def to(self, device: torch.device | str) -> None:
        """Move it to where the latents are."""
        self._weight, self._bias = self._weight.to(device), self._bias.to(device)

    def pixels(self, latents: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
        """Pixels of one image.

        Args:
            latents: in the layout of the pipeline's denoising loop: [1, C, h, w], [1, C, 1, h, w] or packed [1, S, D].
            size: (width, height) of the image in pixels.

        Returns:
            uint8 RGB [h, w, 3] on the device of the latents, a pixel for each place of theirs.
        """
        spatial = _spatial(self._pipeline, latents, size)[0].float()
        colours = torch.einsum("chw,cr->hwr", spatial, self._weight) + self._bias
        return colours.nan_to_num().round().clamp(0, 255).to(torch.uint8)


def fit_projection(pipeline: Any) -> Projection | None:
    """Fit a projection to a pipeline's own VAE.

    Returns:
        None for a pipeline without a VAE of a known kind; why is logged.
    """
    try:
        with torch.no_grad():
            return _fit(pipeline)
    except Exception:  # previews are no reason not to serve a checkpoint
        _log.warning("there will be no previews: the latents of %s are not understood", type(pipeline).__name__)
        _log.debug("because of", exc_info=True)
        return None


def _fit(pipeline: Any) -> Projection:
    vae = pipeline.vae
    if hasattr(vae, "bn"):
        raise ValueError("latents are normalised by a layer")
    side_px = _SIDE_LATENTS * int(pipeline.vae_scale_factor)
    video = _is_video(vae)
    shift, scale = _normalisation(vae)
    places, colours_there = [], []
    for image in _images(side_px):
        batch = image[None].to(vae.device, vae.dtype)
        latents = (_mode(vae.encode(batch[:, :, None] if video else batch)).float() - shift) * scale
        latents = latents[0, :, 0] if video else latents[0]
        places.append(latents.flatten(1).T)
        colours_there.append(adaptive_avg_pool2d(batch[0].float(), (latents.shape[1], latents.shape[2])).flatten(1).T)
    samples = torch.cat(places).double()  # [places, C]
    colours = torch.cat(colours_there).double() * 127.5 + 127.5  # [places, 3]
    mean, mean_colour = samples.mean(0), colours.mean(0)
    centred = samples - mean
    covariance = centred.T @ centred
    covariance += torch.eye(len(mean)).to(covariance) * covariance.diagonal().mean() * _RIDGE
    weight = torch.linalg.solve(covariance, centred.T @ (colours - mean_colour))
    if not weight.isfinite().all():
        raise ValueError("the VAE overflows")
    return Projection(pipeline, weight.float(), (mean_colour - mean @ weight).float())


def _images(side_px: int) -> torch.Tensor:
    """Fields of random colours, coarse and fine, float32 [n, 3, side, side] in -1..1."""
    generator = torch.Generator().manual_seed(_SEED)
    fields = []
    for across in _COARSENESS:
        grid = torch.rand(_IMAGES_A_KIND, 3, across, across, generator=generator) * 2 - 1
        fields.append(interpolate(grid, (side_px, side_px), mode="bilinear"))
    return torch.cat(fields)


def _mode(encoding: Any) -> torch.Tensor:
    """The latents of an encoder's output, whatever its kind."""
    distribution = getattr(encoding, "latent_dist", None)
    latents = distribution.mode() if distribution is not None else encoding[0]
    assert isinstance(latents, torch.Tensor)
    return latents


def _normalisation(vae: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """Shift and scale by which the denoising loop has (latents - shift) * scale; each broadcasts over [1, C, ...]."""
    config = vae.config
    dimensions = 5 if _is_video(vae) else 4
    scale = torch.tensor(float(getattr(config, "scaling_factor", None) or 1), device=vae.device)
    mean, std = getattr(config, "latents_mean", None), getattr(config, "latents_std", None)
    if mean is None or std is None:
        return torch.tensor(float(getattr(config, "shift_factor", None) or 0), device=vae.device), scale
    shape = (1, -1) + (1,) * (dimensions - 2)
    mean, std = (torch.tensor(value, device=vae.device).reshape(shape) for value in (mean, std))
    return mean, scale / std


def _is_video(vae: Any) -> bool:
    """Whether it takes images as videos of one frame, [B, C, 1, H, W]."""
    return any(isinstance(layer, torch.nn.Conv3d) for layer in vae.modules())


def _spatial(pipeline: Any, latents: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """[B, C, h, w] from the layout of the pipeline's loop."""
    if latents.ndim == 3:
        width, height = size
        latents = pipeline._unpack_latents(latents, height, width, pipeline.vae_scale_factor)
    return latents[:, :, 0] if latents.ndim == 5 else latents
