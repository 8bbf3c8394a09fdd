"""`image_preprocess`: checks the whole request and turns its images into pixels.

public inputs -> Preprocessor -> pixels uint8 of images, mask, references and controls, preprocess_report
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from imagegen.api.errors import Unavailable
from imagegen.api.tensors import DESCRIPTION_OUTPUT, IMAGE_INPUTS, Arrays
from imagegen.images.input.preprocess import Preprocessor
from imagegen.images.input.settings import InputSettings
from imagegen.malloc import return_freed_memory
from imagegen.triton.drain import is_draining
from imagegen.triton.heartbeat import is_asleep, quiet_s
from imagegen.triton.metric_series import TritonSeries
from imagegen.triton.parameters import read_parameters
from imagegen.triton.process import end_process, start_process
from imagegen.triton.request_threads import RequestThreads
from imagegen.triton.shared_settings import SharedRules
from imagegen.triton.triton_request import TritonRequest


class TritonPythonModel:
    """The edge of the ensemble; `imagegen.images.input.preprocess` has its logic."""

    def initialize(self, args: dict[str, str]) -> None:
        """Read the configuration and start the threads."""
        folder = self._folder = start_process()
        return_freed_memory()
        settings = read_parameters(args["model_config"], InputSettings)
        series = TritonSeries(instance=args["model_instance_name"])
        self._rules = SharedRules(folder)
        self._preprocessor = Preprocessor(
            settings,
            series,
            self._rules,
            partial(is_draining, folder),
            partial(is_asleep, folder),
            self._rules.check_loras,
        )
        # Requests with URLs can fill their share only, so those without never wait for somebody's slow host.
        threads = settings.max_url_requests + settings.request_threads
        self._threads = RequestThreads(threads, partial(TritonRequest.respond, handle=self._preprocessor.handle))

    def execute(self, requests: list[Any]) -> None:
        """Take requests. Those with images are handled on threads of their own, the others at once."""
        for request in requests:
            if list(request.requested_output_names()) == [DESCRIPTION_OUTPUT]:
                TritonRequest(request).respond(self._describe)
            elif any(tensor.name() in IMAGE_INPUTS for tensor in request.inputs()):
                self._threads.run(request)
            else:
                TritonRequest(request).respond(self._preprocessor.handle)

    def finalize(self) -> None:
        """Finish what was begun."""
        self._threads.close()
        self._preprocessor.close()
        end_process(self._folder)

    def _describe(self, arrays: Arrays, request_id: str) -> Arrays:
        description = self._rules.description()
        if description is None:
            raise Unavailable("the model is not loaded yet")
        makes = (kind for kind in self._preprocessor.control_preprocessors if kind in description.control_types)
        described = replace(
            description,
            control_preprocessors=tuple(makes),
            quiet_s=quiet_s(self._folder),
            asleep=is_asleep(self._folder),
        )
        return {DESCRIPTION_OUTPUT: np.array([described.to_json()], dtype=np.object_)}
