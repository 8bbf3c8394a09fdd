"""What is loaded, refused, fetched and cached is counted."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any

import pytest
from PIL import Image

from imagegen.api.errors import ImageRejected
from imagegen.api.limits import RequestRules
from imagegen.images.input.load import ImageLoader
from imagegen.images.input.settings import InputSettings
from tests.unit.images.input.loading import load_images

ANY_SIZE = RequestRules(granularity_px=1)

Write = Callable[..., bytes]
RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)


class Numbers:
    """A metrics backend that a test can read, by name and labels."""

    def __init__(self) -> None:
        self.values: dict[tuple[str, str], float] = {}
        self.observed: dict[str, int] = {}

    def __call__(self, family: Any, labels: dict[str, str]) -> Any:
        key = family.name.removeprefix("imagegen_preprocess_"), ",".join(labels.values())
        numbers = self

        class Series:
            def increment(self, value: float) -> None:
                numbers.values[key] = numbers.values.get(key, 0) + value

            def set(self, value: float) -> None:
                numbers.values[key] = value

            def observe(self, value: float) -> None:
                numbers.observed[key[0]] = numbers.observed.get(key[0], 0) + 1

        return Series()


def test_what_is_loaded_and_refused_is_counted(encoded: Write, server: Any) -> None:
    numbers = Numbers()
    loader = ImageLoader(InputSettings(allow_private_addresses=True), numbers)
    data = encoded(Image.new("RGB", (8, 8), (0, 255, 0)))
    url = server.serve("/a.png", data).encode()
    busy = iter([503, 200])
    server.responses["/busy.png"] = lambda handler: (
        server.serve("/x", data, next(busy)) and server.responses["/x"](handler)
    )
    load_images(
        loader,
        [data, base64.b64encode(data), b"data:image/png;base64," + base64.b64encode(data), url],
        data,
        None,
        ANY_SIZE,
    )
    load_images(loader, [url, (server.url + "/busy.png").encode()], None, None, ANY_SIZE)
    bad = [b"file:///x", f"{server.url}/gone".encode(), b"GIF89a", data[:50], b"http://127.0.0.1:1/"]
    with pytest.raises(ImageRejected):
        load_images(loader, bad, None, None, ANY_SIZE)
    loader.close()
    images = {source: numbers.values["images_total", source] for source in ("file", "base64", "data_url", "url")}
    assert images == {"file": 3, "base64": 1, "data_url": 1, "url": 3}
    assert numbers.values["image_bytes_total", "url"] == 3 * len(data)
    assert numbers.values["failures_total", "url_not_allowed"] == 1
    assert numbers.values["failures_total", "invalid_image"] == 1
    assert numbers.values["failures_total", "unsupported_media_type"] == 1
    assert numbers.values["failures_total", "fetch_failed"] == 2
    assert numbers.values["cache_hits_total", ""] == 1
    assert numbers.values["cache_misses_total", ""] == 4
    assert 2 * len(data) < numbers.values["cache_bytes", ""] < 2 * len(data) + 2000
    assert numbers.values["downloads_in_flight", ""] == 0
    assert numbers.observed == {"fetch_seconds": 4, "decode_seconds": 7}
