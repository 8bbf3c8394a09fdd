"""Requests are served on threads, so many at a time and no more."""

from __future__ import annotations

import threading

from imagegen.triton.request_threads import RequestThreads
from imagegen.triton.triton_request import TritonRequest
from tests.unit.triton.python_backend import Request

TIMEOUT_S = 10


def test_run_blocks_while_every_thread_is_busy() -> None:
    serving, go_on = threading.Semaphore(0), threading.Semaphore(0)

    def serve(request: TritonRequest) -> None:
        serving.release()
        assert go_on.acquire(timeout=TIMEOUT_S)
        request.send({})

    threads = RequestThreads(2, serve)
    requests = [Request(str(index)) for index in range(3)]
    for request in requests[:2]:
        threads.run(request)
        assert serving.acquire(timeout=TIMEOUT_S)
    third = threading.Thread(target=threads.run, args=(requests[2],))
    third.start()
    assert not serving.acquire(timeout=0.05)
    go_on.release()
    third.join(TIMEOUT_S)
    assert serving.acquire(timeout=TIMEOUT_S)
    go_on.release(2)
    threads.close()
    assert [len(request.sender.sent) for request in requests] == [1, 1, 1]


def test_a_thread_is_free_again_when_serving_fails() -> None:
    served: list[str] = []

    def serve(request: TritonRequest) -> None:
        served.append(request.request_id)
        request.finish()
        raise RuntimeError

    threads = RequestThreads(1, serve)
    for index in range(3):
        threads.run(Request(str(index)))
    threads.close()
    assert served == ["0", "1", "2"]


def test_close_finishes_what_was_begun() -> None:
    request = Request()
    threads = RequestThreads(1, lambda taken: taken.send({}))
    threads.run(request)
    threads.close()
    assert len(request.sender.sent) == 1
