"""A drawing around a server that refuses: what is not done for it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any, cast

import pytest

from imagegen.openai.concurrency import Places
from imagegen.openai.errors import BadRequest
from imagegen.openai.fields import Call, generation_call
from imagegen.openai.health import Health
from imagegen.openai.images_response import Drawing, Studio
from imagegen.openai.metrics import Measures
from imagegen.openai.settings import Settings
from imagegen.openai.triton_call import Event, TritonImages
from imagegen.openai.usage import TokenCounter
from imagegen_client.errors import InvalidArgument


class _Refuses:
    async def events(self, *_: Any, **__: Any) -> AsyncIterator[Event]:
        raise InvalidArgument("too many characters", "prompt")
        yield


class _Counts:
    def __init__(self) -> None:
        self.asked = 0

    async def count(self, prompt: str) -> int:
        self.asked += 1
        return len(prompt)


@pytest.mark.parametrize("stream", [False, True])
def test_the_prompt_of_a_refused_request_is_not_tokenized(stream: bool) -> None:
    """It may have 60 MB: minutes of work, for nothing."""
    settings, measures, counts = Settings(), Measures(), _Counts()
    triton = cast(TritonImages, _Refuses())
    health = Health(triton, settings, measures)
    studio = Studio(triton, Places(0), cast(TokenCounter, counts), health, measures)
    scope: dict[str, Any] = {"type": "http", "state": {"request_id": "a", "facts": {}}}

    async def read() -> Call:
        return generation_call({"prompt": "x", "stream": stream}, settings)

    async def receive() -> Any:
        await asyncio.Event().wait()

    async def send(_: Any) -> None:
        raise AssertionError("nothing is sent before the error")

    with pytest.raises(BadRequest, match="prompt: too many"):
        asyncio.run(Drawing(studio, read, "key")(scope, receive, send))
    assert counts.asked == 0
