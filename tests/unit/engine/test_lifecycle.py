"""Each request gets exactly one response and gives its slot back, however it ends, and nothing of it stays."""

from __future__ import annotations

import gc
import threading
import weakref
from collections.abc import Callable
from typing import Any

import pytest

from imagegen.api.errors import Cancelled, DeadlineExceeded, ImageGenError, Unavailable
from imagegen.api.input_images import InputImages
from imagegen.api.request import ImageRequest
from imagegen.engine import Engine, GenerationResult
from imagegen.engine.cancellation import CancelToken
from imagegen.engine.generation import Generation
from tests.unit.tiny_engine import ENDLESS, SETTINGS, SLOTS, TIMEOUT_S, Gate, image, pipelines, tiny_engine, wait_until


class Client:
    """Whoever is owed a response.

    Attributes:
        disconnected: set when the client has disconnected.
        asked: set once the client was asked about.
    """

    def __init__(self) -> None:
        self.disconnected = threading.Event()
        self.asked = threading.Event()
        self.responses: list[tuple[GenerationResult | None, BaseException | None]] = []
        self._responded = threading.Event()

    def is_disconnected(self) -> bool:
        self.asked.set()
        return self.disconnected.is_set()

    def respond(self, result: GenerationResult | None, error: BaseException | None) -> None:
        self.responses.append((result, error))
        self._responded.set()

    @property
    def result(self) -> GenerationResult:
        assert self._responded.wait(TIMEOUT_S)
        [(result, error)] = self.responses
        assert result is not None, error
        return result

    @property
    def error(self) -> BaseException:
        assert self._responded.wait(TIMEOUT_S)
        [(result, error)] = self.responses
        assert result is None
        assert error is not None
        return error


def generation_of(engine: Engine, client: Client, **request: Any) -> Generation:
    pixels = request.pop("pixels", None)
    plan = engine.plan(ImageRequest(prompt="a red cat", **request), InputImages(pixels))
    return Generation(plan, client.respond, CancelToken(is_disconnected=client.is_disconnected))


def submitted(engine: Engine, **request: Any) -> Client:
    """A client whose request has got its slot."""
    client = Client()
    engine.submit(generation_of(engine, client, **request))
    return client


def test_a_request_that_fails_while_it_is_generated_frees_its_slot(engine: Engine) -> None:
    decoder = pipelines().tasks["text-to-image"].pipeline.vae.decoder
    hook = decoder.register_forward_pre_hook(lambda *_: (_ for _ in ()).throw(RuntimeError("decoder broke")))
    failed = [submitted(engine) for _ in range(SLOTS + 2)]
    assert {str(client.error) for client in failed} == {"decoder broke"}
    hook.remove()
    assert submitted(engine).result.frames.shape[0] == 1


def test_a_client_that_disconnects_frees_its_slot(engine: Engine) -> None:
    others = [submitted(engine, num_inference_steps=ENDLESS) for _ in range(SLOTS - 1)]
    cancelled = submitted(engine, num_inference_steps=ENDLESS, n=2)
    cancelled.disconnected.set()
    assert isinstance(cancelled.error, Cancelled)
    assert submitted(engine, num_inference_steps=2).result.frames.shape[0] == 1  # in its slot
    assert not any(other.responses for other in others)
    for other in others:
        other.disconnected.set()
    assert all(isinstance(other.error, Cancelled) for other in others)


def test_a_client_that_disconnects_while_it_waits_is_not_started(engine: Engine) -> None:
    holding = [submitted(engine, num_inference_steps=ENDLESS) for _ in range(SLOTS)]
    waiting, errors = Client(), list[BaseException]()

    def wait() -> None:
        try:
            engine.submit(generation_of(engine, waiting))
        except ImageGenError as error:
            errors.append(error)

    thread = threading.Thread(target=wait)
    thread.start()
    assert waiting.asked.wait(TIMEOUT_S)
    assert not errors
    waiting.disconnected.set()
    thread.join(TIMEOUT_S)
    assert [type(error) for error in errors] == [Cancelled]
    assert not waiting.responses
    for client in holding:
        client.disconnected.set()
    assert all(isinstance(client.error, Cancelled) for client in holding)


