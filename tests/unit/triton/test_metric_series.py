"""Series are made of one family each, with the labels of the instance."""

from __future__ import annotations

from typing import cast

from imagegen.metrics import Family
from imagegen.triton.metric_series import TritonSeries
from tests.unit.triton.python_backend import MetricFamily

SECONDS = Family("seconds", "histogram", "how long", buckets=(0.1, 1.0))


def test_series_of_a_family_share_it_and_carry_all_labels() -> None:
    new_series = TritonSeries(instance="diffusion_0")
    first, second = (cast(MetricFamily, new_series(SECONDS, {"task": task})) for task in ("a", "b"))
    assert first is second
    assert (first.name, first.description, first.kind) == ("seconds", "how long", MetricFamily.HISTOGRAM)
    assert first.made == [
        {"labels": {"instance": "diffusion_0", "task": task}, "buckets": [0.1, 1.0]} for task in ("a", "b")
    ]


def test_only_histograms_have_buckets() -> None:
    counter = cast(MetricFamily, TritonSeries()(Family("images_total", "counter", "how many"), {}))
    assert counter.kind == MetricFamily.COUNTER
    assert counter.made == [{"labels": {}}]
