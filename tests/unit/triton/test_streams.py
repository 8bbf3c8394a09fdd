"""A stream calls the three models in turn and tells its client what it hears, through real sockets."""

from __future__ import annotations

import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from imagegen.api.errors import Cancelled, ImageGenError, InvalidArgument, Unavailable
from imagegen.api.events import Ended, Event, Preview, Progress
from imagegen.triton import streams as streams_module
from imagegen.triton.side_channel import CancelServer, EventSender
from imagegen.triton.streams import Streams

Arrays = dict[str, npt.NDArray[Any]]
PATIENCE_S = 10


def text(value: str) -> npt.NDArray[Any]:
    return np.array([value.encode()], dtype=np.object_)


class Port:
    """A request, and what it was sent."""

    def __init__(self, request_id: str = "", **values: Any) -> None:
        self.request_id = request_id
        self.gone = False
        self.parts: list[dict[str, Any]] = []
        self.errors: list[BaseException] = []
        self.finished = 0
        self.wanted = {"event", "step"}
        self.heard = threading.Event()
        self._values = {"prompt": "x", **values}

    def arrays(self) -> Arrays:
        return {
            name: text(value) if isinstance(value, str) else np.array([value], dtype=np.int32)
            for name, value in self._values.items()
        }

    def wants(self, output: str) -> bool:
        return output in self.wanted

    def is_cancelled(self) -> bool:
        return self.gone

    def send_part(self, arrays: Mapping[str, npt.NDArray[Any]]) -> None:
        self.parts.append({name: array.tolist()[0] for name, array in arrays.items()})
        self.heard.set()

    def finish(self) -> None:
        self.finished += 1

    def fail(self, error: BaseException) -> None:
        self.errors.append(error)


class Models:
    """Stands in for the models that a stream calls.

    Attributes:
        events: what the diffusion model tells before it answers.
        fail: the error of each model, by name.
        drawn_until: what the diffusion model waits for.
    """

    def __init__(self, folder: Path) -> None:
        self.calls: list[tuple[str, Arrays, str]] = []
        self.events: list[Event] = []
        self.fail: dict[str, ImageGenError] = {}
        self.drawn_until = threading.Event()
        self.drawn_until.set()
        self.drawing = threading.Event()
        self.cancelled: list[str] = []
        self.sender = EventSender(folder)
        self.server = CancelServer(folder, self._cancel)

    def _cancel(self, name: str) -> bool:
        self.cancelled.append(name)
        self.fail["diffusion"] = Cancelled("gone")
        self.drawn_until.set()
        return True

    def call(self, name: str, inputs: Arrays, outputs: Sequence[str], request_id: str) -> Arrays:
        self.calls.append((name, inputs, request_id))
        if name == "diffusion":
            stream_id = inputs["stream_id"][0].decode()
            for event in self.events:
                self.sender.send(stream_id, event)
            self.drawing.set()
            assert self.drawn_until.wait(PATIENCE_S)
        if name in self.fail:
            raise self.fail[name]
        return {output: text(f"{name} {output}") for output in outputs}

    def close(self) -> None:
        self.sender.close()
        self.server.close()


@pytest.fixture
def folder() -> Iterator[Path]:
    """Short: a socket's path is."""
    with tempfile.TemporaryDirectory(prefix="t-", dir="/tmp") as folder:
        yield Path(folder)


@pytest.fixture
def models(folder: Path) -> Iterator[Models]:
    models = Models(folder)
    yield models
    models.close()


@pytest.fixture
def streams(folder: Path, models: Models) -> Iterator[Streams]:
    streams = Streams(folder, models.call)
    yield streams
    streams.close()


def look(step: int) -> Preview:
    return Preview(Progress(step, 3), step - 1, 0, (16, 16), np.zeros((2, 2, 3), np.uint8))


def test_what_is_heard_is_told_in_order_and_then_the_images(streams: Streams, models: Models) -> None:
    models.events = [Progress(1, 3), look(1), Progress(2, 3), look(2), Progress(3, 3), Ended()]
    port = Port()
    streams.serve(port)
    assert [(part["event"], part["step"], part["total_steps"]) for part in port.parts] == [
        (b"progress", 1, 3),
        (b"preview", 1, 3),
        (b"progress", 2, 3),
        (b"preview", 2, 3),
        (b"progress", 3, 3),
        (b"completed", 3, 3),
    ]
    assert [part["preview_index"] for part in port.parts if part["event"] == b"preview"] == [0, 1]
    assert port.parts[1]["preview"].startswith(b"\x89PNG")
    assert port.parts[-1]["generated_image"] == b"image_postprocess generated_image"
    assert set(port.parts[0]) == {"event", "step", "total_steps"}
    assert (port.finished, port.errors) == (1, [])


