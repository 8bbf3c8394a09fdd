"""`python -m perf.stages`: where does each millisecond of one request go, over gRPC and over HTTP?

One request at a time. Ends by itself; the exit status is 1 when a request fails.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import tritonclient.grpc as triton_grpc
import tritonclient.http as triton_http
from rich.console import Console
from tritonclient.utils import InferenceServerException

from imagegen.launch.child_process import ServerError
from imagegen.launch.embedded_server import EmbeddedServer
from imagegen.launch.model_repository import MODEL_REPOSITORY
from imagegen_client import GenerateArguments, HttpImageClient, ImageClient, ImageGenerationError
from imagegen_client.results import parse_result
from imagegen_client.transport import MODEL, infer_options
from perf.arguments import add_model, measuring_parser
from perf.engines import engine_parameters
from perf.progress import quiet_progress
from perf.report import publish
from perf.stages_report import PROTOCOLS, Parts, split, stages_report
from perf.surroundings import results_folder, surroundings

_WARMUP = 3
_NS_PER_MS = 1e6


@dataclasses.dataclass(frozen=True)
class Settings:
    """What is measured.

    Attributes:
        requests: by protocol; as many again are only timed.
        steps: denoising steps of each.
        side_px: width and height.
        device: a torch device.
    """

    requests: int = 25
    steps: int = 20
    side_px: int = 128
    device: str = "cpu"


def main() -> int:
    """Command line; the exit status."""
    arguments = _parse_arguments()
    settings = Settings(arguments.requests, arguments.steps, arguments.side_px, arguments.device)
    try:
        with ExitStack() as stack:
            parameters = engine_parameters(arguments.model.resolve(), settings.device)
            server = stack.enter_context(EmbeddedServer(MODEL_REPOSITORY, parameters=parameters))
            about = surroundings(server.http_url)
            statistics = stack.enter_context(triton_grpc.InferenceServerClient(server.grpc_url))
            whole = {
                "gRPC": stack.enter_context(ImageClient(server.grpc_url)).generate,
                "HTTP": stack.enter_context(HttpImageClient(server.http_url)).generate,
            }
            in_parts = {
                "gRPC": _grpc_in_parts(stack.enter_context(triton_grpc.InferenceServerClient(server.grpc_url))),
                "HTTP": _http_in_parts(server.http_url),
            }
            totals_ms, parts = _measure(whole, in_parts, statistics, settings)
    except (ServerError, ImageGenerationError, InferenceServerException, OSError) as error:
        print(f"stages: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    model: Path = arguments.model
    markdown, raw = stages_report(about, {"model": model.name} | dataclasses.asdict(settings), totals_ms, parts)
    publish(arguments.out or results_folder(about), "stages", markdown, raw)
    return 0


def _measure(
    whole: dict[str, Any],
    in_parts: dict[str, Callable[[GenerateArguments], tuple[float, float, dict[str, float]]]],
    statistics: triton_grpc.InferenceServerClient,
    settings: Settings,
) -> tuple[dict[str, list[float]], dict[str, list[Parts]]]:
    """Milliseconds of whole requests, as a user's program sees them, and those of others in parts, all in turns."""
    totals_ms: dict[str, list[float]] = {name: [] for name in PROTOCOLS}
    parts: dict[str, list[Parts]] = {name: [] for name in PROTOCOLS}
    with quiet_progress(Console(stderr=True)) as progress:
        bar = progress.add_task("one request at a time", total=_WARMUP + settings.requests)
        for index in range(_WARMUP + settings.requests):
            for name in PROTOCOLS:

                def one_whole(name: str = name, index: int = index) -> None:
                    started_s = time.perf_counter()
                    whole[name](**_arguments(2 * index, settings))
                    totals_ms[name].append((time.perf_counter() - started_s) * 1000)

                def one_in_parts(name: str = name, index: int = index) -> None:
                    asked = GenerateArguments(**_arguments(2 * index + 1, settings))
                    before_ns = _ensemble_ns(statistics)
                    call_ms, client_ms, server_ms = in_parts[name](asked)
                    ensemble_ms = (_ensemble_ns(statistics) - before_ns) / _NS_PER_MS
                    parts[name].append(split(client_ms, call_ms, ensemble_ms, server_ms))

                # Whoever comes first finds colder caches: it is each one's turn as often.
                for turn in (one_whole, one_in_parts) if index % 2 else (one_in_parts, one_whole):
                    turn()
            progress.update(bar, advance=1, refresh=True)
    return (
        {name: values[_WARMUP:] for name, values in totals_ms.items()},
        {name: values[_WARMUP:] for name, values in parts.items()},
    )


def _arguments(index: int, settings: Settings) -> dict[str, Any]:
    """A prompt of its own, so that nothing can be remembered from the image before."""
    side_px = settings.side_px
    return {
        "prompt": f"image {index}",
        "seed": index,
        "num_inference_steps": settings.steps,
        "size": f"{side_px}x{side_px}",
    }


def _ensemble_ns(statistics: triton_grpc.InferenceServerClient) -> int:
    """Nanoseconds that Triton has counted for answered requests of the ensemble so far."""
    [model] = statistics.get_inference_statistics(MODEL).model_stats
    return int(model.inference_stats.success.ns)


def _grpc_in_parts(
    client: triton_grpc.InferenceServerClient,
) -> Callable[[GenerateArguments], tuple[float, float, dict[str, float]]]:
    """As `ImageClient` does it, with the time of the call, that of the rest, and what the server says."""

    def ask(arguments: GenerateArguments) -> tuple[float, float, dict[str, float]]:
        started_s = time.perf_counter()
        options = infer_options(triton_grpc.InferInput, arguments)
        sent_s = time.perf_counter()
        answer = client.infer(MODEL, **options)
        return _timed(answer, started_s, sent_s)

    return ask


def _http_in_parts(url: str) -> Callable[[GenerateArguments], tuple[float, float, dict[str, float]]]:
    """The same as `HttpImageClient` does it, with a connection of its own."""

    def ask(arguments: GenerateArguments) -> tuple[float, float, dict[str, float]]:
        started_s = time.perf_counter()
        options = infer_options(triton_http.InferInput, arguments)
        sent_s = time.perf_counter()
        with triton_http.InferenceServerClient(url) as client:
            answer = client.infer(MODEL, **options)
        return _timed(answer, started_s, sent_s)

    return ask


def _timed(answer: Any, started_s: float, sent_s: float) -> tuple[float, float, dict[str, float]]:
    answered_s = time.perf_counter()
    result = parse_result(answer, None)
    ended_s = time.perf_counter()
    call_s = answered_s - sent_s
    return call_s * 1000, (ended_s - started_s - call_s) * 1000, result.metadata["milliseconds"]


def _parse_arguments() -> argparse.Namespace:
    parser = measuring_parser("python -m perf.stages", __doc__, "a fifth of the requests")
    add_model(parser)
    parser.add_argument("--requests", type=int, default=Settings.requests, help="by protocol")
    parser.add_argument("--steps", type=int, default=Settings.steps)
    parser.add_argument("--side-px", type=int, default=Settings.side_px, help="width and height of the images")
    parser.add_argument("--device", default=Settings.device, help="a torch device; default cpu")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.requests = max(1, arguments.requests // 5)
    return arguments


if __name__ == "__main__":
    sys.exit(main())
