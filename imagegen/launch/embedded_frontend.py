"""The OpenAI-compatible frontend as a child process on loopback, beside an embedded server."""

from __future__ import annotations

import json
import os
import sys
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path

from imagegen.launch.child_process import HOST, ChildProcess
from imagegen.launch.ports import free_port

_STOP_MARGIN_S = 5.0


class EmbeddedFrontend(ChildProcess):
    """Starts on entering the context, ready: an image was generated through it. On leaving it gets TERM and drains.

    Args:
        triton_url: `host:port` of the server's gRPC endpoint.
        options: of `python -m imagegen.openai`, such as `{"drain-timeout-s": "5"}`; several values as a list.
        port: 0 picks a free one.
        log_file: where its output goes; None for a temporary file, kept when the context ends with an error.
        environment: variables on top of this process's.
        drain_timeout_s: how long requests under way may take to finish.
        ready_timeout_s: longest wait for the first image; None for as long as it takes.

    Raises:
        ServerError: on entering, when the port is busy or the frontend does not get ready.
    """

    def __init__(
        self,
        triton_url: str,
        *,
        options: Mapping[str, str | list[str]] | None = None,
        port: int = 0,
        log_file: Path | None = None,
        environment: Mapping[str, str] | None = None,
        drain_timeout_s: float = 30.0,
        ready_timeout_s: float | None = 300.0,
    ) -> None:
        super().__init__(
            "openai",
            log_file=log_file,
            ready_timeout_s=ready_timeout_s,
            exit_timeout_s=drain_timeout_s + _STOP_MARGIN_S,
        )
        self._options: dict[str, str | list[str]] = {
            "triton-url": triton_url,
            "drain-timeout-s": f"{drain_timeout_s:g}",
            **(options or {}),
        }
        self._requested_port = port
        self._environment = dict(environment or {})
        self.port = 0

    @property
    def url(self) -> str:
        """`http://host:port`."""
        return f"http://{HOST}:{self.port}"

    def problem(self) -> str:
        """Why it is not ready, in its own words."""
        try:
            with urllib.request.urlopen(self._ready_url, timeout=1):
                return ""
        except urllib.error.HTTPError as error:
            with error:
                return str(json.loads(error.read())["error"]["message"])
        except (OSError, ValueError, LookupError):
            return "it does not respond yet"

    def _start(self) -> None:
        self.port = free_port("OpenAI", self._requested_port)
        command = [sys.executable, "-m", "imagegen.openai", "--host", HOST, "--port", str(self.port)]
        for option, value in self._options.items():
            command += [f"--{option}", *([value] if isinstance(value, str) else value)]
        self._launch(command, {**os.environ, **self._environment})

    @property
    def _ready_url(self) -> str:
        return f"{self.url}/health/ready"
