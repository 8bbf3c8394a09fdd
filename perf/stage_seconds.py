"""Where a server's time went, from the histograms that our models keep.

Triton's own durations of a model end when it has taken a request over, not when it answers, so for `diffusion` they say
nothing about drawing.
"""

from __future__ import annotations

import re
import time
import urllib.request
from collections.abc import Mapping

STAGES = {
    "fetch": ("imagegen_preprocess_fetch_seconds", ""),
    "open": ("imagegen_preprocess_decode_seconds", ""),
    "queue": ("imagegen_diffusion_stage_seconds", 'stage="queue"'),
    "encode": ("imagegen_diffusion_stage_seconds", 'stage="encode"'),
    "denoise": ("imagegen_diffusion_stage_seconds", 'stage="denoise"'),
    "decode": ("imagegen_diffusion_stage_seconds", 'stage="decode"'),
    "diffusion": ("imagegen_diffusion_stage_seconds", 'stage="diffusion"'),
    "write": ("imagegen_postprocess_encode_seconds", ""),
}
"""By name: download of images, their decoding; wait for a slot, text encoding, denoising, VAE, and all that
`diffusion` does from taking a request to its images; the PNG file."""

_SERIES = re.compile(r"^(\w+)_(sum|count)\{(.*)\} (\S+)$", re.MULTILINE)
_REQUESTS = "denoise"
_HAND_OVER_S = 0.5

Totals = Mapping[str, tuple[float, float]]
"""Seconds so far and requests so far, by stage."""


def fetch_totals(metrics_url: str) -> Totals:
    """What the server has counted so far. Our models hand their counts over four times a second, so wait before."""
    time.sleep(_HAND_OVER_S)
    with urllib.request.urlopen(metrics_url, timeout=10) as response:
        return read_totals(response.read().decode())


def read_totals(text: str) -> Totals:
    """From Prometheus' text format."""
    totals = {stage: [0.0, 0.0] for stage in STAGES}
    for metric, part, labels, value in _SERIES.findall(text):
        for stage, (name, label) in STAGES.items():
            if metric == name and label in labels:
                totals[stage][part == "count"] += float(value)
    return {stage: (seconds, count) for stage, (seconds, count) in totals.items()}


def mean_ms(before: Totals, after: Totals) -> dict[str, float]:
    """Milliseconds by stage for each request that was drawn in between."""
    requests = after[_REQUESTS][1] - before[_REQUESTS][1]
    if not requests:
        return {}
    return {stage: 1000 * (after[stage][0] - before[stage][0]) / requests for stage in STAGES}
