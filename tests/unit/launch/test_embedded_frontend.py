"""The frontend is started as a program of its own, with its options; tests/service/test_openai.py runs it."""

from __future__ import annotations

import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from imagegen.launch.embedded_frontend import EmbeddedFrontend


class Started(EmbeddedFrontend):
    """Notes how it would be started."""

    command: Sequence[str]
    environment: Mapping[str, str]

    def _launch(self, command: Sequence[str], environment: Mapping[str, str]) -> None:
        self.command, self.environment = command, environment


def test_options_become_arguments_on_a_port_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INHERITED", "yes")
    options: dict[str, str | list[str]] = {"tokenizer": "/t", "cors-origins": ["a", "b"], "log-prompts": []}
    frontend = Started("g:2", options=options, environment={"OWN": "too"}, drain_timeout_s=5.0)
    frontend.launch()
    assert frontend.port > 0
    assert frontend.url == f"http://127.0.0.1:{frontend.port}"
    assert list(frontend.command) == [
        *(sys.executable, "-m", "imagegen.openai", "--host", "127.0.0.1", "--port", str(frontend.port)),
        *("--triton-url", "g:2", "--drain-timeout-s", "5", "--tokenizer", "/t"),
        *("--cors-origins", "a", "b", "--log-prompts"),
    ]
    assert (frontend.environment["INHERITED"], frontend.environment["OWN"]) == ("yes", "too")


def test_the_reason_is_the_end_of_its_log(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("one\ntwo\nthree\nfour\n")
    assert EmbeddedFrontend("g:2", log_file=log).reason() == f"two · three · four (log: {log})"


def test_it_is_killed_when_its_drain_is_interrupted() -> None:
    class Process:
        """Runs until it is killed; the wait for its drain is interrupted."""

        def __init__(self) -> None:
            self.got: list[Any] = []

        def poll(self) -> None:
            return None

        def send_signal(self, number: int) -> None:
            self.got.append(number)

        def wait(self, timeout_s: float) -> None:
            raise KeyboardInterrupt

        def kill(self) -> None:
            self.got.append(signal.SIGKILL)

    frontend, process = EmbeddedFrontend("g:2"), Process()
    frontend._process = process  # type: ignore[assignment]
    with pytest.raises(KeyboardInterrupt):
        frontend.stop()
    assert process.got == [signal.SIGTERM, signal.SIGKILL]
