"""What `imagegen supervise` makes of its options; tests/service/test_supervise.py runs it."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

import pytest

from imagegen.launch import supervise
from tests.unit.launch.test_supervisor import Server


def test_the_defaults_are_the_containers() -> None:
    given = supervise.parser().parse_args([])
    assert (given.model_repository, given.tritonserver) == (Path("/models"), "tritonserver")
    assert (given.http_port, given.grpc_port, given.metrics_port, given.status_port) == (8000, 8001, 8002, 8003)
    assert given.further == []


def test_what_follows_two_dashes_is_for_tritonserver() -> None:
    given = supervise.parser().parse_args(["--http-port=1", "--set=a.b=c", "--", "--log-verbose=1", "--x"])
    assert (given.http_port, given.set, given.further) == (1, [("a.b", "c")], ["--log-verbose=1", "--x"])


def test_without_the_program_it_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    assert supervise.main(["--tritonserver=no-such-program"]) == 1
    assert capsys.readouterr().err == "supervise: there is no no-such-program\n"


@pytest.mark.usefixtures("signal_handlers")
def test_a_signal_is_heard_from_the_beginning(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first process of a container is not ended by a TERM that it has no handler for: it would be lost."""

    class Installed(Server):
        def stop(self) -> None:
            self.did.append("stop")

    server = Installed()
    monkeypatch.setattr(supervise, "InstalledServer", lambda *_, **__: server)
    monkeypatch.setattr(supervise, "_remove_segments_of_the_last_one", lambda: signal.raise_signal(signal.SIGTERM))
    options = [f"--tritonserver={sys.executable}", "--status-address=127.0.0.1", "--status-port=0"]
    assert supervise.main(options) == 0
    assert server.did == ["stop", "kill"]
