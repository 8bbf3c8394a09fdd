"""What one end says is what the other hears, exceptions included."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from imagegen.engine.ranks.messages import (
    Done,
    Join,
    Joined,
    LoadRank,
    RankLoaded,
    Run,
    RunFailed,
    Settled,
    error_bytes,
    error_from,
    message_from_rank,
    message_to_rank,
    rank_frames,
)
from imagegen.engine.worker.messages import LoadFailed


@pytest.mark.parametrize(
    "message",
    [LoadRank("{}", b"/x", "cuda:1", 1, 2, b"/s"), Join(), Run("unet", 3, None), Run("unet", 3, b"xyz"), Settled()],
)
def test_what_a_rank_is_told(message: Any) -> None:
    (header,) = rank_frames(message)
    assert message_to_rank(header) == message


@pytest.mark.parametrize(
    "message",
    [RankLoaded(("unet",)), LoadFailed("OSError", "none"), Joined(), Done(None), Done(b"x"), RunFailed(b"y")],
)
def test_what_a_rank_tells(message: Any) -> None:
    (header,) = rank_frames(message)
    assert message_from_rank(header) == message


class Unpicklable(Exception):
    def __reduce__(self) -> Any:
        raise TypeError("no")


class Unreadable(Exception):
    def __init__(self, one: int, other: int) -> None:
        super().__init__("of two arguments")


@pytest.mark.parametrize("error", [ValueError("x"), torch.OutOfMemoryError("too much"), KeyError("k")])
def test_an_exception_keeps_its_kind_and_text(error: Exception) -> None:
    back = error_from(error_bytes(error))
    assert type(back) is type(error)
    assert str(back) == str(error)


@pytest.mark.parametrize("error", [Unpicklable("a text"), Unreadable(1, 2)])
def test_one_that_cannot_be_sent_goes_as_its_text(error: Exception) -> None:
    back = error_from(error_bytes(error))
    assert type(back) is RuntimeError
    assert str(back) == f"{type(error).__name__}: {error}"
