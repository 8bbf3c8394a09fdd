"""`imagegen serve`: the embedded server and its OpenAI frontend in the foreground, until Ctrl-C or TERM.

Requests under way may finish then; a second signal ends them at once.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import defaultdict
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from imagegen.launch.child_process import ServerError
from imagegen.launch.command_line import add_parameters, assignment, port
from imagegen.launch.control_options import add_control_options, control_parameters
from imagegen.launch.embedded_frontend import EmbeddedFrontend
from imagegen.launch.embedded_server import EmbeddedServer
from imagegen.launch.lora_options import add_lora_options, lora_parameters
from imagegen.launch.model_repository import BUNDLED_CHECKPOINT, MODEL_REPOSITORY, other_checkpoint
from imagegen.launch.serving_loop import StopSignals, keep_serving
from imagegen.launch.start_log import StartLog
from imagegen.launch.status_line import StatusLine
from imagegen.launch.supervisor import State, Supervisor

_OUTPUT_URL, _PUBLIC_BASE_URL = "image_postprocess.output_url", "image_postprocess.public_base_url"
_MAX_IMAGE_BYTES = "image_preprocess.max_image_bytes"
_DRAIN_TIMEOUT_S = 20.0
_PATIENCE_S = 10.0  # between two words about what takes long


def main(argv: list[str]) -> int:
    """Run a Triton server, OpenAI's images API and a web page on loopback.

    Args:
        argv: the options; `--help` lists them.

    Returns:
        The exit status.
    """
    command_line = parser()
    given = command_line.parse_args(argv)
    parameters: dict[str, str] = other_checkpoint(given.model) if given.model else {}
    try:
        parameters |= lora_parameters(given.lora_modules, given.lora_folder)
        parameters |= control_parameters(given.controlnets)
    except ValueError as error:
        command_line.error(str(error))
    parameters |= dict(given.set)
    stop = StopSignals()
    store = _local_store(parameters)
    if store is not None and given.openai_port:
        parameters.setdefault(_PUBLIC_BASE_URL, f"http://localhost:{given.openai_port}/v1/images/files")
    server = EmbeddedServer(
        MODEL_REPOSITORY,
        parameters=parameters,
        http_port=given.http_port,
        grpc_port=given.grpc_port,
        metrics_port=given.metrics_port,
        log_file=given.log_file,
    )
    line = StatusLine("serve", sys.stderr)
    supervisor = Supervisor(server, line.say)
    try:
        with ExitStack() as stack:  # the frontend ends before the server: what it has begun may be finished
            stack.push(server)
            stack.push(partial(_kill_when_interrupted, server))
            try:
                keep_serving(supervisor, _Beside(given, store, server, supervisor, stack, line).tick, stop)
            finally:
                line.clear()
                stop.interrupt_at_next()
    except (ServerError, ValueError) as error:
        print(f"serve: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:  # the second signal: everything has been killed
        pass
    print("Stopped.", file=sys.stderr)
    return 0


def _kill_when_interrupted(server: EmbeddedServer, kind: type[BaseException] | None, *_: object) -> None:
    """An exit of a context: without it the server would still be drained after the frontend's drain was cut short."""
    if kind is KeyboardInterrupt:
        server.kill()


