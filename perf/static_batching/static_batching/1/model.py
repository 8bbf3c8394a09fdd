"""Static batching, the usual way: a group of requests is one pipeline call, from its first step to its last.

Answers with the tensors of `image_generation`, so that the same client can be used.
"""

from __future__ import annotations

import ctypes
import io
import json
import threading
import zlib
from typing import Any

import numpy as np
import torch
import triton_python_backend_utils as pb_utils
from diffusers import DiffusionPipeline
from step_groups import StepGroups

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _KEPT_BYTES = -1, -3, 256 * 2**20  # of malloc, as in `diffusion`'s tuning.py
_FINAL = pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL


class TritonPythonModel:
    """Takes requests into a waiting line; one thread draws group after group."""

    def initialize(self, args: dict[str, str]) -> None:
        """Load the checkpoint and start the thread."""
        parameters = json.loads(args["model_config"])["parameters"]
        setting = {name: value["string_value"] for name, value in parameters.items()}
        torch.set_num_threads(int(setting["cpu_threads"]))
        for parameter in (_M_MMAP_THRESHOLD, _M_TRIM_THRESHOLD):  # else page faults take a third of the time here
            ctypes.CDLL(None).mallopt(parameter, _KEPT_BYTES)
        pipeline = DiffusionPipeline.from_pretrained(setting["model"], dtype=torch.float32)
        self._pipeline: Any = pipeline.to(setting["device"])
        self._pipeline.set_progress_bar_config(disable=True)
        self._side_px = int(setting["side_px"]) if setting["side_px"] else None
        self._groups = StepGroups[Any](int(setting["max_batch"]), float(setting["max_delay_ms"]) / 1000)
        self._thread = threading.Thread(target=self._draw_all, name="device")
        self._thread.start()

    def execute(self, requests: list[Any]) -> None:
        """Take requests; they are answered by the thread."""
        for request in requests:
            inputs = {tensor.name(): tensor.as_numpy()[0] for tensor in request.inputs()}
            self._groups.put(int(inputs["num_inference_steps"]), (inputs, request.get_response_sender()))

    def finalize(self) -> None:
        """Finish what waits."""
        self._groups.close()
        self._thread.join()

    def _draw_all(self) -> None:
        while group := self._groups.take():
            try:
                responses = self._draw([inputs for inputs, _ in group])
            except Exception as error:
                responses = [pb_utils.InferenceResponse(error=pb_utils.TritonError(repr(error))) for _ in group]
            for (_, sender), response in zip(group, responses, strict=True):
                sender.send(response, flags=_FINAL)

    def _draw(self, group: list[dict[str, Any]]) -> list[Any]:
        images = self._pipeline(
            prompt=[inputs["prompt"].decode() for inputs in group],
            width=self._side_px,
            height=self._side_px,
            num_inference_steps=int(group[0]["num_inference_steps"]),
            guidance_scale=float(group[0]["guidance_scale"]),
            generator=[torch.Generator("cpu").manual_seed(int(inputs["seed"])) for inputs in group],
        ).images
        return [_response(image, int(inputs["seed"]), len(group)) for image, inputs in zip(images, group, strict=True)]


def _response(image: Any, seed: int, together: int) -> Any:
    buffer = io.BytesIO()
    image.save(buffer, "PNG", compress_level=1, compress_type=zlib.Z_RLE)  # as image_postprocess does
    outputs = {
        "generated_image": np.array([buffer.getvalue()], dtype=np.object_),
        "used_seed": np.array([seed], dtype=np.int64),
        "metadata": np.array([json.dumps({"requests_together": together}).encode()], dtype=np.object_),
    }
    return pb_utils.InferenceResponse(output_tensors=[pb_utils.Tensor(*output) for output in outputs.items()])
