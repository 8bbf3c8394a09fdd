"""An exception is handed over with its traceback, once, and is not kept."""

from __future__ import annotations

import gc
import traceback
import weakref

import pytest
from greenlet import getcurrent, greenlet

from imagegen.engine.failure import Failure


class Tensor:
    """Something that a failed call held."""


def fail_with(tensor: Tensor) -> Failure:
    try:
        raise ValueError("no memory")
    except ValueError as error:
        return Failure(error)


def test_what_is_thrown_tells_where_it_was_raised() -> None:
    caller = getcurrent()
    run = greenlet(caller.switch)
    run.switch()
    with pytest.raises(ValueError, match="no memory") as raised:
        run.throw(*fail_with(Tensor()).take())
    assert "fail_with" in [frame.name for frame in traceback.extract_tb(raised.value.__traceback__)]


def test_what_has_been_taken_holds_nothing_and_cannot_be_taken_again() -> None:
    tensor = Tensor()
    held = weakref.ref(tensor)
    failure = fail_with(tensor)
    del tensor
    gc.collect()
    assert held() is not None, "the traceback leads to it"
    failure.take()
    gc.collect()
    assert held() is None
    with pytest.raises(AssertionError):
        failure.take()