class _Beside:
    """Brings the frontend up beside a server that is supervised from its first moment on.

    Args:
        given: the command line.
        store: the folder of stored results, where it is a local one.
        server: the supervised server.
        supervisor: says when it serves.
        stack: ends the frontend.
        line: tells what goes on until both are up.
    """

    def __init__(
        self,
        given: argparse.Namespace,
        store: Path | None,
        server: EmbeddedServer,
        supervisor: Supervisor,
        stack: ExitStack,
        line: StatusLine,
    ) -> None:
        self._given = given
        self._line = line
        self._store = store
        self._server = server
        self._supervisor = supervisor
        self._stack = stack
        self._frontend: EmbeddedFrontend | None = None
        self._is_up = False
        self._log: StartLog | None = None
        self._told_s = time.monotonic()

    def tick(self) -> None:
        """Start the frontend once the server serves, and say so once both do.

        Raises:
            ServerError: the frontend cannot be started, or has ended.
        """
        if not self._is_up:
            self._tell()
        if self._is_up:
            if self._frontend is not None and (status := self._frontend.poll()) is not None:
                log = self._frontend.log_file
                raise ServerError(f"the OpenAI frontend ended by itself with status {status}; its log is {log}")
        elif self._frontend is not None:
            self._is_up = self._frontend.has_started()
            if self._is_up:
                self._announce()
        elif self._supervisor.state is State.SERVING:
            if self._given.openai_port:
                self._line.now("starting the OpenAI frontend")
                self._frontend = self._launch_frontend()
            else:
                self._is_up = True
                self._announce()

    def _tell(self) -> None:
        """Say what goes on, and from time to time why it still does."""
        if self._log is None:
            self._log = StartLog(self._server.log_file)
            self._line.say(f"Triton's log is {self._server.log_file}")
            self._line.now("starting Triton")
        if news := self._log.news():
            self._told_s = time.monotonic()
        for text in news:
            self._line.now(text)
        if self._frontend is not None and time.monotonic() - self._told_s > _PATIENCE_S:
            self._told_s = time.monotonic()
            self._line.now(f"not ready yet: {self._frontend.problem()}")
        self._line.tick()

    def _launch_frontend(self) -> EmbeddedFrontend:
        given = self._given
        repeated: defaultdict[str, list[str]] = defaultdict(list)
        for option, value in given.openai:
            repeated[option] += [value] if value else []  # one without a value, as log-prompts
        drain_timeout_s = float(repeated.pop("drain-timeout-s", [str(_DRAIN_TIMEOUT_S)])[-1])
        options: dict[str, str | list[str]] = {"tokenizer": given.model or str(BUNDLED_CHECKPOINT)}
        if given.model and not Path(given.model).is_dir():
            options["model-id"] = given.model
        if self._store is not None:
            options["files-folder"] = str(self._store)
        if (max_image_bytes := dict(given.set).get(_MAX_IMAGE_BYTES)) is not None:
            options["max-image-bytes"] = max_image_bytes
        options |= repeated
        frontend = EmbeddedFrontend(
            self._server.grpc_url,
            options=options,
            port=given.openai_port,
            drain_timeout_s=drain_timeout_s,
            ready_timeout_s=None,  # a device that is slow is no failure; what it waits for is told
        )
        self._stack.push(frontend)
        frontend.launch()
        return frontend

    def _announce(self) -> None:
        server, frontend = self._server, self._frontend
        self._line.clear()
        print(f"HTTP     http://{server.http_url}")
        print(f"gRPC     {server.grpc_url}")
        print(f"metrics  {server.metrics_url}")
        print(f"log      {server.log_file}")
        if frontend is not None:
            print(f"OpenAI   {frontend.url}/v1, log {frontend.log_file}")
            print(f"page     {frontend.url}/")
        print("Ready. Ctrl-C ends it.", flush=True)


def _local_store(parameters: dict[str, str]) -> Path | None:
    """The folder that results are stored in, where it is a local one."""
    scheme, _, folder = parameters.get(_OUTPUT_URL, "").partition("://")
    return Path(folder) if scheme == "file" and folder else None


def parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(prog="imagegen serve", description="Run a Triton server on loopback.")
    parser.add_argument("--http-port", type=port, default=8000, help="default 8000; 0 picks a free one")
    parser.add_argument("--grpc-port", type=port, default=8001, help="default 8001; 0 picks a free one")
    parser.add_argument("--metrics-port", type=port, default=8002, help="default 8002; 0 picks a free one")
    parser.add_argument(
        "--openai-port", type=port, default=9000, help="OpenAI's images API and page; default 9000; 0 for none"
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
    add_lora_options(parser)
    add_control_options(parser)
    add_parameters(parser)
    parser.add_argument("--log-file", type=Path, help="where the server's log goes; default: a temporary file")
    return parser


def _frontend_option(text: str) -> tuple[str, str]:
    option, value = assignment(text)
    if option in ("host", "port", "triton-url"):
        raise argparse.ArgumentTypeError(f"{option} is not to be set here; --openai-port is")
    if option == "drain-timeout-s":
        float(value)
    return option, value


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
