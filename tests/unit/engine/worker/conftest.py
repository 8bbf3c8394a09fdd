"""A folder for sockets."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def folder() -> Iterator[Path]:
    """Its path is short, since a socket's has to be."""
    with tempfile.TemporaryDirectory(prefix="w-", dir="/tmp") as made:
        yield Path(made)
