"""`python -m perf.image_inputs`: what does image_preprocess cost a request, and does its memory stay bounded?

Ends by itself; the exit status is 1 when an answer is wrong.
"""

from __future__ import annotations

import argparse
import base64
import dataclasses
import http.server
import io
import json
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil
import tritonclient.grpc as triton_grpc
from PIL import Image
from rich.console import Console
from tritonclient.utils import InferenceServerException

from imagegen.launch.child_process import ServerError
from imagegen.launch.embedded_server import EmbeddedServer
from imagegen.launch.model_repository import MODEL_REPOSITORY
from perf.arguments import measuring_parser
from perf.image_inputs_report import BASE64_JPEG, TEXT_TO_IMAGE, Memory, Times, image_inputs_report
from perf.progress import quiet_progress
from perf.report import publish
from perf.surroundings import results_folder, surroundings

_MODEL = "image_preprocess"
_WARMUP_ROUNDS = 20
_MEMORY_CLIENTS = 16
_URLS = 10


@dataclass(frozen=True)
class Settings:
    """What is measured.

    Attributes:
        requests: of each kind, for times.
        memory_requests: for memory; it is compared with that after a tenth of them.
        side_px: width and height of the images.
    """

    requests: int = 300
    memory_requests: int = 5000
    side_px: int = 1024


def main() -> int:
    """Command line; the exit status."""
    arguments = _parse_arguments()
    settings = Settings(arguments.requests, arguments.memory_requests, arguments.side_px)
    console = Console(stderr=True)
    try:
        with ExitStack() as stack:
            host = stack.enter_context(_image_host(_image(settings.side_px, "JPEG")))
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="imagegen-perf-")))
            (folder / _MODEL).symlink_to(MODEL_REPOSITORY / _MODEL)
            parameters = {f"{_MODEL}.allow_private_addresses": "true"}
            server = stack.enter_context(EmbeddedServer(folder, parameters=parameters))
            client = stack.enter_context(triton_grpc.InferenceServerClient(server.grpc_url))
            about = surroundings(server.http_url)
            kinds = _kinds(settings.side_px, host)
            ping_ms, times = _measure_times(client, kinds, settings, console)
            memory = _measure_memory(client, server.pid, kinds, settings, console)
    except (ServerError, InferenceServerException, ValueError, OSError) as error:
        print(f"image_inputs: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    markdown, raw = image_inputs_report(about, dataclasses.asdict(settings), ping_ms, times, memory)
    publish(arguments.out or results_folder(about), "image_inputs", markdown, raw)
    return 0


def _kinds(side_px: int, host: str) -> dict[str, bytes | None]:
    """What is sent as `image`, by kind of request."""
    files = {name: _image(side_px, name) for name in ("JPEG", "PNG", "WEBP")}
    return {
        TEXT_TO_IMAGE: None,
        BASE64_JPEG: base64.b64encode(files["JPEG"]),
        "JPEG": files["JPEG"],
        "PNG": files["PNG"],
        "WEBP": files["WEBP"],
        "URL of a JPEG, in the cache": f"{host}/0".encode(),
    }


def _image(side_px: int, format_name: str) -> bytes:
    """A file with shapes and some noise, about as large as that of a photograph."""
    rows, columns = np.mgrid[0:side_px, 0:side_px] / side_px
    waves = [np.sin(9 * rows + phase) * np.cos(7 * columns * (phase + 1)) for phase in range(3)]
    noise = np.random.default_rng(0).normal(0, 4, (side_px, side_px, 3))
    pixels = np.clip(np.stack(waves, axis=2) * 100 + 128 + noise, 0, 255).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, format_name, quality=90)
    return file.getvalue()


