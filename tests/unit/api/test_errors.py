"""What a client sees of an error: a code, a status, a safe message, and nothing from inside."""

from __future__ import annotations

import pytest

from imagegen.api import errors
from imagegen.api.errors import ImageGenError, ImageRejected, InternalError, InvalidArgument, as_client_error

# (error, code, HTTP status, Triton's code), as the table in the module's docstring says.
SHOWN = [
    (InvalidArgument("n", "11 is outside 1..10"), "invalid_argument", 400, "INVALID_ARG"),
    (ImageRejected("image[0]", "not an image"), "image_rejected", 400, "INVALID_ARG"),
    (errors.Cancelled("gone"), "cancelled", 499, "CANCELLED"),
    (errors.DeadlineExceeded("late"), "deadline_exceeded", 503, "UNAVAILABLE"),
    (errors.Unavailable("closing"), "unavailable", 503, "UNAVAILABLE"),
    (errors.Asleep(), "unavailable", 503, "UNAVAILABLE"),
    (errors.StorageFailed("disk full"), "storage_failed", 503, "UNAVAILABLE"),
    (errors.NonFinite("decode", "damaged weights"), "non_finite", 500, "INTERNAL"),
    (InternalError("failed"), "internal_error", 500, "INTERNAL"),
]


@pytest.mark.parametrize(("error", "code", "http_status", "triton_code"), SHOWN)
def test_each_error_carries_its_codes_and_its_message_starts_with_the_code(
    error: ImageGenError, code: str, http_status: int, triton_code: str
) -> None:
    assert (error.code, error.http_status, error.triton_code) == (code, http_status, triton_code)
    assert str(error).startswith(f"{code}: ")


def test_the_documented_tree_lists_every_class_with_its_status_and_code() -> None:
    defined = {
        name for name, value in vars(errors).items() if isinstance(value, type) and issubclass(value, ImageGenError)
    }
    classes = {type(error) for error, *_ in SHOWN}
    assert {kind.__name__ for kind in classes} == defined - {"ImageGenError"}
    rows = [line.split() for line in (errors.__doc__ or "").splitlines() if "──" in line]
    documented = {row[-1 - _words_after_name(row)]: row for row in rows}
    for kind in classes:
        row = documented[kind.__name__]
        assert str(kind.http_status) in row
        assert kind.code in row


def _words_after_name(row: list[str]) -> int:
    name = next(index for index, word in enumerate(row) if word[0].isalpha())
    return len(row) - 1 - name


def test_an_invalid_argument_names_its_field() -> None:
    error = InvalidArgument("size", '"1x1" is not allowed')
    assert error.field == "size"
    assert str(error) == 'invalid_argument: size: "1x1" is not allowed'
    assert isinstance(ImageRejected("mask", "broken"), InvalidArgument)


def test_an_error_made_for_clients_is_shown_as_it_is() -> None:
    error = ImageRejected("image[0]", "not an image")
    assert as_client_error(error) is error


@pytest.mark.parametrize("error", [RuntimeError("/secret/path"), SystemExit(3), KeyboardInterrupt(), MemoryError("x")])
def test_any_other_error_is_shown_without_its_detail(error: BaseException) -> None:
    shown = as_client_error(error)
    assert type(shown) is InternalError
    assert str(shown) == "internal_error: the request failed inside the server; the server log has the reason"
