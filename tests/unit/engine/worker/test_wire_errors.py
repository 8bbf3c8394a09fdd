"""An error arrives as it was raised, and one that is not made to be shown without its detail."""

from __future__ import annotations

import pytest

from imagegen.api.errors import (
    Cancelled,
    DeadlineExceeded,
    ImageGenError,
    ImageRejected,
    InternalError,
    InvalidArgument,
    NonFinite,
    StorageFailed,
    Unavailable,
)
from imagegen.engine.worker.wire_errors import error_of, failed


@pytest.mark.parametrize(
    "error",
    [
        InvalidArgument("size", "64: too small"),
        ImageRejected("image[1]", "no image"),
        NonFinite("decode", "a VAE in float16"),
        Cancelled("the client cancelled the request"),
        DeadlineExceeded("too late"),
        Unavailable("try again"),
        StorageFailed("full"),
        InternalError("broke"),
    ],
)
def test_an_error_arrives_as_it_was_raised(error: ImageGenError) -> None:
    arrived = error_of(failed(1, error))
    assert type(arrived) is type(error)
    assert str(arrived) == str(error)
    assert vars(arrived) == vars(error)


def test_what_is_not_made_to_be_shown_is_not() -> None:
    arrived = error_of(failed(1, KeyError("/secret/path")))
    assert type(arrived) is InternalError
    assert "secret" not in str(arrived)