def test_a_client_that_has_disconnected_does_not_get_a_free_slot(engine: Engine) -> None:
    """A cancel of several frees slots: one of those that wait must not be started before it is asked."""
    client = Client()
    client.disconnected.set()
    with pytest.raises(Cancelled, match="the client cancelled the request"):
        engine.submit(generation_of(engine, client))
    assert engine.active_requests == 0


def test_close_refuses_what_takes_too_long() -> None:
    engine = tiny_engine(SETTINGS.model_copy(update={"drain_timeout_s": 0.05}))
    clients = [submitted(engine, num_inference_steps=ENDLESS) for _ in range(SLOTS)]
    engine.close()
    assert all(isinstance(client.error, Unavailable) for client in clients)


def test_close_leaves_no_thread_behind() -> None:
    before = set(threading.enumerate())
    engine = tiny_engine()
    assert submitted(engine).result.frames.shape[0] == 1
    engine.close()
    assert set(threading.enumerate()) <= before


def test_a_deadline_counts_from_the_arrival(engine: Engine, gate: Gate) -> None:
    """So it covers the time in a queue before the engine, and so does the queue's time in the statistics."""
    late = generation_of(engine, Client(), timeout_ms=4000)
    late.arrived_s -= 5
    with pytest.raises(DeadlineExceeded, match="before the request was started"):
        engine.submit(late)
    client = Client()
    in_time = generation_of(engine, client, timeout_ms=60_000)
    in_time.arrived_s -= 5
    engine.submit(in_time)
    assert client.result.statistics.milliseconds["queue"] >= 5000


def test_a_response_that_cannot_be_taken_becomes_an_error(engine: Engine) -> None:
    class Broken(Client):
        def respond(self, result: GenerationResult | None, error: BaseException | None) -> None:
            if result is not None:
                raise RuntimeError("no memory for the response")
            super().respond(result, error)

    client = Broken()
    engine.submit(generation_of(engine, client))
    assert str(client.error) == "no memory for the response"


@pytest.mark.parametrize("ends", ["with images", "cancelled"])
def test_an_ended_request_leaves_nothing_behind(engine: Engine, ends: str) -> None:
    """Neither its inputs nor its frames, once the garbage collector has run."""

    def generate() -> Callable[[], Any]:
        client = Client()
        if ends == "with images":
            engine.submit(generation_of(engine, client, pixels=image(), n=2))
            assert client.result.frames.shape[0] == 2
        else:
            engine.submit(generation_of(engine, client, num_inference_steps=ENDLESS))
            client.disconnected.set()
            assert isinstance(client.error, Cancelled)
        return weakref.ref(client)

    reference = generate()

    def is_freed() -> bool:
        gc.collect()
        return reference() is None

    wait_until(is_freed)
    assert reference() is None


@pytest.mark.parametrize("how", ["disconnects", "cancels", "deadline"])
def test_the_end_is_told_at_once_though_a_forward_runs_and_the_slot_is_free_at_its_end(
    engine: Engine, gate: Gate, how: str
) -> None:
    """A forward may take a minute; before, so did the response."""
    gate.close()
    client = Client()
    generation = generation_of(engine, client, num_inference_steps=5, timeout_ms=300 if how == "deadline" else None)
    engine.submit(generation)
    assert gate.reached.wait(TIMEOUT_S)
    if how == "disconnects":
        client.disconnected.set()
    elif how == "cancels":
        generation.token.cancel()
    assert isinstance(client.error, DeadlineExceeded if how == "deadline" else Cancelled)
    assert engine.active_requests == 1, "the device still works on it"
    gate.open()
    wait_until(lambda: engine.active_requests == 0)
    assert gate.steps == 1, "it was given up at the next step"
    engine.close()
    assert len(client.responses) == 1


def test_a_stream_ends_at_once_too(engine: Engine, gate: Gate) -> None:
    gate.close()
    events = engine.stream("a red cat", num_inference_steps=5, timeout_ms=200)
    with pytest.raises(DeadlineExceeded, match="before the image was finished"):
        next(events)
    assert engine.active_requests == 1
    gate.open()


def test_images_that_are_there_are_handed_over_though_a_cancel_comes_right_after(engine: Engine) -> None:
    client = Client()
    generation = generation_of(engine, client)
    engine.submit(generation)
    assert client.result.frames.shape[0] == 1
    generation.token.cancel()
    engine.close()
    assert len(client.responses) == 1
