"""A subscription sends its client events, keeps the connection alive and notices once when it is lost."""

from __future__ import annotations

from imagegen.api.events import Ended, Progress
from imagegen.api.request import OutputChoice
from imagegen.triton.stream_subscription import KEEPALIVE_S, StreamSubscription
from tests.unit.triton.stream_client import StreamClient, preview


class Clock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def subscribed(client: StreamClient) -> tuple[StreamSubscription, Clock]:
    clock = Clock()
    return StreamSubscription(client, OutputChoice(), clock), clock


def test_events_are_sent_as_they_come() -> None:
    client = StreamClient()
    subscription, _ = subscribed(client)
    subscription.deliver(Progress(1, 3))
    subscription.deliver(preview(1))
    assert not subscription.ended.is_set()
    subscription.deliver(Ended())
    assert subscription.ended.is_set()
    assert [(part["event"], part["step"]) for part in client.parts] == [(b"progress", 1), (b"preview", 1)]
    assert client.parts[1]["preview"].startswith(b"\x89PNG")


def test_a_client_that_does_not_ask_for_steps_gets_none_and_no_keepalive() -> None:
    client = StreamClient()
    client.requested = {"event"}
    subscription, clock = subscribed(client)
    subscription.deliver(Progress(1, 2))
    clock.now_s += KEEPALIVE_S + 1
    subscription.keepalive()
    assert client.parts == []


def test_the_progress_is_repeated_after_a_silence_and_not_before() -> None:
    client = StreamClient()
    subscription, clock = subscribed(client)
    clock.now_s = KEEPALIVE_S
    subscription.keepalive()
    assert client.parts == []
    clock.now_s += 0.1
    subscription.keepalive()
    subscription.keepalive()
    assert client.parts == [{"event": b"progress", "step": 0, "total_steps": 0}]
    subscription.deliver(Progress(2, 3))
    clock.now_s += KEEPALIVE_S + 0.1
    subscription.keepalive()
    assert [part["step"] for part in client.parts] == [0, 2, 2]


def test_a_client_that_disconnects_is_noticed_once_and_sent_no_more_keepalives() -> None:
    client = StreamClient()
    subscription, clock = subscribed(client)
    assert not subscription.has_just_disconnected()
    client.disconnected = True
    assert subscription.has_just_disconnected()
    assert not subscription.has_just_disconnected()
    clock.now_s += KEEPALIVE_S + 1
    subscription.keepalive()
    assert client.parts == []


def test_the_images_come_last_with_every_step_done() -> None:
    client = StreamClient()
    subscription, _ = subscribed(client)
    subscription.deliver(Progress(1, 3))
    subscription.complete({})
    assert client.parts[-1] == {"event": b"completed", "step": 3, "total_steps": 3}
    assert client.finished == 1
