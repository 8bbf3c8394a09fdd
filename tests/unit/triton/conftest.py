"""Triton's Python module, before anything here imports it."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.triton import python_backend

sys.modules["triton_python_backend_utils"] = python_backend


@pytest.fixture
def folder() -> Iterator[Path]:
    """A run folder; its path is short, since a socket's has to be."""
    with tempfile.TemporaryDirectory(prefix="t-", dir="/tmp") as folder:
        yield Path(folder)


@pytest.fixture
def backend(monkeypatch: pytest.MonkeyPatch) -> type[python_backend.InferenceRequest]:
    """Calls to other models: what was sent, and what they respond."""
    monkeypatch.setattr(python_backend.InferenceRequest, "sent", [])
    monkeypatch.setattr(
        python_backend.InferenceRequest, "respond", staticmethod(lambda request: python_backend.InferenceResponse())
    )
    return python_backend.InferenceRequest


@pytest.fixture(autouse=True)
def quick_to_close(monkeypatch: pytest.MonkeyPatch) -> None:
    """Threads of the side channel look more often whether they are to end."""
    from imagegen.triton import side_channel

    monkeypatch.setattr(side_channel, "_POLL_MS", 5)
