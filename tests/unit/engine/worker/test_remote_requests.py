"""Each request that the engine's process has gets one response, whatever that process does, and gives its slot back."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from imagegen.api.errors import Cancelled, DeadlineExceeded, InvalidArgument, Unavailable
from imagegen.api.events import Ended, Event, Progress, encode_event
from imagegen.api.input_images import InputImages
from imagegen.api.reports import GenerationReport
from imagegen.api.request import ImageRequest
from imagegen.engine.cancellation import CancelToken
from imagegen.engine.metric_families import discard
from imagegen.engine.worker.messages import (
    Cancel,
    Failed,
    Frames,
    Generate,
    Images,
    ImageShapes,
    Left,
    Told,
    Waiting,
    message_to_worker,
)
from imagegen.engine.worker.remote_metrics import RemoteMetrics
from imagegen.engine.worker.remote_requests import RemoteRequest, RemoteRequests
from tests.unit.tiny_engine import image, wait_until

REPORT = GenerationReport(
    model="tiny",
    task="text-to-image",
    size="8x8",
    num_inference_steps=1,
    computed_steps=1,
    guidance_scale=None,
    strength=None,
    scheduler=None,
    mean_batch_rows=1,
    warnings=(),
    milliseconds={},
).to_json()
FRAMES = np.full((1, 8, 8, 3), 7, np.uint8)


class Client:
    """A client and its request.

    Attributes:
        responses: what came.
        events: that were published.
    """

    def __init__(self, prompt: str = "a cat", *, pixels: Any = None, timeout_ms: int | None = None) -> None:
        self.responses: list[tuple[Any, Any]] = []
        self.events: list[Event] = []
        asked = ImageRequest(prompt=prompt, timeout_ms=timeout_ms)
        self.request = RemoteRequest(
            asked,
            InputImages(pixels),
            lambda result, error: self.responses.append((result, error)),
            CancelToken(frozenset({prompt})),
            time.monotonic(),
            math.inf,
            self.events.append,
            0,
        )

    @property
    def error(self) -> BaseException:
        wait_until(lambda: bool(self.responses))
        [(result, error)] = self.responses
        assert result is None
        assert isinstance(error, BaseException)
        return error


class Process:
    """The engine's process, as far as it is sent anything."""

    def __init__(self) -> None:
        self.sent: list[Any] = []

    def send(self, frames: Frames) -> None:
        self.sent.append(message_to_worker(frames[0]))

    def numbers(self, kind: type[Any]) -> list[int]:
        return [message.number for message in self.sent if isinstance(message, kind)]


@pytest.fixture
def requests() -> Iterator[RemoteRequests]:
    metrics = RemoteMetrics(discard)
    made = RemoteRequests(2, metrics)
    yield made
    made.lost("the test is over")
    made.close()
    metrics.close()


@pytest.fixture
def process(requests: RemoteRequests) -> Process:
    made = Process()
    requests.begin(made.send)
    return made


def submitted(requests: RemoteRequests, *args: Any, **options: Any) -> Client:
    client = Client(*args, **options)
    requests.line.submit(client.request)
    return client


def test_a_result_goes_to_its_request(requests: RemoteRequests, process: Process) -> None:
    clients = [submitted(requests), submitted(requests)]
    first, second = process.numbers(Generate)
    requests.told(Left(second), [])
    requests.told(Images(second, FRAMES.shape, (5,), REPORT), [FRAMES.tobytes()])
    wait_until(lambda: bool(clients[1].responses))
    [(result, error)] = clients[1].responses
    assert error is None
    assert (result.frames == FRAMES).all()
    assert (result.seeds, result.statistics.size) == ((5,), "8x8")
    assert not clients[0].responses
    assert clients[1].events[-1:] == [Ended()]
    requests.told(Failed(first, "invalid_argument", "no", "size"), [])
    assert str(clients[0].error) == str(InvalidArgument("size", "no"))
    requests.told(Left(first), [])
    assert requests.line.slots.held == 0
    assert requests.finished == 1, "what failed is none"


def test_events_are_published_until_the_end(requests: RemoteRequests, process: Process) -> None:
    client = submitted(requests)
    [number] = process.numbers(Generate)
    for event in (Progress(1, 2), Ended(), Progress(2, 2)):
        requests.told(Told(number), [*encode_event(event)])
    assert client.events == [Progress(1, 2), Ended()]


def test_images_are_sent_as_they_are(requests: RemoteRequests) -> None:
    sent: list[Frames] = []
    requests.begin(sent.append)
    pixels = image()
    submitted(requests, pixels=pixels)
    [(header, frame)] = sent
    message = message_to_worker(header)
    assert isinstance(message, Generate)
    assert message.images == ImageShapes(pixels.shape, None, (), None)
    assert np.shares_memory(frame, pixels)


def test_a_cancel_is_responded_to_at_once_and_frees_the_slot_when_the_process_says_so(
    requests: RemoteRequests, process: Process
) -> None:
    client = submitted(requests, "mine")
    assert requests.line.cancel("mine")
    assert isinstance(client.error, Cancelled)
    [number] = process.numbers(Generate)
    assert process.numbers(Cancel) == [number]
    assert requests.line.slots.held == 1
    requests.told(Failed(number, "cancelled", "the client cancelled the request"), [])
    assert requests.line.slots.held == 1
    requests.told(Left(number), [])
    assert requests.line.slots.held == 0
    assert len(client.responses) == 1


