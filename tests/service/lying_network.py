"""A network for the process that imports this: public addresses that lead to loopback, names that change their address.

Nothing leaves the machine.

    93.184.216.34   is 127.0.0.2, as behind a NAT: the peer shows its public address
    93.184.216.35   is 127.0.0.1, and the peer shows that
    rebinds.test    is 93.184.216.34 when resolved first, 127.0.0.1 ever after
    moves.test      is 93.184.216.35
"""

from __future__ import annotations

import socket
import weakref
from collections import Counter
from typing import Any

PUBLIC, MASKED_PEER = "93.184.216.34", "127.0.0.2"
MOVED, FORBIDDEN = "93.184.216.35", "127.0.0.1"

_connect, _getpeername, _getaddrinfo = socket.socket.connect, socket.socket.getpeername, socket.getaddrinfo
_masked: weakref.WeakSet[socket.socket] = weakref.WeakSet()
_resolved: Counter[Any] = Counter()


def connect(self: socket.socket, address: Any) -> None:
    if address[0] == PUBLIC:
        _masked.add(self)
        address = MASKED_PEER, *address[1:]
    elif address[0] == MOVED:
        address = FORBIDDEN, *address[1:]
    _connect(self, address)


def getpeername(self: socket.socket) -> Any:
    peer = _getpeername(self)
    return (PUBLIC, *peer[1:]) if self in _masked else peer


def getaddrinfo(host: Any, port: Any, *args: Any, **kwargs: Any) -> Any:
    if host == "rebinds.test":
        _resolved[port] += 1
        host = PUBLIC if _resolved[port] == 1 else FORBIDDEN
    elif host == "moves.test":
        host = MOVED
    return _getaddrinfo(host, port, *args, **kwargs)


socket.socket.connect = connect  # type: ignore[method-assign,assignment]
socket.socket.getpeername = getpeername  # type: ignore[method-assign,assignment]
socket.getaddrinfo = getaddrinfo
