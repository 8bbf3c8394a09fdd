"""An engine that is driven by messages: what it is asked for is what comes back, to each request its own."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from imagegen.api.events import Ended, Preview, Progress, decode_event
from imagegen.api.input_images import InputImages
from imagegen.api.loras import LoraChoice
from imagegen.api.reports import GenerationReport
from imagegen.api.request import ImageRequest
from imagegen.engine import Engine
from imagegen.engine.worker import served_engine
from imagegen.engine.worker.connection import Connection
from imagegen.engine.worker.messages import (
    Alive,
    Asleep,
    Cancel,
    Close,
    Closed,
    Counted,
    Failed,
    Generate,
    Images,
    Left,
    Load,
    LoadFailed,
    LoadLora,
    LoraReply,
    Ready,
    Sleep,
    Told,
    UnloadLora,
    Waiting,
    Wake,
    array,
    frames_of,
    image_shapes,
    message_from_worker,
)
from imagegen.engine.worker.served_engine import ServedEngine
from tests.unit.engine.adapters.made import write_adapter
from tests.unit.tiny_engine import ENDLESS, SETTINGS, image, mask, pipelines, tiny_engine

WARM = SETTINGS.model_copy(update={"warmup_sizes": ("none",)})


class Server:
    """The other end.

    Attributes:
        heard: messages that came, with their arrays, without the signs of life.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.heard: list[tuple[Any, list[Any]]] = []

    def say(self, message: Any, *arrays: Any) -> None:
        self._connection.send(frames_of(message, *arrays))

    def hear(self, is_last: Callable[[Any], bool]) -> Any:
        """Listen up to a message."""
        while True:
            assert self._connection.receiving.poll(20_000), self.heard
            header, *arrays = self._connection.receive()
            message = message_from_worker(header)
            if not isinstance(message, Alive):
                self.heard.append((message, arrays))
            if is_last(message):
                return message

    def outcome(self, number: int) -> Any:
        """What became of a request, once it has left as well."""
        while True:
            mine = [m for m, _ in self.heard if isinstance(m, Left | Images | Failed) and m.number == number]
            outcomes = [message for message in mine if not isinstance(message, Left)]
            if outcomes and len(mine) > len(outcomes):
                [outcome] = outcomes
                return outcome
            self.hear(lambda message: True)

    def frames(self, images: Images) -> Any:
        [arrays] = [arrays for message, arrays in self.heard if message is images]
        return array(arrays[0], images.shape)


