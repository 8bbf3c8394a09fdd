"""Ray Serve with `serve.batch`, one replica. Batches run in a thread, so that its event loop goes on.

Ray's dashboard is off, its object store small: nothing here uses them.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import tempfile

import ray
from ray import serve
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from perf.baselines.generate import MAX_BATCH, MAX_DELAY_S, PORT, BaselinePipeline, GenerateRequest

_OBJECT_STORE_BYTES = 100_000_000  # not much above the least that Ray takes
_DEPLOYMENT = {"num_replicas": 1, "max_ongoing_requests": 1000, "ray_actor_options": {"num_cpus": 1}}


class Generate:
    """Prompt and parameters as JSON in, a PNG file out."""

    def __init__(self) -> None:
        self._pipeline = BaselinePipeline()

    @serve.batch(max_batch_size=MAX_BATCH, batch_wait_timeout_s=MAX_DELAY_S)
    async def generate(self, requests: list[GenerateRequest]) -> list[bytes]:
        """The PNG files of a batch; Ray responds to all of it together."""
        return await asyncio.to_thread(self._pipeline.generate_batch, requests)

    async def __call__(self, request: Request) -> Response:
        """GET says that it serves, POST generates."""
        if request.method == "GET":
            return PlainTextResponse("ok")
        return Response(await self.generate(GenerateRequest(**await request.json())), media_type="image/png")


def main() -> None:
    """Serve until SIGTERM."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with tempfile.TemporaryDirectory(prefix="ray-", dir="/tmp") as folder:  # its sockets' paths have to be short
        ray.init(
            num_cpus=2,
            include_dashboard=False,
            object_store_memory=_OBJECT_STORE_BYTES,
            _node_ip_address="127.0.0.1",
            _temp_dir=folder,
            logging_level="warning",
        )
        serve.start(http_options={"host": "127.0.0.1", "port": int(os.environ[PORT])})
        serve.run(serve.deployment(Generate, **_DEPLOYMENT).bind(), route_prefix="/generate")
        try:
            signal.pause()
        finally:
            ray.shutdown()


if __name__ == "__main__":
    main()
