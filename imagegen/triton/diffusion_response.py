"""The response of the `diffusion` model: frames, seeds, and the report for the model after it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from imagegen.api.reports import GenerationReport, PreprocessReport
from imagegen.engine.generation_result import GenerationResult


class ResponsePort(Protocol):
    """The part of a request that takes its response."""

    def send(self, arrays: Mapping[str, npt.NDArray[Any]]) -> None:
        """Respond with output arrays."""

    def fail(self, error: BaseException) -> None:
        """Respond with an error."""


def respond(
    request: ResponsePort, upstream: PreprocessReport, result: GenerationResult | None, error: BaseException | None
) -> None:
    """Respond with a result, or with the error that there is instead.

    Args:
        request: which is owed the response.
        upstream: what the models before this one report.
        result: sent as frames UINT8 [n, H, W, 3], used_seed INT64 [n], diffusion_report BYTES [1].
        error: why there is no result.
    """
    if result is None:
        assert error is not None
        return request.fail(error)
    request.send(
        {
            "frames": result.frames,
            "used_seed": np.array(result.seeds, dtype=np.int64),
            "diffusion_report": np.array([_report(upstream, result).to_json()], dtype=np.object_),
        }
    )


def _report(upstream: PreprocessReport, result: GenerationResult) -> GenerationReport:
    """The request's metadata so far."""
    statistics = result.statistics
    return statistics.model_copy(
        update={
            "warnings": (*upstream.warnings, *statistics.warnings),
            "milliseconds": upstream.milliseconds | statistics.milliseconds,
            "input_paths": upstream.input_paths,
        }
    )
