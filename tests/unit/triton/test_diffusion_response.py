"""The response carries frames, seeds, and one report of all that was done so far."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from imagegen.api.errors import Cancelled
from imagegen.api.reports import GenerationReport, PreprocessReport
from imagegen.engine import GenerationResult
from imagegen.triton.diffusion_response import respond
from tests.unit.reports import generation_report
from tests.unit.triton.diffusion_client import DiffusionClient

UPSTREAM = PreprocessReport(
    started_s=0,
    finished_s=0,
    milliseconds={"preprocess": 1.5},
    warnings=("image[0]: w",),
    input_paths={"image[0]": "/p"},
)
RESULT = GenerationResult(
    frames=np.zeros((2, 8, 8, 3), np.uint8),
    seeds=(5, 6),
    statistics=generation_report(
        size="8x8",
        num_inference_steps=3,
        scheduler="ddim",
        mean_batch_rows=2.5,
        warnings=("cut off",),
        milliseconds={"queue": 0.1, "encode": 1.0, "denoise": 2.0, "decode": 3.0, "diffusion": 6.1},
    ),
)


def response(upstream: PreprocessReport) -> tuple[DiffusionClient, dict[str, Any]]:
    client = DiffusionClient()
    respond(client, upstream, RESULT, None)
    return client, json.loads(client.outputs()["diffusion_report"][0])


def test_frames_and_seeds_have_their_types() -> None:
    outputs = response(UPSTREAM)[0].outputs()
    assert set(outputs) == {"frames", "used_seed", "diffusion_report"}
    assert outputs["frames"] is RESULT.frames
    assert outputs["used_seed"].dtype == np.int64
    assert outputs["used_seed"].tolist() == [5, 6]


def test_the_report_goes_on_from_what_was_reported_before() -> None:
    _, report = response(UPSTREAM)
    assert report["warnings"] == ["image[0]: w", "cut off"]
    assert list(report["milliseconds"]) == ["preprocess", "queue", "encode", "denoise", "decode", "diffusion"]
    assert report["input_paths"] == {"image[0]": "/p"}
    assert {name: report[name] for name in ("model", "task", "size", "num_inference_steps", "guidance_scale")} == {
        "model": "tiny",
        "task": "text-to-image",
        "size": "8x8",
        "num_inference_steps": 3,
        "guidance_scale": 7.5,
    }
    assert (report["scheduler"], report["strength"], report["mean_batch_rows"]) == ("ddim", None, 2.5)


def test_the_model_after_this_one_can_read_it() -> None:
    report = GenerationReport.from_json(response(UPSTREAM)[0].outputs()["diffusion_report"][0])
    assert report.warnings == ("image[0]: w", "cut off")


def test_an_error_is_passed_on() -> None:
    client, error = DiffusionClient(), Cancelled("the client cancelled the request")
    respond(client, UPSTREAM, None, error)
    assert client.error() is error


@pytest.mark.parametrize("upstream", [PreprocessReport(started_s=0, finished_s=0)])
def test_without_a_report_before_it_only_our_own_is_said(upstream: PreprocessReport) -> None:
    _, report = response(upstream)
    assert report["warnings"] == ["cut off"]
    assert not report["input_paths"]
