"""`./build.sh analyzer`: what does NVIDIA's perf_analyzer say of this server, and where does the time go?

Concurrency and Poisson sweeps over HTTP and gRPC, of text-to-image and of image-to-image by base64 and by URL; streams.
Ends by itself; the exit status is 1 when a single request failed.
"""

from __future__ import annotations

import argparse
import dataclasses
import math
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from rich.console import Console

from imagegen.launch.child_process import ServerError
from imagegen.launch.embedded_server import EmbeddedServer
from imagegen.launch.image_host import image_host
from imagegen.launch.model_repository import MODEL_REPOSITORY
from imagegen_client import ImageClient, ImageGenerationError
from imagegen_client.transport import MODEL, STREAM_MODEL
from perf.analyzer_inputs import KINDS, SCENE, TEXT, file_stem, input_rows, write_input_data
from perf.analyzer_report import analyzer_report
from perf.analyzer_run import CONCURRENCY, PROGRAM, RATE, Load, Measured, run_analyzer
from perf.arguments import add_model, measuring_parser, with_given
from perf.engines import engine_parameters
from perf.progress import quiet_progress
from perf.report import publish
from perf.stage_seconds import fetch_totals, mean_ms
from perf.surroundings import results_folder, surroundings
from perf.wanted import scene_png


@dataclasses.dataclass(frozen=True)
class Settings:
    """What is measured.

    Attributes:
        requests: of each run, at least.
        concurrency: levels of the sweep.
        shares: rates, as shares of the best throughput of the sweep.
        steps: denoising steps of each image.
        size: of each image.
        kinds: of requests, as in `KINDS`.
        protocols: http, grpc.
        device: a torch device.
    """

    requests: int = 45
    concurrency: tuple[int, ...] = (1, 2, 4, 8)
    shares: tuple[float, ...] = (0.5, 0.8)
    steps: int = 4
    size: str = "128x128"
    kinds: tuple[str, ...] = tuple(KINDS)
    protocols: tuple[str, ...] = ("http", "grpc")
    device: str = "cpu"


_QUICK = Settings(requests=9, concurrency=(1, 4), shares=(0.7,))


def main() -> int:
    """Command line; the exit status."""
    arguments = _parse_arguments()
    settings: Settings = arguments.settings
    if not PROGRAM.exists():
        print("analyzer: no perf_analyzer here; ./build.sh analyzer installs it", file=sys.stderr)
        return 1
    try:
        with ExitStack() as stack:
            scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="imagegen-perf-")))
            (scratch / SCENE).write_bytes(scene_png())
            host = stack.enter_context(image_host(scratch))
            parameters = engine_parameters(arguments.model.resolve(), settings.device) | {
                "image_preprocess.allow_private_addresses": "true",  # the images' host is on loopback
                "image_preprocess.url_cache_bytes": "0",
            }
            server = stack.enter_context(EmbeddedServer(MODEL_REPOSITORY, parameters=parameters))
            about = surroundings(server.http_url)
            folder: Path = (arguments.out or results_folder(about)).resolve()  # perf_analyzer works in it
            (folder / "analyzer").mkdir(parents=True, exist_ok=True)
            rows = input_rows(settings.steps, settings.size, host)
            _try_each(server, rows)
            measured = _measure(server, rows, settings, folder / "analyzer", Console(stderr=True))
    except (ServerError, ImageGenerationError, OSError, subprocess.TimeoutExpired) as error:
        print(f"analyzer: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    shown = {"model": arguments.model.name} | dataclasses.asdict(settings)
    markdown, raw = analyzer_report(about, shown, measured)
    publish(folder, "analyzer", markdown, raw)
    failed = [one for one in measured if one.fault]
    for one in failed:
        print(f"failed: {one.load.name}: {one.fault}", file=sys.stderr)
    return 1 if failed else 0


def _try_each(server: EmbeddedServer, rows: dict[str, list[dict[str, Any]]]) -> None:
    """One request of each kind, so that what cannot work is said in the server's own words."""
    with ImageClient(server.grpc_url) as client:
        for kind in rows:
            client.generate(**rows[kind][0])


def _measure(
    server: EmbeddedServer,
    rows: dict[str, list[dict[str, Any]]],
    settings: Settings,
    folder: Path,
    console: Console,
) -> list[Measured]:
    inputs = {kind: write_input_data(folder / f"{file_stem(kind)}.json", rows[kind]) for kind in rows}
    urls = {"http": server.http_url, "grpc": server.grpc_url}
    sweeps = [(KINDS[kind], protocol) for kind in settings.kinds for protocol in settings.protocols]
    levels = len(settings.concurrency)
    totals = [fetch_totals(server.metrics_url)]
    with quiet_progress(console) as progress:
        bar = progress.add_task("", total=len(sweeps) * (levels + len(settings.shares)) + levels)

        def run(model: str, kind: str, protocol: str, mode: str, level: float) -> Measured:
            # perf_analyzer wants no fewer requests than there are in a second.
            load = Load(model, kind, protocol, mode, level, max(settings.requests, math.ceil(level)))
            progress.update(bar, description=load.name, refresh=True)
            before = totals[-1]
            one = run_analyzer(load, urls[protocol], inputs[kind], folder)
            totals.append(fetch_totals(server.metrics_url))
            progress.update(bar, advance=1, refresh=True)
            return one if one.fault else dataclasses.replace(one, stages_ms=mean_ms(before, totals[-1]))

        measured = []
        for kind, protocol in sweeps:
            closed = [run(MODEL, kind, protocol, CONCURRENCY, level) for level in settings.concurrency]
            most_per_s = max(one.columns.get("Inferences/Second", 0.0) for one in closed)
            measured += closed
            if most_per_s:
                rates = [float(f"{share * most_per_s:.3g}") for share in settings.shares]
                measured += [run(MODEL, kind, protocol, RATE, rate) for rate in rates]
        return measured + [run(STREAM_MODEL, TEXT, "grpc", CONCURRENCY, level) for level in settings.concurrency]


def _parse_arguments() -> argparse.Namespace:
    parser = measuring_parser("./build.sh analyzer", __doc__, "a minute or two; fewer loads and requests")
    add_model(parser)
    parser.add_argument("--requests", type=int, help="of each run, at least")
    parser.add_argument("--concurrency", type=int, nargs="+", help="levels of the sweep, as 1 2 4 8")
    parser.add_argument("--shares", type=float, nargs="+", help="rates as shares of the best throughput, as 0.5 0.8")
    parser.add_argument("--steps", type=int)
    parser.add_argument("--size", help="WxH")
    parser.add_argument("--kinds", nargs="+", choices=list(KINDS), help="of requests; default all")
    parser.add_argument("--protocols", nargs="+", choices=Settings.protocols, help="default both")
    parser.add_argument("--device", help="a torch device; default cpu")
    arguments = parser.parse_args()
    arguments.settings = with_given(_QUICK if arguments.quick else Settings(), arguments)
    return arguments


if __name__ == "__main__":
    sys.exit(main())
