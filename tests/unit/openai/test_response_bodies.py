"""Responses and events in OpenAI's shapes."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import orjson

from imagegen.openai.images_request import ImagesRequest
from imagegen.openai.response_bodies import completed_event, images_body, partial_image_event, progress_event
from imagegen.openai.triton_images import Completed, Preview, Progress

DONE = Completed([b"QUJD", b"REVG"], [2**63 - 1, 7], {"size": "32x16", "output_format": "webp"})
REQUEST = ImagesRequest("image_edit", {"response_format": "b64_json", "size": "32x16", "image": [b"a"]}, quality="low")


def plain(value: Any) -> Any:
    return json.loads(orjson.dumps(value))


def test_the_warnings_of_the_frontend_are_behind_those_of_the_server() -> None:
    done = Completed([b"QUJD"], [7], {"size": "32x16", "output_format": "png", "warnings": ["cut"]})
    warned = replace(REQUEST, warnings=("style: it changes nothing",))
    for body in (images_body(warned, done, None), completed_event(warned, done, None)[1]):
        assert body["metadata"]["warnings"] == ["cut", "style: it changes nothing"]
    assert done.metadata["warnings"] == ["cut"]


def test_the_whole_response() -> None:
    body = plain(images_body(REQUEST, DONE, 3))
    assert body["data"] == [{"b64_json": "QUJD", "seed": 2**63 - 1}, {"b64_json": "REVG", "seed": 7}]
    assert (body["size"], body["quality"], body["output_format"]) == ("32x16", "low", "webp")
    assert body["usage"]["output_tokens"] == 4
    assert body["usage"]["input_tokens"] == 3 + 2
    assert body["metadata"] == DONE.metadata
    assert "usage" not in images_body(REQUEST, DONE, None)


def test_the_control_images_that_were_used_come_where_they_were_asked_for() -> None:
    done = replace(DONE, control_images=(b"QUJD", b"REVG"))
    for response_format, name in (("b64_json", "b64_json"), ("url", "url")):
        values = {"response_format": response_format, "control_image": [b"a", b"b"], "reference_image": [b"c"]}
        asked = ImagesRequest("image_generation", values | {"return_control": True})
        for body in (images_body(asked, done, 3), completed_event(asked, done, 3)[1]):
            assert plain(body)["used_control_images"] == [{name: "QUJD"}, {name: "REVG"}]
            assert plain(body)["usage"]["input_tokens"] == 3 + 3 * 2
        assert "used_control_images" not in images_body(ImagesRequest("image_generation", values), DONE, None)


def test_addresses_are_escaped_as_they_need() -> None:
    request = ImagesRequest("image_generation", {"response_format": "url"})
    done = Completed([b'https://x/"a"?b&c'], [1], DONE.metadata)
    assert plain(images_body(request, done, None))["data"] == [{"url": 'https://x/"a"?b&c', "seed": 1}]


def test_events() -> None:
    name, data = completed_event(REQUEST, DONE, None)
    assert (name, plain(data)["type"], plain(data)["b64_json"]) == ("image_edit.completed", name, "QUJD")
    name, data = partial_image_event(REQUEST, Preview(b"QUJD", 1))
    assert (name, plain(data)["partial_image_index"], plain(data)["b64_json"]) == (
        "image_edit.partial_image",
        1,
        "QUJD",
    )
    progress = progress_event(REQUEST, Progress(2, 4))
    assert progress == (
        "image_edit.progress",
        {"type": "image_edit.progress", "step": 2, "total_steps": 4},
    )
