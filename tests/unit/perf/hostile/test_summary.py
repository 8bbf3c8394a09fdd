"""What went wrong makes the run fail, with the command that repeats it; memory is judged behind the warm-up."""

from __future__ import annotations

from perf.hostile.case import Expected, HttpCase, Reply, Response, Way
from perf.hostile.kinds import Numbered
from perf.hostile.run import Findings, Settings
from perf.hostile.summary import rss_mib, section
from perf.report import Section

MIB = 2**20


def summary(findings: Findings, requests: int = 10_000) -> Section:
    return section(Settings(requests=requests, seed=3), findings, {})


def findings(growth: float = 0.0) -> Findings:
    samples = [
        (done, round((1000 if done < 4000 else 2000 + growth * done / 10_000) * MIB)) for done in range(0, 10_001, 100)
    ]
    return Findings(rss_bytes=samples, warm_up=4000)


def test_memory_before_and_after_are_medians_behind_the_warm_up() -> None:
    assert rss_mib([(0, MIB), (10, 5 * MIB), (20, 5 * MIB), (30, 7 * MIB)], warm_up=10) == (5, 7)
    assert rss_mib([], warm_up=10) is None
    assert rss_mib([(20, 0)], warm_up=10) is None  # of processes that are not known


def test_memory_that_grows_is_not_met_and_little_has_no_verdict() -> None:
    assert [target.met for target in summary(findings()).targets] == [True, True]
    assert summary(findings(growth=400)).targets[1].met is False
    assert summary(findings(growth=400), requests=300).targets[1].met is None
    assert summary(Findings()).targets[1].met is None


def test_what_is_unexpected_or_hung_comes_with_its_command() -> None:
    case = HttpCase(Way.HTTP, Expected.REFUSED, pieces=(b"",))
    noted = findings()
    noted.note(Numbered("kind/a", 1, case), Reply((Response(500, b"x"),)), ["status 500"])
    noted.note(Numbered("kind/a", 2, case), Reply(hung=True), ["hung"])
    noted.note(Numbered("kind/b", 0, case), Reply((Response(400, b"x"),)), [])
    made = summary(noted)
    assert made.faults == ["`--only 'kind/a:1' --seed 3`: status 500", "`--only 'kind/a:2' --seed 3`: hung"]
    assert made.targets[0].met is False
    text = "\n".join(made.paragraphs)
    for part in ("**1 unexpected, 1 hung**", "| kind/a | 2 |", "| Triton HTTP: 400 | 1 |", "2000 MiB before"):
        assert part in text


def test_a_process_that_ended_and_a_private_host_that_was_asked_fail_it() -> None:
    noted = findings()
    noted.ended, noted.suspects, noted.private_connections = ["diffusion"], ["kind/a:1", "kind/b:2"], 3
    faults = summary(noted).faults
    assert any("3 connections" in fault for fault in faults)
    assert any(fault.startswith("diffusion ended") and "kind/a:1; kind/b:2" in fault for fault in faults)
