"""Reports between the models come back as they were, and the public metadata has its keys in their order."""

from __future__ import annotations

import json
from typing import Any

import pytest

from imagegen.api.reports import LoraReport, PreprocessReport
from tests.unit.reports import generation_report

REPORT = generation_report(
    task="image-to-image",
    size="64x32",
    computed_steps=20,
    guidance_scale=5.0,
    mean_batch_rows=2.5,
    warnings=("image[0]: Kätzchen",),
    milliseconds={"preprocess": 1.5, "queue": 0.1},
)
KEYS = [
    *(
        "model",
        "task",
        "size",
        "num_inference_steps",
        "computed_steps",
        "step_cache",
        "guidance_scale",
        "strength",
        "scheduler",
    ),
    "loras",
    "references",
    "controls",
    *("mean_batch_rows", "warnings", "milliseconds"),
]


@pytest.mark.parametrize(
    "report",
    [
        PreprocessReport(started_s=1.25, finished_s=2.5),
        PreprocessReport(
            started_s=1.0, finished_s=2.0, milliseconds={"a": 1.0}, warnings=("w",), input_paths={"mask": "/a/b.png"}
        ),
        REPORT,
        REPORT.model_copy(update={"loras": (LoraReport(name="outline", scale=0.8),)}),
    ],
)
def test_a_report_comes_back_as_it_was(report: Any) -> None:
    assert type(report).from_json(report.to_json()) == report


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"not json",
        b"[]",
        b"{}",
        b'{"started_s": 1}',
        b'{"started_s": 1, "finished_s": "soon", "milliseconds": {}}',
        b'{"started_s": 1, "finished_s": NaN, "milliseconds": {}}',
        b'{"started_s": 1, "finished_s": 2, "milliseconds": 3}',
        b'{"started_s": 1, "finished_s": 2, "milliseconds": {}, "more": 1}',
        b"\xff",
        b"[" * 100_000,
    ],
)
def test_what_is_no_report_is_refused(text: bytes) -> None:
    with pytest.raises(ValueError, match="PreprocessReport"):
        PreprocessReport.from_json(text)


def test_the_public_metadata_adds_format_and_stages() -> None:
    metadata = json.loads(REPORT.completed("png", {"postprocess": 3.0}).to_json())
    assert list(metadata) == [*KEYS, "output_format"]
    assert metadata["milliseconds"] == {"preprocess": 1.5, "queue": 0.1, "postprocess": 3.0}
    assert list(metadata["milliseconds"]) == ["preprocess", "queue", "postprocess"]
    assert (metadata["output_format"], metadata["strength"]) == ("png", None)
    assert metadata["warnings"] == ["image[0]: Kätzchen"]


def test_paths_are_there_only_where_input_images_are_kept() -> None:
    kept = REPORT.model_copy(update={"input_paths": {"image[0]": "/in/a.png"}})
    metadata = json.loads(kept.completed("png", {}).to_json())
    assert list(metadata) == [*KEYS, "input_paths", "output_format"]
    assert metadata["input_paths"] == {"image[0]": "/in/a.png"}


def test_adapters_are_told_by_name_and_scale() -> None:
    loras = (LoraReport(name="outline", scale=0.8), LoraReport(name="dusk", scale=1.0))
    metadata = json.loads(REPORT.model_copy(update={"loras": loras}).completed("png", {}).to_json())
    assert metadata["loras"] == [{"name": "outline", "scale": 0.8}, {"name": "dusk", "scale": 1.0}]
    assert json.loads(REPORT.completed("png", {}).to_json())["loras"] == []
