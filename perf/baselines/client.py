"""How a baseline is described and asked over HTTP."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import aiohttp

from imagegen_client import DeadlineExceeded, GenerateResult, InternalError, ServerUnreachable
from perf.baselines.generate import GenerateRequest

_FIELDS = tuple(GenerateRequest.__dataclass_fields__)


@dataclass(frozen=True)
class Baseline:
    """How a baseline is started and asked.

    Attributes:
        title: the name that people know.
        meaning: what it is, for the report.
        arguments: of its Python; PORT in them stands for the port. Not used of plain Triton, as `ready_path`.
        ready_path: its response is 200 when it serves.
        generate_path: takes requests.
        body: the JSON to send for the values of one request.
        image: the PNG file in a response's body.
    """

    title: str
    meaning: str
    arguments: tuple[str, ...] = ()
    ready_path: str = "/health"
    generate_path: str = "/generate"
    body: Callable[[dict[str, Any]], object] = lambda values: values
    image: Callable[[bytes], bytes] = lambda body: body


class BaselineClient:
    """For asyncio, over HTTP, connections kept open.

    Args:
        url: `http://host:port`.
        baseline: how it is asked.
    """

    def __init__(self, url: str, baseline: Baseline) -> None:
        self._url = url + baseline.generate_path
        self._baseline = baseline

    async def generate(self, *, timeout_s: float, **values: Any) -> GenerateResult:
        """The image for public tensors by name, of which baselines know those of `GenerateRequest`; files as base64.

        Baselines do not return its seed: what they generate with another one is another image.

        Raises:
            ImageGenerationError: there is none.
        """
        body = self._baseline.body({name: _json(values[name]) for name in _FIELDS if name in values})
        try:
            timeout = aiohttp.ClientTimeout(total=timeout_s)
            async with self._session.post(self._url, json=body, timeout=timeout) as response:
                data = await response.read()
                if response.status != 200:
                    raise InternalError(f"status {response.status}: {data[:300]!r}")
                return GenerateResult((self._baseline.image(data),), (), (values["seed"],), {})
        except (TimeoutError, asyncio.TimeoutError) as error:  # two classes before Python 3.11
            raise DeadlineExceeded(f"no response within {timeout_s} s") from error
        except (OSError, ValueError, LookupError, aiohttp.ClientError) as error:
            raise ServerUnreachable(f"{self._url}: {error}") from error

    async def __aenter__(self) -> BaselineClient:
        self._session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._session.close()


def _json(value: Any) -> Any:
    return base64.b64encode(value).decode() if isinstance(value, bytes) else value
