"""Triton's custom metrics as a backend of `imagegen.metrics`."""

from __future__ import annotations

from typing import Any

import triton_python_backend_utils as pb_utils

from imagegen.metrics import Family, Series


class TritonSeries:
    """Makes series of Triton's custom metrics, for `imagegen.metrics.Metrics`.

    Args:
        labels: put on every series, to tell instances apart.
    """

    def __init__(self, **labels: str) -> None:
        self._labels = labels
        self._families: dict[str, Any] = {}

    def __call__(self, family: Family, labels: dict[str, str]) -> Series:
        """A new series of `family`."""
        if family.name not in self._families:
            kind = getattr(pb_utils.MetricFamily, family.kind.upper())
            self._families[family.name] = pb_utils.MetricFamily(family.name, family.meaning, kind)
        buckets = {"buckets": list(family.buckets)} if family.kind == "histogram" else {}
        series: Series = self._families[family.name].Metric(labels=self._labels | labels, **buckets)
        return series