@contextmanager
def _image_host(data: bytes) -> Iterator[str]:
    """The root of an HTTP host that answers everything with `data`."""

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            """Answer."""
            self.send_response(200)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *args: object) -> None:
            """Say nothing."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as host:
        thread = threading.Thread(target=host.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{host.server_address[1]}"
        host.shutdown()
        thread.join()


def _ask(client: triton_grpc.InferenceServerClient, image: bytes | None) -> tuple[float, float]:
    """Send one request; the client's and the step's milliseconds."""
    inputs = []
    for name, value in (("prompt", b"a red circle"), ("image", image)):
        if value is not None:
            tensor = triton_grpc.InferInput(name, [1], "BYTES")
            tensor.set_data_from_numpy(np.array([value], dtype=np.object_))
            inputs.append(tensor)
    outputs = [triton_grpc.InferRequestedOutput("preprocess_report")]
    started_s = time.perf_counter()
    result = client.infer(_MODEL, inputs, outputs=outputs)
    client_ms = (time.perf_counter() - started_s) * 1000
    return client_ms, float(json.loads(result.as_numpy("preprocess_report")[0])["milliseconds"]["preprocess"])


def _measure_times(
    client: triton_grpc.InferenceServerClient,
    kinds: Mapping[str, bytes | None],
    settings: Settings,
    console: Console,
) -> tuple[list[float], dict[str, Times]]:
    """Round trips of a call that does nothing, and times by kind; all in turns."""
    ping_ms: list[float] = []
    measured: dict[str, list[tuple[float, float]]] = {kind: [] for kind in kinds}
    with quiet_progress(console) as progress:
        bar = progress.add_task("one at a time", total=_WARMUP_ROUNDS + settings.requests)
        for _ in range(_WARMUP_ROUNDS + settings.requests):
            started_s = time.perf_counter()
            client.is_server_live()
            ping_ms.append((time.perf_counter() - started_s) * 1000)
            for kind, image in kinds.items():
                measured[kind].append(_ask(client, image))
            progress.update(bar, advance=1, refresh=not len(ping_ms) % 20)
    times = {
        kind: Times([ms for ms, _ in pairs[_WARMUP_ROUNDS:]], [ms for _, ms in pairs[_WARMUP_ROUNDS:]])
        for kind, pairs in measured.items()
    }
    return ping_ms[_WARMUP_ROUNDS:], times


def _measure_memory(
    client: triton_grpc.InferenceServerClient,
    server_pid: int,
    kinds: Mapping[str, bytes | None],
    settings: Settings,
    console: Console,
) -> Memory:
    """Memory after each tenth of the requests: every kind of image, and files that are refused."""
    images = [image for image in kinds.values() if image is not None]
    host = next(image for image in images if image.startswith(b"http"))[:-1]
    images += [host + b"%d" % index for index in range(_URLS)]
    images += [image[: len(image) // 2] for image in images if not image.startswith(b"http")]

    def ask(index: int) -> None:
        try:
            _ask(client, images[index % len(images)])
        except InferenceServerException as refused:
            if "image_rejected" not in str(refused):
                raise

    tenth = settings.memory_requests // 10
    requests, rss_bytes = [], []
    with quiet_progress(console) as progress, ThreadPoolExecutor(_MEMORY_CLIENTS) as clients:
        bar = progress.add_task("memory", total=10)
        for part in range(10):
            list(clients.map(ask, range(part * tenth, (part + 1) * tenth)))
            requests.append((part + 1) * tenth)
            rss_bytes.append(_rss_bytes(server_pid))
            progress.update(bar, advance=1, refresh=True)
    return Memory(requests, rss_bytes, first=tenth, last=10 * tenth)


def _rss_bytes(server_pid: int) -> int:
    server = psutil.Process(server_pid)
    return sum(process.memory_info().rss for process in (server, *server.children(recursive=True)))


def _parse_arguments() -> argparse.Namespace:
    parser = measuring_parser("python -m perf.image_inputs", __doc__, "a tenth of the requests")
    parser.add_argument("--requests", type=int, default=Settings.requests, help="of each kind, for times")
    parser.add_argument("--memory-requests", type=int, default=Settings.memory_requests, help="for memory; 10 or more")
    parser.add_argument("--side-px", type=int, default=Settings.side_px, help="width and height of the images")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.requests = max(1, arguments.requests // 10)
        arguments.memory_requests = max(10, arguments.memory_requests // 10)
    return arguments


if __name__ == "__main__":
    sys.exit(main())
