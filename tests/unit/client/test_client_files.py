"""File names come from prompts, and no file is overwritten by accident."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagegen_client.files import slug, write_image


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("a red circle", "a-red-circle"),
        ("  A_Red/../Circle!! ", "a-red-circle"),
        ("ein grüner Würfel", "ein-grüner-würfel"),
        ("../../etc/passwd", "etc-passwd"),
        ("!?", "image"),
        ("x" * 99, "x" * 48),
    ],
)
def test_slug(prompt: str, expected: str) -> None:
    assert slug(prompt) == expected


@given(st.text())
def test_any_prompt_gives_a_plain_short_file_name(prompt: str) -> None:
    name = slug(prompt)
    assert 0 < len(name.encode()) <= 200
    assert not set(name) & set("/\\\0. \n")
    assert name[0] != "-"


def test_a_taken_name_is_left_alone_and_numbers_count_up(tmp_path: Path) -> None:
    names = [write_image(tmp_path, "dot-seed7-0", "png", content).name for content in (b"1", b"2", b"3")]
    assert names == ["dot-seed7-0.png", "dot-seed7-0-2.png", "dot-seed7-0-3.png"]
    assert [(tmp_path / name).read_bytes() for name in names] == [b"1", b"2", b"3"]


def test_a_dangling_link_counts_as_taken(tmp_path: Path) -> None:
    (tmp_path / "dot.png").symlink_to(tmp_path / "elsewhere.png")
    assert write_image(tmp_path, "dot", "png", b"1").name == "dot-2.png"
    assert not (tmp_path / "elsewhere.png").exists()


def test_overwrite_replaces(tmp_path: Path) -> None:
    for content in (b"first", b"2"):
        path = write_image(tmp_path, "dot", "png", content, overwrite=True)
    assert [file.name for file in tmp_path.iterdir()] == ["dot.png"]
    assert path.read_bytes() == b"2"


def test_writers_at_the_same_time_each_get_a_file(tmp_path: Path) -> None:
    contents = [str(number).encode() for number in range(32)]
    with ThreadPoolExecutor(8) as pool:
        paths = list(pool.map(lambda content: write_image(tmp_path, "dot", "png", content), contents))
    assert [path.read_bytes() for path in paths] == contents
