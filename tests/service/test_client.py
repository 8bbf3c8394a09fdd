"""The client package and its command against a real server."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import os
import pty
import signal
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from imagegen.launch.embedded_server import EmbeddedServer
from imagegen_client import (
    AsyncHttpImageClient,
    AsyncImageClient,
    DeadlineExceeded,
    GenerateResult,
    HttpImageClient,
    ImageClient,
    ImageRejected,
    InvalidArgument,
    ServerUnreachable,
    Unavailable,
)
from imagegen_client.cli import main
from tests.service.server_metrics import active, wait_until

CLIENT = Path(__file__).resolve().parents[2] / "client"
TRANSPORTS = ("grpc", "grpc-aio", "http", "http-aio")
Generate = Callable[..., GenerateResult]


def generator(transport: str, server: EmbeddedServer, **options: Any) -> Generate:
    """One of the four clients as a blocking function with the arguments of `generate`."""
    url = server.grpc_url if transport.startswith("grpc") else server.http_url

    def blocking(*args: Any, **kwargs: Any) -> GenerateResult:
        kind = ImageClient if transport == "grpc" else HttpImageClient
        with kind(url, **options) as client:
            return client.generate(*args, **kwargs)

    async def in_a_loop(*args: Any, **kwargs: Any) -> GenerateResult:
        kind = AsyncImageClient if transport == "grpc-aio" else AsyncHttpImageClient
        async with kind(url, **options) as client:
            return await client.generate(*args, **kwargs)

    return (lambda *args, **kwargs: asyncio.run(in_a_loop(*args, **kwargs))) if "aio" in transport else blocking


@pytest.fixture(params=TRANSPORTS)
def generate(request: pytest.FixtureRequest, server: EmbeddedServer) -> Generate:
    return generator(request.param, server)


@pytest.fixture
def client(server: EmbeddedServer) -> Generate:
    return generator("grpc", server)


def pixels(content: bytes) -> np.ndarray[Any, Any]:
    """uint8 [H, W, 3], as signed integers."""
    return np.asarray(Image.open(io.BytesIO(content)).convert("RGB"), dtype=np.int16)


def same_image(one: bytes, other: bytes) -> bool:
    """Equal but for the last bit, which may depend on who shared the batch."""
    return bool(np.abs(pixels(one) - pixels(other)).max() <= 1)


def test_all_clients_get_the_same_images(server: EmbeddedServer) -> None:
    answers = [
        generator(transport, server)("a red circle", n=2, seed=7, num_inference_steps=2) for transport in TRANSPORTS
    ]
    for answer in answers:
        assert answer.seeds == (7, 8)
        assert answer.urls == ()
        assert answer.metadata["task"] == "text-to-image"
        assert pixels(answer.images[0]).shape == (128, 128, 3)
        assert all(map(same_image, answer.images, answers[0].images))
    assert not same_image(*answers[0].images)


def test_every_argument_is_accepted(generate: Generate, scene_png: bytes, mask_png: bytes) -> None:
    answer = generate(
        "ein roter Kreis ●",
        negative_prompt="",
        image=scene_png,
        mask=mask_png,
        n=2,
        size="128x128",
        num_inference_steps=2,
        guidance_scale=0,
        strength=0.5,
        scheduler="euler",
        timeout_ms=600_000,
        seed=[2**63 - 1, 0],
        output_format="webp",
        output_compression=60,
        response_format="b64_json",
        user="someone",
        priority=1,
        timeout_s=600,
    )
    assert answer.seeds == (2**63 - 1, 0)
    assert [Image.open(io.BytesIO(image)).format for image in answer.images] == ["WEBP", "WEBP"]
    assert answer.metadata["task"] == "inpainting"
    assert answer.metadata["guidance_scale"] == 0


def test_an_image_in_every_form_gives_the_same_image(
    client: Generate, scene_png: bytes, image_host: str, tmp_path: Path
) -> None:
    file = tmp_path / "scene.png"
    file.write_bytes(scene_png)
    text = base64.b64encode(scene_png).decode()
    forms = [scene_png, file, [file], text, f"data:image/png;base64,{text}", f"{image_host}/scene.png"]
    answers = [client("a green square", image=form, seed=7, num_inference_steps=4) for form in forms]
    assert {answer.metadata["task"] for answer in answers} == {"image-to-image"}
    assert all(same_image(answer.images[0], answers[0].images[0]) for answer in answers)


def test_refusals_name_the_field(generate: Generate, scene_png: bytes) -> None:
    with pytest.raises(InvalidArgument, match=r"99 is outside 1\.\.10") as refused:
        generate("x", n=99)
    assert refused.value.field == "n"
    with pytest.raises(ImageRejected) as rejected:
        generate("x", image=[scene_png, b"\x89PNG\r\n\x1a\nnot an image"])
    assert rejected.value.field == "image[1]"
    with pytest.raises(InvalidArgument) as shape:  # refused by Triton itself, which names it in prose only
        generate("x", size=["128x128", "64x64"])
    assert "size" in str(shape.value)


def test_the_deadline_of_the_request(generate: Generate) -> None:
    with pytest.raises(DeadlineExceeded, match="timeout_ms"):
        generate("x", num_inference_steps=100, timeout_ms=1)


def test_the_deadline_of_the_client(generate: Generate) -> None:
    with pytest.raises(DeadlineExceeded):
        generate("x", num_inference_steps=50, timeout_s=0.05)


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_model_that_is_not_there(transport: str, server: EmbeddedServer) -> None:
    with pytest.raises(Unavailable, match="no_such_model"):
        generator(transport, server, model="no_such_model")("x")


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_the_port_of_the_other_protocol(transport: str, server: EmbeddedServer) -> None:
    swapped: Any = SimpleNamespace(grpc_url=server.http_url, http_url=server.grpc_url)
    with pytest.raises(ServerUnreachable):
        generator(transport, swapped)("x", timeout_s=30)


@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_threads_share_a_blocking_client(protocol: str, server: EmbeddedServer) -> None:
    with ImageClient(server.grpc_url) if protocol == "grpc" else HttpImageClient(server.http_url) as client:

        def draw(seed: int) -> tuple[int, ...]:
            return client.generate("x", seed=seed, num_inference_steps=2).seeds

        with ThreadPoolExecutor(4) as pool:
            assert list(pool.map(draw, range(8))) == [(seed,) for seed in range(8)]


@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_tasks_share_an_asyncio_client(protocol: str, server: EmbeddedServer) -> None:
    async def draw_all() -> list[GenerateResult]:
        kind, url = (
            (AsyncImageClient, server.grpc_url) if protocol == "grpc" else (AsyncHttpImageClient, server.http_url)
        )
        async with kind(url) as client:
            return await asyncio.gather(*(client.generate("x", seed=seed, num_inference_steps=2) for seed in range(8)))

    assert [answer.seeds for answer in asyncio.run(draw_all())] == [(seed,) for seed in range(8)]


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
    answer = json.loads(printed.out)
    path = tmp_path / "x-seed7-0.jpeg"
    assert answer["images"] == [{"path": str(path), "seed": 7}]
    assert answer["metadata"]["task"] == "inpainting"
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
