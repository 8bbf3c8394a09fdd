"""`image_postprocess`: frames uint8 [n,H,W,C] to what the client asked for, with the request's metadata."""

from __future__ import annotations

from functools import partial
from typing import Any

from imagegen.images.output.metrics import PostprocessMeasures
from imagegen.images.output.postprocess import Postprocessor
from imagegen.images.output.settings import PostprocessSettings
from imagegen.triton.adapter import RequestThreads, TritonSeries, answer_with, end_process, start_process
from imagegen.triton.parameters import read_parameters


class TritonPythonModel:
    """Adapter; `postprocess` draws the way of a request."""

    def initialize(self, args: dict[str, str]) -> None:
        """Read the configuration and get ready."""
        self._folder = start_process()
        settings = read_parameters(args["model_config"], PostprocessSettings)
        measures = PostprocessMeasures(TritonSeries(instance=args["model_instance_name"]))
        self._postprocessor = Postprocessor(settings, measures)
        self._threads = RequestThreads(
            settings.request_threads, partial(answer_with, handle=self._postprocessor.handle)
        )

    def execute(self, requests: list[Any]) -> None:
        """Take requests; each is answered from its own thread."""
        for request in requests:
            self._threads.run(request)

    def finalize(self) -> None:
        """Finish what was begun."""
        self._threads.close()
        self._postprocessor.close()
        end_process(self._folder)
