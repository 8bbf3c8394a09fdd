"""`image_preprocess`: checks the whole request and turns its images into pixels.

arrays -> parse_request -> ImageLoader -> pixels uint8 [N,H,W,3], mask_pixels uint8 [1,H,W]
"""

from __future__ import annotations

import json
import logging
import time
from functools import partial
from typing import Any

from imagegen.api.errors import Unavailable
from imagegen.api.request import parse_request
from imagegen.images.input.load import ImageLoader
from imagegen.images.input.settings import LoadingSettings
from imagegen.malloc import return_freed_memory
from imagegen.triton.adapter import (
    Answer,
    Arrays,
    RequestThreads,
    TritonSeries,
    answer_with,
    end_process,
    start_process,
    text_tensor,
)
from imagegen.triton.drain import is_draining
from imagegen.triton.parameters import read_parameters

_log = logging.getLogger(__name__)


class TritonPythonModel:
    """Adapter; see the module's docstring."""

    def initialize(self, args: dict[str, str]) -> None:
        """Read the configuration."""
        self._folder = start_process()
        return_freed_memory()
        self._settings = read_parameters(args["model_config"], LoadingSettings)
        self._loader = ImageLoader(self._settings, TritonSeries(instance=args["model_instance_name"]))
        # Requests with URLs can fill their share only, so those without never wait for somebody's slow host.
        threads = self._settings.max_url_requests + self._settings.request_threads
        self._threads = RequestThreads(threads, partial(answer_with, handle=self._preprocess))

    def execute(self, requests: list[Any]) -> None:
        """Take requests. Those with images are answered from threads of their own, the others at once."""
        for request in requests:
            if any(tensor.name() == "image" for tensor in request.inputs()):
                self._threads.run(request)
            else:
                answer_with(Answer(request), self._preprocess)

    def finalize(self) -> None:
        """Finish what was begun."""
        self._threads.close()
        self._loader.close()
        end_process(self._folder)

    def _preprocess(self, arrays: Arrays, request_id: str) -> Arrays:
        started_s = time.monotonic()
        if is_draining(self._folder):
            raise Unavailable("the server is shutting down")
        request = parse_request(
            arrays,
            self._settings,
            granularity_px=self._settings.granularity_px,
            has_store=self._settings.output_url is not None,
        )
        if request.output.user is not None:
            _log.info("request %r of user %r", request_id, request.output.user)
        outputs: Arrays = {}
        report: dict[str, Any] = {}
        if request.images:
            loaded = self._loader.load(request.images, request.mask, request.size)
            outputs["pixels"] = loaded.pixels
            if loaded.mask is not None:
                outputs["mask_pixels"] = loaded.mask
            report["warnings"] = loaded.warnings
            if loaded.paths:
                report["input_paths"] = loaded.paths
        # The clock is the host's, so the diffusion model can tell how long the request then waited in its queue, and
        # whether a cancel came before it or after.
        finished_s = time.monotonic()
        report |= {"started_s": started_s, "finished_s": finished_s}
        report["milliseconds"] = {"preprocess": round((finished_s - started_s) * 1000, 2)}
        outputs["preprocess_report"] = text_tensor(json.dumps(report))
        return outputs
