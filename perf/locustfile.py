"""Users for locust: over KServe's HTTP protocol, over gRPC, and through the OpenAI frontend. See perf/README.md.

Each asks for images out of one mix, looks at what comes, thinks for a moment, and asks again. Every answer is
checked; a wrong one counts as a failure, and failures make locust's exit status 1. Run from the project's root:

    python -m locust -f perf/locustfile.py
"""

from __future__ import annotations

import logging
import random
import time
from argparse import ArgumentParser, Namespace
from typing import Any

import grpc.experimental.gevent
from locust import LoadTestShape, User, between, events, task
from locust.env import Environment

from imagegen_client import GenerateResult, HttpImageClient, ImageClient, ImageGenerationError
from perf.answer_check import AnswerCheck, WrongAnswer
from perf.openai_call import OpenAIClient
from perf.user_numbers import users_at
from perf.wanted import Wanted, draw_wanted

# locust's users are greenlets, and gRPC's core would block all of them while one waits.
grpc.experimental.gevent.init_gevent()

_DEFAULT_USERS = 6
_DEFAULT_RUN_TIME_S = 60
_STOP_TIMEOUT_S = 120.0
_SPAWN_PER_S = 100  # at once, as far as locust allows; the shape says how many there are
_DETAILS_SHOWN = 10

_log = logging.getLogger(__name__)
_dice = random.Random(1)
_answers = AnswerCheck()
_left_clients: list[ImageClient] = []
_shown = 0


class ImageUser(User):
    """Asks, checks, thinks."""

    abstract = True
    wait_time = between(0.2, 1.0)
    protocol = ""

    def ask(self, wanted: Wanted) -> GenerateResult:
        """The answer to a request; raises when there is none."""
        raise NotImplementedError

    @task
    def draw(self) -> None:
        """One request."""
        wanted = draw_wanted(_dice)
        result, failure = None, None
        started_s = time.perf_counter()
        try:
            result = self.ask(wanted)
        except ImageGenerationError as error:
            failure = WrongAnswer(error.code, error)
        except WrongAnswer as error:
            failure = error
        taken_s = time.perf_counter() - started_s
        if result is not None:
            try:
                _answers.check(wanted, result.images, result.seeds)
            except WrongAnswer as error:
                failure = error
        if failure is not None:
            _show(self.protocol, wanted, failure)
        self.environment.events.request.fire(
            request_type=self.protocol,
            name=wanted.name,
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

    def ask(self, wanted: Wanted) -> GenerateResult:
        """Call `image_generation`."""
        return self._client.generate(**wanted.values())


class GrpcUser(ImageUser):
    """KServe's protocol over gRPC, by tritonclient; a connection for each user, taken over from one who has left.

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

    def ask(self, wanted: Wanted) -> GenerateResult:
        """Call `image_generation`."""
        return self._client.generate(**wanted.values())


class OpenAIUser(ImageUser):
    """OpenAI's images API; a connection for each user."""

    protocol = "OpenAI"

    def on_start(self) -> None:
        """Make the client."""
        self._client = OpenAIClient(_options(self.environment).openai_url)

    def on_stop(self) -> None:
        """Disconnect."""
        self._client.close()

    def ask(self, wanted: Wanted) -> GenerateResult:
        """Ask for a generation or an edit."""
        return self._client.generate(wanted)


class RampAndBurst(LoadTestShape):
    """See `users_at`; `--users` is the crowd, `--run-time` the whole test's duration."""

    use_common_options = True

    def tick(self) -> tuple[int, float] | None:
        """Users from now on, and how many may come each second; None at the end."""
        assert self.runner is not None
        options = _options(self.runner.environment)
        crowd, duration_s = options.num_users or _DEFAULT_USERS, options.run_time or _DEFAULT_RUN_TIME_S
        users = users_at(time.perf_counter() - self.start_time, int(crowd), float(duration_s))
        return None if users is None else (users, _SPAWN_PER_S)


def _options(environment: Environment) -> Namespace:
    assert environment.parsed_options is not None, "to be run by locust's own program"
    options: Namespace = environment.parsed_options
    return options


def _add_options(parser: ArgumentParser) -> None:
    parser.add_argument("--http-url", default="localhost:8000", help="host:port of Triton's HTTP endpoint")
    parser.add_argument("--grpc-url", default="localhost:8001", help="host:port of Triton's gRPC endpoint")
    parser.add_argument("--openai-url", default="http://localhost:9000", help="of the OpenAI frontend")


def _let_users_finish(environment: Environment, **_: Any) -> None:
    # Else the answers that users wait for when the burst ends would never be looked at.
    environment.stop_timeout = environment.stop_timeout or _STOP_TIMEOUT_S


def _fail_when_idle(environment: Environment, **_: Any) -> None:
    if environment.stats.total.num_requests == 0:
        _log.error("not one request has been answered")
        environment.process_exit_code = 1


def _show(protocol: str, wanted: Wanted, failure: WrongAnswer) -> None:
    """Tell of the first failures in full; the statistics only count them by kind."""
    global _shown
    if _shown < _DETAILS_SHOWN:
        _shown += 1
        _log.error("%s: %s: %s: %s", protocol, wanted, failure.kind, failure.details)


events.init_command_line_parser.add_listener(_add_options)
events.init.add_listener(_let_users_finish)
events.quitting.add_listener(_fail_when_idle)
