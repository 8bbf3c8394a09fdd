"""`python -m perf.frontend`: what does the OpenAI frontend cost over the gRPC call, and what do open streams weigh?

One request at a time, in turns through the frontend and by gRPC; then many streams at once. Ends by itself; the exit
status is 1 when an image of the frontend differs from that of the gRPC call.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import dataclasses
import http.client
import json
import queue
import re
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import psutil
import tritonclient.grpc as triton_grpc
from rich.console import Console

from imagegen.launch.child_process import HOST, ServerError
from imagegen.launch.embedded_frontend import EmbeddedFrontend
from imagegen.launch.embedded_server import EmbeddedServer
from imagegen.launch.model_repository import MODEL_REPOSITORY
from imagegen_client import ImageClient, ImageGenerationError
from imagegen_client.arguments import GenerateArguments
from imagegen_client.transport import infer_options
from perf.arguments import add_model, measuring_parser
from perf.engines import engine_parameters
from perf.frontend_report import ENSEMBLE, FRONTEND, STREAM, Streams, frontend_report
from perf.progress import quiet_progress
from perf.report import publish
from perf.surroundings import results_folder, surroundings

_WARMUP_ROUNDS = 5
_GENERATIONS = "/v1/images/generations"
_LAG = re.compile(r'imagegen_frontend_loop_lag_seconds_bucket\{le="([^"]+)"\} (\S+)')

Draw = Callable[[int], bytes]


@dataclasses.dataclass(frozen=True)
class Settings:
    """What is measured.

    Attributes:
        rounds: images, each drawn all ways.
        steps: denoising steps of each.
        streams: streams that are open at the same time.
        stream_steps: denoising steps of each of them.
        device: a torch device.
    """

    rounds: int = 200
    steps: int = 20
    streams: int = 200
    stream_steps: int = 10
    device: str = "cpu"


def main() -> int:
    """Command line; the exit status."""
    arguments = _parse_arguments()
    settings = Settings(arguments.rounds, arguments.steps, arguments.streams, arguments.stream_steps, arguments.device)
    console = Console(stderr=True)
    try:
        with ExitStack() as stack:
            checkpoint: Path = arguments.model.resolve()
            parameters = engine_parameters(checkpoint, settings.device)
            server = stack.enter_context(EmbeddedServer(MODEL_REPOSITORY, parameters=parameters))
            frontend = stack.enter_context(
                EmbeddedFrontend(server.grpc_url, options={"tokenizer": str(checkpoint), "probe-interval-s": "3600"})
            )
            about = surroundings(server.http_url)
            ways = {
                ENSEMBLE: stack.enter_context(_by_ensemble(server.grpc_url, settings.steps)),
                STREAM: stack.enter_context(_by_stream(server.grpc_url, settings.steps)),
                FRONTEND: stack.enter_context(_by_frontend(frontend.port, settings.steps)),
            }
            before_ms = _cpu_ms(frontend)
            times_ms, faults = _in_turns(ways, settings, console)
            cpu_ms = (_cpu_ms(frontend) - before_ms) / (_WARMUP_ROUNDS + settings.rounds)
            streams = asyncio.run(_open_streams(frontend, settings))
    except (ServerError, ImageGenerationError, OSError) as error:
        print(f"frontend: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    parameters_shown = {"model": checkpoint.name} | dataclasses.asdict(settings)
    markdown, raw = frontend_report(about, parameters_shown, times_ms, cpu_ms, streams)
    publish(arguments.out or results_folder(about), "frontend", markdown, raw)
    for fault in faults[:10]:
        print(f"wrong: {fault}", file=sys.stderr)
    return 1 if faults else 0


def _in_turns(ways: dict[str, Draw], settings: Settings, console: Console) -> tuple[dict[str, list[float]], list[str]]:
    """Milliseconds by way, and what was wrong. Who goes first changes from round to round."""
    times_ms: dict[str, list[float]] = {name: [] for name in ways}
    faults = []
    names = list(ways)
    with quiet_progress(console) as progress:
        bar = progress.add_task("in turns", total=_WARMUP_ROUNDS + settings.rounds)
        for index in range(_WARMUP_ROUNDS + settings.rounds):
            images = {}
            for turn in range(len(names)):
                name = names[(index + turn) % len(names)]
                started_s = time.perf_counter()
                images[name] = ways[name](index)
                times_ms[name].append((time.perf_counter() - started_s) * 1000)
            faults += [f"{name} of round {index}" for name in names if images[name] != images[ENSEMBLE]]
            progress.update(bar, advance=1, refresh=True)
    return {name: values[_WARMUP_ROUNDS:] for name, values in times_ms.items()}, faults


def _cpu_ms(frontend: EmbeddedFrontend) -> float:
    """Processor time that the frontend has taken so far."""
    times = psutil.Process(frontend.pid).cpu_times()
    return float(times.user + times.system) * 1000


def _values(index: int, steps: int) -> dict[str, Any]:
    """A prompt of its own, so that nothing can be remembered from the image before."""
    return {"prompt": f"image {index}", "num_inference_steps": steps, "seed": index, "response_format": "b64_json"}


@contextmanager
def _by_ensemble(grpc_url: str, steps: int) -> Iterator[Draw]:
    with ImageClient(grpc_url) as client:
        yield lambda index: client.generate(**_values(index, steps)).images[0]


@contextmanager
def _by_stream(grpc_url: str, steps: int) -> Iterator[Draw]:
    answers: queue.SimpleQueue[tuple[Any, Any]] = queue.SimpleQueue()
    # As the frontend asks: without `step` there is no message for each step.
    outputs = [triton_grpc.InferRequestedOutput(name) for name in ("event", "generated_image", "used_seed", "metadata")]

    def draw(index: int) -> bytes:
        options = infer_options(triton_grpc.InferInput, GenerateArguments(**_values(index, steps)))
        client.async_stream_infer("image_generation_stream", options["inputs"], outputs=outputs)
        while True:
            result, error = answers.get()
            if error is not None:
                raise OSError(str(error))
            if result.as_numpy("event")[0] == b"completed":
                return base64.b64decode(result.as_numpy("generated_image")[0])

    with triton_grpc.InferenceServerClient(grpc_url) as client:
        client.start_stream(lambda result, error: answers.put((result, error)))
        try:
            yield draw
        finally:
            client.stop_stream()


@contextmanager
def _by_frontend(port: int, steps: int) -> Iterator[Draw]:
    connection = http.client.HTTPConnection(HOST, port, timeout=600)

    def draw(index: int) -> bytes:
        body = json.dumps(_values(index, steps))
        connection.request("POST", _GENERATIONS, body, {"Content-Type": "application/json"})
        response = connection.getresponse()
        answer = json.loads(response.read())
        if response.status != 200:
            raise OSError(str(answer))
        return base64.b64decode(answer["data"][0]["b64_json"])

    try:
        yield draw
    finally:
        connection.close()


async def _open_streams(frontend: EmbeddedFrontend, settings: Settings) -> Streams:
    """Open all streams at once and read each to its end; the frontend's memory meanwhile."""
    process = psutil.Process(frontend.pid)
    before_bytes = process.memory_info().rss
    lag_before = await asyncio.to_thread(_lag, frontend.url)
    running = [asyncio.create_task(_read_stream(frontend.port, index, settings)) for index in range(settings.streams)]
    most_bytes, most_open = before_bytes, 0
    while not all(task.done() for task in running):
        most_bytes = max(most_bytes, process.memory_info().rss)
        most_open = max(most_open, sum(not task.done() for task in running))
        await asyncio.sleep(0.05)
    ended = [task.result() for task in running]
    lag_after = await asyncio.to_thread(_lag, frontend.url)
    lag = {bound: lag_after[bound] - lag_before[bound] for bound in lag_after}
    return Streams(most_open, sum(ended), before_bytes, most_bytes, lag)


