"""How much arithmetic a forward is, and how much of the device's limit a time amounts to."""

from __future__ import annotations

import torch
from torch.utils.flop_counter import FlopCounterMode

from perf.gpu.shapes import Shape

_PEAK_BF16_TFLOPS = {
    "H200": 989.0,
    "H100 PCIe": 756.0,
    "H100": 989.0,
    "A100": 312.0,
    "L40S": 362.0,
    "L4": 121.0,
    "RTX 4090": 165.0,
}
"""Dense, with float32 accumulation, from NVIDIA's data sheets; the first name that is part of the device's counts."""


def forward_flops(shape: Shape, side_px: int) -> int:
    """Floating-point operations of a denoiser forward of one row; a multiply-add counts as two. Needs no memory.

    Args:
        shape: the model.
        side_px: width and height of the images.
    """
    device = torch.device("meta")
    model = shape.make_denoiser(device, torch.bfloat16)
    counter = FlopCounterMode(display=False)
    with torch.inference_mode(), counter:
        model(**shape.inputs(1, side_px, device, torch.bfloat16))
    return int(counter.get_total_flops())


def peak_tflops(device_name: str) -> float | None:
    """What the device can do in bf16, in 10^12 operations a second; None for one that is not known."""
    return next((peak for name, peak in _PEAK_BF16_TFLOPS.items() if name in device_name), None)


def share_percent(flops: int, seconds: float, peak: float | None) -> float:
    """Of the limit, that `flops` operations in `seconds` amount to; NaN without a known limit."""
    return 100 * flops / seconds / (peak * 1e12) if peak else float("nan")
