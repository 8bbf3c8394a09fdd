"""`python -m perf.soak`: does anything grow while the server works for ten minutes?

Ends by itself; the exit status is 1 when a request fails or something grows.
"""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import random
import sys
import time
from pathlib import Path

from rich.console import Console

from imagegen.launch.child_process import ServerError
from imagegen.launch.embedded_server import EmbeddedServer
from imagegen.launch.model_repository import MODEL_REPOSITORY, other_checkpoint
from imagegen_client import AsyncImageClient, ImageGenerationError
from perf.answer_check import AnswerCheck, WrongAnswer
from perf.arguments import add_model, measuring_parser
from perf.process_tree import holding
from perf.progress import quiet_progress
from perf.report import publish
from perf.soak_report import Sample, soak_report
from perf.surroundings import results_folder, surroundings
from perf.wanted import draw_wanted

_SAMPLES = 120
_CLIENTS = 6
_SETTLING_SHARE = 0.1  # of the time: the first minute of ten


def main() -> int:
    """Command line; the exit status."""
    arguments = _parse_arguments()
    model: Path = arguments.model.resolve()
    try:
        # The caches stay on, as in production; they are bounded, and full within the first minute.
        parameters = other_checkpoint(str(model)) | {"diffusion.cpu_threads": "1"}
        with EmbeddedServer(MODEL_REPOSITORY, parameters=parameters) as server:
            about = surroundings(server.http_url)
            samples, failures = asyncio.run(_soak(server, arguments.seconds))
    except (ServerError, OSError) as error:
        print(f"soak: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    shown = {"model": model.name, "seconds": arguments.seconds, "clients": _CLIENTS}
    settled_s = arguments.seconds * _SETTLING_SHARE
    markdown, raw = soak_report(about, shown, samples, failures, settled_s)
    publish(arguments.out or results_folder(about), "soak", markdown, raw)
    for failure in failures[:10]:
        print(f"failed: {failure}", file=sys.stderr)
    return 0 if raw["met"] else 1


async def _soak(server: EmbeddedServer, seconds: float) -> tuple[list[Sample], list[str]]:
    """What the server held over time, and what went wrong. Clients ask for all tasks and sizes, short and long."""
    check = AnswerCheck()
    failures: list[str] = []
    samples: list[Sample] = []
    answered = 0
    started_s = time.perf_counter()

    def elapsed_s() -> float:
        return time.perf_counter() - started_s

    with quiet_progress(Console(stderr=True)) as progress:
        bar = progress.add_task("soak: seconds", total=round(seconds))

        async def one_client(client: AsyncImageClient, number: int) -> None:
            nonlocal answered
            dice = random.Random(number)
            while elapsed_s() < seconds:
                wanted = draw_wanted(dice)
                try:
                    result = await client.generate(**wanted.values(), timeout_s=120)
                    check.check(wanted, result.images, result.seeds)
                    answered += 1
                except (ImageGenerationError, WrongAnswer) as error:
                    failures.append(f"{wanted}: {error}")

        async def sample() -> None:
            while elapsed_s() < seconds:
                held = await asyncio.to_thread(holding, server.pid, server.shm_prefix)
                samples.append(Sample(elapsed_s(), answered, **dataclasses.asdict(held)))
                progress.update(bar, completed=round(elapsed_s()), refresh=True)
                await asyncio.sleep(seconds / _SAMPLES)

        async with AsyncImageClient(server.grpc_url) as client:
            await asyncio.gather(sample(), *(one_client(client, number) for number in range(_CLIENTS)))
    return samples, failures


def _parse_arguments() -> argparse.Namespace:
    parser = measuring_parser("python -m perf.soak", __doc__, "a fiftieth of the time: it shows that it runs, not more")
    add_model(parser)
    parser.add_argument("--seconds", type=float, default=600.0, help="default 600")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.seconds = max(2.0, arguments.seconds / 50)
    return arguments


if __name__ == "__main__":
    sys.exit(main())
