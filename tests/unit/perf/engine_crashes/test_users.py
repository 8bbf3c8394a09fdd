"""What a client is told by each error."""

from __future__ import annotations

import aiohttp
import pytest

from imagegen_client import DeadlineExceeded, InternalError, ServerUnreachable, Unavailable
from perf.engine_crashes.outcomes import Result
from perf.engine_crashes.users import _Refused, result_of


@pytest.mark.parametrize(
    ("error", "result"),
    [
        (Unavailable("send it again"), Result.UNAVAILABLE),
        (ServerUnreachable("connection reset"), Result.OTHER),
        (DeadlineExceeded("passed"), Result.TOO_LATE),
        (InternalError("?"), Result.OTHER),
        (_Refused(503, "send it again"), Result.UNAVAILABLE),
        (_Refused(408, "passed"), Result.TOO_LATE),
        (_Refused(500, "?"), Result.OTHER),
        (aiohttp.ServerDisconnectedError(), Result.OTHER),
    ],
)
def test_what_an_error_says(error: Exception, result: Result) -> None:
    assert result_of(error) is result
