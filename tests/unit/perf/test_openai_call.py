"""What the load test sends to OpenAI's API, and how it reads what comes back."""

from __future__ import annotations

import json

import pytest

from imagegen_client.errors import ServerUnreachable
from perf.answer_check import AnswerCheck, WrongAnswer
from perf.openai_call import OpenAIClient
from perf.wanted import IMAGE_TO_IMAGE, INPAINTING, TEXT_TO_IMAGE, Wanted
from tests.openai_stand_in import images, number, openai_stand_in

TEXT = Wanted(TEXT_TO_IMAGE, (96, 64), 4, 2, 5, "a star")


def asked(wanted: Wanted) -> tuple[str, bytes]:
    """Path and body of a request, whose answer is right."""
    seen: list[tuple[str, bytes]] = []

    def answer(path: str, body: bytes) -> tuple[int, bytes]:
        seen.append((path, body))
        return images(body, wanted.size)

    with openai_stand_in(answer) as url:
        client = OpenAIClient(url)
        result = client.generate(wanted)
        client.close()
    AnswerCheck().check(wanted, result.images, result.seeds)
    return seen[0]


def refused(status: int, body: bytes) -> WrongAnswer:
    with openai_stand_in(lambda *_: (status, body)) as url:
        client = OpenAIClient(url)
        with pytest.raises(WrongAnswer) as error:
            client.generate(TEXT)
        client.close()
    return error.value


def test_text_alone_is_a_generation() -> None:
    path, body = asked(TEXT)
    assert path == "/v1/images/generations"
    assert json.loads(body) == TEXT.values()


@pytest.mark.parametrize(("task", "masks"), [(IMAGE_TO_IMAGE, 0), (INPAINTING, 1)])
def test_what_starts_from_a_image_is_an_edit(task: str, masks: int) -> None:
    path, body = asked(Wanted(task, (96, 64), 50, 1, 5, "a star"))
    assert path == "/v1/images/edits"
    assert body.count(b'filename="image.png"') == 1
    assert body.count(b'filename="mask.png"') == masks
    assert number(body, "num_inference_steps") == 50


def test_a_refusal_is_told_by_its_code() -> None:
    assert refused(400, b'{"error":{"code":"invalid_size","type":"invalid_request_error"}}').kind == "invalid_size"
    assert refused(503, b'{"error":{"code":null,"type":"server_error"}}').kind == "server_error"
    assert refused(502, b"<html>").kind == "status 502"


@pytest.mark.parametrize("body", [b"", b"[]", b'{"data":[{"seed":1}]}', b'{"data":[{"b64_json":"?","seed":1}]}'])
def test_what_cannot_be_read_is_wrong(body: bytes) -> None:
    assert refused(200, body).kind == "unreadable answer"


def test_a_server_that_is_not_there_is_unreachable() -> None:
    with openai_stand_in(lambda *_: (200, b"")) as url:
        pass
    with pytest.raises(ServerUnreachable):
        OpenAIClient(url).generate(TEXT)
