"""The frontend as it is served, in a thread of this process, before a gRPC server in the place of Triton."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import uvloop
from tritonclient.utils import deserialize_bytes_tensor, triton_to_np_dtype

from imagegen.api.errors import InvalidArgument
from imagegen.api.limits import RequestLimits
from imagegen.api.request import ImageRequest, parse_partial_images, parse_request
from imagegen.openai.app import Frontend
from imagegen.openai.command_line import parse_command_line
from imagegen.openai.server import make_server
from tests.unit.openai.grpc_stand_in import Behaviour, completed, failure, triton_stand_in


@contextmanager
def running_frontend(behave: Behaviour, *options: str, description: bytes | None = None) -> Iterator[str]:
    """Serve it with these options of its command line; its URL, once it is ready.

    Args:
        behave: of the server that it asks for images.
        options: of its command line.
        description: of the model, as that server gives it; None where it has none to give.
    """
    started: list[Any] = []
    ready = threading.Event()

    async def serve() -> None:
        async with triton_stand_in(behave, description) as triton:
            settings = parse_command_line(["--port", "0", "--triton-url", triton, *options])
            frontend = Frontend(settings)
            server = make_server(settings, frontend)
            serving = asyncio.ensure_future(server.serve())
            try:
                while not (server.started and _is_ready(frontend)):
                    await asyncio.sleep(0.01)
                started[:] = [server, server.servers[0].sockets[0].getsockname()[1]]
                ready.set()
                await serving
            finally:
                ready.set()

    def run() -> None:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(serve())

    thread = threading.Thread(target=run)
    thread.start()
    try:
        assert ready.wait(60)
        yield f"http://127.0.0.1:{started[1]}"
    finally:
        if started:
            started[0].should_exit = True
        thread.join(60)
    assert not thread.is_alive()


def _is_ready(frontend: Frontend) -> bool:
    return frontend._state is not None and frontend._state.health.problem() is None


class JudgingTriton:
    """Judges a request's tensors as Triton's edge does, with the limits that are set by default, and completes it.

    Attributes:
        requests: those that it completed, parsed.
    """

    def __init__(self) -> None:
        self.requests: list[ImageRequest] = []

    async def __call__(self, request: Any, _: Any) -> AsyncIterator[Any]:
        arrays = arrays_of(request)
        try:
            parse_partial_images(arrays)
            arrays.pop("partial_images", None)
            judged = parse_request(arrays, RequestLimits(), granularity_px=8, has_store=True)
        except InvalidArgument as error:
            yield failure(str(error))
            return
        self.requests.append(judged)
        yield completed(n=judged.n, output_format=judged.output.output_format)


def arrays_of(request: Any) -> dict[str, Any]:
    """The input tensors of a ModelInferRequest by name."""
    arrays: dict[str, Any] = {}
    for tensor, raw in zip(request.inputs, request.raw_input_contents, strict=True):
        if tensor.datatype == "BYTES":
            arrays[tensor.name] = deserialize_bytes_tensor(raw).reshape(tensor.shape)
        else:
            arrays[tensor.name] = np.frombuffer(raw, triton_to_np_dtype(tensor.datatype)).reshape(tensor.shape)
    return arrays