def test_a_deadline_is_kept_though_the_process_is_silent(requests: RemoteRequests, process: Process) -> None:
    assert isinstance(submitted(requests, timeout_ms=30).error, DeadlineExceeded)


def test_what_the_process_had_when_it_ended_is_told_and_who_waits_goes_on_waiting(
    requests: RemoteRequests, process: Process
) -> None:
    clients = [submitted(requests, f"{number}") for number in range(2)]
    waiting = Client("waiting")
    thread = threading.Thread(target=lambda: requests.line.submit(waiting.request))
    thread.start()
    wait_until(lambda: requests.line.slots.waiting == 1)
    requests.lost("killed")
    for client in clients:
        assert isinstance(client.error, Unavailable)
        assert "ended (killed) and is started again" in str(client.error)
        assert client.events == [Ended()]
    assert (requests.line.slots.waiting, requests.line.slots.held) == (1, 0)
    assert not waiting.responses
    again = Process()
    requests.begin(again.send)
    thread.join(20)
    assert [message.request.prompt for message in again.sent] == ["waiting"]


def test_what_a_dead_process_says_late_is_nobodys(requests: RemoteRequests, process: Process) -> None:
    client = submitted(requests)
    [number] = process.numbers(Generate)
    requests.lost("killed")
    requests.told(Images(number, FRAMES.shape, (5,), REPORT), [FRAMES.tobytes()])
    assert isinstance(client.error, Unavailable)


def test_who_waits_for_a_process_can_be_cancelled(requests: RemoteRequests) -> None:
    """There is none yet."""
    client = Client("mine")
    errors: list[BaseException] = []

    def submit() -> None:
        try:
            requests.line.submit(client.request)
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=submit)
    thread.start()
    wait_until(lambda: requests.line.slots.waiting == 1)
    requests.line.cancel("mine")
    thread.join(20)
    assert [type(error) for error in errors] == [Cancelled]


def test_a_request_that_was_there_at_two_ends_is_refused(requests: RemoteRequests) -> None:
    for _ in range(2):
        requests.begin(Process().send)
        client = submitted(requests, "deadly")
        requests.lost("crashed")
        assert isinstance(client.error, Unavailable)
    requests.begin(Process().send)
    with pytest.raises(InvalidArgument, match="generated 2 times when the engine broke down"):
        submitted(requests, "deadly")
    submitted(requests, "harmless")
    assert requests.line.slots.held == 1


def test_the_process_is_told_when_somebody_begins_to_wait_and_when_nobody_does(
    requests: RemoteRequests, process: Process
) -> None:
    for _ in range(2):
        submitted(requests)
    assert not [message for message in process.sent if isinstance(message, Waiting)]
    threads = []
    for count in (1, 2):
        threads.append(threading.Thread(target=submitted, args=(requests,)))
        threads[-1].start()
        wait_until(lambda count=count: requests.line.slots.waiting == count)  # type: ignore[misc]
    wait_until(lambda: Waiting(True) in process.sent)
    for number in process.numbers(Generate):
        requests.told(Left(number), [])
    for thread in threads:
        thread.join()
    said = [message.anybody for message in process.sent if isinstance(message, Waiting)]
    assert said == [True, False]


def test_another_process_is_told_that_somebody_waits_already(requests: RemoteRequests) -> None:
    for slot in range(2):
        requests.line.slots.enter(slot)
    requests.line.slots.enter()
    process = Process()
    requests.begin(process.send)
    assert process.sent == [Waiting(True)]


@pytest.mark.parametrize(
    ("less", "more"),
    [
        ({"num_inference_steps": 4}, {"num_inference_steps": 50}),
        ({"num_inference_steps": 4}, {}),
        ({"n": 1}, {"n": 2}),
        ({"size": (64, 64)}, {}),
        ({}, {"size": (72, 72)}),
    ],
)
def test_who_asks_for_less_is_begun_first(requests: RemoteRequests, less: Any, more: Any) -> None:
    """The model's own size is 64x72, and what leaves its steps open is taken for long."""
    process = Process()
    requests.begin(process.send, "64x72")
    for _ in range(2):
        submitted(requests)
    threads = []
    for count, asked in enumerate((more, less), 1):
        client = Client(str(asked))
        client.request.asked = ImageRequest(prompt=str(asked), **asked)
        threads.append(threading.Thread(target=requests.line.submit, args=(client.request,)))
        threads[-1].start()
        wait_until(lambda count=count: requests.line.slots.waiting == count)  # type: ignore[misc]
    first = process.numbers(Generate)[0]
    requests.told(Left(first), [])
    wait_until(lambda: len(process.numbers(Generate)) == 3)
    assert [m.request.prompt for m in process.sent if isinstance(m, Generate)][-1] == str(less)
    requests.told(Left(process.numbers(Generate)[1]), [])
    for thread in threads:
        thread.join()
