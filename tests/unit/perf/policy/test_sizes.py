"""Short requests are compared beside each size, in turns, with what they take alone."""

from __future__ import annotations

from perf.policy.in_process import BALANCED, BEFORE
from perf.policy.sizes import QUICK, Latencies, section


def found(beside_s: float) -> Latencies:
    return {
        (0, BALANCED): [[0.1, 0.1]],
        (0, BEFORE): [[0.1, 0.1]],
        (128, BALANCED): [[beside_s, beside_s]],
        (128, BEFORE): [[0.8, 0.8]],
    }


def test_the_target_is_half_as_much_again_as_alone() -> None:
    for beside_s, met in ((0.149, True), (0.151, False)):
        report = section(QUICK, found(beside_s))
        assert [target.met for target in report.targets] == [met]
    assert "| 128x128 | 151 | 800 | 1.51 |" in report.paragraphs[1]
