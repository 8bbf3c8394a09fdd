"""The part `baselines`: is it faster than what people use today, on the same machine and the same requests?

This server and the baselines run at the same time and take turns with the same requests.
"""

from __future__ import annotations

import asyncio
import functools
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, ExitStack, contextmanager
from pathlib import Path

import torch
from diffusers import DiffusionPipeline

from checkpoint import CONTROLS
from imagegen.launch.child_process import ServerError
from imagegen.launch.compile import main as build_packages
from imagegen.launch.embedded_server import EmbeddedServer
from imagegen_client import AsyncImageClient
from perf.baseline_section import ADAPTER_RANK, ONE_AT_A_TIME, OWN, Found, Settings, section
from perf.baselines.server import BaselineServer
from perf.baselines.triton_server import NAME as TRITON
from perf.baselines.triton_server import PlainTritonServer
from perf.environment import triton_version
from perf.launch_bound_checkpoint import make_launch_bound_checkpoint, measure_forwards
from perf.load import Client, closed_loop
from perf.own_server import own_server
from perf.report import Section
from perf.result_check import ResultCheck
from perf.summaries import Record, summarize
from perf.traces import Planned, own_request, with_adapters, with_controls
from perf.trials import Change, Trial, closed_trial, open_trial, run_trials
from perf.turns import rotated
from perf.workload import SHORT_STEPS
from tests.unit.engine.adapters.made import write_adapter

_CONTROL = "edges"
_FORWARD_ROWS = (2, 4, 8, 16)
_WARMUP_CLIENTS, _WARMUP_EACH = 3, 5  # BentoML's batching trains itself on the first 11 requests
_CALIBRATION_CLIENTS = 2  # so that there always is a next request


def measure(settings: Settings, checkpoint: Path) -> Section:
    """Start all servers, send the load, and compare.

    Raises:
        ServerError: this server or the one-at-a-time baseline does not start, or completes nothing.
    """
    torch.set_num_threads(1)
    with ExitStack() as stack:
        if settings.launch_bound:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="imagegen-perf-")))
            checkpoint = folder / "launch_bound"
            make_launch_bound_checkpoint(checkpoint, settings.layers)
        pipeline = DiffusionPipeline.from_pretrained(checkpoint, dtype=torch.float32)
        forward_s = measure_forwards(pipeline, _FORWARD_ROWS, settings.side_px)
        adapters = None
        if settings.adapters:
            adapters = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="imagegen-perf-")))
            for number, name in enumerate(_adapter_names(settings)):
                write_adapter(pipeline, adapters / f"{name}.safetensors", number, rank=ADAPTER_RANK)
        del pipeline
        own, others, left_out = stack.enter_context(
            _running(
                settings.baselines,
                checkpoint,
                adapters,
                settings.side_px if settings.compiled else None,
                CONTROLS / _CONTROL if settings.controls else None,
            )
        )
        versions = triton_version(own.http_url)
        capacity_per_s, records = asyncio.run(_measure(own, others, settings))
    return section(settings, Found(forward_s, capacity_per_s, records, left_out), versions)


@contextmanager
def _running(
    names: Sequence[str], checkpoint: Path, adapters: Path | None, compiled_px: int | None, control: Path | None
) -> Iterator[tuple[EmbeddedServer, dict[str, BaselineServer | PlainTritonServer], dict[str, str]]]:
    """This server, the baselines by name, and why others of `names` are left out."""
    others: dict[str, BaselineServer | PlainTritonServer] = {}
    left_out: dict[str, str] = {}
    # The pool outlives the servers: Linux ends a server as soon as the thread that started it is gone.
    with ThreadPoolExecutor(2) as pool, ExitStack() as stack:

        def start(name: str) -> BaselineServer | PlainTritonServer:
            if name == TRITON:
                server: BaselineServer | PlainTritonServer = PlainTritonServer(checkpoint, compiled_px)
            else:
                server = BaselineServer(name, checkpoint, adapters, compiled_px, control)
            stack.callback(server.stop)
            server.__enter__()
            return server

        starts = {name: pool.submit(start, name) for name in names}
        for name, started in starts.items():
            try:
                others[name] = started.result()
            except ServerError as error:
                left_out[name] = str(error)
        if ONE_AT_A_TIME not in others:
            raise ServerError(f"nothing to compare with: {left_out.get(ONE_AT_A_TIME, 'it was left out')}")
        more = {"diffusion.lora_folder": str(adapters)} if adapters else {}
        if control is not None:
            more["diffusion.controlnets"] = f"{control.name}={control}"
        if compiled_px is not None:
            packages = stack.enter_context(tempfile.TemporaryDirectory(prefix="imagegen-perf-"))
            more |= _with_packages(checkpoint, packages, f"{compiled_px}x{compiled_px}")
        yield stack.enter_context(own_server(checkpoint, more=more)), others, left_out


