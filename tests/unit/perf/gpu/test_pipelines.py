"""Pipelines are made where they are to run, and give images that are not all alike."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from perf.gpu.pipelines import made_pipeline
from perf.gpu.requests import Asked, by_pipeline
from tests.unit.perf.gpu.small_shapes import SMALL_SHAPES


@pytest.mark.parametrize("name", SMALL_SHAPES)
def test_a_pipeline_gives_images(name: str) -> None:
    pipeline = made_pipeline(SMALL_SHAPES[name].architecture, torch.device("cpu"), torch.float32)
    assert all(
        parameter.device.type == "cpu"
        for component in pipeline.components.values()
        if isinstance(component, torch.nn.Module)
        for parameter in component.parameters()
    )
    frame = by_pipeline(pipeline)(Asked(1, 2, 64))
    assert frame.shape == (64, 64, 3)
    assert len(np.unique(frame)) > 10
