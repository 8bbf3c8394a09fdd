"""One real server for the whole session, and a real HTTP host for its image URLs."""

from __future__ import annotations

import http.server
import io
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image, ImageDraw

from deploy.embedded_server import EmbeddedServer
from deploy.serve import REPOSITORY


def png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture(scope="session")
def server() -> Iterator[EmbeddedServer]:
    parameters = {"image_preprocess.allow_private_addresses": "true", "diffusion.cpu_threads": "1"}
    with EmbeddedServer(REPOSITORY, parameters=parameters) as running:
        yield running


@pytest.fixture(scope="session")
def scene() -> Image.Image:
    """A picture with structure: 128x128, a yellow disc on blue with a green strip."""
    image = Image.new("RGB", (128, 128), (40, 90, 200))
    draw = ImageDraw.Draw(image)
    draw.ellipse((34, 20, 94, 80), fill=(240, 210, 40))
    draw.rectangle((0, 100, 128, 128), fill=(30, 150, 60))
    return image


@pytest.fixture(scope="session")
def scene_png(scene: Image.Image) -> bytes:
    return png(scene)


@pytest.fixture(scope="session")
def mask_png() -> bytes:
    """White, to be repainted, in the middle; black elsewhere; 128x128."""
    mask = Image.new("L", (128, 128), 0)
    ImageDraw.Draw(mask).rectangle((32, 16, 96, 84), fill=255)
    return png(mask)


@pytest.fixture(scope="session")
def image_host(tmp_path_factory: pytest.TempPathFactory, scene_png: bytes) -> Iterator[str]:
    """Base URL of a real HTTP host on loopback that serves /scene.png."""
    folder = tmp_path_factory.mktemp("host")
    (folder / "scene.png").write_bytes(scene_png)

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args: object, **kwargs: object) -> None:
            super().__init__(*args, directory=str(folder), **kwargs)  # type: ignore[arg-type]

        def log_message(self, *args: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as host:
        thread = threading.Thread(target=host.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{host.server_address[1]}"
        host.shutdown()
        thread.join()
