"""`image_generation_stream`: the public request in; progress, previews and the images out, while the client listens."""

from __future__ import annotations

from typing import Any

from imagegen.triton.model_call import call_model
from imagegen.triton.parameters import read_parameters
from imagegen.triton.process import end_process, start_process
from imagegen.triton.request_threads import RequestThreads
from imagegen.triton.stream_settings import StreamSettings
from imagegen.triton.streams import Streams


class TritonPythonModel:
    """Calls the three models in turn; `imagegen.triton.streams` has its logic."""

    def initialize(self, args: dict[str, str]) -> None:
        """Read the configuration and begin to listen."""
        self._folder = start_process()
        settings = read_parameters(args["model_config"], StreamSettings)
        self._streams = Streams(self._folder, call_model)
        self._threads = RequestThreads(settings.max_streams, self._streams.serve)

    def execute(self, requests: list[Any]) -> None:
        """Take requests; each is streamed from a thread of its own."""
        for request in requests:
            self._threads.run(request)

    def finalize(self) -> None:
        """Finish what was begun."""
        self._threads.close()
        self._streams.close()
        end_process(self._folder)
