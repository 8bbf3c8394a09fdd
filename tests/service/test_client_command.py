"""The `imagegen generate` command against a real server."""

from __future__ import annotations

import io
import json
import os
import pty
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from imagegen.launch.embedded_server import EmbeddedServer
from imagegen_client.cli import main
from tests.service.server_metrics import active, wait_until

CLIENT = Path(__file__).resolve().parents[2] / "client"


def pixels(content: bytes) -> np.ndarray[Any, Any]:
    """uint8 [H, W, 3], as signed integers."""
    return np.asarray(Image.open(io.BytesIO(content)).convert("RGB"), dtype=np.int16)


def same_image(one: bytes, other: bytes) -> bool:
    """Equal but for the last bit, which may depend on who shared the batch."""
    return bool(np.abs(pixels(one) - pixels(other)).max() <= 1)


@pytest.fixture(params=["grpc", "http"])
def command(request: pytest.FixtureRequest, server: EmbeddedServer, tmp_path: Path) -> Callable[..., int]:
    """`imagegen generate` with few steps, writing to `tmp_path`; its exit status."""
    url = server.grpc_url if request.param == "grpc" else server.http_url
    where = ["--url", url, "--protocol", request.param, "--out", str(tmp_path), "--steps", "2"]
    return lambda *argv: main(["generate", *where, *argv])


def test_command_writes_images_and_leaves_older_ones_alone(
    command: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command("A red circle!", "-n", "2", "--seed", "7") == 0
    printed = capsys.readouterr()
    names = ["a-red-circle-seed7-0.png", "a-red-circle-seed8-1.png"]
    assert printed.out.splitlines() == [
        f"{tmp_path / name}  seed {seed}" for name, seed in zip(names, (7, 8), strict=True)
    ]
    assert "denoise" in printed.err
    assert "\x1b" not in printed.err

    first = (tmp_path / names[0]).read_bytes()
    assert command("A red circle!", "--seed", "7") == 0
    assert (tmp_path / "a-red-circle-seed7-0-2.png").exists()
    (tmp_path / names[0]).write_bytes(b"mine")
    assert command("A red circle!", "--seed", "7") == 0
    assert (tmp_path / names[0]).read_bytes() == b"mine"
    assert command("A red circle!", "--seed", "7", "--overwrite") == 0
    assert same_image((tmp_path / names[0]).read_bytes(), first)


def test_command_writes_previews_as_they_come(
    server: EmbeddedServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    where = ["--url", server.grpc_url, "--out", str(tmp_path), "--output-format", "webp"]
    assert main(["generate", "A red circle!", *where, "--steps", "8", "-n", "2", "--seed", "7", "--preview"]) == 0
    previews = [f"a-red-circle-{image}-preview{index}.webp" for image in range(2) for index in range(3)]
    images = ["a-red-circle-seed7-0.webp", "a-red-circle-seed8-1.webp"]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(previews + images)
    for name in previews + images:
        with Image.open(tmp_path / name) as image:
            assert (image.format, image.size) == ("WEBP", (128, 128))
    assert len(capsys.readouterr().out.splitlines()) == 2


def test_command_shows_the_steps_on_a_terminal_and_cancels_with_ctrl_c(server: EmbeddedServer, tmp_path: Path) -> None:
    terminal, theirs = pty.openpty()
    command = [
        sys.executable,
        "-m",
        "imagegen_client",
        "generate",
        "x",
        "--url",
        server.grpc_url,
        "--out",
        str(tmp_path),
    ]
    environment = {**os.environ, "PYTHONPATH": str(CLIENT), "TERM": "xterm", "COLUMNS": "100"}
    with subprocess.Popen([*command, "--steps", "100", "--size", "768x768"], stderr=theirs, env=environment) as process:
        os.close(theirs)
        shown = b""
        while b" 2%" not in shown:
            shown += os.read(terminal, 4096)
        process.send_signal(signal.SIGINT)
        with suppress(OSError):  # the terminal ends with its last user
            while data := os.read(terminal, 4096):
                shown += data
    os.close(terminal)
    assert process.returncode == 130
    assert b"generating" in shown
    assert b"imagegen: interrupted" in shown
    wait_until(lambda: active(server) == 0)  # much sooner than 100 steps take
    assert list(tmp_path.iterdir()) == []


def test_command_repaints_and_prints_json(
    command: Callable[..., int],
    scene_png: bytes,
    mask_png: bytes,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "mask.png").write_bytes(mask_png)
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(scene_png)))
    status = command(
        "x", "--image", "-", "--mask", str(tmp_path / "mask.png"), "--seed", "7", "--output-format", "jpeg", "--json"
    )
    assert status == 0
    printed = capsys.readouterr()
    assert printed.err == ""
    printed_json = json.loads(printed.out)
    path = tmp_path / "x-seed7-0.jpeg"
    assert printed_json["images"] == [{"path": str(path), "seed": 7}]
    assert printed_json["metadata"]["task"] == "inpainting"
    with Image.open(path) as image:
        assert (image.format, image.size) == ("JPEG", (128, 128))


@pytest.mark.parametrize(
    ("argv", "status", "start"),
    [
        (["-n", "99"], 2, "imagegen: invalid_argument: n: "),
        (["--response-format", "url"], 2, "imagegen: invalid_argument: response_format: "),
        (["--image", "http://127.0.0.1:1/none.png"], 2, "imagegen: image_rejected: image[0]: "),
        (["--timeout-ms", "1", "--steps", "100"], 1, "imagegen: deadline_exceeded: "),
    ],
)
def test_command_fails_in_one_line(
    command: Callable[..., int],
    argv: list[str],
    status: int,
    start: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert command("x", *argv) == status
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith(start)
    assert printed.err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []
