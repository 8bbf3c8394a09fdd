"""On a terminal one line is rewritten; in a log there are lines without control characters."""

from __future__ import annotations

import fcntl
import os
import pty
import struct
import termios
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TextIO

import pytest

from imagegen.launch.status_line import StatusLine

CLEAR = "\r\x1b[K"


class Clock:
    """Tells the seconds that the test sets."""

    now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


@contextmanager
def terminal(columns: int = 0) -> Iterator[tuple[int, TextIO]]:
    """The reading end of a terminal, and the stream that a program has of it."""
    reading, writing = pty.openpty()
    fcntl.ioctl(writing, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    try:
        with open(writing, "w") as stream:
            yield reading, stream
    finally:
        os.close(reading)


def all_of(reading: int, stream: TextIO) -> str:
    """What the program wrote, now that it has ended."""
    stream.close()
    read = b""
    with suppress(OSError):  # how a terminal says that nobody writes any more
        while piece := os.read(reading, 10_000):
            read += piece
    return read.decode()


def test_on_a_terminal_one_line_is_rewritten_and_nothing_is_left_of_it() -> None:
    clock = Clock()
    with terminal() as (reading, stream):
        line = StatusLine("serve", stream, clock)
        line.say("starting")
        line.now("loading sdxl, 6.94 GB")
        line.tick()  # nothing new
        clock.now_s += 12.2
        line.tick()
        line.say("the server is ready")
        line.tick()
        line.clear()
        line.tick()
        written = all_of(reading, stream)
    assert written == (
        "serve: starting\r\n"
        f"{CLEAR}serve: loading sdxl, 6.94 GB … 0 s"
        f"{CLEAR}serve: loading sdxl, 6.94 GB … 12 s"
        f"{CLEAR}serve: the server is ready\r\n"
        f"{CLEAR}serve: loading sdxl, 6.94 GB … 12 s"
        f"{CLEAR}"
    )


@pytest.mark.parametrize(("columns", "width"), [(30, 29), (0, 79)])
def test_the_line_is_never_wider_than_the_terminal(columns: int, width: int) -> None:
    """One that goes on in the next line cannot be erased."""
    with terminal(columns) as (reading, stream):
        StatusLine("serve", stream, Clock()).now("x" * 200)
        written = all_of(reading, stream)
    assert written.startswith(f"{CLEAR}serve: xxxx")
    assert written.endswith("x … 0 s")
    assert len(written.removeprefix(CLEAR)) == width


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("x" + "画" * 20, "x" + "画" * 7),  # two columns each, so that one is left
        ("e\u0301" * 30, "e\u0301" * 16),  # an accent has none of its own
        ("a\nb\x1b[2Jc" + "x" * 30, "ab[2Jc" + "x" * 10),  # what a terminal acts upon has no place in one line
    ],
    ids=["wide", "combining", "control"],
)
def test_what_takes_other_columns_than_characters_is_cut_by_columns(text: str, shown: str) -> None:
    """A model's name may be of any script; a line that wraps is not erased."""
    with terminal(30) as (reading, stream):
        StatusLine("serve", stream, Clock()).now(text)
        assert all_of(reading, stream) == f"{CLEAR}serve: {shown} … 0 s"


def test_in_a_log_there_are_plain_lines() -> None:
    reading, writing = os.pipe()
    clock = Clock()
    with open(reading) as log, open(writing, "w") as stream:
        line = StatusLine("serve", stream, clock)
        line.say("starting")
        line.now("loading sdxl, 6.94 GB")
        clock.now_s += 12.2
        line.tick()
        line.now("loading unet, 5.14 GB")
        line.clear()
        stream.close()
        assert log.read() == "serve: starting\nserve: loading sdxl, 6.94 GB\nserve: loading unet, 5.14 GB\n"
