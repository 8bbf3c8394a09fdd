"""The frontend as it is served, for the tests that speak HTTP with it over plain sockets."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from imagegen.openai.log import JsonLines
from tests.unit.openai.http_exchange import KEY
from tests.unit.openai.running_frontend import JudgingTriton, running_frontend


@pytest.fixture(scope="session")
def triton() -> JudgingTriton:
    return JudgingTriton()


@pytest.fixture(scope="session")
def url(triton: JudgingTriton, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("files")
    (folder / KEY).parent.mkdir(parents=True)
    (folder / KEY).write_bytes(b"an image")
    options = ["--files-folder", str(folder), "--cors-origins", "https://page.example", "--max-body-bytes", "1000000"]
    with running_frontend(triton, *options) as running:
        yield running


@pytest.fixture(autouse=True)
def _no_handler_is_left_behind() -> Iterator[None]:
    """A frontend that goes on through several tests would log to the captured stream of one that has ended."""
    yield
    root = logging.getLogger()
    for handler in [one for one in root.handlers if isinstance(one.formatter, JsonLines)]:
        root.removeHandler(handler)
