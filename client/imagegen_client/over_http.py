"""The clients that speak HTTP: one connection for each request.

A connection costs about a millisecond beside seconds of work. It gives each request its
own `timeout_s` (tritonclient sets it for a whole client), no response to an abandoned
request that could be taken for the next one's, and clients that may be shared by threads.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

import aiohttp
import tritonclient.http as triton
import tritonclient.http.aio as triton_aio
from geventhttpclient.response import HTTPParseError
from tritonclient.utils import InferenceServerException

from imagegen_client.arguments import GenerateArguments, takes_arguments
from imagegen_client.errors import DeadlineExceeded, ServerUnreachable, from_triton
from imagegen_client.results import GenerateResult, parse_result
from imagegen_client.transport import MODEL, checked_address, id_headers, infer_options


class HttpImageClient:
    """Blocking, over HTTP; several threads may share one.

    Args:
        url: `host:port` of the server's HTTP endpoint.
        model: the name of the model to call.
    """

    def __init__(self, url: str = "localhost:8000", *, model: str = MODEL) -> None:
        self._url = checked_address(url)
        self._model = model

    @takes_arguments(GenerateArguments)
    def generate(self, arguments: GenerateArguments) -> GenerateResult:
        """Make images; the arguments are those of `GenerateArguments`.

        Raises:
            ImageGenerationError: one of the classes in `imagegen_client.errors`.
        """
        options = infer_options(triton.InferInput, arguments)
        with (
            _typed_errors(self._url, arguments.timeout_s),
            triton.InferenceServerClient(
                self._url, connection_timeout=arguments.timeout_s, network_timeout=arguments.timeout_s
            ) as client,
        ):
            response = client.infer(self._model, headers=id_headers(arguments.request_id), **options)
        return parse_result(response, arguments.response_format)

    def close(self) -> None:
        """Nothing is kept open; here so that all clients are used alike."""

    def __enter__(self) -> HttpImageClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class AsyncHttpImageClient:
    """For asyncio, over HTTP.

    Args:
        url: `host:port` of the server's HTTP endpoint.
        model: the name of the model to call.
    """

    def __init__(self, url: str = "localhost:8000", *, model: str = MODEL) -> None:
        self._url = checked_address(url)
        self._model = model

    @takes_arguments(GenerateArguments)
    async def generate(self, arguments: GenerateArguments) -> GenerateResult:
        """Make images; the arguments are those of `GenerateArguments`.

        Raises:
            ImageGenerationError: one of the classes in `imagegen_client.errors`.
        """
        options = infer_options(triton.InferInput, arguments)
        with _typed_errors(self._url, arguments.timeout_s):
            async with triton_aio.InferenceServerClient(self._url, conn_timeout=arguments.timeout_s) as client:
                response = await client.infer(self._model, headers=id_headers(arguments.request_id), **options)
        return parse_result(response, arguments.response_format)

    async def close(self) -> None:
        """Nothing is kept open; here so that all clients are used alike."""

    async def __aenter__(self) -> AsyncHttpImageClient:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()


@contextmanager
def _typed_errors(url: str, timeout_s: float | None) -> Iterator[None]:
    """Raise what the HTTP libraries raise as the exceptions of this package."""
    try:
        yield
    except InferenceServerException as error:
        raise from_triton(error) from error
    except (TimeoutError, asyncio.TimeoutError) as error:  # two classes before Python 3.11
        raise DeadlineExceeded(f"no response from {url} within timeout_s={timeout_s}") from error
    except (OSError, aiohttp.ClientError, HTTPParseError) as error:
        raise ServerUnreachable(f"{url}: {error}") from error
