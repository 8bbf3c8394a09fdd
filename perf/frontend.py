"""The part `frontend`: what does the OpenAI frontend cost over the gRPC call, and what do open streams weigh?

The same images by the streaming model over gRPC, which the frontend calls too, and through the OpenAI frontend, in
turns; then many streams at once.
"""

from __future__ import annotations

import asyncio
import base64
import queue
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np
import psutil
import requests
import tritonclient.grpc as triton_grpc

from imagegen.launch.embedded_frontend import EmbeddedFrontend
from perf.environment import triton_version
from perf.own_server import own_server
from perf.report import Section, Target, table
from perf.turns import Turn, take_turns

STREAM, FRONTEND = "gRPC, image_generation_stream", "OpenAI frontend"
TARGET_MS = 4.0
TARGET_RSS_BYTES = 300 * 10**6

_WARMUP_ROUNDS = 5
_GENERATIONS = "/v1/images/generations"
_TYPES = {"prompt": "BYTES", "response_format": "BYTES", "num_inference_steps": "INT32", "seed": "INT64"}
_NUMPY_TYPES: dict[str, Any] = {"BYTES": np.object_, "INT32": np.int32, "INT64": np.int64}
# As the frontend asks: without `step` there is no message for each step.
_OUTPUTS = ("event", "generated_image", "used_seed", "metadata")


@dataclass(frozen=True)
class Settings:
    """How much is measured.

    Attributes:
        rounds: images, each generated both ways.
        steps: denoising steps of each.
        streams: that are opened at the same time.
        stream_steps: denoising steps of each of them.
    """

    rounds: int = 100
    steps: int = 20
    streams: int = 200
    stream_steps: int = 10


QUICK = Settings(rounds=5, streams=20)


def measure(settings: Settings, checkpoint: Path) -> Section:
    """Run a server and a frontend, and measure both."""
    with ExitStack() as stack:
        server = stack.enter_context(own_server(checkpoint))
        options = {"tokenizer": str(checkpoint)}
        frontend = stack.enter_context(EmbeddedFrontend(server.grpc_url, options=options))
        ways = {
            STREAM: stack.enter_context(_by_stream(server.grpc_url, settings.steps)),
            FRONTEND: stack.enter_context(_by_frontend(frontend.url, settings.steps)),
        }
        turns = take_turns("in turns", ways, settings.rounds, _WARMUP_ROUNDS)
        completed, most_bytes = asyncio.run(_open_streams(frontend, settings))
        return section(settings, turns, completed, most_bytes, triton_version(server.http_url))


def _values(number: int, steps: int) -> dict[str, Any]:
    """A prompt of its own, so that nothing can be remembered from the image before."""
    return {"prompt": f"image {number}", "num_inference_steps": steps, "seed": number, "response_format": "b64_json"}


@contextmanager
def _by_stream(grpc_url: str, steps: int) -> Iterator[Callable[[int], bytes]]:
    responses: queue.SimpleQueue[tuple[Any, Any]] = queue.SimpleQueue()
    outputs = [triton_grpc.InferRequestedOutput(name) for name in _OUTPUTS]

    def generate(number: int) -> bytes:
        inputs = []
        for name, value in _values(number, steps).items():
            inputs.append(triton_grpc.InferInput(name, [1], _TYPES[name]))
            inputs[-1].set_data_from_numpy(np.array([value], dtype=_NUMPY_TYPES[_TYPES[name]]))
        client.async_stream_infer("image_generation_stream", inputs, outputs=outputs)
        while True:
            result, error = responses.get()
            if error is not None:
                raise OSError(str(error))
            if result.as_numpy("event")[0] == b"completed":
                return base64.b64decode(result.as_numpy("generated_image")[0])

    with triton_grpc.InferenceServerClient(grpc_url) as client:
        client.start_stream(lambda result, error: responses.put((result, error)))
        try:
            yield generate
        finally:
            client.stop_stream()


@contextmanager
def _by_frontend(url: str, steps: int) -> Iterator[Callable[[int], bytes]]:
    with requests.Session() as session:
        session.trust_env = False  # the proxies of the environment are not what is measured

        def generate(number: int) -> bytes:
            response = session.post(f"{url}{_GENERATIONS}", json=_values(number, steps), timeout=600)
            response.raise_for_status()
            return base64.b64decode(response.json()["data"][0]["b64_json"])

        yield generate


async def _open_streams(frontend: EmbeddedFrontend, settings: Settings) -> tuple[int, int]:
    """Open all streams at once and read each to its end; how many ended with an image, the frontend's most bytes."""
    process = psutil.Process(frontend.pid)
    most_bytes = process.memory_info().rss
    extra = {"stream": True, "partial_images": 1, "nvext": {"annotations": ["progress"]}}

    async def read_stream(number: int) -> bool:
        body = _values(number, settings.stream_steps) | extra
        async with session.post(f"{frontend.url}{_GENERATIONS}", json=body) as response:
            return b"event: image_generation.completed" in await response.read()

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        running = [asyncio.create_task(read_stream(number)) for number in range(settings.streams)]
        while not all(task.done() for task in running):
            most_bytes = max(most_bytes, process.memory_info().rss)
            await asyncio.sleep(0.05)
        return sum(task.result() for task in running), most_bytes


def section(
    settings: Settings,
    turns: Mapping[str, Sequence[Turn[bytes]]],
    completed: int,
    most_bytes: int,
    versions: Mapping[str, str],
) -> Section:
    """What the report says about it.

    Args:
        settings: of the measurement.
        turns: milliseconds and image of each round by way.
        completed: streams that ended with an image.
        most_bytes: resident memory of the frontend while they were open.
        versions: of what was measured.
    """
    times_ms = {name: [turn.ms for turn in ways] for name, ways in turns.items()}
    quartiles_ms = np.percentile(np.subtract(times_ms[FRONTEND], times_ms[STREAM]), (25, 50, 75)).tolist()
    rounds = enumerate(zip(turns[FRONTEND], turns[STREAM], strict=True))
    faults = [f"round {number}: the images differ" for number, (one, other) in rounds if one.result != other.result]
    if completed != settings.streams:
        faults.append(f"{settings.streams - completed} streams ended without an image")
    return Section(
        title="What the OpenAI frontend costs",
        settings=settings,
        paragraphs=[
            "The frontend calls the streaming model, so what it takes longer than that call is its own cost.",
            table(
                ("way", "median ms", "lower quartile", "upper quartile"),
                [
                    *((name, statistics.median(ms), *np.percentile(ms, (25, 75))) for name, ms in times_ms.items()),
                    ("frontend over gRPC, by rounds", quartiles_ms[1], quartiles_ms[0], quartiles_ms[2]),
                ],
            ),
        ],
        raw={"times_ms": times_ms, "over_ms": quartiles_ms, "completed": completed, "most_bytes": most_bytes},
        targets=[
            Target(
                f"frontend: under {TARGET_MS:g} ms over the gRPC call",
                f"{quartiles_ms[1]:.2f} ms",
                quartiles_ms[1] < TARGET_MS,
            ),
            Target(
                f"frontend: under {TARGET_RSS_BYTES / 1e6:.0f} MB with {settings.streams} open streams",
                f"{most_bytes / 1e6:.0f} MB",
                most_bytes < TARGET_RSS_BYTES,
            ),
        ],
        faults=faults,
        versions=versions,
    )
