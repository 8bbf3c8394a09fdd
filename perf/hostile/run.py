"""Sends the cases, several at once, and notes what came back."""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from perf.hostile.bad_host import bad_host, private_host
from perf.hostile.case import Expected, Reply
from perf.hostile.kinds import Kind, Numbered, Surroundings, kinds, numbered, sequence
from perf.hostile.send import Sender
from perf.hostile.targets import Target, ended
from perf.hostile.verdict import problems, status_name
from perf.progress import quiet_progress
from perf.result_check import ResultCheck

_SAMPLES = 100
_LOOK_EVERY = 20  # requests, to see whether a process has ended
_WARM_UP_SHARE = 0.5  # of the requests: caches are full then, and so are the arenas of Triton's 2,600 threads


@dataclass(frozen=True)
class Settings:
    """How much is tried.

    Attributes:
        requests: in all.
        seed: of everything that chance decides.
        connections: at the same time.
        deadline_s: after which a request counts as hung.
        only: the one case, as KIND:INDEX, or the kinds that begin so; empty for all.
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
        private_connections: to the host that must see none.
        ended: processes of the server that have ended, by name; nothing more is sent then.
        suspects: the cases that were under way at that time, and those before.
    """

    tried: Counter[str] = field(default_factory=Counter)
    statuses: Counter[str] = field(default_factory=Counter)
    expected: Counter[str] = field(default_factory=Counter)
    unexpected: list[tuple[str, str]] = field(default_factory=list)
    hung: list[str] = field(default_factory=list)
    rss_bytes: list[tuple[int, int]] = field(default_factory=list)
    warm_up: int = 0
    private_connections: int = 0
    ended: list[str] = field(default_factory=list)
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
    async with (
        private_host() as private,
        bad_host() as bad,
        Sender(target.addresses, settings.deadline_s) as sender,
    ):
        bad_url = bad.url if target.addresses.fetch else None
        named = kinds(Surroundings(private.url, bad_url, target.body_timeout_s))
        order = iter(chosen(named, settings))
        recent: deque[str] = deque(maxlen=2 * settings.connections + _LOOK_EVERY)
        processes = target.processes()

        def look() -> None:
            if not findings.ended and (pids := ended(processes)):
                findings.ended = [processes[pid] for pid in pids]
                findings.suspects = list(recent)

        with quiet_progress() as progress:
            bar = progress.add_task("hostile: requests", total=settings.requests)

            async def one_connection() -> None:
                for kind, index in order:
                    one = numbered(named, kind, index, settings.seed)
                    recent.append(one.name)
                    reply = await sender.send(one.case)
                    done = findings.tried.total() + 1
                    if reply.lost or reply.hung or done % _LOOK_EVERY == 0:
                        look()
                    if findings.ended:
                        return
                    findings.note(one, reply, list(problems(one.case, reply, check)))
                    if done % max(1, settings.requests // _SAMPLES) == 0:
                        findings.rss_bytes.append((done, await asyncio.to_thread(target.rss_bytes)))
                        progress.update(bar, completed=done, refresh=True)

            await asyncio.gather(*(one_connection() for _ in range(settings.connections)))
            look()
        findings.private_connections = private.connections
    return findings


def chosen(named: dict[str, Kind], settings: Settings) -> list[tuple[str, int]]:
    """Kind and number of each case, in turn.

    Raises:
        KeyError: there is no kind as `settings.only` names it.
    """
    kind, colon, index = settings.only.partition(":")
    wanted = {name: made for name, made in named.items() if name == kind or (not colon and name.startswith(kind))}
    if not wanted:
        raise KeyError(f"there is no kind {kind}; there are {', '.join(named)}")
    return [(kind, int(index))] if colon else list(sequence(wanted, settings.requests, settings.seed))
