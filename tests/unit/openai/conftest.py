"""The frontend as it is served, for the tests that speak HTTP with it over plain sockets."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

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
    options = ["--files-folder", str(folder), "--cors-origins", "https://page.example", "--max-body-bytes", "1000"]
    with running_frontend(triton, *options) as running:
        yield running
