"""Ports that nobody has are found, each once, and one that somebody has is refused by name."""

from __future__ import annotations

import socket

import pytest

from imagegen.launch.child_process import HOST, ServerError
from imagegen.launch.ports import free_port, free_ports


def test_ports_that_are_chosen_together_are_all_different() -> None:
    """One after the other, about one server of 2,500 was given the same port twice."""
    ports = free_ports({str(number): 0 for number in range(500)})
    assert list(ports) == [str(number) for number in range(500)]
    assert len(set(ports.values())) == 500


def test_a_port_that_is_asked_for_is_the_one() -> None:
    port = free_port("HTTP", 0)
    assert free_ports({"HTTP": port, "gRPC": 0})["HTTP"] == port


def test_a_port_that_somebody_listens_on_is_refused_by_name() -> None:
    with socket.create_server((HOST, 0)) as listener:
        port = listener.getsockname()[1]
        with pytest.raises(ServerError, match=f"gRPC port {port} is not available"):
            free_ports({"HTTP": 0, "gRPC": port})
