"""A connection to a server through this process, which can be cut off as that of a killed client is."""

from __future__ import annotations

import contextlib
import socket
import threading

from tests.service.http_pieces import reset


class ResettableConnection:
    """Passes bytes between one client and a server until it is told to reset both ends.

    Args:
        address: `host:port` of the server.

    Attributes:
        address: `host:port` for the client.
    """

    def __init__(self, address: str) -> None:
        host, port = address.rsplit(":", 1)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self._server = socket.create_connection((host, int(port)))
        self._closed = threading.Event()
        self._threads = [threading.Thread(target=self._run, daemon=True)]
        self._threads[0].start()

    def reset(self) -> None:
        """Reset both ends, as when the client's machine is switched off."""
        self._closed.set()  # a socket that somebody reads from would stay open
        for thread in self._threads:
            thread.join()
        self._listener.close()
        reset(self._server)
        reset(self._client)

    def _run(self) -> None:
        self._client, _ = self._listener.accept()
        for connection in (self._client, self._server):
            connection.settimeout(0.01)
        self._threads.append(threading.Thread(target=self._copy, args=(self._client, self._server), daemon=True))
        self._threads[1].start()
        self._copy(self._server, self._client)

    def _copy(self, source: socket.socket, target: socket.socket) -> None:
        while not self._closed.is_set():
            with contextlib.suppress(TimeoutError):
                target.sendall(source.recv(65536))
