"""Every diffusion process is asked, each command gets a reply, and nothing that arrives does harm."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest
import zmq

from imagegen.triton import commands
from imagegen.triton.commands import CANCEL, Commander, CommandServer, cancel_command

TIMEOUT_S = 10


def cancel_server(folder: Path, known: set[str]) -> tuple[CommandServer, list[str]]:
    asked: list[str] = []

    def cancel(name: str) -> bool:
        asked.append(name)
        return name in known

    return CommandServer(folder, {CANCEL: cancel_command(cancel)}), asked


@pytest.mark.parametrize("name", ["a", "ä" * 1024, "with spaces\n"])
def test_every_process_is_asked_and_one_that_knows_the_name_is_enough(folder: Path, name: str) -> None:
    (one, asked_one), (other, asked_other) = cancel_server(folder, {name}), cancel_server(folder, set())
    commander = Commander(folder)
    assert commander.cancel(name)
    assert not commander.cancel("nobody")
    assert asked_one == asked_other == [name, "nobody"]
    for closing in (commander, one, other):
        closing.close()
    assert list(folder.iterdir()) == []


def test_threads_share_a_commander(folder: Path) -> None:
    server, asked = cancel_server(folder, {"7"})
    commander = Commander(folder)
    found: dict[int, bool] = {}

    def cancel(number: int) -> None:
        found[number] = commander.cancel(str(number))

    threads = [threading.Thread(target=cancel, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [number for number, was in found.items() if was] == [7]
    assert sorted(asked, key=int) == [str(number) for number in range(16)]
    commander.close()
    server.close()


def test_without_processes_nothing_is_found(folder: Path) -> None:
    commander = Commander(folder)
    assert not commander.cancel("a")
    commander.close()


def test_a_process_that_does_not_reply_is_not_waited_for_for_ever(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commands, "_REPLY_TIMEOUT_S", 1.0)
    (folder / f"{os.getpid()}-silent.commands").touch()
    server, _ = cancel_server(folder, {"a"})
    commander = Commander(folder)
    assert commander.cancel("a")
    commander.close()
    server.close()


def test_the_socket_of_a_killed_process_is_removed(folder: Path) -> None:
    left = folder / "999999999-killed.commands"  # no process has so high an id
    left.touch()
    server, _ = cancel_server(folder, {"a"})
    commander = Commander(folder)
    assert commander.cancel("a")
    assert not left.exists()
    commander.close()
    server.close()
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize(
    "question", [[b"\xff", b""], [b""], [b"a", b"b"], [b"cancel"], [b"cancel", b"a", b"b"], [b"x" * 10_000]]
)
def test_a_question_that_is_none_does_not_end_the_server(folder: Path, question: list[bytes]) -> None:
    server, _ = cancel_server(folder, {"a"})
    (path,) = folder.glob("*.commands")
    with zmq.Context() as context, context.socket(zmq.REQ) as socket:
        socket.linger = 100
        socket.connect(f"ipc://{path}")
        socket.send_multipart(question)
        if len(question[0]) < 10_000:
            assert socket.poll(TIMEOUT_S * 1000)
            assert socket.recv() == b""
    commander = Commander(folder)
    assert commander.cancel("a")
    commander.close()
    server.close()


def test_a_cancel_that_fails_gets_a_reply(folder: Path) -> None:
    def cancel(name: str) -> bool:
        raise ValueError

    server, commander = CommandServer(folder, {CANCEL: cancel_command(cancel)}), Commander(folder)
    assert not commander.cancel("a")
    assert not commander.cancel("a")
    commander.close()
    server.close()


def test_each_command_is_its_own_and_each_process_replies(folder: Path) -> None:
    servers = [CommandServer(folder, {"upper": str.upper, "who": lambda _, n=n: str(n)}) for n in range(2)]  # type: ignore[misc]
    commander = Commander(folder)
    assert commander.ask("upper", "ä") == ["Ä", "Ä"]
    assert sorted(map(str, commander.ask("who"))) == ["0", "1"]
    assert commander.ask("what") == ["", ""]
    commander.close()
    for server in servers:
        server.close()
    assert list(folder.iterdir()) == []


def test_who_does_not_reply_in_time_is_told_from_who_does_not_understand(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commands, "_REPLY_TIMEOUT_S", 0.2)
    (folder / f"{os.getpid()}-silent.commands").touch()
    commander = Commander(folder)
    assert commander.ask("x") == [None]
    commander.close()


def test_the_thread_ends_with_close(folder: Path) -> None:
    before = set(threading.enumerate())
    server = CommandServer(folder, {})
    assert all(thread.daemon for thread in set(threading.enumerate()) - before)
    server.close()
    assert set(threading.enumerate()) <= before