async def _read_stream(port: int, index: int, settings: Settings) -> bool:
    """Whether the stream carried a completed image."""
    body = json.dumps(
        {
            **_values(index, settings.stream_steps),
            "stream": True,
            "partial_images": 1,
            "nvext": {"annotations": ["progress"]},
        }
    ).encode()
    reader, writer = await asyncio.open_connection(HOST, port)
    head = f"POST {_GENERATIONS} HTTP/1.1\r\nHost: here\r\nConnection: close\r\nContent-Type: application/json\r\n"
    writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
    received = await reader.read(-1)
    writer.close()
    return b"event: image_generation.completed" in received


def _lag(url: str) -> dict[str, int]:
    """How often the event loop was at most so many seconds late, by upper bound."""
    with urllib.request.urlopen(f"{url}/metrics", timeout=60) as response:
        return {bound: int(float(count)) for bound, count in _LAG.findall(response.read().decode())}


def _parse_arguments() -> argparse.Namespace:
    parser = measuring_parser("python -m perf.frontend", __doc__, "a tenth of the rounds and of the streams")
    add_model(parser)
    parser.add_argument("--rounds", type=int, default=Settings.rounds, help="images, each drawn all ways")
    parser.add_argument("--steps", type=int, default=Settings.steps)
    parser.add_argument("--streams", type=int, default=Settings.streams, help="open at the same time")
    parser.add_argument("--stream-steps", type=int, default=Settings.stream_steps)
    parser.add_argument("--device", default=Settings.device, help="a torch device; default cpu")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.rounds = max(1, arguments.rounds // 10)
        arguments.streams = max(1, arguments.streams // 10)
    return arguments


if __name__ == "__main__":
    sys.exit(main())
