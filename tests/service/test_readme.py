"""The code blocks of README and docs/api.md do what they say, as they stand there."""

from __future__ import annotations

import base64
import json
import os
import re
import subprocess
import sys
from pathlib import Path

from imagegen.launch.embedded_server import EmbeddedServer
from tests.service.conftest import OpenAIServer

ROOT = Path(__file__).resolve().parents[2]
_TEXT = (ROOT / "README.md").read_text() + (ROOT / "docs" / "api.md").read_text()
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", _TEXT, re.DOTALL)


def _block(language: str, words: str) -> str:
    (block,) = (text for kind, text in BLOCKS if kind == language and words in text)
    return str(block)


def _here(block: str, server: EmbeddedServer) -> str:
    """The block with the addresses of the running server."""
    return block.replace("localhost:8000", server.http_url).replace("localhost:8001", server.grpc_url)


def test_the_curl_call_returns_a_png(server: EmbeddedServer) -> None:
    printed = subprocess.check_output(
        ["bash", "-c", _here(_block("bash", "image_generation/generate"), server)], timeout=120
    )
    assert base64.b64decode(json.loads(printed)["generated_image"]).startswith(b"\x89PNG")


def test_the_streaming_curl_call_shows_previews_and_the_image(server: EmbeddedServer) -> None:
    command = _here(_block("bash", "generate_stream"), server)
    printed = subprocess.check_output(["bash", "-c", command], text=True, timeout=120)
    events = [json.loads(line.removeprefix("data: "))["event"] for line in printed.splitlines() if line]
    assert events.count("preview") == 2
    assert events[-1] == "completed"


def test_the_cancelling_curl_call_gets_a_response(server: EmbeddedServer) -> None:
    command = _here(_block("bash", "image_generation_cancel"), server)
    assert json.loads(subprocess.check_output(["bash", "-c", command], timeout=120))["cancelled"] is False


def test_the_python_block_runs(server: EmbeddedServer) -> None:
    code = _here(_block("python", "ImageClient"), server)
    printed = subprocess.check_output([sys.executable, "-W", "error", "-c", code], text=True, timeout=120)
    assert printed.startswith("(7, 8) {")


def test_the_openai_block_streams(openai_server: OpenAIServer) -> None:
    code = _block("python", "OpenAI").replace("http://localhost:9000", openai_server.url)
    printed = subprocess.check_output([sys.executable, "-W", "error", "-c", code], text=True, timeout=120)
    kinds = [line.split()[0].rpartition(".")[2] for line in printed.splitlines()]
    assert kinds == ["partial_image", "partial_image", "completed"]


def test_the_command_writes_its_images(server: EmbeddedServer, tmp_path: Path) -> None:
    command = _here(_block("bash", ".venv/bin/imagegen"), server).replace(
        ".venv/bin/imagegen generate", f"{sys.executable} -m imagegen_client generate --url {server.grpc_url}"
    )
    subprocess.run(["bash", "-c", command], cwd=tmp_path, check=True, capture_output=True, timeout=120)
    names = sorted(path.name for path in (tmp_path / "images").iterdir())
    assert names == ["two-white-stars-at-night-seed7-0.png", "two-white-stars-at-night-seed8-1.png"]


def test_the_verbs_exist() -> None:
    verbs = re.findall(r"^\./build\.sh (\w+)", _block("bash", "./build.sh demo"), re.MULTILINE)
    assert verbs == ["demo", "test", "serve"]
    listed = subprocess.run([ROOT / "build.sh", "help"], capture_output=True, text=True, check=True).stderr
    assert [verb for verb in verbs if not re.search(rf"^  {verb} ", listed, re.MULTILINE)] == []


def test_the_demo_makes_three_kinds_of_images(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "imagegen.launch.demo", "--out", str(tmp_path / "images")]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "COLUMNS": "100"}
    ended = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300)
    assert ended.returncode == 0, ended.stderr
    paths = [Path(line.split()[-1]) for line in ended.stdout.splitlines() if line.endswith(".png")]
    assert {re.sub(r"(-[0-9])?\.png$", "", path.name) for path in paths} == {
        "text-to-image",
        "control-edges",
        "controlled",
        "image-to-image",
        "inpainting",
    }
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in paths)
    assert "milliseconds by stage" in ended.stdout
