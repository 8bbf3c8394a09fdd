"""`python -m perf.growth`: how does the cost grow with n, size, steps, concurrency, load, cache hits?

Ends by itself; the exit status is 1 when a single request fails.
"""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import Progress

from imagegen.launch.child_process import ServerError
from imagegen.launch.embedded_server import EmbeddedServer
from imagegen.launch.model_repository import MODEL_REPOSITORY
from imagegen_client import AsyncImageClient, ImageGenerationError
from perf.arguments import add_model, measuring_parser, with_given
from perf.cells import closed_cell, open_cell
from perf.engines import engine_parameters
from perf.figures import Record, summarize
from perf.growth_report import Asked, Growth, growth_report
from perf.load import Answered
from perf.occupancy import watch_occupancy
from perf.progress import quiet_progress
from perf.report import publish
from perf.surroundings import results_folder, surroundings

_STEPS = 4  # of requests where steps are not what is varied
_SERIES = {"n": (1, 2, 4, 8), "side_px": (64, 96, 128, 192, 256), "steps": (1, 5, 10, 20, 50)}
_CONCURRENCY = (1, 2, 4, 8, 16, 32, 64)
_LOADS = (0.25, 0.5, 0.8, 1.1, 1.4)
_IN_FLIGHT = (50, 150, 500)
_IN_FLIGHT_SIDE_PX = 64
_HIT_RATES = (0.0, 0.5, 0.9, 1.0)
_SHARES = {"single": 0.15, "concurrency": 0.25, "load": 0.45, "in flight": 0.1, "cache": 0.05}
"""Of the time."""


@dataclasses.dataclass(frozen=True)
class Settings:
    """How much is measured.

    Attributes:
        seconds: in all, about, without starting the server.
        most_clients: of the closed loops, at most.
        most_in_flight: requests that are sent at once, at most.
        side_px: of the images where it is not what is varied.
        seed: of the traces.
    """

    seconds: float = 165.0
    most_clients: int = 64
    most_in_flight: int = 500
    side_px: int = 128
    seed: int = 1


_QUICK = Settings(seconds=22.0, most_clients=16, most_in_flight=50)


