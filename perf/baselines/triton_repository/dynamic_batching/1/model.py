"""Plain Triton with dynamic batching, as its documentation sets a python model up: a batch in, its responses out."""

from __future__ import annotations

import base64
import json
import locale
import sys
from pathlib import Path
from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils

sys.path.append(str(Path(__file__).resolve().parents[5]))  # the project's root
from perf.baselines.generate import BaselinePipeline, GenerateRequest


class TritonPythonModel:
    """Generates what the dynamic batcher has put together."""

    def initialize(self, args: dict[str, str]) -> None:
        """Load the checkpoint."""
        locale.setlocale(locale.LC_CTYPE, "C.UTF-8")  # torch.compile reads its own files; a stub's Python has ASCII
        parameters = json.loads(args["model_config"])["parameters"]
        values = {name: parameters[name]["string_value"] for name in ("model", "compiled_px")}
        self._pipeline = BaselinePipeline(values["model"], values["compiled_px"])

    def execute(self, requests: list[Any]) -> list[Any]:
        """Requests of one image each; all get their responses when all are generated."""
        files = self._pipeline.generate_batch([_generate_request(request) for request in requests])
        return [
            pb_utils.InferenceResponse(
                output_tensors=[
                    pb_utils.Tensor("generated_image", np.array([[base64.b64encode(file)]], dtype=np.object_))
                ]
            )
            for file in files
        ]


def _generate_request(request: Any) -> GenerateRequest:
    values = {tensor.name(): tensor.as_numpy().item() for tensor in request.inputs()}
    texts = {name: value.decode() for name, value in values.items() if isinstance(value, bytes)}
    return GenerateRequest(**values | texts)
