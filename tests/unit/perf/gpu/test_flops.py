"""The written-out architectures are the real ones, and arithmetic is counted rightly."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from imagegen.pipelines.random_checkpoint.architecture import Network
from perf.gpu.flops import forward_flops, peak_tflops, share_percent
from perf.gpu.shapes import SHAPES, Shape
from tests.unit.perf.gpu.small_shapes import SMALL_SHAPES

META = torch.device("meta")
MILLIONS = {"SD 1.5": 859.52, "SDXL": 2567.46, "Flux": 11901.41, "Qwen-Image": 20430.40}
VAE_MILLIONS = {"SD 1.5": 83.65, "SDXL": 83.65, "Flux": 83.82, "Qwen-Image": 126.89}


def millions(model: torch.nn.Module) -> float:
    return sum(parameter.numel() for parameter in model.parameters()) / 1e6


@pytest.mark.parametrize("name", SHAPES)
def test_a_shape_has_as_many_parameters_as_the_published_weights(name: str) -> None:
    denoiser = SHAPES[name].make_denoiser(META, torch.bfloat16)
    assert millions(denoiser) == pytest.approx(MILLIONS[name], abs=0.01)
    assert millions(SHAPES[name].make_vae(META, torch.bfloat16)) == pytest.approx(VAE_MILLIONS[name], abs=0.01)
    assert {parameter.dtype for parameter in denoiser.parameters()} == {torch.bfloat16}
    assert torch.get_default_dtype() == torch.float32


class Product(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(3, 5, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        product: torch.Tensor = self.layer(x)
        return product


def test_a_multiply_add_counts_as_two_operations() -> None:
    product = replace(SMALL_SHAPES["Flux"].architecture, networks={"transformer": Network(Product, {})})
    shape = Shape(
        product, lambda rows, side, device, dtype: {"x": torch.ones(rows, 3, device=device, dtype=dtype)}, 1, 1, 1
    )
    assert forward_flops(shape, 64) == 2 * 3 * 5


@pytest.mark.parametrize("name", SMALL_SHAPES)
def test_more_pixels_are_more_work(name: str) -> None:
    shape = SMALL_SHAPES[name]
    assert forward_flops(shape, 128) > 2 * forward_flops(shape, 64) > 0


def test_a_forward_of_stable_diffusion_at_512_is_four_fifths_of_a_teraflop() -> None:
    assert forward_flops(SHAPES["SD 1.5"], 512) == pytest.approx(0.80e12, rel=0.05)


def test_the_share_of_the_limit() -> None:
    assert peak_tflops("NVIDIA H100 80GB HBM3") == 989
    assert peak_tflops("NVIDIA H100 PCIe") == 756
    assert peak_tflops("abacus") is None
    assert share_percent(989 * 10**10, 0.1, 989.0) == pytest.approx(10)
    assert math.isnan(share_percent(1, 1.0, None))
