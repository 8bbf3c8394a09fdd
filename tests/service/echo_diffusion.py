"""Stands in for `diffusion`, as its model.py: says what it was given, and gives the controls, or a reference, back."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from imagegen.api.input_images import take_input_images
from imagegen.api.limits import RequestLimits
from imagegen.api.reports import GenerationReport, PreprocessReport
from imagegen.api.tensors import Arrays
from imagegen.triton.process import end_process, start_process
from imagegen.triton.shared_settings import publish_diffusion
from imagegen.triton.triton_request import TritonRequest
from imagegen_client import ModelDescription

DESCRIPTION = ModelDescription(
    model="echo",
    tasks={"text-to-image": ("control_image",), "image-to-image": ("control_image",), "editing": ()},
    native_size="64x64",
    granularity_px=8,
    upscaling=1,
    schedulers=("euler",),
    scheduler="euler",
    previews=False,
    max_references=3,
    least_reference_px=16,
    control_types=("canny", "depth"),
    max_controls=2,
)


class TritonPythonModel:
    """Takes references and controls, as no bundled checkpoint does."""

    def initialize(self, args: dict[str, str]) -> None:
        """Say what it takes."""
        self._folder = start_process()
        publish_diffusion(self._folder, RequestLimits(max_side_px=256), DESCRIPTION)

    def execute(self, requests: list[Any]) -> None:
        """Respond to requests at once."""
        for request in requests:
            TritonRequest(request).respond(self._echo)

    def finalize(self) -> None:
        """Leave the run folder."""
        end_process(self._folder)

    def _echo(self, arrays: Arrays, request_id: str) -> Arrays:
        images = take_input_images(arrays)
        upstream = PreprocessReport.from_json(arrays["preprocess_report"][0])
        given = {
            "references": [[list(each.shape), each[0, 0].tolist()] for each in images.references],
            "controls": [] if images.controls is None else list(images.controls.shape),
            "types": [kind.decode() for kind in arrays.get("control_type", ())],
            "scales": [round(float(scale), 3) for scale in arrays.get("control_scale", ())],
        }
        frames = images.images if images.images is not None else images.controls
        if frames is None:
            frames = np.zeros((1, 8, 8, 3), np.uint8)
        report = GenerationReport(
            model="echo",
            task=images.task,
            size="8x8",
            num_inference_steps=1,
            computed_steps=1,
            guidance_scale=None,
            strength=None,
            scheduler=None,
            mean_batch_rows=1.0,
            warnings=(json.dumps(given), *upstream.warnings),
            milliseconds={},
        )
        return {
            "frames": frames,
            "used_seed": np.arange(len(frames)),
            "diffusion_report": np.array([report.to_json()], dtype=np.object_),
        }
