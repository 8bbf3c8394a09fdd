"""What `imagegen serve` makes of its options; tests/service/test_serve.py runs it."""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from imagegen.launch import serve
from imagegen.launch.child_process import ServerError
from imagegen.launch.model_repository import BUNDLED_CHECKPOINT
from imagegen.launch.status_line import StatusLine
from imagegen.launch.supervisor import State, Supervisor
from tests.unit.launch.test_supervisor import Server


class Frontend:
    """What the frontend was started with, ready when the test says so."""

    def __init__(
        self, triton_url: str, *, options: Mapping[str, Any], port: int, drain_timeout_s: float, ready_timeout_s: None
    ) -> None:
        self.given = (triton_url, dict(options), port, drain_timeout_s)
        self.url = f"http://127.0.0.1:{port}"
        self.log_file = Path("frontend.log")
        self.is_up = False
        self.status: int | None = None
        self.did: list[str] = []

    def launch(self) -> None:
        self.did.append("launch")

    def has_started(self) -> bool:
        return self.is_up

    def problem(self) -> str:
        return "no image has been generated yet"

    def poll(self) -> int | None:
        return self.status

    def __exit__(self, *_: object) -> None:
        self.did.append("stop")


class Triton(Server):
    """A supervised server with addresses."""

    http_url, grpc_url, metrics_url, log_file = "h:1", "g:2", "http://m:3", Path("triton.log")

    def __exit__(self, *_: object) -> None:
        self.did.append("stop")


def _beside(
    monkeypatch: pytest.MonkeyPatch, *options: str, store: Path | None = None
) -> tuple[Any, Supervisor, ExitStack]:
    monkeypatch.setattr(serve, "EmbeddedFrontend", Frontend)
    server, stack = Triton(), ExitStack()
    supervisor = Supervisor(server, lambda text: None)
    given = serve.parser().parse_args(options)
    return serve._Beside(given, store, server, supervisor, stack, StatusLine("serve", sys.stderr)), supervisor, stack  # type: ignore[arg-type]


