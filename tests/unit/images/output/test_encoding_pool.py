"""Images of one request are encoded at the same time, and a request never waits for another one's."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from imagegen.images.output.encoding_pool import EncodingPool

_TIMEOUT_S = 30.0


@pytest.fixture
def pool() -> Iterator[EncodingPool]:
    made = EncodingPool(1)
    yield made
    made.close()


def test_results_come_in_the_order_of_the_items(pool: EncodingPool) -> None:
    for count in range(1, 12):
        assert pool.map(lambda item: item * 2, list(range(count))) == [2 * item for item in range(count)]


def test_caller_and_helpers_work_at_the_same_time() -> None:
    pool = EncodingPool(3)
    together = threading.Barrier(4)
    pool.map(lambda _: together.wait(_TIMEOUT_S), [0, 1, 2, 3])
    pool.close()


def test_a_request_does_not_wait_while_all_helpers_are_busy_with_another_one(pool: EncodingPool) -> None:
    busy, let_go = threading.Barrier(3), threading.Event()

    def slow(item: int) -> None:
        busy.wait(_TIMEOUT_S)
        assert let_go.wait(_TIMEOUT_S)

    other = threading.Thread(target=pool.map, args=(slow, [0, 1]))
    other.start()
    busy.wait(_TIMEOUT_S)
    assert pool.map(lambda item: item + 1, [1, 2, 3]) == [2, 3, 4]
    let_go.set()
    other.join()


def test_the_error_of_an_item_comes_out_when_nobody_reads_an_item_any_more() -> None:
    pool = EncodingPool(2)
    started, finished = threading.Barrier(3), []

    def encode(item: int) -> None:
        if item < 3:
            started.wait(_TIMEOUT_S)
        if item == 0:
            raise ValueError("broken")
        finished.append(item)

    with pytest.raises(ValueError, match="broken"):
        pool.map(encode, [0, 1, 2, 3, 4, 5])
    after = list(finished)
    pool.close()
    assert {1, 2} <= set(after)
    assert finished == after


def test_the_error_of_a_helper_comes_out(pool: EncodingPool) -> None:
    def encode(item: int) -> int:
        return 1 // item

    with pytest.raises(ZeroDivisionError):
        pool.map(encode, [1, 0, 1])
