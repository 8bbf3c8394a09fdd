"""Requests of the diffusion model go into the engine as arrays, and each gets one response, whatever happens to it."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import torch

from imagegen.api.errors import Asleep, Cancelled, DeadlineExceeded, InvalidArgument, Unavailable
from imagegen.api.events import Ended, Event, Progress
from imagegen.engine import Engine
from imagegen.triton.admission import Admission
from tests.unit.tiny_engine import ENDLESS, SLOTS, TIMEOUT_S, image, levels, mask, tiny_engine, wait_until
from tests.unit.triton.diffusion_client import DiffusionClient

STREAM_ID = "0" * 16 + "." + "1" * 32


@pytest.fixture
def engine() -> Iterator[Engine]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with tiny_engine() as made:
        yield made
    torch.set_num_threads(threads)


@pytest.fixture
def published() -> list[tuple[str, Event]]:
    """Events that were sent, with the stream ids that they were sent to."""
    return []


@pytest.fixture
def admission(engine: Engine, published: list[tuple[str, Event]]) -> Admission:
    return Admission(engine, lambda stream_id, event: published.append((stream_id, event)))


Ask = Callable[..., DiffusionClient]


@pytest.fixture
def ask(admission: Admission) -> Ask:
    def submit(*args: str, **values: Any) -> DiffusionClient:
        client = DiffusionClient(*args, **values)
        admission.submit(client)
        return client

    return submit


def report_of(finished_s: float, started_s: float = 0, **more: Any) -> str:
    """What image_preprocess reports."""
    return json.dumps({"milliseconds": {}, "started_s": started_s, "finished_s": finished_s, **more})


@pytest.mark.parametrize(
    ("values", "task"),
    [
        ({}, "text-to-image"),
        ({"pixels": image()}, "image-to-image"),
        ({"pixels": image(), "mask_pixels": mask()}, "inpainting"),
    ],
)
def test_every_task_comes_from_its_arrays(ask: Ask, values: dict[str, Any], task: str) -> None:
    client = ask(n=3, size="40x24", seed=1, num_inference_steps=4, **values)
    assert client.frames().shape == (3, 24, 40, 3)
    assert client.outputs()["used_seed"].tolist() == [1, 2, 3]
    assert (client.report()["task"], client.report()["num_inference_steps"]) == (task, 4)


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"prompt": None}, "prompt"),
        ({"n": 11}, "n"),
        ({"scheduler": "lcm"}, "scheduler"),
        ({"strength": 0.5}, "strength"),
        ({"mask_pixels": mask()}, "mask"),
        ({"pixels": image(), "strength": 0.1}, "strength"),
        ({"typo": 1}, "typo"),
        ({"stream_id": ""}, "stream_id"),
        ({"stream_id": "x"}, "stream_id"),
        ({"stream_id": "../../x." + "0" * 32}, "stream_id"),
    ],
)
def test_a_bad_request_gets_one_response_and_no_slot(ask: Ask, values: dict[str, Any], field: str) -> None:
    for _ in range(SLOTS + 1):
        error = ask(**values).error()
        assert isinstance(error, InvalidArgument)
        assert error.field == field
    assert ask().frames().shape[0] == 1


@pytest.mark.parametrize(
    "report", ["", "[]", "{}", '{"milliseconds": {}, "started_s": 0, "finished_s": "x"}', "\udc80"]
)
def test_a_report_that_is_none_is_refused(ask: Ask, report: str) -> None:
    error = ask(preprocess_report=np.array([report.encode(errors="surrogateescape")], dtype=np.object_)).error()
    assert isinstance(error, InvalidArgument)
    assert error.field == "preprocess_report"


def test_the_deadline_counts_from_when_preprocessing_ended(ask: Ask) -> None:
    """So it covers the time in Triton's queue, and so does the queue's time in the report."""
    report = report_of(time.monotonic() - 5)
    assert ask(preprocess_report=report, timeout_ms=60_000).report()["milliseconds"]["queue"] >= 5000
    assert isinstance(ask(preprocess_report=report, timeout_ms=4000).error(), DeadlineExceeded)


def test_a_deadline_ends_a_request_that_is_generated_and_one_that_waits(ask: Ask) -> None:
    generated = [ask(num_inference_steps=ENDLESS, timeout_ms=200) for _ in range(SLOTS)]
    waiting = ask(timeout_ms=1)  # blocks until there is a slot or its time is over
    assert isinstance(waiting.error(), DeadlineExceeded)
    assert all(isinstance(client.error(), DeadlineExceeded) for client in generated)
    assert ask(timeout_ms=3_600_000).frames().shape[0] == 1


def test_a_client_that_disconnects_ends_its_request(ask: Ask) -> None:
    client, other = ask(num_inference_steps=ENDLESS), ask(num_inference_steps=ENDLESS)
    client.disconnected.set()
    assert isinstance(client.error(), Cancelled)
    assert not other.has_response
    other.disconnected.set()
    assert isinstance(other.error(), Cancelled)


def test_while_there_is_no_engine_each_request_has_its_own_deadline(admission: Admission, engine: Engine) -> None:
    """One without a deadline kept those behind it from theirs, in Triton's queue, until there was an engine again."""
    engine.line.slots.pause()
    patient = [DiffusionClient() for _ in range(SLOTS - 1)]
    with ThreadPoolExecutor(1) as triton:
        for client in patient:
            triton.submit(admission.submit, client)
        triton.submit(admission.submit, late := DiffusionClient(timeout_ms=50))
        try:
            assert isinstance(late.error(), DeadlineExceeded)
            assert not any(client.has_response for client in patient)
        finally:
            engine.line.slots.resume()
    assert [client.frames().shape[0] for client in patient] == [1] * (SLOTS - 1)


