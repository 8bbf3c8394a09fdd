"""The architectures of `perf.gpu.shapes`, scaled down: to run the code where there is no GPU."""

from __future__ import annotations

from dataclasses import replace

from perf.gpu.shapes import SHAPES, Inputs, Shape, flux_inputs, qwen_inputs, sd_inputs, sdxl_inputs
from tests.unit.pipelines.random_checkpoint.small_architectures import SMALL_ARCHITECTURES


def _small(name: str, architecture: str, inputs: Inputs) -> Shape:
    return replace(SHAPES[name], architecture=SMALL_ARCHITECTURES[architecture].cut(2), inputs=inputs)


SMALL_SHAPES = {
    "SD 1.5": _small("SD 1.5", "sd15", sd_inputs(32)),
    "SDXL": _small("SDXL", "sdxl", sdxl_inputs(64, 32)),
    "Flux": _small("Flux", "flux", flux_inputs(64, 64, 32, 8)),
    "Qwen-Image": _small("Qwen-Image", "qwen-image", qwen_inputs(64, 64, 8)),
}
