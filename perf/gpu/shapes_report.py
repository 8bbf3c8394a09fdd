"""The report of `perf.gpu`."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from perf.gpu.flops import share_percent
from perf.gpu.timing import Timed
from perf.report import surroundings_section, table


def shapes_report(
    surroundings: Mapping[str, Any], parameters: Mapping[str, Any], timed: Sequence[Timed], peak: float | None
) -> tuple[str, dict[str, Any]]:
    """The report as Markdown, and all of it as JSON values.

    Args:
        surroundings: what it was measured with.
        parameters: of the measurement.
        timed: every model and batch.
        peak: the device's limit in 10^12 operations a second; None where it is not known.
    """
    alone = {(one.model, one.compiled, one.side_px): one.image_s for one in timed if one.images == 1}
    rows = [
        (
            f"{one.model}{', compiled' if one.compiled else ''}",
            f"{one.side_px}x{one.side_px}",
            one.images,
            1000 * one.step_s,
            1000 * one.decode_s,
            one.image_s,
            alone.get((one.model, one.compiled, one.side_px), float("nan")) / one.image_s,
            f"{one.flops / 1e12:.3g}",
            share_percent(one.flops, one.step_s, peak),
        )
        for one in timed
    ]
    limit = "not known for this device" if peak is None else f"{peak:g} TFLOP/s in bf16"
    sections = [
        "# GPU: the shapes of SD 1.5, SDXL and Flux",
        surroundings_section(surroundings, parameters),
        "Random weights. A step is one denoiser forward for all images, with guidance two rows an image but "
        "for Flux; an image is its usual steps (50, 30, 28) and its share of the VAE, without the text encoders. "
        f"Gain: images/s against one at a time. FLOP limit: {limit}.",
        table(
            (
                "model",
                "size",
                "images together",
                "ms a step",
                "ms VAE",
                "s an image",
                "gain",
                "TFLOP a step",
                "% of the limit",
            ),
            rows,
        )
        if rows
        else "No GPU here: nothing was measured.",
    ]
    raw = {
        "surroundings": surroundings,
        "parameters": parameters,
        "peak_tflops": peak,
        "timed": [dataclasses.asdict(one) for one in timed],
    }
    return "\n\n".join(sections) + "\n", raw
