"""Requests are cancelled by name, by their token, or when their client disconnects: those that are meant, no other."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from imagegen.api.errors import DeadlineExceeded
from imagegen.engine import cancellation as module
from imagegen.engine.cancellation import Cancellation, CancelToken
from tests.unit.tiny_engine import wait_until

TIMEOUT_S = 10


class Client:
    """A client that is asked about from another thread.

    Attributes:
        disconnected: what is answered.
        asked: set when it has been asked since the last `clear`.
    """

    def __init__(self) -> None:
        self.disconnected = False
        self.asked = threading.Event()
        self.token = CancelToken(is_disconnected=self.is_disconnected)

    def is_disconnected(self) -> bool:
        self.asked.set()
        return self.disconnected


class Clock:
    """Stands still unless it is set."""

    now_s = 10.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def cancellation(clock: Clock) -> Iterator[Cancellation]:
    made = Cancellation(clock)
    yield made
    made.close()


def wait_for_two_rounds(cancellation: Cancellation) -> None:
    """Every client that is watched now is asked at least once, and what followed from it has been done."""
    for _ in range(2):
        probe = Client()
        cancellation.open(probe.token)
        assert probe.asked.wait(TIMEOUT_S)
        cancellation.end(probe.token)


def named(cancellation: Cancellation, *names: str, entered_s: float) -> CancelToken:
    """A request with these names, that came to the server at this time."""
    token = CancelToken(frozenset(names))
    cancellation.open(token, entered_s)
    return token


def test_only_the_request_whose_client_disconnected_is_cancelled(cancellation: Cancellation) -> None:
    leaves, stays = Client(), Client()
    for client in (leaves, stays):
        cancellation.open(client.token)
    wait_for_two_rounds(cancellation)
    assert not leaves.token.cancelled
    leaves.disconnected = True
    wait_for_two_rounds(cancellation)
    assert leaves.token.cancelled
    assert not stays.token.cancelled


@pytest.mark.parametrize("how", ["cancelled", "ended"])
def test_a_request_that_is_cancelled_or_ended_is_not_asked_about_again(cancellation: Cancellation, how: str) -> None:
    client = Client()
    cancellation.open(client.token)
    assert client.asked.wait(TIMEOUT_S)
    if how == "cancelled":
        client.token.cancel()
    else:
        cancellation.end(client.token)
        cancellation.end(client.token)  # of no effect
    wait_for_two_rounds(cancellation)  # a round may have begun before
    client.asked.clear()
    wait_for_two_rounds(cancellation)
    assert not client.asked.is_set()


def test_a_client_that_cannot_be_asked_does_not_end_the_watch_of_others(
    cancellation: Cancellation, caplog: pytest.LogCaptureFixture
) -> None:
    def fail() -> bool:
        raise RuntimeError("no connection")

    broken = CancelToken(is_disconnected=fail)
    cancellation.open(broken)
    wait_for_two_rounds(cancellation)
    cancellation.end(broken)
    assert not broken.cancelled
    assert "could not be asked" in caplog.text


def test_there_is_a_thread_only_where_a_client_is_to_be_asked_about() -> None:
    before = set(threading.enumerate())
    cancellation = Cancellation()
    cancellation.open(CancelToken())
    assert set(threading.enumerate()) == before
    cancellation.open(Client().token)
    [thread] = set(threading.enumerate()) - before
    assert thread.daemon
    cancellation.close()
    assert not thread.is_alive()


def test_check_asks_the_client_itself() -> None:
    client = Client()
    assert not client.token.check()
    client.disconnected = True
    assert client.token.check()
    assert not client.token.cancelled
    assert not CancelToken().check()


def test_whoever_waits_is_told_of_a_cancel_also_of_an_earlier_one() -> None:
    token, called = CancelToken(), list[str]()
    token.on_cancel(lambda: called.append("first"))
    token.cancel()
    token.on_cancel(lambda: called.append("late"))
    token.on_cancel(None)
    token.cancel()
    assert called == ["first", "late"]


def test_a_name_means_what_came_before_its_cancel_and_nothing_later(cancellation: Cancellation, clock: Clock) -> None:
    """Also requests that come here only now, because they waited in a queue."""
    open_one = named(cancellation, "a", entered_s=9.0)
    assert cancellation.cancel("a")
    assert open_one.cancelled
    assert named(cancellation, "a", entered_s=10.0).cancelled
    assert named(cancellation, "b", "a", entered_s=9.0).cancelled
    assert not named(cancellation, "a", entered_s=10.1).cancelled
    assert not named(cancellation, "b", entered_s=9.0).cancelled
    assert not named(cancellation, entered_s=9.0).cancelled


def test_a_later_cancel_counts(cancellation: Cancellation, clock: Clock) -> None:
    cancellation.cancel("a")
    clock.now_s = 12.0
    cancellation.cancel("a")
    assert named(cancellation, "a", entered_s=11.0).cancelled


def test_a_request_is_found_by_each_of_its_names_until_the_last_of_that_name_has_ended(
    cancellation: Cancellation,
) -> None:
    first, second = named(cancellation, "a", "x", entered_s=11.0), named(cancellation, "a", "y", entered_s=11.0)
    cancellation.end(first)
    assert cancellation.cancel("a")
    assert cancellation.cancel("y")
    assert not cancellation.cancel("x")
    assert second.cancelled
    assert not first.cancelled
    cancellation.end(second)
    assert not cancellation.cancel("a")


def test_the_oldest_names_are_forgotten(cancellation: Cancellation, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MAX_REMEMBERED_NAMES", 2)
    for name in ("a", "b", "a", "c"):
        cancellation.cancel(name)
    assert [named(cancellation, name, entered_s=0).cancelled for name in ("a", "b", "c")] == [True, False, True]


def test_a_request_ends_at_its_deadline_and_no_other_does() -> None:
    clock = Clock()
    cancellation = Cancellation(clock)
    late, in_time, ended = CancelToken(), CancelToken(), CancelToken()
    for token, deadline_s in ((late, 11.0), (in_time, 13.0), (ended, 11.0)):
        cancellation.open(token)
        cancellation.expire(token, deadline_s)
    cancellation.end(ended)
    clock.now_s = 12.0
    wait_until(lambda: late.cancelled)
    cancellation.close()
    assert isinstance(late.error, DeadlineExceeded)
    assert not in_time.cancelled
    assert not ended.cancelled


def test_a_request_that_has_ended_has_no_deadline() -> None:
    """Its thread may be slower than its images."""
    cancellation, token = Cancellation(Clock()), CancelToken()
    cancellation.expire(token, 0.0)
    cancellation.close()
    assert not token.cancelled


def test_where_nothing_is_open_nothing_is_looked_at() -> None:
    """An idle process is to be idle; it looked 50 times a second."""
    looks: list[None] = []

    def clock() -> float:
        looks.append(None)
        return 10.0

    cancellation = Cancellation(clock)
    first, second = CancelToken(), CancelToken()
    for token in (first, second):
        cancellation.open(token)
        cancellation.expire(token, 99.0)
        wait_until(lambda: len(looks) > 3)
        cancellation.end(token)
        time.sleep(0.05)  # the look that was under way
        looks.clear()
        time.sleep(0.15)
        assert len(looks) <= 1
    cancellation.close()


def test_close_ends_the_watch_whenever_the_last_request_ends() -> None:
    for _ in range(20):
        cancellation = Cancellation()
        token = CancelToken(is_disconnected=lambda: False)
        cancellation.open(token)
        ending = threading.Thread(target=cancellation.end, args=(token,))
        ending.start()
        cancellation.close()
        ending.join(TIMEOUT_S)


def test_all_but_some_are_cancelled_with_one_reason(cancellation: Cancellation) -> None:
    one, other, ended = (named(cancellation, name, entered_s=0) for name in "abc")
    cancellation.end(ended)
    reason = DeadlineExceeded("enough")
    cancellation.cancel_all(reason, but={other})
    assert [token.error for token in (one, other, ended)] == [reason, None, None]
