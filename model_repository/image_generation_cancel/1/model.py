"""`image_generation_cancel`: a Triton request id in, whether a request of that id was being generated out."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from imagegen.api.request import parse_request_id
from imagegen.api.tensors import Arrays
from imagegen.triton.commands import Commander
from imagegen.triton.process import end_process, start_process
from imagegen.triton.request_threads import RequestThreads
from imagegen.triton.triton_request import TritonRequest

_THREADS = 8


class TritonPythonModel:
    """Asks every diffusion process; `imagegen.triton.commands` says how a cancel travels."""

    def initialize(self, args: dict[str, str]) -> None:
        """Find the other processes of this server."""
        self._folder = start_process()
        self._commander = Commander(self._folder)
        self._threads = RequestThreads(_THREADS, partial(TritonRequest.respond, handle=self._cancel))

    def execute(self, requests: list[Any]) -> None:
        """Take requests; each is handled on a thread of its own."""
        for request in requests:
            self._threads.run(request)

    def finalize(self) -> None:
        """Finish what was begun."""
        self._threads.close()
        self._commander.close()
        end_process(self._folder)

    def _cancel(self, arrays: Arrays, request_id: str) -> Arrays:
        return {"cancelled": np.array([self._commander.cancel(parse_request_id(arrays))])}