@pytest.fixture
def unloaded(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """An engine that has not been told to load."""
    monkeypatch.setattr(served_engine, "load_pipelines", lambda settings, folder, device: pipelines())
    server, worker = Connection.server(folder / "x"), Connection.worker(folder / "x")
    thread = threading.Thread(target=ServedEngine(worker).run)
    thread.start()
    made = Server(server)
    yield made
    made.say(Close())
    thread.join(20)
    assert not thread.is_alive()
    worker.close()
    server.close()


@pytest.fixture
def server(unloaded: Server) -> Server:
    unloaded.say(Load(WARM.model_dump_json(), b"/", "cpu"))
    ready = unloaded.hear(lambda message: isinstance(message, Ready))
    assert ready.description.granularity_px == 8
    return unloaded


def generate(number: int, images: Any = None, area: Any = None, **options: Any) -> tuple[Any, ...]:
    """The message of a request and its arrays."""
    streams, previews = options.pop("streams", False), options.pop("previews", 0)
    request = ImageRequest(**{"prompt": "a red cat", "seeds": (number,), **options})
    given = InputImages(images, area)
    message = Generate(number, request, image_shapes(given), previews, streams, time.monotonic())
    return message, *given.present()


def test_the_images_are_those_of_an_engine_in_this_process(server: Server) -> None:
    server.say(*generate(1))
    server.say(*generate(2, image(), strength=1.0))
    server.say(*generate(3, image(), mask(), n=2, strength=1.0))
    outcomes = {number: server.outcome(number) for number in (1, 2, 3)}
    with tiny_engine() as engine:
        expected = {
            1: engine.generate("a red cat", seed=1),
            2: engine.generate("a red cat", seed=2, images=image(), strength=1.0),
            3: engine.generate("a red cat", seed=3, images=image(), mask=mask()[0], n=2, strength=1.0),
        }
    for number, images in outcomes.items():
        assert isinstance(images, Images)
        assert np.abs(server.frames(images).astype(int) - expected[number].frames).max() <= 1
        assert images.seeds == expected[number].seeds
        assert GenerationReport.from_json(images.report).task == expected[number].statistics.task


def test_who_wants_events_gets_them_and_nobody_else(server: Server) -> None:
    server.say(*generate(1, num_inference_steps=3, streams=True, previews=1))
    server.say(*generate(2, num_inference_steps=3))
    assert {type(server.outcome(number)) for number in (1, 2)} == {Images}
    told = [
        (message.number, decode_event(*map(bytes, arrays)))
        for message, arrays in server.heard
        if isinstance(message, Told)
    ]
    assert {number for number, _ in told} == {1}
    events = [event for _, event in told]
    assert [event.step for event in events if isinstance(event, Progress)] == [1, 2, 3]
    assert isinstance(events[-1], Ended)
    assert not any(isinstance(event, Preview) for event in events), "the tiny checkpoint has none"


def test_what_the_checkpoint_cannot_do_is_refused_and_leaves(server: Server) -> None:
    server.say(*generate(1, scheduler="no such"))
    outcome = server.outcome(1)
    assert (outcome.code, outcome.subject) == ("invalid_argument", "scheduler")


def test_a_cancelled_request_leaves(server: Server) -> None:
    server.say(*generate(1, num_inference_steps=ENDLESS, streams=True))
    server.hear(lambda message: isinstance(message, Told))
    server.say(Cancel(1))
    server.say(Cancel(77))
    assert server.outcome(1).code == "cancelled"


def test_an_error_of_the_model_is_told_without_its_detail(server: Server) -> None:
    decoder = pipelines().tasks["text-to-image"].pipeline.vae.decoder
    hook = decoder.register_forward_pre_hook(lambda *_: (_ for _ in ()).throw(RuntimeError("secret")))
    try:
        server.say(*generate(1))
        outcome = server.outcome(1)
    finally:
        hook.remove()
    assert outcome.code == "internal_error"
    assert "secret" not in outcome.problem


def test_numbers_for_the_metrics_are_sent_on(server: Server) -> None:
    server.say(*generate(1, num_inference_steps=2))
    server.outcome(1)
    server.hear(lambda message: isinstance(message, Counted) and message.family == "imagegen_diffusion_forward_rows")
    counted = {message.family: message for message, _ in server.heard if isinstance(message, Counted)}
    assert counted["imagegen_diffusion_images_total"].labels == {"outcome": "ok", "task": "text-to-image"}
    assert "imagegen_diffusion_forward_rows" in counted


def test_told_to_close_it_says_so_last(server: Server) -> None:
    server.say(*generate(1))
    server.say(Close())
    server.hear(lambda message: isinstance(message, Closed))
    assert any(isinstance(message, Images) for message, _ in server.heard)


def test_what_cannot_be_loaded_is_its_last_word(unloaded: Server) -> None:
    unloaded.say(Load(SETTINGS.model_copy(update={"warmup_sizes": ("9x9",)}).model_dump_json(), b"/", "cpu"))
    failed = unloaded.hear(lambda message: isinstance(message, LoadFailed))
    assert failed.kind in ("ValueError", "InvalidArgument")
    assert "9x9" in failed.problem


def test_it_sleeps_and_wakes(server: Server) -> None:
    server.say(*generate(1))
    server.say(Sleep())
    server.hear(lambda message: isinstance(message, Asleep))
    before = server.outcome(1)
    server.say(Wake())
    server.hear(lambda message: isinstance(message, Ready))
    server.say(*generate(1))
    server.hear(lambda message: isinstance(message, Images))
    after = server.heard[-1][0]
    np.testing.assert_array_equal(server.frames(after), server.frames(before))


def test_one_that_cannot_wake_says_so_last(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(engine: Engine) -> None:
        raise MemoryError("no room")

    monkeypatch.setattr(Engine, "wake", full)
    server.say(Sleep())
    server.say(Wake())
    failed = server.hear(lambda message: isinstance(message, LoadFailed))
    assert (failed.kind, failed.problem) == ("MemoryError", "no room")
    server.hear(lambda message: isinstance(message, Closed))


def test_one_that_cannot_sleep_ends(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(engine: Engine) -> None:
        raise MemoryError("no room")

    monkeypatch.setattr(Engine, "sleep", full)
    server.say(Sleep())
    server.hear(lambda message: isinstance(message, Closed))
    assert not any(isinstance(message, Asleep) for message, _ in server.heard)


def test_adapters_are_loaded_beside_requests_and_unloaded(server: Server, tmp_path: Path) -> None:
    file = write_adapter(pipelines().tasks["text-to-image"].pipeline, tmp_path / "a.safetensors", 1)
    server.say(LoadLora(1, "a", str(file)))
    assert server.hear(lambda message: isinstance(message, LoraReply)) == LoraReply(1, None)
    server.say(*generate(1, loras=(LoraChoice("a", 0.5),)))
    images = server.outcome(1)
    report = GenerationReport.from_json(images.report)
    assert [(lora.name, lora.scale) for lora in report.loras] == [("a", 0.5)]
    server.say(UnloadLora("a"))
    server.say(UnloadLora("never loaded"))
    server.say(LoadLora(2, "b", str(tmp_path / "none.safetensors")))
    reply = server.hear(lambda message: isinstance(message, LoraReply))
    assert reply.failed.subject == "lora_path"
    assert "none.safetensors" in reply.failed.problem
    assert str(tmp_path) not in reply.failed.problem
    server.say(*generate(2, loras=(LoraChoice("a"),)))
    refused = server.outcome(2)
    assert (refused.code, refused.subject) == ("invalid_argument", "lora")


def test_adapters_of_a_process_before_are_offered_without_being_read(unloaded: Server) -> None:
    """A file that has been removed since must not keep the engine from starting again."""
    unloaded.say(Load(WARM.model_dump_json(), b"/", "cpu", {"gone": "/gone.safetensors"}))
    unloaded.hear(lambda message: isinstance(message, Ready))
    unloaded.say(*generate(1, loras=(LoraChoice("gone"),)))
    assert "gone.safetensors" in unloaded.outcome(1).problem


def test_an_adapter_that_is_configured_and_faulty_ends_the_start(unloaded: Server) -> None:
    settings = WARM.model_copy(update={"lora_modules": ("outline=/gone.safetensors",)})
    unloaded.say(Load(settings.model_dump_json(), b"/", "cpu"))
    failure = unloaded.hear(lambda message: isinstance(message, LoadFailed))
    assert failure.kind == "ValueError"
    assert "parameter lora_modules" in failure.problem
    assert "'outline' cannot be used" in failure.problem


def test_the_engine_is_told_that_requests_wait_elsewhere(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[bool] = []
    monkeypatch.setattr(Engine, "line_elsewhere", lambda engine, waits: told.append(waits))
    for anybody in (True, False):
        server.say(Waiting(anybody))
    server.say(*generate(1))
    server.outcome(1)
    assert told == [True, False]
