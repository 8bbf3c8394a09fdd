"""Which failures are tried again, and after how long."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from imagegen.images.input.retry import delay_s, is_transient, parse_retry_after

NOON_S = 1767268800.0  # Thu, 01 Jan 2026 12:00:00 GMT


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504, 599])
def test_these_statuses_may_pass(status: int) -> None:
    assert is_transient(status)


@pytest.mark.parametrize("status", [200, 204, 304, 400, 401, 403, 404, 408, 410, 418, 451, 600])
def test_these_do_not(status: int) -> None:
    assert not is_transient(status)


@pytest.mark.parametrize(("failures", "least_s"), [(1, 0.2), (2, 0.4), (3, 0.8)])
def test_the_backoff_doubles_with_jitter(failures: int, least_s: float) -> None:
    delays = {delay_s(failures, 0) for _ in range(100)}
    assert len(delays) > 10
    assert least_s <= min(delays)
    assert max(delays) <= least_s * 1.25


def test_the_server_can_ask_for_more_but_not_for_less() -> None:
    assert delay_s(1, 7.0) == 7.0
    assert delay_s(1, 0.01) >= 0.2


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        (None, 0),
        ("", 0),
        ("3", 3),
        (" 120 ", 120),
        ("999999999", 6 * 3600),
        ("9" * 400, 6 * 3600),
        ("-1", 0),
        ("1.5", 0),
        ("soon", 0),
        ("Thu, 01 Jan 2026 12:00:30 GMT", 30),
        ("Thu, 01 Jan 2026 12:00:30 -0000", 30),
        ("Thu, 01 Jan 2026 11:00:00 GMT", 0),
        ("Thu, 99 Jan 2026 12:00:30 GMT", 6 * 3600),
        ("Thu, 01 Jan 99999 12:00:30 GMT", 0),
        ("Thu, 01 Jan 2026 99999999999999999999:00:30 GMT", 6 * 3600),
        ("Thu, 01 Jan 2026 12:00:30 +99999999999999", 0),
    ],
)
def test_retry_after(monkeypatch: pytest.MonkeyPatch, header: str | None, seconds: float) -> None:
    monkeypatch.setattr("urllib3.util.retry.time", SimpleNamespace(time=lambda: NOON_S))
    assert parse_retry_after(header) == seconds