def main() -> int:
    """Command line; the exit status."""
    arguments = _parse_arguments()
    settings = with_given(_QUICK if arguments.quick else Settings(), arguments)
    model: Path = arguments.model.resolve()
    try:
        parameters = engine_parameters(model, "cpu")
        del parameters["diffusion.prompt_cache_bytes"]  # its hits are measured too; all other prompts are new ones
        parameters["diffusion.native_size_px"] = f"{settings.side_px},{settings.side_px}"
        with EmbeddedServer(MODEL_REPOSITORY, parameters=parameters) as server:
            about = surroundings(server.http_url)
            growth = asyncio.run(_measure(server, settings))
    except (ServerError, ImageGenerationError, OSError) as error:
        print(f"growth: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    markdown, raw = growth_report(about, {"model": model.name} | dataclasses.asdict(settings), growth)
    publish(arguments.out or results_folder(about), "growth", markdown, raw)
    for error_text in growth.errors[:10]:
        print(f"failed: {error_text}", file=sys.stderr)
    return 1 if growth.errors else 0


async def _measure(server: EmbeddedServer, settings: Settings) -> Growth:
    growth = Growth()
    with quiet_progress(Console(stderr=True)) as progress:
        async with AsyncImageClient(server.grpc_url) as client:
            asker = _Asker(client, growth, progress, settings)
            await asker.many(2, 6, "warm-up")
            await _single(asker, settings.seconds * _SHARES["single"])
            await _concurrency(asker, settings.seconds * _SHARES["concurrency"])
            await _loads(asker, server, settings.seconds * _SHARES["load"])
            await _in_flight(asker)
            await _hit_rates(asker, settings.seconds * _SHARES["cache"])
    return growth


class _Asker:
    """Sends requests and keeps what failed."""

    def __init__(self, client: AsyncImageClient, growth: Growth, progress: Progress, settings: Settings) -> None:
        self.client, self.growth, self.settings = client, growth, settings
        self._progress = progress
        self._asked = 0
        self._bar = progress.add_task("", total=None)

    def show(self, what: str) -> None:
        """What is being measured."""
        self._progress.update(self._bar, description=what, refresh=True)

    def notify(self) -> None:
        """One request more is answered."""
        self._progress.update(self._bar, advance=1, refresh=True)

    async def ask(self, prompt: str | None = None, **values: Any) -> Asked | None:
        """One request, with a prompt of its own unless there is one given; None when it failed."""
        self._asked += 1
        started_s = time.perf_counter()
        try:
            result = await self.client.generate(
                prompt or f"image {self._asked}", **{"num_inference_steps": _STEPS, "seed": 1} | values
            )
        except ImageGenerationError as error:
            self.growth.errors.append(f"{values}: {error}")
            return None
        self.notify()
        ms = (time.perf_counter() - started_s) * 1000
        return Asked(ms, result.metadata["milliseconds"]["encode"], result.metadata["mean_batch_rows"])

    async def many(
        self, clients: int, requests: int, what: str, seconds: float | None = None
    ) -> tuple[list[Asked], float]:
        """A closed loop: one request a client, and more until `requests` or `seconds` are over; how long it took."""
        self.show(what)
        started_s = time.perf_counter()
        sent = 0

        async def one_client() -> list[Asked]:
            nonlocal sent
            answered: list[Asked] = []
            while not answered or (sent < requests if seconds is None else time.perf_counter() - started_s < seconds):
                sent += 1
                one = await self.ask()
                if one is None:
                    break
                answered.append(one)
            return answered

        answered = [one for part in await asyncio.gather(*(one_client() for _ in range(clients))) for one in part]
        return answered, time.perf_counter() - started_s


async def _single(asker: _Asker, seconds: float) -> None:
    """One request at a time, of each kind in turns until the time is over."""
    kinds = [(name, value) for name, values in _SERIES.items() for value in values]
    growth, started_s = asker.growth, time.perf_counter()
    while True:
        for name, value in kinds:
            asker.show(f"{name} {value}")
            one = await asker.ask(**_values(name, value))
            if one is not None:
                growth.single.setdefault(name, {}).setdefault(value, []).append(one.ms)
        if time.perf_counter() - started_s > seconds:
            return


def _values(name: str, value: int) -> dict[str, Any]:
    if name == "side_px":
        return {"size": f"{value}x{value}"}
    return {"num_inference_steps": value} if name == "steps" else {"n": value}


async def _concurrency(asker: _Asker, seconds: float) -> None:
    levels = [clients for clients in _CONCURRENCY if clients <= asker.settings.most_clients]
    for clients in levels:
        what = f"concurrency {clients}"
        answered, took_s = await asker.many(clients, 0, what, seconds / len(levels))
        asker.growth.concurrency[clients] = (answered, took_s)


async def _loads(asker: _Asker, server: EmbeddedServer, seconds: float) -> None:
    """Short and long requests at shares of what one client gets, one request after the other."""
    seed = asker.settings.seed
    asker.show("capacity of one client")
    alone = closed_cell("alone", "hub", 0, 1, 10, seed)
    capacity_per_s = summarize(_records(asker, await alone.load(asker.client, asker.notify))).requests_per_s
    asker.growth.capacity_per_s = capacity_per_s
    async with watch_occupancy(server.metrics_url) as moments:
        for load in _LOADS:
            rate_per_s = load * capacity_per_s
            requests = max(4, round(rate_per_s * seconds / len(_LOADS)))
            asker.show(f"load {load:.0%}")
            cell = open_cell("load", "hub", 0, requests, rate_per_s, seed)
            began_s = time.perf_counter()
            answers = await cell.load(asker.client, asker.notify)
            asker.growth.loads[load] = summarize(_records(asker, answers))
            asker.growth.spans[load] = (began_s, time.perf_counter())
    asker.growth.moments = list(moments)


def _records(asker: _Asker, answers: Sequence[Answered]) -> list[Record]:
    """Without the check of images, which other programs do."""
    asker.growth.errors += [answered.error for answered in answers if answered.error]
    return [
        Record("", "", 0, one.planned.index, one.planned.num_inference_steps, one.started_s, one.latency_s, one.error)
        for one in answers
    ]


async def _in_flight(asker: _Asker) -> None:
    """So many requests at once, each of one step."""
    size = f"{_IN_FLIGHT_SIDE_PX}x{_IN_FLIGHT_SIDE_PX}"
    for requests in sorted({min(level, asker.settings.most_in_flight) for level in _IN_FLIGHT}):
        asker.show(f"{requests} in flight")
        started_s = time.perf_counter()
        answered = await asyncio.gather(*(asker.ask(size=size, num_inference_steps=1) for _ in range(requests)))
        took_s = time.perf_counter() - started_s
        asker.growth.in_flight[requests] = ([one for one in answered if one is not None], took_s)


async def _hit_rates(asker: _Asker, seconds: float) -> None:
    """Requests of which a share has a prompt that came before, in turns until the time is over."""
    await asker.ask("known")
    started_s, number = time.perf_counter(), 0
    while number < 10 or time.perf_counter() - started_s < seconds:
        for rate in _HIT_RATES:
            asker.show(f"prompt cache, {rate:.0%} hits")
            one = await asker.ask("known" if number % 10 < 10 * rate else None, num_inference_steps=1)
            if one is not None:
                asker.growth.hit_rates.setdefault(rate, []).append(one)
        number += 1


def _parse_arguments() -> argparse.Namespace:
    parser = measuring_parser("python -m perf.growth", __doc__, "half a minute")
    add_model(parser)
    parser.add_argument("--seconds", type=float, help="in all, about; default 165")
    parser.add_argument("--most-clients", type=int, help="of the closed loops, at most; default 64")
    parser.add_argument("--most-in-flight", type=int, help="requests at once, at most; default 500")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