def _with_packages(checkpoint: Path, folder: str, size: str) -> dict[str, str]:
    """Build them for one thread, as our server has it; its parameters, with which it loads them."""
    common = ["--dtype", "float32", "--cpu-threads", "1", "--cache", folder, "--sizes", size]
    if build_packages([str(checkpoint), *common]):
        raise ServerError("the packages of compiled code could not be built")
    return {"diffusion.compile": "aot", "diffusion.compile_cache": folder, "diffusion.warmup_sizes": size}


async def _measure(
    own: EmbeddedServer, others: Mapping[str, BaselineServer | PlainTritonServer], settings: Settings
) -> tuple[float, list[Record]]:
    check, change = ResultCheck(), _change(settings)
    async with AsyncExitStack() as stack:
        clients: dict[str, Client] = {}
        clients[OWN] = await stack.enter_async_context(AsyncImageClient(own.grpc_url))
        for name, other in others.items():
            clients[name] = await stack.enter_async_context(other.client())
        await run_trials([_warmup(name, settings.side_px, change) for name in clients], clients, check)
        each = settings.calibration // _CALIBRATION_CLIENTS
        alone = closed_trial(
            "calibration",
            ONE_AT_A_TIME,
            0,
            _CALIBRATION_CLIENTS,
            each,
            settings.seed,
            settings.side_px,
            change,
        )
        capacity_per_s = summarize(await run_trials([alone], clients, check)).requests_per_s
        if not capacity_per_s:
            raise ServerError(f"{ONE_AT_A_TIME} responded rightly to no request")
        return capacity_per_s, await run_trials(_trials(list(clients), settings, capacity_per_s), clients, check)


def _warmup(name: str, side_px: int, change: Change) -> Trial:
    """Short requests, of which some come together."""
    short = [Planned(0.0, own_request(i, SHORT_STEPS, 0, side_px)) for i in range(_WARMUP_CLIENTS * _WARMUP_EACH)]
    trace = change(short)
    return Trial(
        "warm-up", name, 0, lambda client, notify: closed_loop(client, trace, _WARMUP_CLIENTS, notify), len(trace)
    )


def _trials(names: Sequence[str], settings: Settings, capacity_per_s: float) -> list[Trial]:
    """Everything to measure, in order: all take turns, and another one begins in each round."""
    trials, side_px, change = [], settings.side_px, _change(settings)
    rate_per_s = settings.load * capacity_per_s
    for number in range(settings.rounds):
        order, seed = rotated(names, number), settings.seed + number
        trials += [
            open_trial(settings.open_name, name, number, settings.requests, rate_per_s, seed, side_px, change)
            for name in order
        ]
        trials += [
            closed_trial(settings.closed_name, name, number, settings.clients, settings.each, seed, side_px, change)
            for name in order
        ]
    return trials


def _change(settings: Settings) -> Change:
    """What each request of the mix has beside its text."""
    if settings.controls:
        return with_controls
    return functools.partial(with_adapters, names=_adapter_names(settings))


def _adapter_names(settings: Settings) -> tuple[str, ...]:
    return tuple(f"a{number}" for number in range(settings.adapters))
