"""Plain Triton with dynamic batching, as its documentation sets a python model up: a batch in, its answers out."""

from __future__ import annotations

import base64
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils

sys.path.append(str(Path(__file__).resolve().parents[5]))  # the project's root
from perf.peers.drawing import CHECKPOINT, SIDE_PX, DrawRequest, PeerPipeline


class TritonPythonModel:
    """Draws what the dynamic batcher has put together."""

    def initialize(self, args: dict[str, str]) -> None:
        """Load the checkpoint."""
        parameters = json.loads(args["model_config"])["parameters"]
        setting = {name: value["string_value"] for name, value in parameters.items()}
        self._pipeline = PeerPipeline({CHECKPOINT: setting["model"], SIDE_PX: setting["side_px"]})

    def execute(self, requests: list[Any]) -> list[Any]:
        """Requests of one image each; all are answered when all are drawn."""
        files = self._pipeline.draw_batch([_draw_request(request) for request in requests])
        return [
            pb_utils.InferenceResponse(
                output_tensors=[
                    pb_utils.Tensor("generated_image", np.array([[base64.b64encode(file)]], dtype=np.object_))
                ]
            )
            for file in files
        ]


def _draw_request(request: Any) -> DrawRequest:
    values = {tensor.name(): tensor.as_numpy().item() for tensor in request.inputs()}
    return DrawRequest(**values | {"prompt": values["prompt"].decode()})
