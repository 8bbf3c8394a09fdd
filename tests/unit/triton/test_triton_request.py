"""Every request gets one response, whatever happens and from whichever thread."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import numpy as np
import pytest

from imagegen.api.errors import Cancelled, InvalidArgument
from imagegen.api.tensors import Arrays
from imagegen.triton import process
from imagegen.triton.triton_request import TritonRequest
from tests.unit.triton.python_backend import Request, TritonError, prompt, with_parameters

OUTPUT = {"used_seed": np.array([7])}


@pytest.fixture(autouse=True)
def every_request_is_closed() -> Iterator[None]:
    before = process.OPEN_REQUESTS._count
    yield
    assert process.OPEN_REQUESTS._count == before


def error_of(request: Request) -> TritonError:
    (response, flags) = request.sender.sent[-1]
    assert flags == 1
    assert response is not None
    error = response.error()
    assert error is not None
    return error


def test_inputs_arrive_by_name_and_the_response_is_complete() -> None:
    request = Request("mine", prompt=prompt())
    taken = TritonRequest(request)
    assert taken.request_id == "mine"
    assert taken.arrays() == {"prompt": prompt()}
    taken.send(OUTPUT)
    ((response, flags),) = request.sender.sent
    assert response is not None
    assert [(t.name(), t.as_numpy().tolist()) for t in response.output_tensors()] == [("used_seed", [7])]
    assert flags == 1


def test_an_open_request_counts_until_its_response_is_complete() -> None:
    before = process.OPEN_REQUESTS._count
    taken = TritonRequest(Request())
    assert process.OPEN_REQUESTS._count == before + 1
    taken.send_part(OUTPUT)
    assert process.OPEN_REQUESTS._count == before + 1
    taken.finish()
    assert process.OPEN_REQUESTS._count == before


def test_what_comes_after_the_end_is_ignored() -> None:
    request = Request()
    taken = TritonRequest(request)
    taken.send_part(OUTPUT)
    taken.finish()
    for late in (taken.finish, lambda: taken.send(OUTPUT), lambda: taken.send_part(OUTPUT)):
        late()
    taken.fail(Cancelled("late"))
    assert [flags for _, flags in request.sender.sent] == [0, 1]


def test_threads_that_respond_at_once_send_one_response() -> None:
    request = Request()
    taken = TritonRequest(request)
    threads = [threading.Thread(target=taken.send, args=(OUTPUT,)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(request.sender.sent) == 1


def test_a_parameter_is_refused_by_name_for_triton_would_ignore_it() -> None:
    request = with_parameters(promt="a cat")
    TritonRequest(request).respond(lambda arrays, request_id: OUTPUT)
    error = error_of(request)
    assert error.message() == "invalid_argument: promt: no such input or parameter"
    assert error.code() == TritonError.INVALID_ARG


def test_an_error_for_clients_is_sent_as_it_is() -> None:
    request = Request()
    TritonRequest(request).fail(InvalidArgument("n", "11 is outside 1..10"))
    assert error_of(request).message() == "invalid_argument: n: 11 is outside 1..10"


def test_another_error_is_logged_and_sent_without_its_detail(caplog: pytest.LogCaptureFixture) -> None:
    request = Request("mine")

    def handle(arrays: Arrays, request_id: str) -> Arrays:
        raise RuntimeError("/secret/path")

    TritonRequest(request).respond(handle)
    error = error_of(request)
    assert (error.message().startswith("internal_error: "), error.code()) == (True, TritonError.INTERNAL)
    assert "/secret/path" not in error.message()
    assert "/secret/path" in caplog.text
    assert "'mine'" in caplog.text


def test_a_response_that_triton_does_not_take_becomes_an_error(caplog: pytest.LogCaptureFixture) -> None:
    request = Request()
    request.sender.failures = [RuntimeError("no shared memory left")]
    TritonRequest(request).respond(lambda arrays, request_id: OUTPUT)
    assert error_of(request).message().startswith("internal_error: ")
    assert "no shared memory left" in caplog.text


def test_where_not_even_an_error_can_be_sent_the_thread_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    request = Request("lost")
    request.sender.failures = [RuntimeError("second"), RuntimeError("first")]
    taken = TritonRequest(request)
    taken.respond(lambda arrays, request_id: OUTPUT)
    assert "'lost' got no response" in caplog.text
    taken.send(OUTPUT)  # for the count


def test_outputs_are_wanted_by_name() -> None:
    taken = TritonRequest(Request(outputs=["event", "step"]))
    assert taken.wants("step")
    assert not taken.wants("preview")
    taken.finish()


def test_a_client_has_left_only_while_its_response_is_owed() -> None:
    request = Request()
    taken = TritonRequest(request)
    assert not taken.is_cancelled()
    request.sender.cancelled = True
    assert taken.is_cancelled()
    taken.fail(Cancelled("the client cancelled the request"))
    assert not taken.is_cancelled()
