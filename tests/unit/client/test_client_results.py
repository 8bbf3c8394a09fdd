"""Outputs of the model become a `GenerateResult`, or an error that says what is wrong with them."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from imagegen_client.errors import InternalError
from imagegen_client.results import parse_result


class Arrays(dict[str, npt.NDArray[Any]]):
    """Outputs by name, as tritonclient's `InferResult` gives them."""

    def as_numpy(self, name: str) -> npt.NDArray[Any] | None:
        return self.get(name)


def outputs(*images: bytes, metadata: bytes = b'{"task": "text-to-image"}') -> Arrays:
    return Arrays(
        generated_image=np.array(images, dtype=np.object_),
        used_seed=np.arange(7, 7 + len(images), dtype=np.int64),
        metadata=np.array([metadata], dtype=np.object_),
    )


@pytest.mark.parametrize("response_format", [None, "bytes"])
def test_bytes_are_the_images(response_format: str | None) -> None:
    result = parse_result(outputs(b"\x89PNG", b"\xff\xd8"), response_format)
    assert (result.images, result.urls, result.seeds) == ((b"\x89PNG", b"\xff\xd8"), (), (7, 8))
    assert result.metadata == {"task": "text-to-image"}


def test_base64_is_decoded() -> None:
    assert parse_result(outputs(base64.b64encode(b"\x89PNG")), "b64_json").images == (b"\x89PNG",)


def test_the_control_images_that_were_used_come_as_the_images_do() -> None:
    for asked, sent in ((None, b"\x89PNG"), ("b64_json", base64.b64encode(b"\x89PNG")), ("url", b"http://store/1.png")):
        response = outputs(sent)
        response["used_control_image"] = np.array([sent, sent], dtype=np.object_)
        result = parse_result(response, asked)
        assert (result.used_control_images, result.used_control_urls) == (result.images * 2, result.urls * 2)
        response["used_control_image"] = np.array([], dtype=np.object_)  # not asked for
        nothing = parse_result(response, asked)
        assert (nothing.used_control_images, nothing.used_control_urls) == ((), ())
    assert parse_result(outputs(b"x"), None).used_control_images == ()  # of an earlier release


def test_urls_are_text_and_no_images() -> None:
    result = parse_result(outputs(b"http://store/1.png"), "url")
    assert (result.images, result.urls) == ((), ("http://store/1.png",))


@pytest.mark.parametrize(
    ("response", "response_format", "problem"),
    [
        (Arrays(), None, "no output generated_image"),
        (outputs(b"***"), "b64_json", "cannot be read"),
        (outputs(b"\xff"), "url", "cannot be read"),
        (outputs(b"x", metadata=b"{"), None, "cannot be read"),
    ],
)
def test_a_response_that_makes_no_sense_is_an_error_of_the_server(
    response: Arrays, response_format: str | None, problem: str
) -> None:
    with pytest.raises(InternalError, match=problem):
        parse_result(response, response_format)
