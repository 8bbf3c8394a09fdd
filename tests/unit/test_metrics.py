"""Numbers are added up in process and arrive complete, each in its own series."""

from __future__ import annotations

from collections import defaultdict

import pytest

from imagegen.metrics import Family, Metrics

FAMILIES = (
    Family("made_total", "counter", "Things made"),
    Family("level", "gauge", "A level"),
    Family("size", "histogram", "Sizes", (1, 2)),
)


class Backend:
    """Keeps what arrives, by family and labels."""

    def __init__(self) -> None:
        self.arrived: defaultdict[tuple[str, str], list[float]] = defaultdict(list)
        self.series_made = 0

    def __call__(self, family: Family, labels: dict[str, str]) -> Series:
        self.series_made += 1
        return Series(self.arrived[family.name, ",".join(labels.values())])


class Series:
    def __init__(self, arrived: list[float]) -> None:
        self.increment = self.set = self.observe = arrived.append


@pytest.fixture
def backend() -> Backend:
    return Backend()


def test_counts_are_summed_gauges_are_the_last_and_every_observation_arrives(backend: Backend) -> None:
    metrics = Metrics(FAMILIES, backend)
    for amount in (1, 2, 3):
        metrics.add("made_total", amount, kind="a")
        metrics.set("level", amount)
        metrics.observe("size", amount)
    metrics.add("made_total", kind="b")
    metrics.flush()
    assert backend.arrived == {
        ("made_total", "a"): [6],
        ("made_total", "b"): [1],
        ("level", ""): [3],
        ("size", ""): [1, 2, 3],
    }
    metrics.flush()
    metrics.add("made_total", 5, kind="a")
    metrics.flush()
    assert backend.arrived["made_total", "a"] == [6, 5]
    assert backend.series_made == 4


def test_a_running_total_arrives_as_increments(backend: Backend) -> None:
    metrics = Metrics(FAMILIES, backend)
    for total in (3, 3, 10):
        metrics.add_up_to("made_total", total)
        metrics.flush()
    assert backend.arrived["made_total", ""] == [3, 7]


def test_a_gauge_that_stays_the_same_is_not_handed_over_again(backend: Backend) -> None:
    """An idle model must not keep asking Triton for something."""
    metrics = Metrics(FAMILIES, backend)
    for level in (1, 1, 2, 1):
        metrics.set("level", level)
        metrics.flush()
    assert backend.arrived["level", ""] == [1, 2, 1]


def test_close_hands_over_the_rest_and_asks_for_what_is_measured(backend: Backend) -> None:
    metrics = Metrics(FAMILIES, backend, collect=lambda: metrics.set("level", 42))
    metrics.start()
    metrics.add("made_total")
    metrics.close()
    assert sum(backend.arrived["made_total", ""]) == 1
    assert backend.arrived["level", ""][-1] == 42


def test_order_of_labels_does_not_matter(backend: Backend) -> None:
    metrics = Metrics(FAMILIES, backend)
    metrics.add("made_total", a="1", b="2")
    metrics.add("made_total", b="2", a="1")
    metrics.flush()
    assert backend.arrived == {("made_total", "1,2"): [2]}


def test_an_unknown_metric_is_an_error(backend: Backend) -> None:
    metrics = Metrics(FAMILIES, backend)
    metrics.add("unknown_total")
    with pytest.raises(KeyError):
        metrics.flush()
