"""`./build.sh serve`: the embedded server in the foreground, until Ctrl-C or TERM."""

from __future__ import annotations

import argparse
import signal
import sys
from pathlib import Path
from typing import NoReturn

from deploy.embedded_server import EmbeddedServer, ServerError

REPOSITORY = Path(__file__).resolve().parents[1] / "model_repository"


def main() -> int:
    """Command line; the exit status."""
    arguments = _parse_arguments()
    # Both end us through the context manager, which ends the server. INT too is set by us: a shell's background job
    # inherits it as ignored, and Python then leaves it so.
    for ending in (signal.SIGINT, signal.SIGTERM):
        signal.signal(ending, _interrupt)
    parameters: dict[str, str] = other_checkpoint(arguments.model) if arguments.model else {}
    parameters |= dict(arguments.set)
    try:
        with EmbeddedServer(
            REPOSITORY,
            parameters=parameters,
            http_port=arguments.http_port,
            grpc_port=arguments.grpc_port,
            metrics_port=arguments.metrics_port,
            log_file=arguments.log_file,
        ) as server:
            print(f"HTTP     http://{server.http_url}")
            print(f"gRPC     {server.grpc_url}")
            print(f"metrics  {server.metrics_url}")
            print(f"log      {server.log_file}")
            print("Ready. Ctrl-C ends it.", flush=True)
            status = server.wait()
            print(f"the server ended by itself with status {status}; see its log", file=sys.stderr)
            return 1
    except (ServerError, ValueError) as error:
        print(f"serve: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("Stopped.", file=sys.stderr)
        return 0


def other_checkpoint(model: str) -> dict[str, str]:
    """Parameters that serve `model`, a folder or hub id, with its pipeline's own default steps and guidance."""
    folder = Path(model)
    return {
        "diffusion.model": str(folder.resolve()) if folder.is_dir() else model,
        "diffusion.default_num_inference_steps": "",
        "diffusion.default_guidance_scale": "",
    }


def _interrupt(*_: object) -> NoReturn:
    raise KeyboardInterrupt


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="./build.sh serve", description="Run a Triton server on loopback.")
    parser.add_argument("--http-port", type=_port, default=8000, help="default 8000; 0 picks a free one")
    parser.add_argument("--grpc-port", type=_port, default=8001, help="default 8001; 0 picks a free one")
    parser.add_argument("--metrics-port", type=_port, default=8002, help="default 8002; 0 picks a free one")
    parser.add_argument("--model", help="folder of a diffusers checkpoint, or hub id; default: the bundled one")
    parser.add_argument(
        "--set",
        metavar="MODEL.PARAMETER=VALUE",
        type=_assignment,
        action="append",
        default=[],
        help="set a parameter of a config.pbtxt, as in diffusion.max_active_requests=8; repeatable",
    )
    parser.add_argument("--log-file", type=Path, help="where the server's log goes; default: a temporary file")
    return parser.parse_args()


def _port(text: str) -> int:
    port = int(text)
    if not 0 <= port <= 65535:
        raise argparse.ArgumentTypeError(f"{port} is outside 0..65535")
    return port


def _assignment(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals:
        raise argparse.ArgumentTypeError(f"{text!r} is not MODEL.PARAMETER=VALUE")
    return key, value


if __name__ == "__main__":
    sys.exit(main())
