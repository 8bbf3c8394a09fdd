"""A stream calls the three models in turn and sends its client their events, through real sockets."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from imagegen.api.errors import Cancelled, ImageGenError, InvalidArgument, Unavailable
from imagegen.api.events import Ended, Event, Progress
from imagegen.api.tensors import IMAGE_TENSORS
from imagegen.triton import stream_subscription
from imagegen.triton import streams as streams_module
from imagegen.triton.commands import CANCEL, CommandServer, cancel_command
from imagegen.triton.side_channel import EventSender
from imagegen.triton.streams import Streams
from tests.unit.triton.stream_client import Arrays, StreamClient, preview, text

TIMEOUT_S = 10


class Models:
    """Stands in for the models that a stream calls.

    Attributes:
        events: what the diffusion model sends before it responds.
        fail: the error of each model, by name.
        missing: outputs that none of them gives.
        generated_until: what the diffusion model waits for.
    """

    def __init__(self, folder: Path) -> None:
        self.calls: list[tuple[str, Arrays, str]] = []
        self.events: list[Event] = []
        self.fail: dict[str, ImageGenError] = {}
        self.missing: set[str] = set()
        self.generated_until = threading.Event()
        self.generated_until.set()
        self.generating = threading.Event()
        self.cancelled: list[str] = []
        self.sender = EventSender(folder)
        self.server = CommandServer(folder, {CANCEL: cancel_command(self._cancel)})

    def _cancel(self, name: str) -> bool:
        self.cancelled.append(name)
        self.fail["diffusion"] = Cancelled("the client cancelled the request")
        self.generated_until.set()
        return True

    def call(self, name: str, inputs: Arrays, outputs: Sequence[str], request_id: str) -> Arrays:
        self.calls.append((name, inputs, request_id))
        if name == "diffusion":
            stream_id = inputs["stream_id"][0].decode()
            for event in self.events:
                self.sender.send(stream_id, event)
            self.generating.set()
            assert self.generated_until.wait(TIMEOUT_S)
        if name in self.fail:
            raise self.fail[name]
        return {output: text(f"{name} {output}") for output in outputs if output not in self.missing}

    def close(self) -> None:
        self.sender.close()
        self.server.close()


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


def test_events_are_sent_in_order_and_then_the_images(streams: Streams, models: Models) -> None:
    models.events = [Progress(1, 3), preview(1), Progress(2, 3), preview(2), Progress(3, 3), Ended()]
    client = StreamClient()
    streams.serve(client)
    assert [(part["event"], part["step"], part["total_steps"]) for part in client.parts] == [
        (b"progress", 1, 3),
        (b"preview", 1, 3),
        (b"progress", 2, 3),
        (b"preview", 2, 3),
        (b"progress", 3, 3),
        (b"completed", 3, 3),
    ]
    assert [part["preview_index"] for part in client.parts if part["event"] == b"preview"] == [0, 1]
    assert client.parts[1]["preview"].startswith(b"\x89PNG")
    assert client.parts[-1]["generated_image"] == b"image_postprocess generated_image"
    assert set(client.parts[0]) == {"event", "step", "total_steps"}
    assert (client.finished, client.errors) == (1, [])


def test_a_client_that_does_not_ask_for_steps_gets_none(streams: Streams, models: Models) -> None:
    models.events = [Progress(1, 2), Progress(2, 2), Ended()]
    client = StreamClient()
    client.requested = {"event"}
    streams.serve(client)
    assert [part["event"] for part in client.parts] == [b"completed"]
    assert (client.parts[0]["step"], client.finished) == (2, 1)


def test_each_model_gets_what_it_takes(streams: Streams, models: Models) -> None:
    models.events = [Ended()]
    streams.serve(
        StreamClient(
            "mine",
            **{"image": "i", "n": 2, "user": "u", "output_format": "png", "negative_prompt": "y"},
            **{"control_image": "c", "control_type": "canny", "return_control": 1, "partial_images": 2},
        )
    )
    (pre, pre_inputs, _), (diffusion, inputs, _), (post, post_inputs, _) = models.calls
    assert (pre, diffusion, post) == ("image_preprocess", "diffusion", "image_postprocess")
    assert {request_id for *_, request_id in models.calls} == {"mine"}
    assert set(pre_inputs) == {
        *("prompt", "image", "n", "user", "output_format", "negative_prompt"),
        *("control_image", "control_type", "return_control"),
    }
    assert set(inputs) == {
        *("prompt", "n", "negative_prompt", "control_type", "preprocess_report"),
        *IMAGE_TENSORS,
        *("stream_id", "partial_images"),
    }
    assert inputs["partial_images"].tolist() == [2]
    assert set(post_inputs) == {
        *("prompt", "negative_prompt", "user", "output_format", "return_control", "control_pixels"),
        *("frames", "frame_seed", "diffusion_report"),
    }


def test_control_images_that_there_are_not_are_not_handed_over(streams: Streams, models: Models) -> None:
    models.events = [Ended()]
    models.missing = {"control_pixels"}
    streams.serve(StreamClient())
    assert "control_pixels" not in models.calls[2][1]


def test_a_request_without_an_id_gets_one(streams: Streams, models: Models) -> None:
    models.events = [Ended()]
    for _ in range(2):
        streams.serve(StreamClient())
    ids = [request_id for *_, request_id in models.calls]
    assert len(set(ids)) == 2
    assert all(ids)


@pytest.mark.parametrize("partial_images", [-1, 4])
def test_a_bad_number_of_previews_is_refused_before_any_work(
    streams: Streams, models: Models, partial_images: int
) -> None:
    client = StreamClient(partial_images=partial_images)
    streams.serve(client)
    (error,) = client.errors
    assert isinstance(error, InvalidArgument)
    assert error.field == "partial_images"
    assert models.calls == []


@pytest.mark.parametrize("name", ["image_preprocess", "diffusion", "image_postprocess"])
def test_a_models_error_ends_the_stream_as_it_is(streams: Streams, models: Models, name: str) -> None:
    models.events = [Ended()]
    models.fail[name] = Unavailable("full")
    client = StreamClient()
    streams.serve(client)
    assert client.errors == [models.fail[name]]
    assert (client.parts, client.finished) == ([], 0)


def test_lost_events_delay_the_images_and_no_more(
    streams: Streams, models: Models, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams_module, "_LAST_EVENTS_S", 0.01)
    client = StreamClient()
    streams.serve(client)
    assert [part["event"] for part in client.parts] == [b"completed"]
    models.sender.send(models.calls[1][1]["stream_id"][0].decode(), Progress(1, 2))  # too late
    models.events = [Ended()]
    streams.serve(StreamClient())
    assert len(client.parts) == 1


def test_a_client_that_leaves_cancels_its_own_request_once(streams: Streams, models: Models) -> None:
    models.generated_until.clear()
    client = StreamClient("mine")
    thread = threading.Thread(target=streams.serve, args=(client,))
    thread.start()
    assert models.generating.wait(TIMEOUT_S)
    client.disconnected = True
    thread.join()
    assert models.cancelled == [models.calls[1][1]["stream_id"][0].decode()]
    assert [type(error) for error in client.errors] == [Cancelled]


def test_a_client_that_leaves_before_diffusion_costs_no_denoising(streams: Streams, models: Models) -> None:
    client = StreamClient()
    client.disconnected = True
    streams.serve(client)
    assert [name for name, *_ in models.calls] == ["image_preprocess"]
    assert [type(error) for error in client.errors] == [Cancelled]


def test_a_stream_that_waits_is_kept_alive(streams: Streams, models: Models, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream_subscription, "KEEPALIVE_S", -1.0)
    models.generated_until.clear()
    client = StreamClient()
    thread = threading.Thread(target=streams.serve, args=(client,))
    thread.start()
    assert client.wait_for_step(0, TIMEOUT_S)
    models.sender.send(models.calls[1][1]["stream_id"][0].decode(), Progress(2, 3))
    assert client.wait_for_step(2, TIMEOUT_S)
    models.sender.send(models.calls[1][1]["stream_id"][0].decode(), Ended())
    models.generated_until.set()
    thread.join()
    assert client.parts[0] == {"event": b"progress", "step": 0, "total_steps": 0}
    assert client.parts[-1]["event"] == b"completed"


def test_close_leaves_nothing_behind(folder: Path) -> None:
    before = set(threading.enumerate())
    streams = Streams(folder, lambda name, inputs, outputs, request_id: {})
    streams.close()
    assert set(threading.enumerate()) <= before
    assert list(folder.iterdir()) == []
