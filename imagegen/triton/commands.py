"""What the diffusion processes of a server are told beside requests: cancels, and an administrator's commands.

Triton does not cancel what a model has called when that model's own request is cancelled, and asks one instance of a
model, not all. So each diffusion process listens for commands in the run folder; see `imagegen.triton.side_channel`.
Every process is asked, since none knows which one has a request. A command is replied to at once: what takes long is
begun, and asked after.

Nothing that arrives is trusted: sizes are bounded, and what is malformed gets an empty reply.
"""

from __future__ import annotations

import logging
import os
import time
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path

import zmq

from imagegen.triton.side_channel import Receiver

_COMMANDS = ".commands"
_MAX_FRAME_BYTES = 16_384  # the longest path of an adapter with its name, in UTF-8; a reply is shorter
_REPLY_TIMEOUT_S = 2.0

CANCEL = "cancel"
_FOUND, _NOT_FOUND = "1", "0"

_LOGGER = logging.getLogger(__name__)

Command = Callable[[str], str]
"""Does what is asked, with its argument; returns the reply. Runs on the server's one thread."""


def cancel_command(cancel: Callable[[str], bool]) -> Command:
    """The command that cancels every request of a name.

    Args:
        cancel: does it; returns whether there was one.
    """
    return lambda name: _FOUND if cancel(name) else _NOT_FOUND


class CommandServer:
    """Takes commands on a thread of its own.

    Args:
        folder: the run folder.
        commands: by name.
    """

    def __init__(self, folder: Path, commands: Mapping[str, Command]) -> None:
        self._commands = dict(commands)
        path = folder / f"{os.getpid()}-{uuid.uuid4().hex[:8]}{_COMMANDS}"
        self._receiver = Receiver(path, zmq.REP, _MAX_FRAME_BYTES, self._take)

    def close(self) -> None:
        """Take no more."""
        self._receiver.close()

    def _take(self, frames: list[bytes]) -> bytes:
        try:
            name, argument = (frame.decode() for frame in frames)
            return self._commands[name](argument).encode()
        except Exception:  # who asks must get a reply, else the socket takes no further message
            _LOGGER.exception("a command was ignored")
            return b""


class Commander:
    """Tells the diffusion processes of a server what to do. Safe from any thread.

    Args:
        folder: the run folder.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._context = zmq.Context()

    def ask(self, command: str, argument: str = "") -> list[str | None]:
        """Tell every process, and wait two seconds at most.

        Returns:
            the reply of each process, empty where it did not understand; None where it did not reply in time.
        """
        sockets = []
        for path in sorted(self._folder.glob("*" + _COMMANDS)):
            if not Path("/proc", path.name.partition("-")[0]).exists():  # it was killed; a new one has its own socket
                path.unlink(missing_ok=True)
                continue
            socket = self._context.socket(zmq.REQ)
            socket.linger = 0
            socket.maxmsgsize = _MAX_FRAME_BYTES
            socket.connect(f"ipc://{path}")
            socket.send_multipart([command.encode(), argument.encode()])
            sockets.append(socket)
        deadline_s = time.monotonic() + _REPLY_TIMEOUT_S
        replies: list[str | None] = []
        for socket in sockets:
            replied = socket.poll(max(0, int((deadline_s - time.monotonic()) * 1000)))
            replies.append(socket.recv().decode(errors="replace") if replied else None)
            socket.close()
        return replies

    def cancel(self, name: str) -> bool:
        """Cancel every request whose Triton request id or stream id is `name`.

        Requests that have arrived at the server but not at the diffusion model end when they get there; later ones of
        the same name are not meant.

        Returns:
            whether a request was found that is being generated or about to be.
        """
        return _FOUND in self.ask(CANCEL, name)

    def close(self) -> None:
        """Tell no more."""
        self._context.destroy(linger=0)
