"""Which TCP ports of the loopback address are free."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from contextlib import ExitStack

from imagegen.launch.child_process import HOST, ServerError


def free_ports(requested: Mapping[str, int]) -> dict[str, int]:
    """For each name the port itself when nobody listens on it, and a free one for 0; free ones are all different.

    Args:
        requested: `{name: port}`; the name is for the error message.

    Raises:
        ServerError: somebody listens on one.
    """
    with ExitStack() as probes:  # all are held until all are chosen, else the kernel may give one twice
        return {name: _bind(probes.enter_context(socket.socket()), name, port) for name, port in requested.items()}


def free_port(name: str, port: int) -> int:
    """The port itself when nobody listens on it, and a free one for 0; see `free_ports` for several at once.

    Raises:
        ServerError: somebody listens on it.
    """
    return free_ports({name: port})[name]


def _bind(probe: socket.socket, name: str, port: int) -> int:
    if port:  # left by a server that has just ended it is free again; a port to choose must not be shared, though
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        probe.bind((HOST, port))
    except OSError as error:
        raise ServerError(f"{name} port {port} is not available: {error.strerror}; give another one") from None
    return int(probe.getsockname()[1])
