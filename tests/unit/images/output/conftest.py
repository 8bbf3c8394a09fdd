"""A postprocessor that a test can call in one line, and that counts in memory."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from imagegen.images.output.metrics import OutputMetrics
from imagegen.images.output.postprocess import Postprocessor
from imagegen.images.output.settings import OutputSettings
from imagegen.metrics import Family
from tests.unit.reports import generation_report

REPORT = generation_report(
    model="m",
    task="text_to_image",
    size="56x40",
    mean_batch_rows=2.0,
    warnings=("slow",),
    milliseconds={"denoise": 1.5},
)


@pytest.fixture(autouse=True)
def short_backoff(monkeypatch: pytest.MonkeyPatch) -> None:
    """Attempts to store follow each other at once."""
    monkeypatch.setattr("imagegen.images.output.store._FIRST_BACKOFF_S", 0.001)


class Totals:
    """What was counted: the sum of a counter, the number of observations of a histogram, by name and labels."""

    def __init__(self) -> None:
        self.totals: dict[str, float] = {}

    def __call__(self, family: Family, labels: dict[str, str]) -> Totals.Series:
        name = family.name.removeprefix("imagegen_postprocess_")
        return Totals.Series(self.totals, " ".join([name, *labels.values()]))

    class Series:
        def __init__(self, totals: dict[str, float], key: str) -> None:
            self._totals, self._key = totals, key

        def increment(self, value: float) -> None:
            self._totals[self._key] = self._totals.get(self._key, 0) + value

        def set(self, value: float) -> None:
            raise AssertionError("there are no gauges here")

        def observe(self, value: float) -> None:
            assert value >= 0
            self.increment(1)


class Running:
    """A postprocessor, what it counted, and a short way to call it."""

    def __init__(self, settings: OutputSettings) -> None:
        self._series = Totals()
        self.postprocessor = Postprocessor(settings, OutputMetrics(self._series))
        self._open = True

    def __call__(self, frames: Any, request_id: str = "", **values: Any) -> tuple[list[bytes], dict[str, Any]]:
        """The images and the metadata."""
        outputs = self.outputs(frames, request_id, **values)
        assert outputs["used_control_image"].shape == (0,)
        return list(outputs["generated_image"]), json.loads(outputs["metadata"][0])

    def outputs(self, frames: Any, request_id: str = "", **values: Any) -> dict[str, Any]:
        """All outputs for inputs given as one value or an array each."""
        arrays = {
            "frames": frames,
            "frame_seed": np.arange(7, 7 + len(frames)),
            "diffusion_report": np.array([REPORT.to_json()], dtype=np.object_),
        }
        for name, value in values.items():
            if isinstance(value, np.ndarray):
                arrays[name] = value
                continue
            text = isinstance(value, str)
            arrays[name] = np.array([value.encode() if text else value], dtype=np.object_ if text else np.int32)
        outputs = self.postprocessor.handle(arrays, request_id)
        assert outputs["used_seed"].tolist() == list(range(7, 7 + len(frames)))
        return outputs

    def totals(self) -> dict[str, float]:
        self.close()
        return self._series.totals

    def close(self) -> None:
        if self._open:
            self.postprocessor.close()
        self._open = False


@pytest.fixture
def new() -> Iterator[Callable[..., Running]]:
    made = []

    def new(**settings: Any) -> Running:
        made.append(Running(OutputSettings(**settings)))
        return made[-1]

    yield new
    for running in made:
        running.close()
