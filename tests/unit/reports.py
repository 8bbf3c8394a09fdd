"""A generation report of which a test says only what matters to it."""

from __future__ import annotations

from typing import Any

from imagegen.api.reports import GenerationReport


def generation_report(**changes: Any) -> GenerationReport:
    """A text-to-image request's, alone in its batches, without warnings or times, but for the changes."""
    values: dict[str, Any] = {
        "model": "tiny",
        "task": "text-to-image",
        "size": "64x48",
        "num_inference_steps": 4,
        "computed_steps": 4,
        "guidance_scale": 7.5,
        "strength": None,
        "scheduler": "euler",
        "mean_batch_rows": 1.0,
        "warnings": (),
        "milliseconds": {},
    }
    return GenerationReport(**values | changes)
