"""`image_generation_admin`: an administrator's command and key in, the state of every engine out."""

from __future__ import annotations

from functools import partial
from typing import Any

from imagegen.triton.admin_key import AdminKey
from imagegen.triton.administration import Administrator
from imagegen.triton.process import end_process, start_process
from imagegen.triton.request_threads import RequestThreads
from imagegen.triton.triton_request import TritonRequest

_THREADS = 8


class TritonPythonModel:
    """Asks every diffusion process; `imagegen.triton.administration` has its logic."""

    def initialize(self, args: dict[str, str]) -> None:
        """Read the key and find the other processes of this server."""
        self._folder = start_process()
        self._administrator = Administrator(self._folder, AdminKey())
        self._threads = RequestThreads(_THREADS, partial(TritonRequest.respond, handle=self._administrator.handle))

    def execute(self, requests: list[Any]) -> None:
        """Take requests; each is handled on a thread of its own."""
        for request in requests:
            self._threads.run(request)

    def finalize(self) -> None:
        """Finish what was begun."""
        self._threads.close()
        self._administrator.close()
        end_process(self._folder)
