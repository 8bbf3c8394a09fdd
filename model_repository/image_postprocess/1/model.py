"""`image_postprocess`: frames uint8 [n,H,W,3] to what the client asked for, with the request's metadata.

frames -> encode -> bytes | base64 text
"""

from __future__ import annotations

import json
import time
from typing import Any

import numpy as np
import pybase64

from encode import encode
from imagegen.config import read_parameters
from imagegen.request import parse_output_choice
from imagegen.tensors import OUTPUT_FORMATS
from imagegen.triton import Arrays, RequestThreads, start_process, text_tensor
from postprocess_settings import PostprocessSettings


class TritonPythonModel:
    """Adapter; see the module's docstring."""

    def initialize(self, args: dict[str, str]) -> None:
        """Read the configuration."""
        start_process()
        settings = read_parameters(args["model_config"], PostprocessSettings)
        for output_format in OUTPUT_FORMATS:  # Pillow loads its plugins when first used
            encode(np.zeros((8, 8, 3), np.uint8), output_format, None)
        self._threads = RequestThreads(settings.threads, self._postprocess)

    def execute(self, requests: list[Any]) -> None:
        """Take requests; each is answered from its own thread."""
        for request in requests:
            self._threads.run(request)

    def finalize(self) -> None:
        """Finish what was begun."""
        self._threads.close()

    def _postprocess(self, arrays: Arrays) -> Arrays:
        started = time.perf_counter()
        frames = arrays.pop("frames")
        seeds = arrays.pop("frame_seed")
        report = json.loads(arrays.pop("diffusion_report")[0])
        choice = parse_output_choice(arrays)
        encoded = [encode(frame, choice.output_format, choice.output_compression) for frame in frames]
        if choice.response_format == "b64_json":
            encoded = [pybase64.b64encode(image) for image in encoded]
        report["output_format"] = choice.output_format
        report["milliseconds"]["postprocess"] = round((time.perf_counter() - started) * 1000, 2)
        return {
            "generated_image": np.array(encoded, dtype=np.object_),
            "used_seed": seeds,
            "metadata": text_tensor(json.dumps(report)),
        }
