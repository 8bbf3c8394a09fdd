"""How many denoiser calls a run still makes."""

from __future__ import annotations

import pytest

from imagegen.engine.pipeline_run import PipelineRun


@pytest.mark.parametrize(("expected", "done", "left"), [(4, 0, 4), (4, 3, 1), (4, 4, 4), (4, 9, 9), (1, 0, 1)])
def test_calls_left(expected: int, done: int, left: int) -> None:
    """One that makes more than were expected makes as many again, as far as anybody knows."""
    run = PipelineRun(lambda: None, lambda result, error: None, expected_calls=expected)
    run._calls_done = done
    assert run.calls_left == left
