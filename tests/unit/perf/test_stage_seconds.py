"""Stages are read from the server's metrics, as a mean of the requests in between."""

from __future__ import annotations

import pytest

from perf.stage_seconds import mean_ms, read_totals


def metrics(requests: int, denoise_s: float, fetch_s: float) -> str:
    labels = 'model="diffusion",version="1"'
    return "\n".join(
        [
            "# HELP imagegen_diffusion_stage_seconds Seconds of a request by stage",
            f'imagegen_diffusion_stage_seconds_count{{{labels},stage="denoise"}} {requests}',
            f'imagegen_diffusion_stage_seconds_sum{{{labels},stage="denoise"}} {denoise_s}',
            f'imagegen_diffusion_stage_seconds_bucket{{{labels},stage="denoise",le="1"}} 7',
            f'imagegen_diffusion_stage_seconds_sum{{{labels},stage="decode"}} 9e-1',
            f'imagegen_preprocess_fetch_seconds_sum{{model="image_preprocess"}} {fetch_s}',
            'imagegen_postprocess_encode_seconds_sum{format="png"} 0.25',
            'imagegen_postprocess_encode_seconds_sum{format="webp"} 0.5',
            'nv_inference_count{model="diffusion"} 3',
        ]
    )


def test_series_of_a_stage_are_added_up() -> None:
    totals = read_totals(metrics(3, 1.5, 0.25))
    assert totals["denoise"] == (1.5, 3)
    assert totals["write"] == (0.75, 0)
    assert totals["decode"] == (0.9, 0)
    assert totals["open"] == (0, 0)


def test_the_mean_is_over_the_requests_in_between() -> None:
    between = mean_ms(read_totals(metrics(3, 1.5, 0.25)), read_totals(metrics(7, 2.5, 0.75)))
    assert between["denoise"] == pytest.approx(250)
    assert between["fetch"] == pytest.approx(125)
    assert between["decode"] == 0


def test_without_requests_there_is_no_mean() -> None:
    totals = read_totals(metrics(3, 1.5, 0.25))
    assert mean_ms(totals, totals) == {}
