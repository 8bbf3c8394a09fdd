"""How many requests of each load fit into the time for the comparison."""

from __future__ import annotations

from dataclasses import dataclass

_OPEN_PER_CLOSED = 1.25  # requests of an open loop to one of a closed one
_TAIL = 2.5  # requests' times that an open loop goes on after the last arrival
_BATCHED = 0.7  # a batching server's time for the closed loop, as a share of the one-at-a-time server's


@dataclass(frozen=True)
class Plan:
    """A round.

    Attributes:
        capacity_per_s: requests per second of the one-at-a-time server.
        load: rate of arrival as a share of it.
        requests: of the open loop.
        clients: of the closed loop.
        each: requests of each of them.
    """

    capacity_per_s: float
    load: float
    requests: int
    clients: int
    each: int

    @property
    def rate_per_s(self) -> float:
        """Of arrivals."""
        return self.load * self.capacity_per_s

    @property
    def open_name(self) -> str:
        """What the open loop is called."""
        return f"open loop, {self.load:.0%} of one-at-a-time capacity"

    @property
    def closed_name(self) -> str:
        """What the closed loop is called."""
        return f"closed loop, {self.clients} clients"


def plan_rounds(capacity_per_s: float, servers: int, load: float, clients: int, rounds: int, seconds: float) -> Plan:
    """The largest round of which `rounds` fit into `seconds`, for `servers` one after the other; never an empty one.

    Args:
        capacity_per_s: requests per second of the one-at-a-time server.
        servers: how many take turns, with that one.
        load: rate of arrival as a share of `capacity_per_s`.
        clients: of the closed loop.
        rounds: repetitions.
        seconds: for all.
    """
    in_requests = seconds / rounds * capacity_per_s - _TAIL * servers
    open_share = servers / load * _OPEN_PER_CLOSED
    closed_share = 1 + (servers - 1) * _BATCHED
    closed = in_requests / (open_share + closed_share)
    each = max(1, round(closed / clients))
    return Plan(capacity_per_s, load, max(4, int(closed * _OPEN_PER_CLOSED)), clients, each)
