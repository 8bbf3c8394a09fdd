"""How long to wait before what has failed is started again."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Backoff:
    """How long to wait before a process is started again: not at all after a first failure, then ever longer.

    Attributes:
        first_s: after a second failure in a row; doubled for each further one.
        most_s: the longest wait.
        stable_s: one that has served this long has got over its failures.
    """

    first_s: float = 1.0
    most_s: float = 60.0
    stable_s: float = 60.0

    def wait_s(self, failures: int) -> float:
        """The wait after so many failures in a row, from 1."""
        return 0.0 if failures < 2 else min(self.most_s, self.first_s * 2.0 ** min(failures - 2, 30))


USUAL_BACKOFF = Backoff()
"""That of servers and of engines."""
