"""The parts of `./build.sh bench` and how much of the time each gets."""

from __future__ import annotations

from dataclasses import dataclass

from perf.peer_comparison import ONE_AT_A_TIME
from perf.peers import triton_server

LIMIT_S = 25 * 60.0
QUICK_LIMIT_S = 3 * 60.0


@dataclass(frozen=True)
class Part:
    """One measuring program.

    Attributes:
        name: for `--only` and messages.
        result: what its files are called.
        command: module and arguments.
        limit_s: after which it is ended.
        takes_model: whether it has `--model`.
    """

    name: str
    result: str
    command: tuple[str, ...]
    limit_s: float
    takes_model: bool = True


def parts(quick: bool) -> list[Part]:
    """In order: what must not fall victim to the end of the time comes first.

    With two idle cores the full parts are to take about 390, 615, 195, 75, 80, 45, 45 and 5 seconds, the quick ones
    66, 18, 15, 25, 20 and 5; growth takes 40 at the least, so the quick ones are without it.
    """
    if quick:
        return [
            Part("peers", "peers", ("perf.peer_comparison", "--quick", "--seconds", "14"), 80, takes_model=False),
            Part("stages", "stages", ("perf.stages", "--quick", "--requests", "8"), 40),
            Part("soak", "soak", ("perf.soak", "--quick", "--seconds", "150"), 30),
            Part(
                "analyzer",
                "analyzer",
                (*_ANALYZER, "--quick", "--protocols", "grpc", "--requests", "3", "--concurrency", "4"),
                40,
            ),
            Part("locust", "locust_load", ("perf.locust_load", "--quick", "--users", "2", "--seconds", "20"), 40),
            Part("gpu", "gpu", ("perf.gpu", "--quick"), 20, takes_model=False),
        ]
    return [
        Part("peers", "peers", ("perf.peer_comparison", "--seconds", "320"), 440, takes_model=False),
        Part("soak", "soak", ("perf.soak",), 650),
        Part(
            "peers-launch-bound",
            "peers_launch_bound",
            ("perf.peer_comparison", "--checkpoint", "launch-bound", "--seconds", "155", "--peers", *_FEWER_PEERS),
            240,
            takes_model=False,
        ),
        Part("stages", "stages", ("perf.stages",), 75),
        Part("growth", "growth", ("perf.growth", "--seconds", "45"), 110),
        Part("analyzer", "analyzer", (*_ANALYZER, "--requests", "9", "--concurrency", "1", "4"), 90),
        Part("locust", "locust_load", ("perf.locust_load", "--users", "4", "--seconds", "30"), 90),
        Part("gpu", "gpu", ("perf.gpu",), 300, takes_model=False),
    ]


_FEWER_PEERS = (ONE_AT_A_TIME, "litserve", triton_server.NAME)
_ANALYZER = ("perf.analyzer", "--shares", "0.7", "--kinds", "text")
