"""Stored images by their keys, and nothing else."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from imagegen.openai.errors import NotFound
from imagegen.openai.files import Files

NAME = "0123456789abcdef0123456789abcdef.png"


@pytest.mark.parametrize(
    "key",
    [
        f"users/a/generations/../{NAME}",
        f"users/../generations/b/{NAME}",
        f"users/.a/generations/b/{NAME}",
        f"users/a..b/generations/b/{NAME}",
        f"users/a/generations/b/{NAME}\n",
        f"/users/a/generations/b/{NAME}",
        f"users/a/generations/b/.{NAME}.part",
        f"users/ä/generations/b/{NAME}",
        "secret.png",
        "",
    ],
)
def test_other_keys_are_no_files(tmp_path: Path, key: str) -> None:
    for folder in (tmp_path, None):
        with pytest.raises(NotFound):
            asyncio.run(Files(folder).response(key))


def test_a_key_of_the_store_is_a_file(tmp_path: Path) -> None:
    key = f"users/a.b-c/generations/r_1/{NAME}"
    (tmp_path / key).parent.mkdir(parents=True)
    (tmp_path / key).write_bytes(b"png")
    response = asyncio.run(Files(tmp_path).response(key))
    assert response.headers["content-type"] == "image/png"
    with pytest.raises(NotFound):
        asyncio.run(Files(None).response(key))
