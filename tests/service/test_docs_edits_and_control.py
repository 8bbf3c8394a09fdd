"""The commands of docs/edits_and_control.md run as they are, and its pictures are what they give.

`python -m tests.service.test_docs_edits_and_control` makes the pictures anew.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from imagegen.launch.embedded_frontend import EmbeddedFrontend
from imagegen.launch.embedded_server import EmbeddedServer
from imagegen.launch.model_repository import BUNDLED_CHECKPOINT, MODEL_REPOSITORY, other_checkpoint

DOCS = Path(__file__).resolve().parents[2] / "docs"
PICTURES: Mapping[str, Sequence[str]] = {
    "control.png": ("heart.png", "edges.png", "green.png", "purple-0.0.png", "purple-0.5.png", "purple-1.0.png"),
    "edit.png": ("disc.png", "yellow.png", "night.png", "grass.png"),
}
_FENCE = re.compile(r"^```(bash|python)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_LEVELS = 4.0  # of 255 on the average: other processors round otherwise


def section(title: str) -> str:
    """The text under a heading."""
    return (DOCS / "edits_and_control.md").read_text().partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def run(text: str, ports: Mapping[str, str], folder: Path) -> None:
    """Run the commands of a text one after the other in a folder, against a server at other ports."""
    folder.mkdir(exist_ok=True)
    for language, code in _FENCE.findall(text):
        for usual, port in ports.items():
            code = code.replace(f"localhost:{usual}", f"127.0.0.1:{port}")
        command = ["bash", "-euo", "pipefail", "-c", code] if language == "bash" else [sys.executable, "-c", code]
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        subprocess.run(command, cwd=folder, check=True, timeout=120, env=os.environ | {"PATH": path})


def sheet(folder: Path, names: Sequence[str]) -> Image.Image:
    """Images side by side."""
    images = [Image.open(folder / name).convert("RGB") for name in names]
    made = Image.new("RGB", (sum(image.width for image in images), images[0].height))
    at = 0
    for image in images:
        made.paste(image, (at, 0))
        at += image.width
    return made


def controlled(folder: Path) -> Image.Image:
    """The picture of the section on control images, made in a folder."""
    with EmbeddedServer(MODEL_REPOSITORY) as server:
        run(section("Control images"), _ports(server), folder)
    return sheet(folder, PICTURES["control.png"])


def edited(folder: Path) -> Image.Image:
    """That of the section on edits."""
    parameters = other_checkpoint(str(BUNDLED_CHECKPOINT.parent / "edit_checkpoint"))
    with EmbeddedServer(MODEL_REPOSITORY, parameters=parameters) as server, EmbeddedFrontend(server.grpc_url) as front:
        run(section("Edits by references"), _ports(server) | {"9000": front.url.rpartition(":")[2]}, folder)
    return sheet(folder, PICTURES["edit.png"])


MADE_BY: Mapping[str, Callable[[Path], Image.Image]] = {"control.png": controlled, "edit.png": edited}


def _ports(server: EmbeddedServer) -> dict[str, str]:
    return {"8000": server.http_url.rpartition(":")[2], "8001": server.grpc_url.rpartition(":")[2]}


@pytest.mark.parametrize("name", MADE_BY)
def test_the_commands_make_the_picture(name: str, tmp_path: Path) -> None:
    made, documented = MADE_BY[name](tmp_path), Image.open(DOCS / name).convert("RGB")
    assert made.size == documented.size
    assert np.abs(np.asarray(made, float) - np.asarray(documented, float)).mean() < _LEVELS


def write() -> None:
    """Make the pictures anew."""
    for name, make in MADE_BY.items():
        with tempfile.TemporaryDirectory() as folder:
            make(Path(folder)).save(DOCS / name, optimize=True)


if __name__ == "__main__":
    write()
