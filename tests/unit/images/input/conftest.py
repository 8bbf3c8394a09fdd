"""A real HTTP server on loopback, and images as files."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from PIL import Image

from imagegen.images.input.errors import ImageError
from imagegen.images.input.fetch import Fetcher
from imagegen.images.input.load import ImageLoader
from imagegen.images.input.settings import InputSettings
from tests.image_server import ImageServer, image_server

LIMIT_BYTES = 200_000  # of the fetcher


@pytest.fixture
def server() -> Iterator[ImageServer]:
    """A server on a free loopback port."""
    with image_server() as running:
        yield running


class _Ignored:
    def increment(self, value: float) -> None: ...

    def set(self, value: float) -> None: ...

    def observe(self, value: float) -> None: ...


@pytest.fixture(scope="session")
def no_metrics() -> Callable[..., object]:
    """A metrics backend that takes everything and keeps nothing."""
    return lambda family, labels: _Ignored()


@pytest.fixture
def encoded() -> Callable[..., bytes]:
    """Writes a Pillow image as a file: `encoded(image, "PNG", **save_options)`."""

    def write(image: Image.Image, format_name: str = "PNG", **options: Any) -> bytes:
        file = io.BytesIO()
        image.save(file, format_name, **options)
        return file.getvalue()

    return write


@pytest.fixture
def loader(no_metrics: Any) -> Iterator[ImageLoader]:
    """May reach the loopback server."""
    settings = InputSettings(allow_private_addresses=True, max_image_pixels=100_000)
    loader = ImageLoader(settings, no_metrics)
    yield loader
    loader.close()


@pytest.fixture
def fetcher() -> Iterator[Fetcher]:
    """May reach the loopback server, in one attempt, with a limit on bytes."""
    fetcher = Fetcher(
        InputSettings(
            allow_private_addresses=True,
            max_image_bytes=LIMIT_BYTES,
            read_timeout_s=5.0,
            fetch_timeout_s=10.0,
            fetch_attempts=1,
        )
    )
    yield fetcher
    fetcher.close()


def refusal(fetcher: Fetcher, url: str) -> str:
    with pytest.raises(ImageError) as caught:
        fetcher.fetch(url)
    return str(caught.value)