def test_while_there_is_no_engine_no_more_are_taken_than_will_start_together(
    admission: Admission, engine: Engine
) -> None:
    """The others stay in Triton's queue, which knows their priorities."""
    engine.line.slots.pause()
    clients = [DiffusionClient() for _ in range(SLOTS + 2)]
    with ThreadPoolExecutor(1) as triton:
        taken = [triton.submit(admission.submit, client) for client in clients]
        taken[SLOTS - 1].result(TIMEOUT_S)
        wait_until(lambda: engine.waiting_requests == SLOTS + 1)
        assert [future.done() for future in taken[SLOTS:]] == [False, False]
        engine.line.slots.resume()
    assert [client.frames().shape[0] for client in clients] == [1] * (SLOTS + 2)


def test_a_closed_engine_refuses(ask: Ask, engine: Engine) -> None:
    engine.close()
    assert isinstance(ask().error(), Unavailable)


def test_a_stream_gets_each_step_and_the_end(ask: Ask, engine: Engine, published: list[tuple[str, Event]]) -> None:
    client = ask(stream_id=STREAM_ID, n=2, num_inference_steps=4, seed=1)
    frames = client.frames()
    assert published == [(STREAM_ID, event) for event in (*(Progress(step, 4) for step in range(1, 5)), Ended())]
    assert client.report()["warnings"] == []
    assert levels(frames, ask(n=2, num_inference_steps=4, seed=1).frames()) <= 1


def test_previews_that_the_model_cannot_give_are_worth_a_warning(ask: Ask) -> None:
    assert ask(stream_id=STREAM_ID, partial_images=1).report()["warnings"] == [
        "partial_images: this model has no previews"
    ]


def test_a_stream_whose_request_fails_gets_the_end(ask: Ask, published: list[tuple[str, Event]]) -> None:
    client = ask(stream_id=STREAM_ID, num_inference_steps=ENDLESS, timeout_ms=100)
    assert isinstance(client.error(), DeadlineExceeded)
    assert published[-1] == (STREAM_ID, Ended())


@pytest.mark.parametrize("name", ["mine", STREAM_ID])
def test_a_request_is_cancelled_by_either_of_its_names(ask: Ask, engine: Engine, name: str) -> None:
    client = ask("mine", num_inference_steps=ENDLESS, stream_id=STREAM_ID)
    other = ask("yours", num_inference_steps=ENDLESS)
    assert not engine.cancel("nobody's")
    assert engine.cancel(name)
    assert isinstance(client.error(), Cancelled)
    assert not other.has_response
    assert engine.cancel("yours")
    assert isinstance(other.error(), Cancelled)
    wait_until(lambda: not engine.cancel("yours"))


def test_a_name_cancels_all_its_requests_those_that_wait_too_and_no_later_one(
    ask: Ask, admission: Admission, engine: Engine
) -> None:
    generated = [ask("same", num_inference_steps=ENDLESS) for _ in range(SLOTS)]
    waiting = DiffusionClient("same")
    thread = threading.Thread(target=admission.submit, args=(waiting,))
    thread.start()
    assert waiting.asked.wait(TIMEOUT_S)
    entered_s = time.monotonic()
    assert engine.cancel("same")
    thread.join()
    assert all(isinstance(client.error(), Cancelled) for client in (*generated, waiting))
    queued = ask("same", preprocess_report=report_of(entered_s, entered_s))  # came before the cancel, but now to us
    assert str(queued.error()) == "cancelled: the client cancelled the request"
    assert ask("same", num_inference_steps=2).frames().shape[0] == 1


def test_requests_without_a_name_are_not_cancelled_by_the_empty_one(ask: Ask, engine: Engine) -> None:
    client = ask(num_inference_steps=100)
    assert not engine.cancel("")
    assert client.frames().shape[0] == 1


def test_while_the_engine_sleeps_each_waits_up_to_its_own_deadline(admission: Admission, engine: Engine) -> None:
    """They would wait for the first one, on Triton's one thread."""
    engine.sleep()
    clients = [DiffusionClient(timeout_ms=timeout_ms, num_inference_steps=1) for timeout_ms in (60_000, 50)]
    for client in clients:
        admission.submit(client)
    assert isinstance(clients[1].error(), DeadlineExceeded)
    refused = DiffusionClient()
    admission.submit(refused)
    assert isinstance(refused.error(), Asleep)
    engine.wake()
    assert clients[0].frames().shape[0] == 1
    admission.close()
