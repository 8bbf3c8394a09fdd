"""`python -m perf.mixed_load`: what does step-level batching buy under mixed load, inside Triton?

Three servers get the same requests in turn: this engine, the same engine with one request at a time, and static
batching. Ends by itself; the exit status is 1 when any answer was wrong.
"""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import torch
from rich.console import Console

from imagegen.launch.child_process import ServerError
from imagegen_client import AsyncImageClient
from perf.arguments import measuring_parser, with_given
from perf.cells import Cell, closed_cell, in_turn, open_cell, run_cells
from perf.engines import HUB, SERIAL, Engine, running_engines
from perf.figures import Record, summarize
from perf.image_check import ImageCheck
from perf.launch_bound_checkpoint import LAYERS, SIDE_PX, make_launch_bound_checkpoint, measure_forwards
from perf.load import Client
from perf.mixed_report import Target, mixed_report
from perf.progress import quiet_progress, silence_libraries
from perf.report import publish
from perf.surroundings import results_folder, surroundings

_FORWARD_ROWS = (1, 2, 4, 8, 16)
_CALIBRATION_CLIENTS = 2  # so that the serial engine always has a next request


@dataclass(frozen=True)
class Settings:
    """How much is measured.

    Attributes:
        rounds: repetitions of everything, each with a trace of its own.
        requests: of an open-loop trace.
        loads: arrival rates as shares of the serial engine's capacity.
        clients: of the closed loop.
        each: requests of each of them.
        calibration: requests that measure the serial engine's capacity.
        layers: of the checkpoint; the forward's time is proportional.
        seed: of the traces.
        device: a torch device.
    """

    rounds: int = 4
    requests: int = 75
    loads: tuple[float, ...] = (0.8,)
    clients: int = 8
    each: int = 8
    calibration: int = 30
    layers: int = LAYERS
    seed: int = 1
    device: str = "cpu"


_QUICK = Settings(rounds=1, requests=30, each=3, calibration=10)


def main() -> int:
    """Command line; the exit status."""
    arguments = _parse_arguments()
    settings: Settings = arguments.settings
    silence_libraries()
    torch.set_num_threads(1)
    console = Console(stderr=True)
    try:
        with tempfile.TemporaryDirectory(prefix="imagegen-perf-") as scratch:
            console.print("Making the checkpoint and timing its forwards …")
            checkpoint = Path(scratch) / "launch_bound"
            pipeline = make_launch_bound_checkpoint(checkpoint, settings.layers)
            forward_s = measure_forwards(pipeline.to(settings.device), _FORWARD_ROWS)
            del pipeline
            console.print("Starting three servers …")
            with running_engines(checkpoint, settings.device) as engines:
                about = surroundings(engines[HUB].http_url)
                capacity_per_s, records = asyncio.run(_measure(engines, settings, console))
    except ServerError as error:
        print(f"mixed_load: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    parameters = dataclasses.asdict(settings) | {"loads": " and ".join(f"{load:g}" for load in settings.loads)}
    markdown, raw = mixed_report(about, parameters, forward_s, capacity_per_s, records, _targets(settings))
    publish(arguments.out or results_folder(about), "mixed_load", markdown, raw)
    wrong = [record for record in records if record.error]
    for record in wrong[:10]:
        print(f"wrong: {record}", file=sys.stderr)
    return 1 if wrong else 0


async def _measure(engines: dict[str, Engine], settings: Settings, console: Console) -> tuple[float, list[Record]]:
    """The serial engine's requests per second, and every request of every cell."""
    check = ImageCheck(SIDE_PX)
    progress = quiet_progress(console)
    async with AsyncExitStack() as stack:
        clients: Mapping[str, Client] = {
            name: await stack.enter_async_context(AsyncImageClient(engine.grpc_url, model=engine.model))
            for name, engine in engines.items()
        }
        stack.enter_context(progress)

        async def run(cells: Sequence[Cell]) -> list[Record]:
            return await run_cells(cells, clients, check, progress)

        await run([closed_cell("warm-up", name, 0, 1, 2, settings.seed) for name in engines])
        each = settings.calibration // _CALIBRATION_CLIENTS
        calibration = closed_cell("calibration", SERIAL, 0, _CALIBRATION_CLIENTS, each, settings.seed)
        capacity_per_s = summarize(await run([calibration])).requests_per_s
        if not capacity_per_s:
            raise ServerError("the serial engine answered no request rightly")
        return capacity_per_s, await run(_cells(list(engines), settings, capacity_per_s))


def _cells(engines: Sequence[str], settings: Settings, capacity_per_s: float) -> list[Cell]:
    """Everything to measure, in order: engines take turns, and another one begins in each round."""
    cells = []
    for number in range(settings.rounds):
        order = in_turn(engines, number)
        seed = settings.seed + number
        for load in settings.loads:
            rate_per_s = load * capacity_per_s
            scenario = _open_name(load)
            cells += [open_cell(scenario, name, number, settings.requests, rate_per_s, seed) for name in order]
        scenario = _closed_name(settings)
        cells += [closed_cell(scenario, name, number, settings.clients, settings.each, seed) for name in order]
    return cells


def _open_name(load: float) -> str:
    return f"open loop, {load:.0%} of the serial engine's capacity"


def _closed_name(settings: Settings) -> str:
    return f"closed loop, {settings.clients} clients"


def _targets(settings: Settings) -> list[Target]:
    """Stated for the loads that they were set for; others are only shown."""
    return [
        Target(_open_name(0.8), SERIAL, "short_p95_ms", 10.0, "short p95 at 80% load: 1/10 of serial"),
        Target(_closed_name(settings), SERIAL, "requests_per_s", 2.5, "closed loop: 2.5 times serial's requests/s"),
    ]


def _parse_arguments() -> argparse.Namespace:
    parser = measuring_parser("python -m perf.mixed_load", __doc__, "about a minute; the full run takes up to ten")
    parser.add_argument("--rounds", type=_count)
    parser.add_argument("--requests", type=_count, help="requests of an open-loop round")
    parser.add_argument("--loads", type=float, nargs="+", help="shares of serial capacity, as 0.8 1.5; default 0.8")
    parser.add_argument("--clients", type=_count, help="clients of the closed loop")
    parser.add_argument("--each", type=_count, help="requests of each client in a closed-loop round")
    parser.add_argument("--layers", type=_count, help=f"size of the checkpoint; default {LAYERS}")
    parser.add_argument("--seed", type=int)
    parser.add_argument("--device", help="a torch device; default cpu")
    arguments = parser.parse_args()
    arguments.settings = with_given(_QUICK if arguments.quick else Settings(), arguments)
    if min(arguments.settings.loads) <= 0:
        parser.error("--loads: give numbers above 0")
    return arguments


def _count(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{number} is not 1 or more")
    return number


if __name__ == "__main__":
    sys.exit(main())
