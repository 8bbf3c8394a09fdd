"""`image_postprocess`: frames uint8 [n,H,W,C] to what the client asked for, with the request's metadata."""

from __future__ import annotations

from functools import partial
from typing import Any

from imagegen.images.output.metrics import OutputMetrics
from imagegen.images.output.postprocess import Postprocessor
from imagegen.images.output.settings import OutputSettings
from imagegen.triton.metric_series import TritonSeries
from imagegen.triton.parameters import read_parameters
from imagegen.triton.process import end_process, start_process
from imagegen.triton.request_threads import RequestThreads
from imagegen.triton.shared_settings import publish_store
from imagegen.triton.triton_request import TritonRequest


class TritonPythonModel:
    """The end of the ensemble; `imagegen.images.output.postprocess` has its logic."""

    def initialize(self, args: dict[str, str]) -> None:
        """Read the configuration and start the threads."""
        self._folder = start_process()
        settings = read_parameters(args["model_config"], OutputSettings)
        metrics = OutputMetrics(TritonSeries(instance=args["model_instance_name"]))
        self._postprocessor = Postprocessor(settings, metrics)
        serve = partial(TritonRequest.respond, handle=self._postprocessor.handle)
        self._threads = RequestThreads(settings.request_threads, serve)
        publish_store(self._folder, has_store=settings.output_url is not None)

    def execute(self, requests: list[Any]) -> None:
        """Take requests; each is handled on a thread of its own."""
        for request in requests:
            self._threads.run(request)

    def finalize(self) -> None:
        """Finish what was begun."""
        self._threads.close()
        self._postprocessor.close()
        end_process(self._folder)
