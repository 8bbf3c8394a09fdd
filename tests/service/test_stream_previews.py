"""Previews of the bundled checkpoint look more and more like the image that they become."""

from __future__ import annotations

import io
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from imagegen.launch.embedded_server import EmbeddedServer
from imagegen.launch.model_repository import MODEL_REPOSITORY
from imagegen_client import GenerateResult, ImageClient, Preview


@pytest.fixture(scope="module")
def client() -> Iterator[ImageClient]:
    with (
        EmbeddedServer(MODEL_REPOSITORY, parameters={"diffusion.cpu_threads": "1"}) as server,
        ImageClient(server.grpc_url) as client,
    ):
        yield client


def likeness(one: bytes, other: bytes) -> float:
    """Correlation of two images, -1..1."""
    first, second = pixels(one), pixels(other)
    return float(np.corrcoef(first.ravel(), second.ravel())[0, 1])


def pixels(content: bytes) -> npt.NDArray[np.float64]:
    with Image.open(io.BytesIO(content)) as image:
        small = np.asarray(image.convert("RGB").resize((32, 32), Image.Resampling.BOX), dtype=np.float64)
    centred: npt.NDArray[np.float64] = small - small.mean((0, 1))
    return centred


@pytest.mark.parametrize("scheduler", [None, "euler", "dpmpp_2m", "ddpm"])
def test_each_preview_is_an_earlier_stage_of_its_own_image(client: ImageClient, scheduler: str | None) -> None:
    events = list(client.stream("a red circle on white", n=2, seed=3, partial_images=3, scheduler=scheduler))
    result = events[-1]
    assert isinstance(result, GenerateResult)
    for image_index, image in enumerate(result.images):
        own = [event.image for event in events if isinstance(event, Preview) and event.image_index == image_index]
        similarity = [likeness(preview, image) for preview in own]
        assert similarity == sorted(similarity), similarity
        assert similarity[-1] > 0.7, similarity
        assert similarity[-1] > likeness(own[-1], result.images[1 - image_index])
