"""`./build.sh demo`: a real Triton server makes pictures from text, from an image URL, and by inpainting.

Ends by itself. Shows the paths of the pictures and where the time went.
"""

from __future__ import annotations

import argparse
import base64
import http.server
import io
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw
from rich import box
from rich.console import Console
from rich.table import Table

from deploy.embedded_server import HOST, EmbeddedServer, ServerError
from deploy.serve import REPOSITORY
from imagegen_client import GenerateResult, ImageClient, ImageGenerationError
from imagegen_client.files import write_picture

_STAGES = ("preprocess", "queue", "encode", "denoise", "decode", "postprocess")
_SIDE_PX = 128


def main() -> int:
    """Command line; the exit status."""
    parser = argparse.ArgumentParser(prog="./build.sh demo", description="Make pictures through a Triton server.")
    parser.add_argument("--out", type=Path, default=Path("out"), help="folder for the pictures; default: out")
    folder: Path = parser.parse_args().out
    console = Console()
    # The demo's image host is on loopback, which the server does not fetch from unless told so.
    parameters = {"image_preprocess.allow_private_addresses": "true"}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        starting = console.status("Starting the Triton server …")
        starting.start()
        with EmbeddedServer(REPOSITORY, parameters=parameters) as server, ImageClient(server.grpc_url) as client:
            starting.stop()
            console.print(f"Triton server ready: http://{server.http_url}, gRPC {server.grpc_url}")
            results = _draw(client, folder, console)
    except (ServerError, ImageGenerationError, OSError) as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    console.print(_table(results))
    return 0


def _draw(client: ImageClient, folder: Path, console: Console) -> dict[str, GenerateResult]:
    """One request a task; each picture is written and its path printed."""
    scene, mask = _scene(), _mask()
    results = {}
    with tempfile.TemporaryDirectory() as hosted, _image_host(Path(hosted)) as address:
        (Path(hosted) / "scene.png").write_bytes(scene)
        requests: dict[str, dict[str, Any]] = {
            "text-to-image": {"prompt": "a red circle on a blue background", "n": 2},
            "image-to-image": {"prompt": "a green circle at sunset", "image": f"{address}/scene.png", "strength": 0.6},
            "inpainting": {
                "prompt": "a yellow star",
                "image": base64.b64encode(scene).decode(),
                "mask": base64.b64encode(mask).decode(),
            },
        }
        for name, arguments in requests.items():
            with console.status(f"Drawing: {name} …"):
                result = client.generate(**arguments, seed=7, num_inference_steps=20)
            for number, picture in enumerate(result.images, start=1):
                stem = name if len(result.images) == 1 else f"{name}-{number}"
                console.print(f"{name:15} {write_picture(folder, stem, 'png', picture)}", soft_wrap=True)
            results[name] = result
    return results


def _table(results: dict[str, GenerateResult]) -> Table:
    table = Table(title="milliseconds by stage", box=box.SIMPLE_HEAD)
    table.add_column("stage")
    spent = [result.metadata["milliseconds"] for result in results.values()]
    for name in results:
        table.add_column(name, justify="right")
    for stage in _STAGES:
        table.add_row(stage, *(f"{task[stage]:.1f}" for task in spent))
    table.add_section()
    table.add_row("total", *(f"{sum(task[stage] for stage in _STAGES):.1f}" for task in spent))
    return table


def _scene() -> bytes:
    """A picture to start from: an orange disc over green ground."""
    image = Image.new("RGB", (_SIDE_PX, _SIDE_PX), (90, 150, 230))
    draw = ImageDraw.Draw(image)
    draw.rectangle((0, 96, _SIDE_PX, _SIDE_PX), fill=(60, 140, 60))
    draw.ellipse((32, 24, 96, 88), fill=(240, 140, 30))
    return _png(image)


def _mask() -> bytes:
    """White where the disc of the scene is: repaint there."""
    mask = Image.new("L", (_SIDE_PX, _SIDE_PX), 0)
    ImageDraw.Draw(mask).rectangle((28, 20, 100, 92), fill=255)
    return _png(mask)


def _png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


class _QuietHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        """Say nothing: the table is the demo's output."""


@contextmanager
def _image_host(folder: Path) -> Iterator[str]:
    """A real HTTP server for the files of `folder`, on a free loopback port."""
    handler = partial(_QuietHandler, directory=str(folder))
    with http.server.ThreadingHTTPServer((HOST, 0), handler) as host:
        thread = threading.Thread(target=host.serve_forever, daemon=True)
        thread.start()
        yield f"http://{HOST}:{host.server_address[1]}"
        host.shutdown()
        thread.join()


if __name__ == "__main__":
    sys.exit(main())
