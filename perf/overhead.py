"""`python -m perf.overhead`: what does the server cost over calling the diffusers pipeline directly?

One request at a time, in turns through the server and by the same pipeline in this process. Ends by itself; the exit
status is 1 when any of the server's images differs from the direct one.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import torch
from rich.console import Console

from imagegen.launch.child_process import ServerError
from imagegen.launch.embedded_server import EmbeddedServer
from imagegen.launch.model_repository import MODEL_REPOSITORY
from imagegen_client import GenerateResult, ImageClient, ImageGenerationError
from perf.arguments import add_model, measuring_parser
from perf.direct_pipeline import Direct, DirectPipeline
from perf.engines import engine_parameters
from perf.image_check import ImageCheck
from perf.overhead_report import Pair, overhead_report
from perf.progress import quiet_progress, silence_libraries
from perf.report import publish
from perf.surroundings import results_folder, surroundings
from perf.traces import Planned

_GUIDANCE_SCALE = 7.5
_WARMUP_PAIRS = 3


@dataclass(frozen=True)
class Settings:
    """What is measured.

    Attributes:
        pairs: images, each drawn both ways.
        steps: denoising steps of each.
        side_px: width and height.
        device: a torch device.
    """

    pairs: int = 100
    steps: int = 20
    side_px: int = 128
    device: str = "cpu"


def main() -> int:
    """Command line; the exit status."""
    arguments = _parse_arguments()
    settings = Settings(arguments.pairs, arguments.steps, arguments.side_px, arguments.device)
    silence_libraries()
    torch.set_num_threads(1)
    console = Console(stderr=True)
    try:
        with ExitStack() as stack:
            checkpoint: Path = arguments.model
            console.print("Loading the checkpoint here and on a server …")
            direct = DirectPipeline(checkpoint, settings.device)
            parameters = engine_parameters(checkpoint.resolve(), settings.device)
            server = stack.enter_context(EmbeddedServer(MODEL_REPOSITORY, parameters=parameters))
            client = stack.enter_context(ImageClient(server.grpc_url))
            about = surroundings(server.http_url)
            pairs = _measure(client, direct, settings, console)
    except (ServerError, ImageGenerationError, OSError) as error:
        print(f"overhead: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    markdown, raw = overhead_report(about, {"model": checkpoint.name} | dataclasses.asdict(settings), pairs)
    publish(arguments.out or results_folder(about), "overhead", markdown, raw)
    faults = [pair.fault for pair in pairs if pair.fault]
    for fault in faults[:10]:
        print(f"wrong: {fault}", file=sys.stderr)
    return 1 if faults else 0


def _measure(client: ImageClient, direct: DirectPipeline, settings: Settings, console: Console) -> list[Pair]:
    check = ImageCheck(settings.side_px)
    pairs = []
    with quiet_progress(console) as progress:
        bar = progress.add_task("in turns", total=_WARMUP_PAIRS + settings.pairs)
        for index in range(_WARMUP_PAIRS + settings.pairs):
            # A prompt of its own, so that nothing can be remembered from the image before.
            planned = Planned(index, 0.0, settings.steps, seed=index)
            if index % 2:  # what comes first finds colder caches: it is each way's turn as often
                drawn = _direct(direct, planned, settings)
                served, server_ms = _served(client, planned, settings)
            else:
                served, server_ms = _served(client, planned, settings)
                drawn = _direct(direct, planned, settings)
            reference = GenerateResult(images=(drawn.png,), urls=(), seeds=(planned.seed,), metadata={})
            fault = check.fault(planned, reference) or check.fault(planned, served)
            pairs.append(Pair(server_ms, drawn.total_ms, served.metadata["milliseconds"], drawn.stages_ms, fault))
            progress.update(bar, advance=1, refresh=True)
    return pairs[_WARMUP_PAIRS:]


def _served(client: ImageClient, planned: Planned, settings: Settings) -> tuple[GenerateResult, float]:
    started_s = time.perf_counter()
    result = client.generate(
        planned.prompt,
        size=f"{settings.side_px}x{settings.side_px}",
        num_inference_steps=planned.num_inference_steps,
        guidance_scale=_GUIDANCE_SCALE,
        seed=planned.seed,
    )
    return result, (time.perf_counter() - started_s) * 1000


def _direct(direct: DirectPipeline, planned: Planned, settings: Settings) -> Direct:
    size = (settings.side_px, settings.side_px)
    return direct.draw(planned.prompt, planned.seed, size, planned.num_inference_steps, _GUIDANCE_SCALE)


def _parse_arguments() -> argparse.Namespace:
    parser = measuring_parser("python -m perf.overhead", __doc__, "a tenth of the pairs")
    add_model(parser)
    parser.add_argument("--pairs", type=int, default=Settings.pairs, help="images, each drawn both ways")
    parser.add_argument("--steps", type=int, default=Settings.steps)
    parser.add_argument("--side-px", type=int, default=Settings.side_px, help="width and height of the images")
    parser.add_argument("--device", default=Settings.device, help="a torch device; default cpu")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.pairs = max(1, arguments.pairs // 10)
    return arguments


if __name__ == "__main__":
    sys.exit(main())
