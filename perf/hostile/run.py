"""Sends the cases, several at once, and notes what came back."""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from perf.hostile.bad_host import bad_host
from perf.hostile.case import Expected, Reply
from perf.hostile.kinds import Kind, Numbered, Surroundings, kinds, numbered, sequence
from perf.hostile.send import Sender
from perf.hostile.targets import Target
from perf.hostile.verdict import problems, status_name
from perf.progress import quiet_progress
from perf.result_check import ResultCheck

_SAMPLES = 100
_WARM_UP_SHARE = 0.2  # of the requests: by then every kind has come several times


@dataclass(frozen=True)
class Settings:
    """How much is tried.

    Attributes:
        requests: in all.
        seed: of everything that chance decides.
        connections: at the same time.
        deadline_s: after which a request counts as hung.
        only: the one case, as KIND:INDEX, or the one kind, as KIND; empty for all.
    """

    requests: int = 10_000
    seed: int = 0
    connections: int = 16
    deadline_s: float = 30.0
    only: str = ""


@dataclass
class Findings:
    """What came of it.

    Attributes:
        tried: requests by kind.
        statuses: replies by way and status.
        expected: requests by what had to come back.
        unexpected: (case, what is wrong), one for each case.
        hung: cases that had no response within the deadline.
        rss_bytes: (requests so far, resident memory of the server's processes).
        warm_up: requests before memory counts.
        host_connections: to the host that must see none.
        suspects: when a process of the server has ended, the cases that were under way, and those before.
    """

    tried: Counter[str] = field(default_factory=Counter)
    statuses: Counter[str] = field(default_factory=Counter)
    expected: Counter[str] = field(default_factory=Counter)
    unexpected: list[tuple[str, str]] = field(default_factory=list)
    hung: list[str] = field(default_factory=list)
    rss_bytes: list[tuple[int, int]] = field(default_factory=list)
    warm_up: int = 0
    host_connections: int = 0
    suspects: list[str] = field(default_factory=list)

    def note(self, one: Numbered, reply: Reply, found: Sequence[str]) -> None:
        """Count a case and its reply."""
        self.tried[one.kind] += 1
        self.expected[one.case.expected.value] += 1
        self.statuses[status_name(one.case, reply)] += 1
        if reply.hung and one.case.expected is not Expected.NOTHING:
            self.hung.append(one.name)
        elif found:
            self.unexpected.append((one.name, "; ".join(found)))


async def attack(target: Target, settings: Settings) -> Findings:
    """Send everything to the server.

    Raises:
        KeyError: there is no kind as `settings.only` names it.
    """
    findings = Findings(warm_up=round(settings.requests * _WARM_UP_SHARE))
    check = ResultCheck()
    async with bad_host() as host, Sender(target.addresses, settings.deadline_s) as sender:
        named = kinds(Surroundings(host.url, target.body_timeout_s))
        order = iter(chosen(named, settings))
        recent: deque[str] = deque(maxlen=3 * settings.connections)
        with quiet_progress() as progress:
            bar = progress.add_task("hostile: requests", total=settings.requests)

            async def one_connection() -> None:
                for kind, index in order:
                    one = numbered(named, kind, index, settings.seed)
                    recent.append(one.name)
                    reply = await sender.send(one.case)
                    if reply.lost and not target.alive():
                        findings.suspects = list(recent)
                    if findings.suspects:
                        return
                    findings.note(one, reply, list(problems(one.case, reply, check)))
                    done = findings.tried.total()
                    if done % max(1, settings.requests // _SAMPLES) == 0:
                        findings.rss_bytes.append((done, await asyncio.to_thread(target.rss_bytes)))
                        progress.update(bar, completed=done, refresh=True)

            await asyncio.gather(*(one_connection() for _ in range(settings.connections)))
        findings.host_connections = host.connections
    if not findings.suspects and not target.alive():
        findings.suspects = list(recent)
    return findings


def chosen(named: dict[str, Kind], settings: Settings) -> list[tuple[str, int]]:
    """Kind and number of each case, in turn.

    Raises:
        KeyError: there is no kind as `settings.only` names it.
    """
    if not settings.only:
        return list(sequence(named, settings.requests, settings.seed))
    kind, colon, index = settings.only.partition(":")
    if kind not in named:
        raise KeyError(f"there is no kind {kind}; there are {', '.join(named)}")
    return [(kind, int(index))] if colon else [(kind, number) for number in range(settings.requests)]