def test_a_client_that_does_not_ask_for_steps_gets_none(streams: Streams, models: Models) -> None:
    models.events = [Progress(1, 2), Progress(2, 2), Ended()]
    port = Port()
    port.wanted = {"event"}
    streams.serve(port)
    assert [part["event"] for part in port.parts] == [b"completed"]
    assert (port.parts[0]["step"], port.finished) == (2, 1)


def test_each_model_gets_what_it_takes(streams: Streams, models: Models) -> None:
    models.events = [Ended()]
    streams.serve(Port("mine", image="i", n=2, user="u", output_format="png", partial_images=2, negative_prompt="y"))
    (pre, pre_inputs, _), (diffusion, inputs, _), (post, post_inputs, _) = models.calls
    assert (pre, diffusion, post) == ("image_preprocess", "diffusion", "image_postprocess")
    assert {request_id for *_, request_id in models.calls} == {"mine"}
    assert set(pre_inputs) == {"prompt", "image", "n", "user", "output_format", "negative_prompt"}
    assert set(inputs) == {
        *("prompt", "n", "negative_prompt", "pixels", "mask_pixels", "preprocess_report"),
        *("stream_id", "partial_images"),
    }
    assert inputs["partial_images"].tolist() == [2]
    assert set(post_inputs) == {
        *("prompt", "negative_prompt", "user", "output_format"),
        *("frames", "frame_seed", "diffusion_report"),
    }


def test_a_request_without_an_id_gets_one(streams: Streams, models: Models) -> None:
    models.events = [Ended()]
    for _ in range(2):
        streams.serve(Port())
    ids = [request_id for *_, request_id in models.calls]
    assert len(set(ids)) == 2
    assert all(ids)


@pytest.mark.parametrize("partial_images", [-1, 4])
def test_a_bad_number_of_previews_is_refused_before_any_work(
    streams: Streams, models: Models, partial_images: int
) -> None:
    port = Port(partial_images=partial_images)
    streams.serve(port)
    (error,) = port.errors
    assert isinstance(error, InvalidArgument)
    assert error.field == "partial_images"
    assert models.calls == []


@pytest.mark.parametrize("name", ["image_preprocess", "diffusion", "image_postprocess"])
def test_a_models_error_ends_the_stream_as_it_is(streams: Streams, models: Models, name: str) -> None:
    models.events = [Ended()]
    models.fail[name] = Unavailable("full")
    port = Port()
    streams.serve(port)
    assert port.errors == [models.fail[name]]
    assert (port.parts, port.finished) == ([], 0)


def test_lost_events_delay_the_images_and_no_more(
    streams: Streams, models: Models, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams_module, "_LAST_EVENTS_S", 0.01)
    port = Port()
    streams.serve(port)
    assert [part["event"] for part in port.parts] == [b"completed"]
    models.sender.send(models.calls[1][1]["stream_id"][0].decode(), Progress(1, 2))  # too late
    models.events = [Ended()]
    streams.serve(Port())
    assert len(port.parts) == 1


def test_a_client_that_leaves_cancels_its_own_drawing_once(streams: Streams, models: Models) -> None:
    models.drawn_until.clear()
    port = Port("mine")
    thread = threading.Thread(target=streams.serve, args=(port,))
    thread.start()
    assert models.drawing.wait(PATIENCE_S)
    port.gone = True
    thread.join()
    assert models.cancelled == [models.calls[1][1]["stream_id"][0].decode()]
    assert [type(error) for error in port.errors] == [Cancelled]


def test_who_leaves_before_the_drawing_is_not_drawn(streams: Streams, models: Models) -> None:
    port = Port()
    port.gone = True
    streams.serve(port)
    assert [name for name, *_ in models.calls] == ["image_preprocess"]
    assert [type(error) for error in port.errors] == [Cancelled]


def test_a_stream_that_waits_shows_that_it_lives(
    streams: Streams, models: Models, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams_module, "_SIGN_OF_LIFE_S", 0.01)
    models.drawn_until.clear()
    port = Port()
    thread = threading.Thread(target=streams.serve, args=(port,))
    thread.start()
    assert port.heard.wait(PATIENCE_S)
    assert port.parts[0] == {"event": b"progress", "step": 0, "total_steps": 0}
    models.sender.send(models.calls[1][1]["stream_id"][0].decode(), Progress(2, 3))
    give_up_s = time.monotonic() + PATIENCE_S
    while port.parts[-1]["step"] != 2:
        assert time.monotonic() < give_up_s
        time.sleep(0.001)
    models.sender.send(models.calls[1][1]["stream_id"][0].decode(), Ended())
    models.drawn_until.set()
    thread.join()
    assert port.parts[-1]["event"] == b"completed"


def test_close_leaves_nothing_behind(folder: Path) -> None:
    before = set(threading.enumerate())
    streams = Streams(folder, lambda name, inputs, outputs, request_id: {})
    streams.close()
    assert set(threading.enumerate()) <= before
    assert list(folder.iterdir()) == []