def test_the_frontend_starts_once_the_server_serves_and_both_are_announced_once_it_is_up(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    beside, supervisor, stack = _beside(monkeypatch)
    beside.tick()
    assert not beside._frontend
    supervisor.state = State.SERVING
    beside.tick()
    frontend: Any = beside._frontend
    supervisor.state = State.STARTING  # a model process died meanwhile: the frontend goes on
    beside.tick()
    assert frontend.did == ["launch"]
    assert capsys.readouterr().out == ""
    frontend.is_up = True
    beside.tick()
    beside.tick()
    printed = capsys.readouterr().out.splitlines()
    assert printed == [
        "HTTP     http://h:1",
        "gRPC     g:2",
        "metrics  http://m:3",
        "log      triton.log",
        "OpenAI   http://127.0.0.1:9000/v1, log frontend.log",
        "page     http://127.0.0.1:9000/",
        "Ready. Ctrl-C ends it.",
    ]
    stack.close()
    assert frontend.did == ["launch", "stop"]


def test_what_goes_on_is_told_and_why_it_takes_long(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """It said nothing for minutes, and then ended a server that was well."""
    monkeypatch.setattr(Triton, "log_file", tmp_path / "log")
    beside, supervisor, _ = _beside(monkeypatch)
    beside.tick()
    (tmp_path / "log").write_text("INFO imagegen.pipelines.checkpoint: loading sdxl, 6.94 GB\n")
    beside.tick()
    supervisor.state = State.SERVING
    beside.tick()
    monkeypatch.setattr(serve, "_PATIENCE_S", 0)
    beside.tick()
    assert capsys.readouterr().err.splitlines() == [
        f"serve: Triton's log is {tmp_path / 'log'}",
        "serve: starting Triton",
        "serve: loading sdxl, 6.94 GB",
        "serve: starting the OpenAI frontend",
        "serve: not ready yet: no image has been generated yet",
    ]


def test_without_a_frontend_the_server_alone_is_announced(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    beside, supervisor, _ = _beside(monkeypatch, "--openai-port=0")
    supervisor.state = State.SERVING
    beside.tick()
    beside.tick()
    assert capsys.readouterr().out.splitlines()[3:] == ["log      triton.log", "Ready. Ctrl-C ends it."]


def test_a_frontend_that_ends_by_itself_ends_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    beside, supervisor, _ = _beside(monkeypatch)
    supervisor.state = State.SERVING
    beside.tick()
    beside._frontend.is_up = True
    beside.tick()
    beside._frontend.status = 3
    with pytest.raises(ServerError, match=r"ended by itself with status 3; its log is frontend\.log"):
        beside.tick()


@pytest.mark.parametrize(
    ("options", "store", "frontend"),
    [
        ([], None, ("g:2", {"tokenizer": str(BUNDLED_CHECKPOINT)}, 9000, 20.0)),
        (
            ["--set=image_preprocess.max_image_bytes=9", "--set=diffusion.max_side_px=64"],
            None,
            ("g:2", {"tokenizer": str(BUNDLED_CHECKPOINT), "max-image-bytes": "9"}, 9000, 20.0),
        ),
        (
            ["--set=image_preprocess.max_image_bytes=9", "--openai=max-image-bytes=7"],
            None,
            ("g:2", {"tokenizer": str(BUNDLED_CHECKPOINT), "max-image-bytes": ["7"]}, 9000, 20.0),
        ),
        (["--model=org/name"], None, ("g:2", {"tokenizer": "org/name", "model-id": "org/name"}, 9000, 20.0)),
        (
            ["--openai-port=9001", "--openai=drain-timeout-s=5", "--openai=log-prompts=", "--openai=cors-origins=a"],
            Path("/images"),
            (
                "g:2",
                {
                    "tokenizer": str(BUNDLED_CHECKPOINT),
                    "files-folder": "/images",
                    "log-prompts": [],
                    "cors-origins": ["a"],
                },
                9001,
                5.0,
            ),
        ),
    ],
)
def test_the_frontend_gets_its_options(
    monkeypatch: pytest.MonkeyPatch, options: list[str], store: Path | None, frontend: tuple[Any, ...]
) -> None:
    beside, supervisor, _ = _beside(monkeypatch, *options, store=store)
    supervisor.state = State.SERVING
    beside.tick()
    assert beside._frontend.given == frontend


def test_a_folder_of_results_is_known_from_its_url() -> None:
    assert serve._local_store({"image_postprocess.output_url": "file:///images"}) == Path("/images")
    assert serve._local_store({"image_postprocess.output_url": "s3://images"}) is None
    assert serve._local_store({}) is None


@pytest.mark.parametrize("option", ["host=0.0.0.0", "port=1", "triton-url=x:1"])
def test_what_serve_sets_itself_is_refused_as_a_frontend_option(option: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="--openai-port is"):
        serve._frontend_option(option)


def test_a_drain_timeout_that_is_no_number_is_refused() -> None:
    with pytest.raises(ValueError, match="soon"):
        serve._frontend_option("drain-timeout-s=soon")


class _Made(Exception):
    """A server would be made now."""


def test_adapters_become_parameters_and_those_of_set_go_before(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made: dict[str, Any] = {}

    def embedded_server(*_: Any, **given: Any) -> None:
        made.update(given["parameters"])
        raise _Made

    monkeypatch.setattr(serve, "EmbeddedServer", embedded_server)
    monkeypatch.setattr(serve, "StopSignals", lambda: None)
    with pytest.raises(_Made):
        serve.main(["--model=org/name", f"--lora-folder={tmp_path}", "--lora-modules", "a=org/a", "b=org/b"])
    assert made["diffusion.lora_modules"] == "a=org/a,b=org/b"
    assert made["diffusion.lora_folder"] == str(tmp_path)  # and not none, as of another checkpoint alone
    with pytest.raises(_Made):
        serve.main(["--lora-modules", "a=org/a", "--set=diffusion.lora_modules=c=org/c"])
    assert made["diffusion.lora_modules"] == "c=org/c"
    with pytest.raises(SystemExit):
        serve.main(["--lora-modules", "a=org/a", "a=org/b"])
    assert "--lora-modules: 'a' is given twice" in capsys.readouterr().err


@pytest.mark.usefixtures("signal_handlers")
@pytest.mark.parametrize("further", [None, signal.SIGINT, signal.SIGTERM])
def test_a_second_signal_during_the_drain_ends_everything_at_once(
    further: signal.Signals | None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It was ignored, and the drains of the frontend and the server could not be cut short."""

    class Interrupted(Frontend):
        def has_started(self) -> bool:
            signal.raise_signal(signal.SIGTERM)
            return True

        def __exit__(self, *_: object) -> None:
            if further is not None:
                signal.raise_signal(further)

    server = Triton()
    server.ready_when_launched = True
    monkeypatch.setattr(serve, "EmbeddedServer", lambda *_, **__: server)
    monkeypatch.setattr(serve, "EmbeddedFrontend", Interrupted)
    monkeypatch.setattr("imagegen.launch.serving_loop.TICK_S", 0)
    assert serve.main([]) == 0
    assert server.did[-2:] == (["note", "stop"] if further is None else ["kill", "stop"])
    assert capsys.readouterr().err.splitlines() == [
        "serve: the server is ready",
        "serve: Triton's log is triton.log",
        "serve: starting Triton",
        "serve: starting the OpenAI frontend",
        "Stopped.",
    ]
