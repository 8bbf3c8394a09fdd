"""Users for locust: over KServe's HTTP protocol, over gRPC, and through the OpenAI frontend. See perf/README.md.

Each sends requests out of one mix, checks the response, waits for a moment, and goes on. A wrong response counts as a
failure, and failures make locust's exit status 1. Run from the project's root:

    python -m locust -f perf/locustfile.py
"""

from __future__ import annotations

import base64
import logging
import random
import time
from argparse import ArgumentParser, Namespace
from typing import Any

import grpc.experimental.gevent
import requests
from locust import User, between, events, task
from locust.env import Environment

from imagegen_client import GenerateResult, HttpImageClient, ImageClient, ImageGenerationError, ServerUnreachable
from perf.result_check import ResultCheck, WrongResult
from perf.workload import Request, random_request

# locust's users are greenlets, and gRPC's core would block all of them while one waits.
grpc.experimental.gevent.init_gevent()

_REQUEST_TIMEOUT_S = 600.0
_DETAILS_SHOWN = 10

_log = logging.getLogger(__name__)
_dice = random.Random(1)
_check = ResultCheck()
_left_clients: list[ImageClient] = []
_shown = 0


class ImageUser(User):
    """Sends a request, checks the response, waits."""

    abstract = True
    wait_time = between(0.2, 1.0)
    protocol = ""

    def generate(self, request: Request) -> GenerateResult:
        """The response to a request; raises when there is none."""
        raise NotImplementedError

    @task
    def one_request(self) -> None:
        """Send one and report it to locust."""
        request = random_request(_dice)
        result, failure = None, None
        started_s = time.perf_counter()
        try:
            result = self.generate(request)
        except ImageGenerationError as error:
            failure = WrongResult(error.code, error)
        except WrongResult as error:
            failure = error
        taken_s = time.perf_counter() - started_s
        if result is not None:
            try:
                _check.check(request, result.images, result.seeds)
            except WrongResult as error:
                failure = error
        if failure is not None:
            _show(self.protocol, request, failure)
        self.environment.events.request.fire(
            request_type=self.protocol,
            name=request.name,
            response_time=taken_s * 1000,
            response_length=sum(map(len, result.images)) if result is not None else 0,
            exception=failure.kind if failure is not None else None,  # equal texts are counted together
            context={},
        )


class HttpUser(ImageUser):
    """KServe's protocol over HTTP, with binary tensors; a connection for each request."""

    protocol = "HTTP"

    def on_start(self) -> None:
        """Make the client."""
        self._client = HttpImageClient(_options(self.environment).http_url)

    def generate(self, request: Request) -> GenerateResult:
        """Call `image_generation`."""
        return self._client.generate(**request.values())


class GrpcUser(ImageUser):
    """KServe's protocol over gRPC; a connection for each user, taken over from one who has left.

    No client is ever let go of: tritonclient closes its channel when it is collected, and if that happens inside gRPC,
    which holds its lock then, the whole process stands still.
    """

    protocol = "gRPC"

    def on_start(self) -> None:
        """Connect."""
        self._client = _left_clients.pop() if _left_clients else ImageClient(_options(self.environment).grpc_url)

    def on_stop(self) -> None:
        """Leave the connection to the next one."""
        _left_clients.append(self._client)

    def generate(self, request: Request) -> GenerateResult:
        """Call `image_generation`."""
        return self._client.generate(**request.values())


class OpenAIUser(ImageUser):
    """OpenAI's images API, generations for text alone and edits for input images; a connection for each user."""

    protocol = "OpenAI"

    def on_start(self) -> None:
        """Connect."""
        self._session = requests.Session()
        self._session.trust_env = False  # the proxies of the environment are not what is measured

    def on_stop(self) -> None:
        """Disconnect."""
        self._session.close()

    def generate(self, request: Request) -> GenerateResult:
        """Call `/v1/images/generations` or `/v1/images/edits`."""
        values = request.values()
        names = [name for name in ("image", "mask") if name in values]
        files: dict[str, Any] = {name: (f"{name}.png", values.pop(name), "image/png") for name in names}
        body: dict[str, Any] = {"data": values, "files": files} if files else {"json": values}
        url = f"{_options(self.environment).openai_url}/v1/images/{'edits' if files else 'generations'}"
        try:
            response = self._session.post(url, timeout=_REQUEST_TIMEOUT_S, **body)
        except requests.RequestException as error:
            raise ServerUnreachable(str(error)) from error
        if response.status_code != 200:
            raise WrongResult(f"status {response.status_code}", response.text[:500])
        data = response.json()["data"]
        images = tuple(base64.b64decode(image["b64_json"], validate=True) for image in data)
        return GenerateResult(images, (), tuple(int(image["seed"]) for image in data), {})


def _options(environment: Environment) -> Namespace:
    assert environment.parsed_options is not None, "to be run by locust's own program"
    options: Namespace = environment.parsed_options
    return options


def _add_options(parser: ArgumentParser) -> None:
    parser.add_argument("--http-url", default="localhost:8000", help="host:port of Triton's HTTP endpoint")
    parser.add_argument("--grpc-url", default="localhost:8001", help="host:port of Triton's gRPC endpoint")
    parser.add_argument("--openai-url", default="http://localhost:9000", help="of the OpenAI frontend")


def _fail_when_idle(environment: Environment, **_: Any) -> None:
    if environment.stats.total.num_requests == 0:
        _log.error("not one request has been completed")
        environment.process_exit_code = 1


def _show(protocol: str, request: Request, failure: WrongResult) -> None:
    """Log the first failures in full; the statistics only count them by kind."""
    global _shown
    if _shown < _DETAILS_SHOWN:
        _shown += 1
        _log.error("%s: %s: %s: %s", protocol, request, failure.kind, failure.details)


events.init_command_line_parser.add_listener(_add_options)
events.quitting.add_listener(_fail_when_idle)
