"""What the ends of an engine meant for its clients, in numbers, and what was wrong."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from perf.engine_crashes.outcomes import End, Outcome, Result

MOST_ANSWER_S = 1.0  # from the end of the engine to the response of what it had
MOST_RECOVERY_S = 2.0  # beyond the time that loading takes
MOST_LATE_S = 0.5  # beyond a deadline
_ROUNDING_S = 0.02  # clients and whoever ends the engine share one thread


@dataclass(frozen=True)
class Record:
    """All that was seen of one kind of end.

    Attributes:
        ends: in order.
        outcomes: of all requests without a deadline.
        probes: of requests with a deadline that were sent when the engine had just ended.
        broken_connections: to the frontend.
        leftovers: by how much there is more of what than before, where it is more.
        faults: what else went wrong, in words.
    """

    ends: Sequence[End]
    outcomes: Sequence[Outcome]
    probes: Sequence[Outcome]
    broken_connections: int
    leftovers: Mapping[str, int]
    faults: Sequence[str] = ()

    def count(self, result: Result) -> int:
        """How many requests without a deadline ended so."""
        return sum(one.result is result for one in self.outcomes)

    @property
    def wrong(self) -> list[Outcome]:
        """Requests without a deadline that were neither generated nor clearly unavailable."""
        return [one for one in self.outcomes if one.result in (Result.OTHER, Result.TOO_LATE)]

    @property
    def answer_s(self) -> list[float]:
        """Seconds from the end of the engine to the response of each request that it had; 0 for a sooner one."""
        unavailable = [one for one in self.outcomes if one.result is Result.UNAVAILABLE]
        ends = [(one, self._end_before(one.answered_s)) for one in unavailable]
        return [max(0.0, one.answered_s - end.over_s) for one, end in ends if end is not None]

    @property
    def unexplained(self) -> list[Outcome]:
        """Requests that were unavailable though no engine had ended by then."""
        return [
            one
            for one in self.outcomes
            if one.result is Result.UNAVAILABLE and self._end_before(one.answered_s) is None
        ]

    @property
    def recovery_s(self) -> list[float]:
        """Seconds from each end to the first image of a request that was sent after it, less loading."""
        found = []
        for end, following in zip(self.ends, [*self.ends[1:], None], strict=True):
            answers = [
                one.answered_s
                for one in self.outcomes
                if one.result is Result.SUCCEEDED
                and one.sent_s > end.over_s
                and (following is None or one.sent_s < following.began_s)
            ]
            if answers:
                found.append(min(answers) - end.over_s - end.load_s)
        return found

    @property
    def late_s(self) -> list[float]:
        """Seconds by which each request with a deadline was answered after it; below 0 for a sooner answer."""
        return [one.answered_s - one.sent_s - (one.timeout_ms or 0) / 1000 for one in self.probes]

    def wrongs(self) -> list[str]:
        """Every condition that is not met, in words."""
        slow = [seconds for seconds in self.answer_s if seconds > MOST_ANSWER_S]
        late = [seconds for seconds in self.late_s if seconds > MOST_LATE_S]
        slow_recoveries = [seconds for seconds in self.recovery_s if seconds > MOST_RECOVERY_S]
        texts = [f"{one.way}: {one.said}" for one in self.wrong]
        texts += [f"{one.way}, with a deadline: {one.said}" for one in self.probes if one.result is Result.OTHER]
        texts += [f"{one.way}: unavailable before any end: {one.said}" for one in self.unexplained]
        texts += [f"{count} times: {text}" if count > 1 else text for text, count in Counter(self.faults).items()]
        if slow:
            texts.append(f"{len(slow)} answers later than {MOST_ANSWER_S:g} s, the latest after {max(slow):.2f} s")
        if slow_recoveries:
            texts.append(
                f"{len(slow_recoveries)} recoveries took more than {MOST_RECOVERY_S:g} s beyond loading, the longest"
                f" {max(slow_recoveries):.2f} s"
            )
        if missing := len(self.ends) - len(self.recovery_s):
            texts.append(f"{missing} times there was no image again")
        if late:
            texts.append(f"{len(late)} answers later than their deadline by up to {max(late):.2f} s")
        if self.broken_connections:
            texts.append(f"{self.broken_connections} connections to the frontend were made anew")
        texts += [f"left over: {count} more {what}" for what, count in self.leftovers.items()]
        return texts

    def row(self, name: str) -> tuple[object, ...]:
        """Of the table with the columns `COLUMNS`."""
        recovery_s, late_s = self.recovery_s or [float("nan")], self.late_s or [float("nan")]
        return (
            name,
            len(self.ends),
            sum(end.ended for end in self.ends),
            len(self.outcomes),
            self.count(Result.SUCCEEDED),
            self.count(Result.UNAVAILABLE),
            len(self.wrong),
            max(self.answer_s, default=float("nan")),
            statistics.median(recovery_s),
            max(recovery_s),
            statistics.median([end.load_s for end in self.ends] or [float("nan")]),
            max(late_s),
            ", ".join(f"{count} {what}" for what, count in self.leftovers.items()) or "none",
        )

    def _end_before(self, moment_s: float) -> End | None:
        begun = [end for end in self.ends if end.began_s <= moment_s + _ROUNDING_S]
        return begun[-1] if begun else None


COLUMNS = (
    "kind",
    "times",
    "processes ended",
    "requests",
    "succeeded",
    "unavailable",
    "other",
    "slowest answer s",
    "recovery less load p50 s",
    "most s",
    "load p50 s",
    "latest after deadline s",
    "left over",
)
