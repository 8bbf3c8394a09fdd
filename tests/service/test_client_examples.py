"""Every example of the client is a complete program that works against a real server."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from imagegen.launch.embedded_server import EmbeddedServer
from tests.service.conftest import OpenAIServer

CLIENT = Path(__file__).resolve().parents[2] / "client"


@pytest.mark.parametrize(
    ("example", "images"),
    [
        ("triton_http.py", ["red-circle.png"]),
        ("triton_grpc.py", ["repainted.png"]),
        ("triton_grpc_aio.py", ["circle-7.png", "circle-8.png", "circle-9.png"]),
        ("curl_generate.sh", ["red-circle.png"]),
        ("stream.py", ["circle.png", "preview-0.png", "preview-1.png"]),
        ("python_client.py", ["generated.png", "mask.png", "repainted.png", "varied.png"]),
    ],
)
def test_example(example: str, images: list[str], server: EmbeddedServer, scene_png: bytes, tmp_path: Path) -> None:
    path = CLIENT / "examples" / example
    url = server.http_url if example in ("triton_http.py", "curl_generate.sh") else server.grpc_url
    arguments = [url]
    if example == "triton_grpc.py":
        (tmp_path / "in.png").write_bytes(scene_png)
        arguments = ["in.png", url]
    interpreter = "bash" if example.endswith(".sh") else sys.executable
    run = subprocess.run(
        [interpreter, str(path), *arguments],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(CLIENT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (run.returncode, run.stderr) == (0, "")
    (tmp_path / "in.png").unlink(missing_ok=True)
    assert sorted(file.name for file in tmp_path.iterdir()) == images
    for name in images:
        assert name in run.stdout or name == "mask.png"
        with Image.open(tmp_path / name) as image:
            assert (image.format, image.size) == ("PNG", (128, 128))


def test_openai_example(openai_server: OpenAIServer, tmp_path: Path) -> None:
    command = [sys.executable, str(CLIENT / "examples" / "openai_client.py"), f"{openai_server.url}/v1"]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (run.returncode, run.stderr) == (0, "")
    names = ["generated.png", "mask.png", "preview-0.png", "preview-1.png", "repainted.png", "streamed.png"]
    assert sorted(file.name for file in tmp_path.iterdir()) == names
    for name in names:
        with Image.open(tmp_path / name) as image:
            assert image.format == "PNG"


def test_curl_example_shows_the_servers_error(tmp_path: Path, server: EmbeddedServer) -> None:
    script = (CLIENT / "examples" / "curl_generate.sh").read_text().replace('"size": "128x128"', '"size": "7x7"')
    run = subprocess.run(
        ["bash", "-c", script, "curl_generate.sh", server.http_url],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 1
    assert "invalid_argument: size" in run.stderr
