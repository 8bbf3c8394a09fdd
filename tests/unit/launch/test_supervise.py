"""What `imagegen supervise` makes of its options; tests/service/test_supervise.py runs it."""

from __future__ import annotations

from pathlib import Path

import pytest

from imagegen.launch import supervise


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
