"""`python -m perf.peer_comparison`: is it faster than what people use today, on the same machine and the same requests?

This server and its peers run at the same time and take turns. Ends by itself; the exit status is 1 when any answer was
wrong, or a peer could not take part.
"""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers import DiffusionPipeline
from rich.console import Console

from checkpoint import BUNDLED
from imagegen.launch.child_process import ServerError
from imagegen_client import AsyncImageClient
from perf import launch_bound_checkpoint
from perf.arguments import measuring_parser, with_given
from perf.cells import Cell, closed_cell, in_turn, open_cell, run_cells
from perf.engines import HUB, Engine, running_engines
from perf.figures import Record, summarize
from perf.image_check import ImageCheck
from perf.launch_bound_checkpoint import make_launch_bound_checkpoint, measure_forwards
from perf.load import Client, closed_loop
from perf.peer_plan import Plan, plan_rounds
from perf.peer_report import peer_report
from perf.peers import triton_server
from perf.peers.server import PEERS, PeerServer
from perf.peers.triton_server import PlainTritonServer
from perf.process_tree import idle_percent
from perf.progress import quiet_progress, silence_libraries
from perf.report import publish
from perf.surroundings import results_folder, surroundings
from perf.traces import SHORT_STEPS, Planned

ONE_AT_A_TIME = "fastapi"
"""The peer whose capacity the load is a share of."""

_FORWARD_ROWS = (2, 4, 8, 16)
_WARMUP_CLIENTS, _WARMUP_EACH = 3, 5  # BentoML's batching trains itself on the first 11 requests
_CALIBRATION_CLIENTS = 2  # so that there always is a next request


@dataclass(frozen=True)
class Settings:
    """How much is measured.

    Attributes:
        checkpoint: bundled, or launch-bound: many thin layers with random weights, as a GPU that is not full.
        side_px: width and height of the images. At 128, for which the bundled checkpoint was trained, one image
            fills a core, as one of 1024x1024 fills a small GPU; at 64 it leaves half of it.
        peers: besides this server.
        seconds: that the comparison is to take, without starting the servers.
        rounds: repetitions of everything, each with a trace of its own.
        load: rate of arrival as a share of what the one-at-a-time server can do.
        clients: of the closed loop.
        calibration: requests that measure the one-at-a-time server.
        layers: of the launch-bound checkpoint.
        seed: of the traces.
    """

    checkpoint: str = "bundled"
    side_px: int = 64
    peers: tuple[str, ...] = (*PEERS, triton_server.NAME)
    seconds: float = 330.0
    rounds: int = 2
    load: float = 0.8
    clients: int = 8
    calibration: int = 40
    layers: int = launch_bound_checkpoint.LAYERS
    seed: int = 1


QUICK = Settings(peers=(ONE_AT_A_TIME, "litserve", triton_server.NAME), seconds=30.0, rounds=1, calibration=10)


