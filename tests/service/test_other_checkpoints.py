"""A checkpoint that does not begin with text is served, from folders of any name."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import sys
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from imagegen.launch.ports import free_ports
from tests.service.conftest import png
from tests.unit import tiny_pipelines as tiny

ROOT = Path(__file__).resolve().parents[2]
NASTY = "a b#c%20d%é日本"
TIMEOUT_S = 300


@pytest.fixture(scope="module")
def inpaints(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint that does nothing but inpainting, in a folder of an odd name."""
    folder = tmp_path_factory.mktemp("checkpoints") / NASTY / "inpaint é#1"
    tiny.sd_inpainting(9).save_pretrained(folder)
    return folder


def response_to(url: str, fields: dict[str, Any] | None = None) -> tuple[int, Any]:
    """Status and JSON."""
    body = None if fields is None else json.dumps(fields).encode()
    request = urllib.request.Request(url, body, {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_S) as response:
            return response.status, json.load(response)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


def as_reference(image: Image.Image) -> dict[str, str]:
    return {"image_url": "data:image/png;base64," + base64.b64encode(png(image)).decode()}


def test_a_checkpoint_that_only_inpaints_is_served_wherever_everything_lies(inpaints: Path, tmp_path: Path) -> None:
    """It never became ready: every probe was text-to-image. And no folder's name may have been more than ASCII."""
    tree, temporary, out = (tmp_path / NASTY / name for name in ("tree", "tmp #%é", "out é"))
    temporary.mkdir(parents=True)
    shutil.copytree(ROOT / "imagegen", tree / "imagegen", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(ROOT / "model_repository", tree / "model_repository")
    (tree / "environment").symlink_to(sys.prefix)
    (tree / "li nk é").symlink_to(inpaints)
    ports = free_ports(dict.fromkeys(("http", "grpc", "metrics", "openai"), 0))
    command = [
        *(str(tree / "environment" / "bin" / "python"), "-m", "imagegen.launch.serve", "--model=li nk é"),
        *(f"--{name}-port={port}" for name, port in ports.items()),
        "--openai=log-prompts=",
        *(f"--set=image_postprocess.output_url=file://{out}", f"--set=image_preprocess.input_save_path={out}/in #"),
    ]
    log = tmp_path / "stderr"
    with (
        log.open("w") as errors,
        subprocess.Popen(
            command,
            cwd=tree,
            env={**os.environ, "TMPDIR": str(temporary), "PYTHONDONTWRITEBYTECODE": "1"},
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        ) as process,
    ):
        try:
            assert process.stdout is not None
            assert any(line.startswith("Ready") for line in process.stdout), log.read_text()
            url = f"http://127.0.0.1:{ports['openai']}"
            (model,) = response_to(f"{url}/v1/models")[1]["data"]
            assert model["id"] == inpaints.name
            assert list(model["capabilities"]["tasks"]) == ["inpainting"]
            edit = {
                "prompt": "a red cat",
                "images": [as_reference(Image.new("RGB", (64, 64), "blue"))],
                "mask": as_reference(Image.new("RGBA", (64, 64))),
                "response_format": "url",
                "num_inference_steps": 2,
            }
            status, body = response_to(f"{url}/v1/images/edits", edit)
            assert status == 200, body
            address = urllib.parse.urlsplit(body["data"][0]["url"])
            with urllib.request.urlopen(f"{url}{address.path}", timeout=30) as stored:
                assert stored.read().startswith(b"\x89PNG")
            assert list(out.rglob("*.png"))
            assert body["metadata"]["input_paths"]["image[0]"].startswith(str(out / "in #"))
            status, body = response_to(f"{url}/v1/images/generations", {"prompt": "a red cat"})
            assert (status, body["error"]["param"]) == (400, "image")
            assert "does no text-to-image; it does inpainting" in body["error"]["message"]
        finally:
            process.terminate()
            process.wait(60)
    assert process.returncode == 0
    with pytest.raises(urllib.error.URLError):
        urllib.request.urlopen(url, timeout=10)
