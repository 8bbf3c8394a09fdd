"""What is kept for later starts lies where the user keeps caches."""

from __future__ import annotations

from pathlib import Path

import pytest

from imagegen.user_caches import user_cache_folder


def test_it_is_in_the_users_folder_for_caches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/caches")
    assert user_cache_folder("compiled") == Path("/caches/imagegen/compiled")
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", "/home/me")
    assert user_cache_folder("tuning") == Path("/home/me/.cache/imagegen/tuning")