def main() -> int:
    """Command line; the exit status."""
    arguments = _parse_arguments()
    settings: Settings = arguments.settings
    silence_libraries()
    torch.set_num_threads(1)
    console = Console(stderr=True)
    try:
        with ExitStack() as stack:
            checkpoint = BUNDLED
            if settings.checkpoint != "bundled":
                scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="imagegen-perf-")))
                checkpoint = scratch / "launch_bound"
                make_launch_bound_checkpoint(checkpoint, settings.layers)
            pipeline = DiffusionPipeline.from_pretrained(checkpoint, dtype=torch.float32)
            forward_s = measure_forwards(pipeline, _FORWARD_ROWS, settings.side_px)
            del pipeline
            console.print("Starting the servers; a peer's environment is made the first time …")
            hub, peers, left_out = stack.enter_context(_running(settings.peers, checkpoint, settings.side_px))
            if ONE_AT_A_TIME not in peers:
                raise ServerError(f"nothing to compare with: {left_out[ONE_AT_A_TIME]}")
            about = surroundings(hub.http_url)
            plan, records = asyncio.run(_measure(hub, peers, settings, console))
            idle = idle_percent({name: peer.pid for name, peer in peers.items()})
    except ServerError as error:
        print(f"peer_comparison: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    markdown, raw = peer_report(about, dataclasses.asdict(settings), plan, forward_s, records, left_out, idle)
    name = "peers" if settings.checkpoint == "bundled" else "peers_launch_bound"
    name += "" if settings.side_px == Settings.side_px else f"_{settings.side_px}px"
    publish(arguments.out or results_folder(about), name, markdown, raw)
    wrong = [record for record in records if record.error]
    for record in wrong[:10]:
        print(f"wrong: {record}", file=sys.stderr)
    for name, reason in left_out.items():
        print(f"left out: {name}: {reason}", file=sys.stderr)
    return 1 if wrong or left_out else 0


@contextmanager
def _running(
    names: Sequence[str], checkpoint: Path, side_px: int
) -> Iterator[tuple[Engine, dict[str, PeerServer | PlainTritonServer], dict[str, str]]]:
    """This server, the peers by name, and why others of `names` are left out."""
    peers: dict[str, PeerServer | PlainTritonServer] = {}
    left_out: dict[str, str] = {}
    # The pool outlives the servers: Linux ends a server as soon as the thread that started it is gone.
    with ThreadPoolExecutor(2) as pool, ExitStack() as stack:

        def start(name: str) -> PeerServer | PlainTritonServer:
            plain = name == triton_server.NAME
            server = PlainTritonServer(checkpoint, side_px) if plain else PeerServer(name, checkpoint, side_px)
            stack.callback(server.stop)
            server.__enter__()
            return server

        starts = {name: pool.submit(start, name) for name in names}
        for name, started in starts.items():
            try:
                peers[name] = started.result()
            except ServerError as error:
                left_out[name] = str(error)
        engines = stack.enter_context(running_engines(checkpoint, "cpu", [HUB], side_px))
        yield engines[HUB], peers, left_out


async def _measure(
    hub: Engine, peers: Mapping[str, PeerServer | PlainTritonServer], settings: Settings, console: Console
) -> tuple[Plan, list[Record]]:
    check = ImageCheck(settings.side_px)
    progress = quiet_progress(console)
    async with AsyncExitStack() as stack:
        ours = await stack.enter_async_context(AsyncImageClient(hub.grpc_url, model=hub.model))
        clients: dict[str, Client] = {HUB: ours}
        for name, peer in peers.items():
            clients[name] = await stack.enter_async_context(peer.client())
        stack.enter_context(progress)

        async def run(cells: Sequence[Cell]) -> list[Record]:
            return await run_cells(cells, clients, check, progress)

        seed = settings.seed
        await run([_warmup_cell(name) for name in clients])
        each = settings.calibration // _CALIBRATION_CLIENTS
        calibration = closed_cell("calibration", ONE_AT_A_TIME, 0, _CALIBRATION_CLIENTS, each, seed)
        capacity_per_s = summarize(await run([calibration])).requests_per_s
        if not capacity_per_s:
            raise ServerError(f"{ONE_AT_A_TIME} answered no request rightly")
        plan = plan_rounds(
            capacity_per_s, len(clients), settings.load, settings.clients, settings.rounds, settings.seconds
        )
        return plan, await run(_cells(list(clients), settings, plan))


def _warmup_cell(name: str) -> Cell:
    """Short requests, of which some come together."""
    shares = [
        [Planned(client * _WARMUP_EACH + i, 0.0, SHORT_STEPS, seed=0) for i in range(_WARMUP_EACH)]
        for client in range(_WARMUP_CLIENTS)
    ]
    requests = _WARMUP_CLIENTS * _WARMUP_EACH
    return Cell("warm-up", name, 0, lambda client, notify: closed_loop(client, shares, notify), requests)


def _cells(names: Sequence[str], settings: Settings, plan: Plan) -> list[Cell]:
    """Everything to measure, in order: all take turns, and another one begins in each round."""
    cells = []
    for number in range(settings.rounds):
        order, seed = in_turn(names, number), settings.seed + number
        cells += [open_cell(plan.open_name, name, number, plan.requests, plan.rate_per_s, seed) for name in order]
        cells += [closed_cell(plan.closed_name, name, number, plan.clients, plan.each, seed) for name in order]
    return cells


def _parse_arguments() -> argparse.Namespace:
    parser = measuring_parser("python -m perf.peer_comparison", __doc__, "three peers and half a minute")
    parser.add_argument("--checkpoint", choices=("bundled", "launch-bound"), help="default bundled")
    parser.add_argument("--side-px", type=int, help="width and height of the images; default 64")
    parser.add_argument("--peers", nargs="+", choices=Settings.peers, help=f"default all; {ONE_AT_A_TIME} is needed")
    parser.add_argument("--seconds", type=float, help="of the comparison, without starting the servers; default 330")
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--calibration", type=int, help="requests that measure the one-at-a-time server")
    parser.add_argument("--layers", type=int, help="of the launch-bound checkpoint")
    parser.add_argument("--seed", type=int)
    arguments = parser.parse_args()
    arguments.settings = with_given(QUICK if arguments.quick else Settings(), arguments)
    if ONE_AT_A_TIME not in arguments.settings.peers:
        parser.error(f"--peers: {ONE_AT_A_TIME} is needed, whose capacity the load is a share of")
    return arguments


if __name__ == "__main__":
    sys.exit(main())
