"""`./build.sh serve`: the embedded server and its OpenAI frontend in the foreground, until Ctrl-C or TERM."""

from __future__ import annotations

import argparse
import signal
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

from imagegen.launch.child_process import ServerError
from imagegen.launch.embedded_frontend import EmbeddedFrontend
from imagegen.launch.embedded_server import EmbeddedServer
from imagegen.launch.model_repository import BUNDLED_CHECKPOINT, other_checkpoint
from imagegen.launch.staging import add_parameters, assignment
from imagegen.launch.supervisor import TICK_S, Supervisor

REPOSITORY = Path(__file__).resolve().parents[2] / "model_repository"
BUNDLED_CHECKPOINT = REPOSITORY / "diffusion" / "1" / "checkpoint"
_OUTPUT_URL, _PUBLIC_BASE_URL = "image_postprocess.output_url", "image_postprocess.public_base_url"
_DRAIN_TIMEOUT_S = 20.0


def main() -> int:
    """Command line; the exit status."""
    arguments = _parse_arguments()
    # Both end us through the context manager, which ends the server. INT too is set by us: a shell's background job
    # inherits it as ignored, and Python then leaves it so.
    for ending in (signal.SIGINT, signal.SIGTERM):
        signal.signal(ending, _interrupt)
    parameters: dict[str, str] = other_checkpoint(arguments.model) if arguments.model else {}
    parameters |= dict(arguments.set)
    folder = _local_store(parameters)
    if folder is not None and arguments.openai_port:
        parameters.setdefault(_PUBLIC_BASE_URL, f"http://localhost:{arguments.openai_port}/v1/images/files")
    try:
        with (
            EmbeddedServer(
                REPOSITORY,
                parameters=parameters,
                http_port=arguments.http_port,
                grpc_port=arguments.grpc_port,
                metrics_port=arguments.metrics_port,
                log_file=arguments.log_file,
            ) as server,
            _frontend(arguments, server, folder) as frontend,
        ):
            print(f"HTTP     http://{server.http_url}")
            print(f"gRPC     {server.grpc_url}")
            print(f"metrics  {server.metrics_url}")
            print(f"log      {server.log_file}")
            if frontend is not None:
                print(f"OpenAI   {frontend.url}/v1, log {frontend.log_file}")
                print(f"page     {frontend.url}/")
            supervisor = Supervisor(server, lambda text: print(f"serve: {text}", file=sys.stderr, flush=True))
            supervisor.adopt()
            print("Ready. Ctrl-C ends it.", flush=True)
            print(_keep_serving(supervisor, frontend), file=sys.stderr)
            return 1
    except (ServerError, ValueError) as error:
        print(f"serve: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("Stopped.", file=sys.stderr)
        return 0


@contextmanager
def _frontend(
    arguments: argparse.Namespace, server: EmbeddedServer, folder: Path | None
) -> Iterator[EmbeddedFrontend | None]:
    """The frontend, unless it is off. It ends before the server: what it has begun may be finished."""
    if not arguments.openai_port:
        yield None
        return
    repeated: defaultdict[str, list[str]] = defaultdict(list)
    for option, value in arguments.openai:
        repeated[option] += [value] if value else []  # one without a value, as log-prompts
    drain_timeout_s = float(repeated.pop("drain-timeout-s", [str(_DRAIN_TIMEOUT_S)])[-1])
    options: dict[str, str | list[str]] = {"tokenizer": arguments.model or str(BUNDLED_CHECKPOINT)}
    if arguments.model and not Path(arguments.model).is_dir():
        options["model-id"] = arguments.model
    if folder is not None:
        options["files-folder"] = str(folder)
    options |= repeated
    with EmbeddedFrontend(
        server.grpc_url, options=options, port=arguments.openai_port, drain_timeout_s=drain_timeout_s
    ) as frontend:
        yield frontend


def _local_store(parameters: dict[str, str]) -> Path | None:
    """The folder that results are stored in, where it is a local one."""
    scheme, _, folder = parameters.get(_OUTPUT_URL, "").partition("://")
    return Path(folder) if scheme == "file" and folder else None


def _keep_serving(supervisor: Supervisor, frontend: EmbeddedFrontend | None) -> str:
    """Supervise the server until the frontend ends by itself; what happened."""
    while True:
        supervisor.tick()
        if frontend is not None and (status := frontend.poll()) is not None:
            return f"the OpenAI frontend ended by itself with status {status}; its log is {frontend.log_file}"
        time.sleep(TICK_S)


def _interrupt(*_: object) -> NoReturn:
    raise KeyboardInterrupt


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="./build.sh serve", description="Run a Triton server on loopback.")
    parser.add_argument("--http-port", type=_port, default=8000, help="default 8000; 0 picks a free one")
    parser.add_argument("--grpc-port", type=_port, default=8001, help="default 8001; 0 picks a free one")
    parser.add_argument("--metrics-port", type=_port, default=8002, help="default 8002; 0 picks a free one")
    parser.add_argument(
        "--openai-port",
        type=_port,
        default=9000,
        help="OpenAI's images API and page; default 9000; 0 for none",
    )
    parser.add_argument(
        "--openai",
        metavar="OPTION=VALUE",
        type=_frontend_option,
        action="append",
        default=[],
        help="an option of `python -m imagegen.openai`, as in keys-file=keys.txt; repeatable",
    )
    parser.add_argument("--model", help="folder of a diffusers checkpoint, or hub id; default: the bundled one")
    add_parameters(parser)
    parser.add_argument("--log-file", type=Path, help="where the server's log goes; default: a temporary file")
    return parser.parse_args()


def _port(text: str) -> int:
    port = int(text)
    if not 0 <= port <= 65535:
        raise argparse.ArgumentTypeError(f"{port} is outside 0..65535")
    return port


def _frontend_option(text: str) -> tuple[str, str]:
    option, value = assignment(text)
    if option in ("host", "port", "triton-url"):
        raise argparse.ArgumentTypeError(f"{option} is not to be set here; --openai-port is")
    if option == "drain-timeout-s":
        float(value)
    return option, value


if __name__ == "__main__":
    sys.exit(main())
